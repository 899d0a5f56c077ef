"""The same network with other release probabilities: clamped, set to a value, or shuffled."""

from collections.abc import Mapping

import torch
from torch import Tensor

from synsim import streams
from synsim._checks import Number, constant, require, whole
from synsim._doors import typed
from synsim.lesions.copies import Net, copied
from synsim.lesions.orders import stochastic
from synsim.networks import replicas_of
from synsim.synapses import StochasticLayer, synapses

KEEPS = ("expected", "strength")


@typed
def clamp_p(net: Net, low: Number | None = None, high: Number | None = None, *, keep: str = "expected") -> Net:
    """A copy whose release probabilities lie between two bounds; equal bounds set all of them to that value.

    Args:
        net: the network; it is not changed.
        low: smallest probability, in (0, 1]: a number, or [R]; None: no bound.
        high: largest probability, likewise.
        keep: what a synapse keeps as its p moves. "expected": w̄, so that the mean field and the synaptic energy stay;
            "strength": m = w̄ / p, the strength when released, so that w̄ becomes m · p.

    Returns:
        The changed copy; its streams stand where those of `net` do.

    Raises:
        ValueError: if there is no bound, one lies outside (0, 1], the lower exceeds the upper, or `keep` is unknown.

    Example:
        >>> import synsim
        >>> changed = synsim.clamp_p(synsim.mlp([4, 2], p=0.5), 0.75)
        >>> float(changed[0].p.min())
        0.75
    """
    replicas = replicas_of(net)
    require(low is not None or high is not None, "give low, high or both; both the same set all p to that value.")
    bounds = [_bound(value, name, replicas) for value, name in ((low, "low"), (high, "high"))]
    if bounds[0] is not None and bounds[1] is not None:
        require(bool((bounds[0] <= bounds[1]).all()), f"low must not exceed high, got low={low} and high={high}.")

    def clamped(layer: StochasticLayer) -> Tensor:
        p = layer.p
        ends = [None if b is None else b.to(p).reshape(-1, *[1] * (p.ndim - 1)) for b in bounds]
        return p.clamp(*ends).reshape(p.shape)

    return _with(net, {name: clamped(layer) for name, layer in stochastic(net).items()}, keep)


@typed
def shuffle_p(net: Net, seed: int = 0, *, keep: str = "expected") -> Net:
    """A copy whose release probabilities are permuted among the synapses of each layer, separately per replica.

    Args:
        net: the network; it is not changed.
        seed: of the permutation; with the seed of each replica it is that of the streams.
        keep: what a synapse keeps as it gets another's p: "expected" (w̄) or "strength" (m), as for `clamp_p`.

    Returns:
        The changed copy; its streams stand where those of `net` do.

    Raises:
        ValueError: if the seed is negative, or `keep` is unknown.
    """
    seed = whole(seed, "seed", 0)

    def shuffled(name: str, layer: StochasticLayer) -> Tensor:
        flat = layer.p.reshape(len(layer.seeds), -1)
        keys = streams.keys("eval/shuffle", layer.seeds, f"{seed}/{name}")
        order = streams.permutation(keys, flat.shape[1]).to(flat.device)
        return flat.gather(1, order).reshape(layer.p.shape)

    return _with(net, {name: shuffled(name, layer) for name, layer in stochastic(net).items()}, keep)


def _bound(value: Number | None, name: str, replicas: int | None) -> Tensor | None:
    if value is None:
        return None
    found = torch.as_tensor(constant(value, name, replicas, high=1.0), dtype=torch.float64, device="cpu")
    require(bool((found > 0).all()), f"{name} must lie in (0, 1], got {found.tolist()}: a p of 0 never releases.")
    return found


@torch.no_grad()
def _with(net: Net, p: Mapping[str, Tensor], keep: str) -> Net:
    require(keep in KEEPS, f"keep must be one of {', '.join(KEEPS)}, got {keep!r}.")
    changed = copied(net)
    layers = synapses(changed)
    before = {name: _kept(layer, keep).clone() for name, layer in layers.items()}
    for name, layer in layers.items():
        was, value = layer.p.clone(), layer.expected_strength.clone()
        layer.p.copy_(p[name])
        if not torch.equal(_kept(layer, keep), before[name]):
            # Where p stays, w̄ stays too, to the last bit.
            layer.set_expected(
                value if keep == "expected" else torch.where(layer.p == was, value, before[name] * layer.p)
            )
    for name, layer in layers.items():
        close = 64 * torch.finfo(layer.p.dtype).eps
        require(
            torch.allclose(_kept(layer, keep), before[name], rtol=close, atol=0),
            f"layer {name!r} cannot keep its {keep} strengths with other release probabilities: its weight is not its "
            "own (shared with another layer?), or is bound. Give every layer its own weight.",
        )
    return changed


def _kept(layer: StochasticLayer, keep: str) -> Tensor:
    return (layer.expected_strength if keep == "expected" else layer.strength).detach()
