"""KFAC: descent by a Kronecker-factored approximation of the Fisher information.

Sources: Martens & Grosse 2015 (arXiv:1503.05671); Benzing 2022, thesis chapter 5, eq. 5.1 to 5.3.
"""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from synsim._checks import Number, choice, require, whole
from synsim._doors import typed
from synsim.curvature.capture import Tape
from synsim.curvature.labels import seeds_of
from synsim.descent.averages import Averaging
from synsim.descent.blocks import Block
from synsim.descent.factors import eigen, inverse, split
from synsim.descent.gradient import Gradient
from synsim.descent.outputs import LABELS, LIKELIHOODS, exact, pulled, refuse_exact, sampled
from synsim.descent.seen import Pass, Seen

DAMPINGS = ("heuristic", "standard", "left")
MATCHES = ("norm", "rate")


class KFAC(Averaging):
    """Kronecker-factored descent: a layer's Fisher information is approximated by Σ_A ⊗ Σ_E.

    With G = Eᵀ A the move of the weights [O, I] is

    - "heuristic": (Σ_E + λ_E I)⁻¹ G (Σ_A + λ_A I)⁻¹, where λ_A = π √λ, λ_E = √λ / π and π² = (tr Σ_A / I) /
      (tr Σ_E / O);
    - "standard": U_E [(U_Eᵀ G U_A) / (s_E s_Aᵀ + λ)] U_Aᵀ, the inverse of Σ_A ⊗ Σ_E + λ I by eigenvectors U and
      eigenvalues s; it needs two full products of matrices at every step, and is the slowest;
    - "left": G (Σ_A + λ_A I)⁻¹, FOOF with the damping that the heuristic gives the inputs.

    Σ_E is made of the gradients of the log-likelihood of single examples, averaged over the batch; with
    labels="empirical" the losses must be means over examples. In layers of scope "batch" the factors are those of the
    pass with its masks. All else is as in `FOOF`.

    Args:
        net: the network.
        lr: learning rate η. This and every other constant may be a number or one per replica ([R]).
        damping: λ > 0.
        damp: "heuristic", "standard" or "left".
        labels: those of Σ_E: "sampled" from the network's own output, one per example; "empirical": those of the loss;
            "exact": all of them, with their probabilities, C backward passes.
        likelihood: which distribution the outputs are of: "categorical" (cross-entropy), or "gaussian" of variance 1
            (half the squared error, summed over outputs). The loss itself may be scaled: that scales λ and η.
        match: for damp="left": None; "norm": rescale the move of each layer to the norm of the heuristic one;
            "rate": multiply it by λ_A / λ, so that the step of a layer is that of FOOF with a rate of its own.
        average: m of the exponential averages of Σ_A and Σ_E; 0: the latest pass alone ("subsampled KFAC").
        period: T, steps from one inversion to the next.
        collect: S ≤ T, so many steps ahead of an inversion feed the averages; None: all.
        warmup: batches that `warm_up` takes in, as `fit` does before the first step; 0: begin with the first pass.
        momentum: of the raw gradient, ahead of the preconditioner (heavy ball).
        weight_decay: ρ; W ← (1 − η ρ) W, beside the preconditioned step.
        scale: "sum" or "mean", of Σ_A; Σ_E is a mean.
        lr_rest: rate of gradient descent of parameters outside linear and convolutional layers.
        release: "pass" or "mean", as in `FOOF`.
        seed: of sampled labels, for a network without stochastic layers.

    Raises:
        TypeError: if `net` is not a module.
        ValueError: as for `FOOF`.
    """

    _own = (*Averaging._own, "damp", "labels", "likelihood", "match", "seed")

    @typed
    def __init__(
        self,
        net: nn.Module,
        lr: Number,
        damping: Number,
        *,
        damp: str = "heuristic",
        labels: str = "sampled",
        likelihood: str = "categorical",
        match: str | None = None,
        average: Number = 0.95,
        period: int = 100,
        collect: int | None = None,
        warmup: int = 50,
        momentum: Number = 0.0,
        weight_decay: Number = 0.0,
        scale: str = "sum",
        lr_rest: Number | None = None,
        release: str = "pass",
        seed: int = 0,
    ) -> None:
        self._set(period, collect, warmup, scale, release)
        self.damp, self.labels = choice(damp, "damp", DAMPINGS), choice(labels, "labels", LABELS)
        self.likelihood = choice(likelihood, "likelihood", LIKELIHOODS)
        self.match = None if match is None else choice(match, "match", MATCHES)
        require(match is None or damp == "left", f"match goes with damp='left', got damp={damp!r}.")
        self.seed = whole(seed, "seed", 0)
        super().__init__(
            net,
            {
                "lr": lr,
                "damping": damping,
                "average": average,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "lr_rest": lr_rest,
            },
        )

    _kept: ClassVar[dict[str, str]] = {
        "heuristic": "inputs_inverse",
        "left": "inputs_inverse",
        "standard": "inputs_vectors",
    }

    @property
    def _first(self) -> str:
        return self._kept[self.damp]

    def _needs_losses(self) -> bool:
        return self.labels == "empirical"

    def _again(self) -> bool:
        return self.labels != "empirical"

    def _beyond(self, done: Pass, tape: Tape, logits: Tensor) -> None:
        if not self._feeds(done.seen):
            return
        if self.labels == "empirical":
            return
        refuse_exact(logits, self._replicas, self.labels)
        uses = {name: tape.uses[name] for name in done.seen}
        outputs = logits.detach()
        if done.finite is not None:
            # Those of replicas that failed are left out of the averages, whatever label they are given.
            outputs = outputs.nan_to_num(0.0, 0.0, 0.0)
        if self.labels == "exact":
            errors = exact(outputs, self.likelihood)
        else:
            errors = iter([sampled(outputs, self.likelihood, seeds_of(self._net, self.seed), *self._stream())])
        for found in pulled(logits, errors, [use.output for use in uses.values()]):
            with torch.no_grad():
                for (name, use), error in zip(uses.items(), found, strict=True):
                    if error is not None:
                        done.outputs.setdefault(name, []).append(done.seen[name].block.rows(use, error)[1])

    def _rows(self, done: Pass, one: Seen) -> Iterator[tuple[str, Tensor, float]]:
        yield from super()._rows(done, one)
        if self.labels == "empirical":
            # Errors are those of the mean loss.
            yield "outputs", one.errors, float(done.examples)
            return
        found = done.outputs.get(one.block.name, [torch.zeros_like(one.errors)])
        yield "outputs", found[0] if len(found) == 1 else torch.cat(found, -2), 1 / done.examples

    def _inverted(self, block: Block) -> dict[str, Tensor]:
        (inputs, outputs), at = self._averages(block), (block.name, self.steps)
        damping = self._constant(block, "damping")
        if self.damp == "standard":
            (s_a, u_a), (s_e, u_e) = eigen(inputs, *at), eigen(outputs, *at)
            return {"inputs_values": s_a, "inputs_vectors": u_a, "outputs_values": s_e, "outputs_vectors": u_e}
        left, right = split(inputs, outputs, damping)
        found = {"inputs_inverse": inverse(inputs, left, *at)}
        if self.match == "rate":
            found["matched"] = left / damping
        if self.damp == "heuristic" or self.match == "norm":
            found["outputs_inverse"] = inverse(outputs, right, *at)
        return found

    def _move(self, block: Block, gradient: Gradient) -> Gradient:
        state = self.state[block.weight]
        if self.damp == "standard":
            u_a, u_e = state["inputs_vectors"], state["outputs_vectors"]
            sizes = state["outputs_values"].unsqueeze(-1) * state["inputs_values"].unsqueeze(-2)
            inner = gradient.times(u_e.mT, u_a).matrix / (sizes + self._constant(block, "damping"))
            return Gradient(matrix=inner).times(u_e, u_a.mT)
        if self.damp == "heuristic":
            return gradient.times(state["outputs_inverse"], state["inputs_inverse"])
        move = gradient.times(None, state["inputs_inverse"])
        if self.match is None:
            return move
        if self.match == "rate":
            return Gradient(matrix=move.matrix * state["matched"])
        both = gradient.times(state["outputs_inverse"], state["inputs_inverse"]).matrix
        norms = [torch.linalg.vector_norm(each, dim=(-2, -1), keepdim=True) for each in (both, move.matrix)]
        ratio = torch.where(norms[1] > 0, norms[0] / norms[1], torch.ones_like(norms[1]))
        return Gradient(matrix=move.matrix * ratio)
