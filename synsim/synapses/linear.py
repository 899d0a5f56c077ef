"""Linear layer of Bernoulli synapses."""

from collections.abc import Sequence

import torch
from torch import Tensor

from synsim import kernels
from synsim._checks import require, whole
from synsim._doors import typed
from synsim.kernels import events, normal, reference
from synsim.synapses.addressed import rows_of
from synsim.synapses.base import StochasticLayer, transformed
from synsim.synapses.chunked import transmit_chunks
from synsim.synapses.events import gaussian, transmit_events
from synsim.synapses.release import product, transmit, transmit_samples


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

    def forward(self, x: Tensor, steps: int = 1, factor: Tensor | None = None) -> Tensor:
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
                1; in the others the input is scaled instead, which has the same mean.

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
        view = self.stream.here.view
        mean = view is not None and view.address.mean
        if self.scope != "batch" and not mean:
            return self._exactly(x, steps, factor)
        x = x if factor is None else x * factor
        if mean or not self.direct or transformed():
            return product(x, self.transmitted(), self.bias)
        weight, bias = self._stored(), self._offsets()
        strength, count = self.draw(weight)
        if not torch.is_grad_enabled():
            return product(x, strength, bias)
        p = self._buffers.get("p")
        return transmit(x, weight, bias, strength, self.p if p is None else p, count, self.sites)

    @staticmethod
    def _check_steps(x: Tensor, steps: int, factor: Tensor | None) -> None:
        fits = whole(steps, "steps") <= events.LAST_STEP and x.shape[-2] % steps == 0
        require(fits, f"{x.shape[-2]} rows are no {steps} time steps of equally many examples. Rows are T · B.")
        if factor is not None:
            require(factor.shape == x.shape, f"factor must be {list(x.shape)} like x, got {list(factor.shape)}.")

    def _sequence(self, x: Tensor, steps: int, factor: Tensor | None) -> Tensor:
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
        if self.scope == "batch":
            out = self.forward(series.flatten(place, place + 1))
        else:
            rows = series.transpose(place, place + 1).flatten(place, place + 1)
            out = self.forward(rows, steps).unflatten(place, (steps, batch)).transpose(place, place + 1)
        return out.reshape(*x.shape[:-1], self.out_features)

    def _exactly(self, x: Tensor, steps: int, factor: Tensor | None) -> Tensor:
        # Kernels know no mixed precision: under autocast they get and give what an ordinary layer would.
        if not torch.is_autocast_enabled(x.device.type):
            return self._apart(x, steps, factor)
        dtype = self.p.dtype
        with torch.autocast(x.device.type, enabled=False):
            out = self._apart(x.to(dtype), steps, None if factor is None else factor.to(dtype))
        return out.to(torch.get_autocast_dtype(x.device.type))

    def _apart(self, x: Tensor, steps: int, factor: Tensor | None) -> Tensor:
        if self.scope == "event":
            return self._per_event(x, steps, factor)
        if self.scope == "event-gaussian":
            return self._gaussian(x, steps, factor)
        return self._per_example(x if factor is None else x * factor, steps)

    def _per_event(self, x: Tensor, steps: int, factor: Tensor | None) -> Tensor:
        weight, p = self._leading()
        if transformed():
            require(factor is None, "short-term plasticity per event is not available inside torch.func transforms.")
            scales = self._event_counts(p, x.shape[-2], steps, x) / (p * self.sites).unsqueeze(1)
            spread = scales * weight.unsqueeze(1)
            lead = x if x.ndim == 3 else x.unsqueeze(0)
            out = (spread @ lead.detach().unsqueeze(3)).squeeze(3)
            # A silent neuron has a gradient too: that of the expected strengths, as in `transmit_events`.
            mean = lead @ weight.detach().transpose(1, 2)
            out = out + (mean - mean.detach())
        else:
            lead = x if x.ndim == 3 else x.unsqueeze(0)
            factors = factor if factor is None or factor.ndim == 3 else factor.unsqueeze(0)
            fast = all(kernels.path(one) == "numba" for one in (weight, p))
            places = self._places(x.shape[-2] // steps, self._next())
            out = transmit_events(lead, weight, p, factors, places, fast)
        return self._finished(out)

    def _gaussian(self, x: Tensor, steps: int, factor: Tensor | None) -> Tensor:
        if factor is not None and not transformed():
            require(
                bool((factor <= 1).all()),
                'scope="event-gaussian" needs factors of at most 1: it does not know how a facilitated probability '
                'saturates. Use scope="event".',
            )
        weight, p = self._leading()
        keys, _ = self._key(self.address.purpose)
        draw = self._latest() if transformed() else self._next()
        step, example = self._rows(x, steps)
        # The number of an output takes the place of a source: sixteen bits for every row and output.
        bits = [
            events.event_bits(
                key, weight.shape[1], source=torch.zeros_like(step), site=0, step=step, example=example, draw=draw
            )
            for key in keys
        ]
        noise = normal.on_device(x.device)[torch.stack(bits)].to(x.dtype)
        lead = x if x.ndim == 3 else x.unsqueeze(0)
        factors = factor if factor is None or factor.ndim == 3 else factor.unsqueeze(0)
        return self._finished(gaussian(lead, weight, p, self.sites, noise, factors))

    def _lead(self, tensor: Tensor) -> Tensor:
        return tensor if self.replicas is not None else tensor.unsqueeze(0)

    def _finished(self, out: Tensor) -> Tensor:
        out = out if self.replicas is not None else out[0]
        return out if self.bias is None else out + self.bias.unsqueeze(-2)

    def _places(self, batch: int, draw: int) -> tuple[events.Place, ...]:
        keys, words = self._key(self.address.purpose)
        example = self.address.example
        return tuple(events.Place(keys[r], words[r], self.sites, example, batch, draw) for r in range(len(words)))

    def _rows(self, x: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        # Time step and example of every row.
        batch = x.shape[-2] // steps
        step = torch.arange(steps, device=x.device).repeat_interleave(batch)
        return step, (self.address.example + rows_of(x, batch)).repeat(steps)

    def _event_counts(self, p: Tensor, rows: int, steps: int, x: Tensor) -> Tensor:
        # Counts of releases of the latest draw at every row, were there a spike: [R, rows, O, I].
        step, example = self._rows(x, steps)
        keys, _ = self._key(self.address.purpose)
        return torch.stack(
            [self._would_release(p[r], keys[r], step, example).reshape(rows, *p.shape[1:]) for r in range(p.shape[0])]
        )

    def _would_release(self, p: Tensor, key: Tensor, step: Tensor, example: Tensor) -> Tensor:
        outputs, inputs = p.shape
        source = torch.arange(inputs, device=p.device).repeat(len(step))
        at = {"step": step.repeat_interleave(inputs), "example": example.repeat_interleave(inputs)}
        bits = [
            events.event_bits(key, outputs, source=source, site=site, draw=self._latest(), **at)
            for site in range(self.sites)
        ]
        shape = (len(step), inputs, outputs)
        limit = reference.wide(p) * 65536.0
        return torch.stack([b.reshape(shape).transpose(1, 2).to(limit.dtype) < limit for b in bits]).sum(0)

    @typed
    def draw_mask(self, example: int = 0, step: int = 0) -> Tensor:
        """The mask of one example in the latest draw, from its address and the present release probabilities.

        Args:
            example: index of the example in its batch; ignored for `scope="batch"`.
            step: time step; ignored but for `scope="event"`.

        Returns:
            bool like `weight`; with several sites the uint8 count of releases. In the event scope those that a spike
            of every input would release.

        Raises:
            ValueError: for `scope="event-gaussian"`, which has no masks.
        """
        require(self.scope != "event-gaussian", 'scope="event-gaussian" has no masks; use scope="event".')
        step = whole(step, "step", 0, events.LAST_STEP - 1)
        if self.scope != "event" or self.address.mean:
            return super().draw_mask(example)
        p, (keys, _) = self._lead(self.p), self._key(self.address.purpose)
        steps = torch.tensor([step], device=p.device)
        where = torch.tensor([self.address.example + whole(example, "example", 0)], device=p.device)
        counts = [self._would_release(p[r], keys[r], steps, where)[0] for r in range(p.shape[0])]
        found = torch.stack(counts).reshape(self.p.shape).to(torch.uint8)
        return found.bool() if self.sites == 1 else found

    @typed
    def scales(self, examples: int = 1) -> Tensor:
        """Factors k / (N p) by which the latest draw scaled the expected strengths, from their address and present p.

        Args:
            examples: how many masks of successive examples (blocks in batch scope), the address' own first.

        Returns:
            [examples, R, *shape]; R = 1 without replicas.

        Raises:
            ValueError: in the event scopes, where no mask holds for a whole example.
        """
        require(
            not self.scope.startswith("event"),
            f"scope={self.scope!r} has no mask per example. Measure this network in the expected view.",
        )
        return super().scales(examples)

    def _per_example(self, x: Tensor, steps: int) -> Tensor:
        if transformed():
            lead = x if self.replicas is None or x.ndim == 3 else x.unsqueeze(0).expand(self.replicas, -1, -1)
            strength = self._plain(x.shape[-2] // steps, x)
            out = torch.einsum("...bi,b...oi->...bo", lead, strength.repeat(steps, *[1] * (strength.ndim - 1)))
        else:
            weight, p = self._leading()
            draw = self._next()
            inputs = x if x.ndim == 3 else x.unsqueeze(0).expand(weight.shape[0], -1, -1)
            keys, words = self._key(self.address.purpose)
            if steps > 1:
                # One mask serves all steps of its example: [R, B, T, I] -> [R, B, T, O] -> rows again.
                series = inputs.unflatten(1, (steps, -1)).transpose(1, 2)
                out = transmit_chunks(series, weight, p, keys, self.sites, self.address.example, draw, _series)
                out = out.transpose(1, 2).flatten(1, 2)
            elif kernels.path(weight) == "numba":
                out = transmit_samples(inputs, weight, p, words, self.sites, self.address.example, draw)
            else:
                out = transmit_chunks(inputs, weight, p, keys, self.sites, self.address.example, draw, _one_each)
            out = out if self.replicas is not None else out[0]
        if self.bias is not None:
            out = out + self.bias.unsqueeze(-2)
        return out


def _series(x: Tensor, strength: Tensor) -> Tensor:
    return torch.bmm(x, strength.transpose(1, 2))


def _one_each(x: Tensor, strength: Tensor) -> Tensor:
    return torch.bmm(strength, x.unsqueeze(2)).squeeze(2)
