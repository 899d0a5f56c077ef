"""Bayesian Gradient Descent: a normal distribution over every weight, moved batch by batch, as a torch Optimizer.

Source: Zeno, Golan, Hoffer & Soudry 2018, "Task agnostic continual learning using online variational Bayes"
(arXiv:1803.10123), algorithm 1.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synsim import streams
from synsim._checks import Number, flag, require, times, whole
from synsim._doors import typed
from synsim.kernels.normal import normals
from synsim.rules.network import Home, Rule, network
from synsim.rules.settable import per_replica
from synsim.synapses import StochasticLayer, synapses

LAST_DRAW = 2**32 - 1
_LEAST = 1e-12


class BGD(Rule):
    """Bayesian Gradient Descent: every weight has a mean μ (the parameter itself) and a standard deviation σ.

    One step draws K times ε ~ N(0, 1), sets w = μ + σ ε and takes the gradient G of the batch's summed loss. With E
    for the mean over the K draws, and h = σ / 2 · E[G ε], both lines with the old σ:

    1. μ ← μ − η σ² E[G];
    2. σ ← σ (√(1 + h²) − h).

    A parameter that gets no gradient in any of the draws (an inactive head) keeps μ and σ; one that gets it in some of
    them has gradient 0 in the others. Parameters with `requires_grad=False` are left as they are, and draw nothing.

    With `antithetic=True` the draws come in pairs ε, −ε. The estimates have the same mean, but in h the part of G that
    both share, such as the noise of the batch, cancels exactly, and only the curvature is left: without it log σ
    wanders at random, and 2 draws in a pair do what many single ones do.

    The normal numbers are those of `synsim.kernels.normal` at the addresses (purpose "train", the replica's seed,
    "bgd/" + name of the parameter, draw step · K + sample): a replica draws the same alone or among others, and a run
    goes on to the same bits from `state_dict`, which holds "sigma" (like the parameter) and "step" per parameter.

    Args:
        net: any module. If it has stochastic layers, their replicas and seeds are those of the normal numbers.
        sigma: σ at the start, in the unit of the weights. This and `eta` may be a number or one per replica ([R]).
        eta: learning rate η of the mean, no unit.
        samples: draws K per step; even if they come in pairs.
        antithetic: whether the draws come in pairs of opposite sign.
        scale: examples per batch; turns the gradient of the mean loss into that of the sum.
        seed: seed of the normal numbers of a network without stochastic layers.

    Raises:
        ValueError: if a constant is negative, not finite or of the wrong shape, if sigma or scale is 0, or if a
            parameter of a network with replicas has no replica axis.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        sigma: Number = 0.02,
        eta: Number = 1.0,
        samples: int = 10,
        antithetic: bool = False,
        scale: float = 100,
        seed: int = 0,
    ) -> None:
        network(net, "BGD")
        self._seed = (whole(seed, "seed", 0),)
        self._layer = next(iter(synapses(net).values()), None)
        self._keys: dict[tuple[str, torch.device], tuple[tuple[int, ...], Tensor, np.ndarray]] = {}
        self._start = sigma
        super().__init__(
            net, {"eta": eta, "samples": samples, "antithetic": flag(antithetic, "antithetic"), "scale": scale}
        )

    protects = "with the spread of its weights"
    needs_closure, couples_replicas = True, False
    _further = frozenset({"sigma"})

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles hold.

        Returns:
            Attribute -> value.
        """
        own = {name: getattr(self, name) for name in ("_seed", "_layer", "_start")}
        return {**super().__getstate__(), **own, "_keys": {}}

    @typed
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take in further parameters, such as those of a new head.

        Args:
            param_group: "params": a module, parameters, or (name, parameter) pairs; and "sigma", "eta" or "scale" of
                their own, where they differ from those that the optimiser was built with.

        Raises:
            TypeError: if there are no such parameters.
            ValueError: if a constant is unknown or does not fit, or a parameter does not fit.
        """
        sigma = self._start
        if isinstance(param_group, dict):
            sigma = param_group.pop("sigma", sigma)
        start = per_replica(sigma, "sigma", self._replicas, low=_LEAST)
        super().add_param_group(param_group)
        for parameter in self.param_groups[-1]["params"]:
            self._begin(parameter, start)

    def _begin(self, parameter: Tensor, sigma: float | Tensor) -> None:
        # A parameter that joins later begins with the draw at which the others are.
        step = max((state["step"] for state in self.state.values() if "step" in state), default=0)
        self.state[parameter]["sigma"] = torch.ones_like(parameter, requires_grad=False) * _like(sigma, parameter)
        self.state[parameter]["step"] = step

    def _members(self) -> Iterator[tuple[str, Tensor, dict[str, Any]]]:
        # Name, parameter and group of all that is in a group now.
        for group in self.param_groups:
            for parameter in group["params"]:
                home = self._homes.get(id(parameter)) or self._home(parameter, group)
                if "sigma" not in self.state[parameter]:
                    self._begin(parameter, per_replica(self._start, "sigma", self._replicas, low=_LEAST))
                yield home.name, parameter, group

    def _settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        samples, antithetic = times(settings["samples"], "samples"), bool(settings["antithetic"])
        require(
            not antithetic or samples % 2 == 0, f"antithetic draws come in pairs: samples must be even, got {samples}."
        )
        first = self.param_groups[0] if getattr(self, "param_groups", None) else settings
        require(
            (samples, antithetic) == (first["samples"], first["antithetic"]),
            f"all groups share their draws: samples and antithetic must be {first['samples']} and "
            f"{first['antithetic']} as in the first, got {samples} and {antithetic}.",
        )
        return {
            "eta": per_replica(settings["eta"], "eta", self._replicas),
            "samples": samples,
            "antithetic": antithetic,
            "scale": per_replica(settings["scale"], "scale", None, low=_LEAST),
        }

    def _fits(self, home: Home, owners: Sequence[StochasticLayer], group: Mapping[str, Any]) -> None:
        replicas, shape = self._replicas, home.parameter.shape
        require(
            replicas is None or (len(shape) > 0 and shape[0] == replicas),
            f"parameter {home.name!r} must have a leading axis of {replicas} replicas, got {list(shape)}. "
            "Build all layers with the same replicas.",
        )

    @torch.no_grad()
    @typed
    def step(  # type: ignore[override]
        self, closure: Callable[[], float | Tensor] | None = None
    ) -> float | Tensor:
        """Move means and standard deviations by one batch.

        Gradients are cleared before each call of the closure; those of the last draw stay in `.grad`.

        Args:
            closure: computes the loss of the batch (mean over examples, in nats), calls `backward()` and returns it,
                a number or [R]. Called `samples` times, with the parameters at μ + σ ε.

        Returns:
            The mean of the closure's losses, apart from autograd, as the closure shaped them.

        Raises:
            ValueError: if there is no closure, or it returns None.
            OverflowError: after 2**32 draws.
        """
        if closure is None:
            raise ValueError(
                "BGD.step expects a closure that computes the loss, calls backward() and returns the loss, got None: "
                "it needs the gradient at several draws of the weights. Call optimiser.step(closure)."
            )
        members = list(self._members())
        moving = {name: parameter for name, parameter, _ in members if parameter.requires_grad}
        means = {name: parameter.detach().clone() for name, parameter in moving.items()}
        sums: dict[str, tuple[Tensor, Tensor]] = {}
        try:
            loss = self._draws(closure, moving, means, sums)
        finally:
            for name, mean in means.items():
                moving[name].copy_(mean)
        for name, parameter, group in members:
            state = self.state[parameter]
            if name in sums:
                factor = group["scale"] / group["samples"]
                state["sigma"] = _move(parameter, state["sigma"], *sums[name], group["eta"], factor)
            state["step"] += 1
        return loss

    def _draws(
        self,
        closure: Callable[[], float | Tensor],
        moving: dict[str, Tensor],
        means: dict[str, Tensor],
        sums: dict[str, tuple[Tensor, Tensor]],
    ) -> float | Tensor:
        # The mean loss over the draws of one step; Σ G and Σ G ε go into `sums`.
        samples, antithetic = self.param_groups[0]["samples"], self.param_groups[0]["antithetic"]
        first = samples * max((state["step"] for state in self.state.values() if "step" in state), default=0)
        if first + samples - 1 > LAST_DRAW:
            raise OverflowError("this optimiser has made 2**32 draws; give it another seed.")
        noise: dict[str, Tensor] = {}
        total: float | Tensor = 0.0
        for sample in range(samples):
            pair = antithetic and sample % 2 == 1
            noise = self._perturb(moving, means, first + sample, noise if pair else None)
            self.zero_grad(set_to_none=True)
            with torch.enable_grad():
                loss = closure()
            if loss is None:
                raise ValueError("the closure of BGD.step must return the loss, got None. Add `return loss`.")
            total = total + (loss.detach() if isinstance(loss, Tensor) else loss)
            _add(sums, moving, noise)
        mean: float | Tensor = total / samples
        return mean

    def _perturb(
        self,
        moving: dict[str, Tensor],
        means: dict[str, Tensor],
        draw: int,
        opposite: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        noise = {}
        for name, parameter in moving.items():
            if opposite is not None:
                noise[name] = opposite[name].neg_()
            else:
                keys, words = self._key(name, parameter.device)
                count = parameter.numel() // (self._replicas or 1)
                noise[name] = normals(keys, words, count, draw, parameter.dtype).reshape(parameter.shape)
            torch.addcmul(means[name], self.state[parameter]["sigma"], noise[name], out=parameter)
        return noise

    def _key(self, name: str, device: torch.device) -> tuple[Tensor, np.ndarray]:
        # Asked anew at each step: a network that is seeded or loaded later has other seeds.
        seeds = self._seed if self._layer is None else self._layer.seeds
        found = self._keys.get((name, device))
        if found is None or found[0] != seeds:
            keys = streams.keys("train", seeds, f"bgd/{name}")
            found = self._keys[name, device] = (seeds, keys.to(device), keys.numpy().astype(np.uint32))
        return found[1:]


def _add(sums: dict[str, tuple[Tensor, Tensor]], moving: dict[str, Tensor], noise: dict[str, Tensor]) -> None:
    for name, parameter in moving.items():
        gradient = parameter.grad
        if gradient is None:
            continue
        if name not in sums:
            sums[name] = gradient.clone(), gradient * noise[name]
        else:
            sums[name][0].add_(gradient)
            sums[name][1].addcmul_(gradient, noise[name])


def _move(
    parameter: Tensor, sigma: Tensor, plain: Tensor, weighted: Tensor, eta: float | Tensor, factor: float
) -> Tensor:
    # `plain` and `weighted` are Σ G and Σ G ε of the mean loss, and given away; E[·] of the sum is factor · Σ.
    parameter.sub_(plain.mul_(sigma).mul_(sigma).mul_(_like(eta * factor, parameter)))
    h = weighted.mul_(sigma).mul_(0.5 * factor)
    # √(1 + h²) − h without the cancellation for large h, which would end in a σ of 0.
    grown = torch.addcmul(torch.ones((), dtype=h.dtype, device=h.device), h, h).sqrt_().add_(h.abs())
    return torch.where(h > 0, sigma / grown, sigma * grown)


def _like(value: float | Tensor, parameter: Tensor) -> float | Tensor:
    if isinstance(value, Tensor) and value.ndim == 1:
        return value.to(parameter).reshape(-1, *[1] * (parameter.ndim - 1))
    return float(value)
