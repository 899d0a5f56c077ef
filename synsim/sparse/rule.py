"""A rule around a rule: what an optimiser does to θ becomes a step on φ, so that weights that are large grow faster.

Source: Schwarz et al. 2021, "Powerpropagation", section 2: one gradient step on φ, whose gradient of θ has gone through
the optimiser ("virtual target"), so that an adaptive one does not divide the factor out.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from synsim._checks import Number, choice, constant, require, warn, whole
from synsim._doors import explained, shown, typed
from synsim._names import by_own_name, named_parameters
from synsim.kernels import power as kernel
from synsim.networks import replicas_of
from synsim.rules import traits
from synsim.rules.base import begin_anew
from synsim.sparse.masks import silenced
from synsim.sparse.power import HIGHEST, advanced
from synsim.sparse.weights import weights_of

DECAYS = ("phi", "theta")
WAIT = 100
"""Steps from one look at whether weights are finite to the next; `fit` looks at every loss."""


class Powerpropagation(Optimizer):
    """Powerpropagation of the weights of a network, θ = φ·abs(φ)^(α−1), around any optimiser.

    With u the move that the optimiser makes on θ, φ = root(θ) becomes (1 − η ρ) φ + u · slope(φ), and θ = power(φ).
    Layers keep θ, so that meters, lesions and importances are what they are without it. Around plain SGD this is SGD on
    φ; around an adaptive one its state sees gradients of θ. Around `PresynapticSGD` the step of the release
    probabilities sees the gradient of w̄ = θ, unchanged. Biases, normalisation and the weights of other modules move as
    the optimiser moves them, and with α = 1 so do all, to the bit.

    Weights of exactly 0 are a critical point for α > 1 and never move again: redraw them rather than clearing them.

    Args:
        inner: an optimiser of torch, or a rule such as `PresynapticSGD`, that holds the weights.
        alpha: α ≥ 1, a number, or one per replica [R]; in the paper from 1 to 3.
        net: the network: weights of stochastic layers, and of torch's linear and convolutional ones.
        weight_decay: ρ, a number, or one per replica.
        decay: "phi": φ shrinks by 1 − η ρ (the learning rate η is that of the weight's group), the penalty
            ρ/2 · Σ abs(θ)^(2/α), which for α = 2 is ρ/2 times the synaptic energy. "theta": ρ θ joins the gradient
            ahead of the optimiser.

    Raises:
        TypeError: if `inner` is no optimiser or `net` no module.
        ValueError: if α or ρ do not fit, the optimiser holds no such weight or can't be wrapped, or a weight is
            re-parametrised.

    Example:
        >>> import torch, synsim
        >>> net = synsim.mlp([4, 2], p=1.0)
        >>> rule = synsim.Powerpropagation(torch.optim.SGD(net.parameters(), lr=0.1), 2.0, net=net)
        >>> synsim.cross_entropy(net(torch.ones(1, 4)), torch.tensor([0])).backward()
        >>> rule.step()
    """

    @typed
    def __init__(
        self, inner: Optimizer, alpha: Number, *, net: nn.Module, weight_decay: Number = 0.0, decay: str = "phi"
    ) -> None:
        own = traits(inner)
        require(
            not (
                own.needs_closure
                or own.couples_replicas
                or own.protects
                or own.watches
                or isinstance(inner, Powerpropagation)
            ),
            f"{type(inner).__name__} can't be powerpropagated: expected an optimiser that makes one step by one "
            "gradient, such as torch.optim.SGD, Adam or synsim.PresynapticSGD.",
        )
        self._inner, self._net, self._replicas = inner, net, replicas_of(net)
        self._set(alpha, weight_decay, decay)
        self._looked = self._made = False
        self._steps, self._diverged = 0, set[int]()
        self._hold()
        super().__init__(list(self._weights.values()), inner.defaults)
        self._made = True

    def _set(self, alpha: Number, weight_decay: Number, decay: str) -> None:
        self.alpha = constant(alpha, "alpha", self._replicas, low=1)
        self.weight_decay = constant(weight_decay, "weight_decay", self._replicas)
        self.decay = choice(decay, "decay", DECAYS)
        most = max(_each(self.alpha))
        if most > HIGHEST:
            warn(f"alpha = {most:g} is beyond the powers up to {HIGHEST:g} that were found to be stable.")

        self._alphas, self._plain = _each(self.alpha), max(_each(self.alpha)) == 1
        decays = max(_each(self.weight_decay)) > 0
        self._shrinks, self._pulls_theta = decays and self.decay == "phi", decays and self.decay == "theta"

    def _hold(self) -> None:
        # The weights, and memory for what they were before a step.
        self._weights = _weights(self._inner, self._net)
        self._held = [(weight, torch.empty_like(weight.detach())) for weight in self._weights.values()]

    @property
    def inner(self) -> Optimizer:
        """The optimiser around which this one is."""
        return self._inner

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of the inner optimiser, where schedules and edits reach its constants."""
        return self._inner.param_groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        # `Optimizer.__init__` starts with none of its own; the inner optimiser has them.
        require(not groups, "the groups of a powerpropagated optimiser are those of its inner one.")

    @property
    def state(self) -> defaultdict[Tensor, Any]:
        """That of the inner optimiser."""
        return self._inner.state

    @state.setter
    def state(self, state: Any) -> None:
        require(not state, "the state of a powerpropagated optimiser is that of its inner one.")

    @typed
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take in further parameters, as the inner optimiser does; weights of the network are powerpropagated too.

        Args:
            param_group: "params", and constants of their own.
        """
        if not self._made:  # of `Optimizer.__init__`: the inner optimiser has them already
            return
        self._inner.add_param_group(param_group)
        self._hold()

    @torch.no_grad()
    @explained
    def step(  # type: ignore[override]
        self,
        closure: Callable[[], float] | None = None,
        *,
        penalty: Mapping[str, Tensor] | None = None,
    ) -> float | None:
        """Let the optimiser move θ, and turn its move into one of φ.

        Args:
            closure: computes the loss anew, once, as for every torch optimiser.
            penalty: gradients of a penalty with respect to θ, keyed like `named_parameters()`.

        Returns:
            The closure's loss, or None.

        Raises:
            ValueError: if the penalty names an unknown parameter.
        """
        loss = None
        if closure is not None:
            require(callable(closure), f"closure must be something to call, got {shown(closure)}.")
            with torch.enable_grad():
                loss = closure()
        weights = [(weight, before) for weight, before in self._held if weight.grad is not None]
        # Zeros of a view come back with its end: they say nothing of the weights.
        if not self._looked and not any(silenced(weight) for weight, _ in weights):
            self._looked = True
            self._say_dead()
        for weight, before in weights:
            before.copy_(weight)
        if penalty or self._pulls_theta:
            self._step_inner(self._pulls(penalty or {}))
        else:
            self._inner.step()
        rates = self._rates()
        for weight, before in weights:
            self._advance(weight, before, rates.get(id(weight), 0.0))
        self._say_diverged([weight for weight, _ in weights])
        return loss

    def _step_inner(self, pulls: Mapping[str, Tensor]) -> None:
        if traits(self._inner).takes_penalty:
            inner: Any = self._inner
            inner.step(penalty=pulls)
            return
        named = dict(named_parameters(self._net))
        kept = {name: named[name].grad for name in pulls}
        try:
            for name, pull in pulls.items():
                gradient = kept[name]
                named[name].grad = pull.to(named[name]) if gradient is None else gradient + pull
            self._inner.step()
        finally:
            for name, gradient in kept.items():
                named[name].grad = gradient

    def _pulls(self, penalty: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # Beside the gradients, so that the step of release probabilities does not see them.
        known = dict(named_parameters(self._net))
        if not penalty.keys() <= known.keys():
            penalty = by_own_name(self._net, penalty)
        strange = sorted(penalty.keys() - known.keys())
        require(not strange, f"the penalty names {', '.join(strange)}, expected names among {sorted(known)}.")
        found = dict(penalty)
        for name, weight in self._weights.items() if self._pulls_theta else ():
            if weight.grad is not None:
                pull = _laid(self.weight_decay, weight) * weight.detach()
                found[name] = found[name] + pull if name in found else pull
        return found

    def _rates(self, all_of_them: bool = False) -> dict[int, Any]:
        if not (self._shrinks or all_of_them):
            return {}
        return {id(weight): group["lr"] for group in self.param_groups for weight in group["params"]}

    def _advance(self, weight: Tensor, before: Tensor, rate: Any) -> None:
        alphas, factors = self._alphas, [1.0]
        if self._shrinks:
            eta, rho = (torch.as_tensor(each, dtype=torch.float64, device="cpu") for each in (rate, self.weight_decay))
            factors = (1 - eta * rho).reshape(-1).tolist()
        elif self._plain:
            return
        count = max(len(alphas), len(factors))
        alphas, factors = alphas * (count // len(alphas)), factors * (count // len(factors))
        if kernel.serves(weight, before, alphas):
            kernel.advance(weight, before, alphas, factors)
            return
        rows = [(weight.detach(), before)] if count == 1 else list(zip(weight.detach(), before, strict=True))
        for (row, old), alpha, factor in zip(rows, alphas, factors, strict=True):
            if alpha == 1 and factor == 1:
                continue  # stays as the optimiser left it, to the bit
            if kernel.serves(row, old, [alpha]):
                kernel.advance(row, old, [alpha], [factor])
            else:
                row.copy_(advanced(row, old, alpha, factor))

    def _say_diverged(self, weights: list[Tensor]) -> None:
        self._steps += 1
        if self._plain or self._steps % WAIT:
            return
        if math.isfinite(sum(float(weight.detach().sum()) for weight in weights)):
            return
        for name, weight in self._weights.items():
            rows = weight.detach().reshape(self._replicas or 1, -1).isfinite().all(1)
            new = [row for row in (~rows).nonzero().flatten().tolist() if row not in self._diverged]
            self._diverged.update(new)
            for row in new:
                where = f" of replica {row}" if self._replicas else ""
                warn(
                    f"{name}{where} is not finite after a step with {self.settings(row)}. Use a smaller rate or power."
                )

    @typed
    def settings(self, replica: int = 0) -> str:
        """What a replica that diverges is moved by, in words.

        Args:
            replica: its index.

        Returns:
            Its power and its learning rate.
        """
        row = whole(replica, "replica", 0, (self._replicas or 1) - 1)
        rates = self._rates(all_of_them=True)
        constants = self.alpha, *(rates[id(weight)] for weight in self._weights.values())
        alpha, *rate = ((_each(each)[row:] or _each(each))[0] for each in constants)
        return f"alpha = {alpha:g} and a learning rate of {' or '.join(f'{each:g}' for each in dict.fromkeys(rate))}"

    def _say_dead(self) -> None:
        if self._plain:
            return
        moving = {name: weight for name, weight in self._weights.items() if weight.grad is not None}
        shares = {name: float((weight == 0).double().mean()) for name, weight in moving.items()}
        dead = [f"{name}: {share:.1%}" for name, share in shares.items() if share > 0]
        if dead:
            warn(
                f"weights that are exactly 0 never move again under Powerpropagation ({', '.join(dead)}). Redraw them "
                "(synsim.networks.redraw), or start from small numbers."
            )

    @typed
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, as the inner optimiser does.

        Args:
            set_to_none: as for every torch optimiser.
        """
        self._inner.zero_grad(set_to_none)

    def reset(self) -> None:
        """Forget what the inner optimiser has gathered, such as Adam's moments."""
        begin_anew(self._inner)

    def state_dict(self) -> dict[str, Any]:
        """That of the inner optimiser, and the constants of this one under "powerpropagation".

        Returns:
            Plain tensors, numbers and text.
        """
        own = {"alpha": self.alpha, "weight_decay": self.weight_decay, "decay": self.decay}
        return {**self._inner.state_dict(), "powerpropagation": own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a saved state.

        Args:
            state_dict: of `state_dict`.

        Raises:
            ValueError: if it is that of another rule.
        """
        own = state_dict.get("powerpropagation") if isinstance(state_dict, Mapping) else None
        fits = isinstance(own, Mapping) and own.keys() == {"alpha", "weight_decay", "decay"}
        require(fits, "expected the state of a powerpropagated optimiser, with its constants, got that of another one.")
        self._inner.load_state_dict({name: value for name, value in state_dict.items() if name != "powerpropagation"})
        self._set(**own)  # type: ignore[arg-type]
        self._looked = False

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles hold: the inner optimiser and the network with it.

        Returns:
            Attribute -> value.
        """
        names = (
            "_inner", "_net", "_replicas", "_looked", "_made", "_steps", "_diverged", "alpha", "weight_decay", "decay",
        )  # fmt: skip
        return {"defaults": self.defaults, **{name: self.__dict__[name] for name in names}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on from a copy or a pickle.

        Args:
            state: of `__getstate__`.
        """
        super().__setstate__(state)
        self._set(self.alpha, self.weight_decay, self.decay)
        self._hold()

    def __repr__(self) -> str:
        """The power, and the optimiser inside.

        Returns:
            Several lines, as for every torch optimiser.
        """
        return f"Powerpropagation(alpha={self.alpha}) around {self._inner!r}"


def _weights(inner: Optimizer, net: nn.Module) -> dict[str, Tensor]:
    # The weights of the network that the optimiser holds, by their names.
    held = {id(parameter) for group in inner.param_groups for parameter in group["params"]}
    found = {name: weight for name, weight in weights_of(net).items() if id(weight) in held}
    require(bool(found), f"this {type(inner).__name__} holds no weight of this network.")
    return found


def _each(value: float | Tensor) -> list[float]:
    return [value] if not isinstance(value, Tensor) else [float(one) for one in value.reshape(-1)]


def _laid(value: float | Tensor, weight: Tensor) -> float | Tensor:
    # One number per replica along the axis in front.
    if not isinstance(value, Tensor):
        return value
    return value.to(weight).reshape(-1, *[1] * (weight.ndim - 1))
