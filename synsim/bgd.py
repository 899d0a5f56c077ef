"""Bayesian Gradient Descent: a normal distribution over every weight, moved batch by batch, as a torch Optimizer.

Source: Zeno, Golan, Hoffer & Soudry 2018, "Task agnostic continual learning using online variational Bayes"
(arXiv:1803.10123), algorithm 1.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from synsim import streams
from synsim._checks import Number, constant, require, whole
from synsim.kernels.normal import normals
from synsim.networks import replicas_of
from synsim.synapses import synapses

LAST_DRAW = 2**32 - 1
_LEAST = 1e-12


class BGD(Optimizer):
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
        replicas = replicas_of(net)
        settings = {
            "eta": constant(eta, "eta", replicas),
            "samples": whole(samples, "samples"),
            "antithetic": bool(antithetic),
            "scale": constant(scale, "scale", None, low=_LEAST),
        }
        require(
            not antithetic or samples % 2 == 0, f"antithetic draws come in pairs: samples must be even, got {samples}."
        )
        start = constant(sigma, "sigma", replicas, low=_LEAST)
        self._seed = (whole(seed, "seed", 0),)
        self._layer = next(iter(synapses(net).values()), None)
        self._lead = replicas or 1
        self._named = dict(net.named_parameters())
        for name, parameter in self._named.items():
            require(
                replicas is None or (parameter.ndim > 0 and parameter.shape[0] == replicas),
                f"parameter {name!r} must have a leading axis of {replicas} replicas, got {list(parameter.shape)}. "
                "Build all layers with the same replicas.",
            )
        self._keys: dict[tuple[str, torch.device], tuple[tuple[int, ...], Tensor, np.ndarray]] = {}
        super().__init__(list(self._named.values()), settings)
        for parameter in self._named.values():
            self.state[parameter]["sigma"] = torch.ones_like(parameter, requires_grad=False) * _like(start, parameter)
            self.state[parameter]["step"] = 0

    @torch.no_grad()
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
        group = self.param_groups[0]
        samples, moving = group["samples"], {n: p for n, p in self._named.items() if p.requires_grad}
        first = samples * max((self.state[p]["step"] for p in self._named.values()), default=0)
        if first + samples - 1 > LAST_DRAW:
            raise OverflowError("this optimiser has made 2**32 draws; give it another seed.")
        means = {name: parameter.detach().clone() for name, parameter in moving.items()}
        sums: dict[str, tuple[Tensor, Tensor]] = {}
        total: float | Tensor = 0.0
        try:
            noise: dict[str, Tensor] = {}
            for sample in range(samples):
                pair = group["antithetic"] and sample % 2 == 1
                noise = self._perturb(moving, means, first + sample, noise if pair else None)
                self.zero_grad(set_to_none=True)
                with torch.enable_grad():
                    loss = closure()
                if loss is None:
                    raise ValueError("the closure of BGD.step must return the loss, got None. Add `return loss`.")
                total = total + (loss.detach() if isinstance(loss, Tensor) else loss)
                for name, parameter in moving.items():
                    gradient = parameter.grad
                    if gradient is None:
                        continue
                    if name not in sums:
                        sums[name] = gradient.clone(), gradient * noise[name]
                    else:
                        sums[name][0].add_(gradient)
                        sums[name][1].addcmul_(gradient, noise[name])
        finally:
            for name, mean in means.items():
                moving[name].copy_(mean)
        for name, (plain, weighted) in sums.items():
            parameter = moving[name]
            state = self.state[parameter]
            state["sigma"] = _move(parameter, state["sigma"], plain, weighted, group["eta"], group["scale"] / samples)
        for parameter in self._named.values():
            self.state[parameter]["step"] += 1
        mean_loss: float | Tensor = total / samples
        return mean_loss

    def _perturb(
        self,
        moving: dict[str, nn.Parameter],
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
                count = parameter.numel() // self._lead
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
