"""Linear layer of Bernoulli synapses."""

from collections.abc import Sequence

import torch
from torch import Tensor

from synsim._checks import require, whole
from synsim._doors import typed
from synsim.kernels import events
from synsim.synapses.base import StochasticLayer
from synsim.synapses.depletion import PerSynapse, Trail, depleting


class BernoulliLinear(StochasticLayer):
    """`nn.Linear` whose synapses release at random; with p = 1 and without replicas it is `nn.Linear`, bit for bit.

    Args:
        in_features: inputs I.
        out_features: outputs O.
        p: release probability: a number, [R], or shaped like the weight.
        bias: whether there is a bias. The published model has none.
        sites: release sites N per synapse; k of N sites released transmit m · k / N.
        scope: "batch": one mask per forward pass; "sample": one per example; "event": each spike is released or not at
            each synapse, independently per example and time step (inputs must be 0 or 1); "event-gaussian": a Gaussian
            with the mean and variance of that (`synsim.synapses.events.gaussian`). Inside transforms of
            torch.func the event scope makes a mask for every row, [T · B, O, I]; nowhere else.
        replicas: R independent layers in one; every tensor gets a leading axis R.
        device: where the tensors live.
        dtype: their floating-point type.

    Shapes:
        weight [O, I] or [R, O, I]; input [B, I] (shared by the replicas) or [R, B, I]; output [B, O] or [R, B, O].
        Sequences: [B, ..., I] to [B, ..., O], with replicas [R, B, ..., I] to [R, B, ..., O].

    Compiled, it is a break of the graph, but in the mean field (see `Addressed`).

    Source:
        Schug, Benzing & Steger 2021, eq. 4.1 to 4.3.

    Example:
        >>> import torch, synsim
        >>> layer = synsim.BernoulliLinear(2, 1, p=0.5)
        >>> _ = layer(torch.ones(1, 2))
        >>> set(layer.mask.flatten().tolist()) <= {0.0, 1.0}
        True
    """

    example_ndim = 1
    scopes = ("batch", "sample", "event", "event-gaussian")

    @typed
    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        p: float | Tensor | Sequence[float] = 0.25,
        bias: bool = False,
        sites: int = 1,
        scope: str = "batch",
        replicas: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.in_features = whole(in_features, "in_features")
        self.out_features = whole(out_features, "out_features")
        super().__init__(
            (out_features, in_features),
            p=p,
            bias=bias,
            sites=sites,
            scope=scope,
            replicas=replicas,
            device=device,
            dtype=dtype,
        )

    def forward(self, x: Tensor, steps: int = 1, factor: Tensor | PerSynapse | Trail | None = None) -> Tensor:
        """Transmit.

        Time steps are rows: row t · B + b is example b at step t. One mask per forward pass, or per example, holds for
        all steps; in the event scopes each step has releases of its own. Axes between example and inputs (the tokens of
        a sequence) are time steps too; as `nn.Linear`, a layer without replicas also takes a single row [I].

        Args:
            x: [T · B, I], or with replicas also [R, T · B, I]; T = 1 without time. Or [B, ..., I], with replicas
                [R, B, ..., I] of four axes at least.
            steps: T.
            factor: like x, or None: scales the release probability of each input (short-term plasticity). In the event
                scope p · factor is the probability at a spike (1 at most); the Gaussian scope takes factors of at most
                1; in the others the input is scaled instead, which has the same mean. `PerSynapse`: each synapse has
                u and x of its own, from rest; or the `Trail` of the passes before.

        Returns:
            [T · B, O], or with replicas [R, T · B, O]; [B, ..., O] or [R, B, ..., O].

        Raises:
            ValueError: if the inputs, the steps or the factors do not fit, or inputs are no spikes in the event scope.
        """
        if isinstance(x, Tensor) and x.ndim != 2 and (x.ndim != 3 or self.replicas is None):
            return self._sequence(x, steps, factor)
        self.check_input(x, self.in_features)
        if type(steps) is not int or steps != 1 or factor is not None:
            self._check_steps(x, steps, factor)
            if isinstance(factor, PerSynapse | Trail):
                return depleting(self, x, steps, factor)
        return self.release.linear(self, x, steps, factor)

    @staticmethod
    def _check_steps(x: Tensor, steps: int, factor: Tensor | PerSynapse | Trail | None) -> None:
        fits = whole(steps, "steps") <= events.LAST_STEP and x.shape[-2] % steps == 0
        require(fits, f"{x.shape[-2]} rows are no {steps} time steps of equally many examples. Rows are T · B.")
        if isinstance(factor, Tensor):
            require(factor.shape == x.shape, f"factor must be {list(x.shape)} like x, got {list(factor.shape)}.")

    def _sequence(self, x: Tensor, steps: int, factor: Tensor | PerSynapse | Trail | None) -> Tensor:
        # What lies between example and inputs: rows where one mask holds for all, else time steps.
        place = 0 if self.replicas is None else 1  # axis of the examples
        alone = x.ndim == 1 and self.replicas is None
        if x.shape[-1:] != (self.in_features,) or (x.ndim < place + 3 and not alone):
            self.check_input(x, self.in_features)
        require(
            steps == 1 and factor is None,
            f"steps and factor go with rows [T · B, {self.in_features}], got x of shape {list(x.shape)}.",
        )
        if alone:
            out: Tensor = self.forward(x.unsqueeze(0))
            return out[0]
        series = x.flatten(place + 1, -2)
        batch, steps = series.shape[place : place + 2]
        if not self.per_example:
            out = self.forward(series.flatten(place, place + 1))
        else:
            rows = series.transpose(place, place + 1).flatten(place, place + 1)
            out = self.forward(rows, steps).unflatten(place, (steps, batch)).transpose(place, place + 1)
        return out.reshape(*x.shape[:-1], self.out_features)
