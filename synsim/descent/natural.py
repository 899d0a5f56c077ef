"""Natural gradients: exact, by the low rank of a Fisher information that few examples make.

Source: Benzing 2022, thesis section 2.3.2 and chapter 5; Ren & Goldfarb 2019 (arXiv:1906.02353).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import Number, choice, flag, number, require, whole
from synsim._doors import typed
from synsim.curvature.capture import Tape, capture
from synsim.curvature.labels import seeds_of
from synsim.curvature.roots import fisher_roots
from synsim.descent.base import Descent
from synsim.descent.blocks import Block, refuse_layers
from synsim.descent.columns import Columns, bytes_of, natural
from synsim.descent.gradient import Gradient
from synsim.descent.outputs import LIKELIHOODS, exact, pulled, refuse_exact, sampled
from synsim.descent.seen import Pass, refuse_use
from synsim.losses import class_logits
from synsim.synapses import evaluation

LABELS = ("sampled", "exact")
BATCHES = ("independent", "previous", "same")
KEPT = ("fisher_inputs", "fisher_errors", "fisher_mask")
MIB = 2**20


class NaturalGradient(Descent):
    """Natural gradient: W ← W − η (F + λ I)⁻¹ g, with the exact Fisher information F of some images.

    F = C Cᵀ, one column of C per image and label, so that (g − C (λ I + Cᵀ C)⁻¹ Cᵀ g) / λ is exact; the Gram matrix and
    the system are float64. Its cost and memory go with the square and the cube of the number of columns, and hardly
    with the size of the network. F is a mean over images, so that λ does not depend on their number.

    With batch="independent" F is that of images of their own, which `estimate` is given ahead of every step (`fit`
    draws them); "previous": that of the batch of the step before, at the parameters of that step (the first step has
    none and takes its own); "same": that of the batch of the gradient.

    In stochastic layers of scope "batch" gradient and columns are those of the expected strengths, masks and 1/p in
    them; for masks the Gram matrix is made of gradients per example, in parts.

    Args:
        net: the network.
        lr: learning rate η. This and every other constant may be a number or one per replica ([R]).
        damping: λ > 0.
        labels: "sampled": one label per image, drawn from the network's own output; "exact": all of them, with their
            probabilities, in C − 1 columns per image and as many backward passes.
        blocks: whether every layer has a system of its own (a block-diagonal F).
        batch: "independent", "previous" or "same".
        images: D, images that make F; None: as many as there are in the batch. Where the batch is that of a gradient,
            its first D.
        momentum: of the raw gradient, ahead of the preconditioner (heavy ball).
        weight_decay: ρ; W ← (1 − η ρ) W, beside the preconditioned step.
        likelihood: which distribution the outputs are of: "categorical" or "gaussian", as in `KFAC`.
        lr_rest: rate of gradient descent of parameters outside linear and convolutional layers; None: there are none.
        memory: MiB that Gram matrices may take at a time.
        tolerance: None: the system is solved by Cholesky, exactly; a number: by conjugate gradients, down to a residual
            of this size relative to the right-hand side, and no Gram matrix is made, which is much faster with many
            columns. The smaller λ, the more of what is left shows in the step, so that it asks for a smaller one.
        seed: of sampled labels, for a network without stochastic layers.

    Raises:
        TypeError: if `net` is not a module.
        ValueError: if a constant does not fit, or the network, as for `FOOF`.
    """

    _own = ("labels", "blocks", "batch", "images", "likelihood", "memory", "tolerance", "seed")

    @typed
    def __init__(
        self,
        net: nn.Module,
        lr: Number,
        damping: Number,
        *,
        labels: str = "sampled",
        blocks: bool = False,
        batch: str = "independent",
        images: int | None = None,
        momentum: Number = 0.0,
        weight_decay: Number = 0.0,
        likelihood: str = "categorical",
        lr_rest: Number | None = None,
        memory: float = 4096.0,
        tolerance: float | None = None,
        seed: int = 0,
    ) -> None:
        self.labels, self.blocks = choice(labels, "labels", LABELS), flag(blocks, "blocks")
        self.batch = choice(batch, "batch", BATCHES)
        self.images = None if images is None else whole(images, "images")
        self.likelihood = choice(likelihood, "likelihood", LIKELIHOODS)
        self.memory, self.seed = number(memory, "memory", above=True), whole(seed, "seed", 0)
        self.tolerance = None if tolerance is None else number(tolerance, "tolerance", above=True)
        self._columns: dict[str, list[Columns]] | None = None
        super().__init__(
            net,
            {
                "lr": lr,
                "damping": damping,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "lr_rest": lr_rest,
            },
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on from a copy, a pickle, or a `state_dict`.

        Args:
            state: attribute -> value.
        """
        super().__setstate__(state)
        self._columns = None

    @property
    def estimates(self) -> bool:
        """Whether `estimate` is due ahead of every step: asked by loops."""
        return self.batch == "independent"

    def reset(self) -> None:
        """Forget momentum and the Fisher of the previous batch."""
        self.state.clear()
        self._pass = self._columns = None

    @typed
    def estimate(self, x: Tensor, *, head: int | None = None) -> None:
        """Take the Fisher of these images, at the parameters as they are, for the next step.

        Release masks are those of an evaluation, so that the streams of training stay where they are.

        Args:
            x: images [D, ...] or [R, D, ...].
            head: index of the head, or None.

        Raises:
            ValueError: if the Fisher is that of the batches of the gradient, or the number of images is another one.
        """
        require(
            self.estimates, f"with batch={self.batch!r} the Fisher is that of the gradient's batch; leave this out."
        )
        refuse_layers(self._net)
        self._walk()
        with evaluation(self._net) as passes:
            passes.at(self.steps, 0, 0)
            with torch.enable_grad(), capture(self._net) as tape:
                logits = self._net(x) if head is None else self._net(x, head=head)
            count = logits.shape[-2]
            require(self.images in (None, count), f"expected images={self.images} images for the Fisher, got {count}.")
            self._columns = self._seen(tape, logits)

    def _again(self) -> bool:
        return not self.estimates

    def _beyond(self, done: Pass, tape: Tape, logits: Tensor) -> None:
        if not self.estimates:
            self._columns = self._seen(tape, logits)

    def _seen(self, tape: Tape, logits: Tensor) -> dict[str, list[Columns]]:
        # The columns of the Fisher that a pass makes, by layer; a grouped convolution has several matrices.
        blocks = {name: block for name, block in self._blocks.items() if name in tape.uses}
        for name in blocks:
            refuse_use(name, tape)
        require(
            logits.ndim == (2 if self._replicas is None else 3),
            f"expected one output per image, [B, C] or with replicas [R, B, C], got {list(logits.shape)}: a Fisher of "
            "outputs at every token is not built. Use KFAC.",
        )
        count = logits.shape[-2]
        images = count if self.images is None else self.images
        require(images <= count, f"images={images} of a batch are to make the Fisher, which has {count}.")
        # A replica that has diverged gets columns of NaN all the same, by the graph.
        errors = list(self._roots(logits.detach().nan_to_num(0.0, 0.0, 0.0)))
        if self.tolerance is None:
            self._affordable(len(errors), images)
        found = list(pulled(logits, errors, [tape.uses[name].output for name in blocks]))
        with torch.no_grad():
            return {
                name: self._parts(block, tape, [one[place] for one in found], count, images)
                for place, (name, block) in enumerate(blocks.items())
                if found[0][place] is not None
            }

    def _roots(self, outputs: Tensor) -> Sequence[Tensor]:
        if self.labels == "sampled":
            return [sampled(outputs, self.likelihood, seeds_of(self._net, self.seed), "descent/natural", self.steps)]
        refuse_exact(outputs, self._replicas, self.labels)
        if self.likelihood == "gaussian":
            return list(exact(outputs, self.likelihood))
        return list(fisher_roots(class_logits(outputs))[..., -outputs.shape[-1] :])

    def _affordable(self, many: int, images: int) -> None:
        size = bytes_of(many * images) / MIB
        require(
            size <= self.memory,
            f"{images} images with {many} columns each make a Gram matrix of {many * images} × {many * images}, which "
            f"takes {size:.3g} MiB of float64 while it is solved; memory={self.memory:g} MiB are allowed. Raise "
            "memory, or take fewer images, or labels='sampled', or a tolerance, with which none is made.",
        )

    def _parts(
        self, block: Block, tape: Tape, deltas: Sequence[Tensor | None], count: int, images: int
    ) -> list[Columns]:
        rows = [block.rows(tape.uses[block.name], delta) for delta in deltas if delta is not None]
        groups = _groups(block)
        shape = (self._replicas or 1, groups, count, -1)
        inputs = rows[0][0].reshape(*shape, rows[0][0].shape[-1])[:, :, :images]
        errors = torch.stack([e.reshape(*shape, e.shape[-1])[:, :, :images] for _, e in rows], 2) / images**0.5
        factor = block.factor()
        mask = None if factor is None else factor.reshape(self._replicas or 1, groups, *factor.shape[-2:])
        return [Columns(inputs[:, g], errors[:, g], None if mask is None else mask[:, g]) for g in range(groups)]

    def _preconditioned(self, gradients: Mapping[str, Gradient]) -> dict[str, Gradient]:
        columns = self._in_force()
        names = [name for name in gradients if name in columns]
        systems = [[name] for name in names] if self.blocks else [names]
        found: dict[str, Gradient] = {}
        for system in systems:
            found.update(self._solved({name: columns[name] for name in system}, gradients))
        # A layer without a way to the outputs has no part in the Fisher.
        return {
            name: found[name]
            if name in found
            else Gradient(matrix=one.matrix / self._constant(self._blocks[name], "damping"))
            for name, one in gradients.items()
        }

    def _solved(
        self, columns: Mapping[str, Sequence[Columns]], gradients: Mapping[str, Gradient]
    ) -> dict[str, Gradient]:
        parts = [(name, part) for name, several in columns.items() for part in several]
        alone = self._replicas is None
        given = {name: _split(gradients[name], _groups(self._blocks[name]), alone) for name in columns}
        flat = [one for name in columns for one in given[name]]
        damping = self._damping(self._blocks[next(iter(columns))])
        tolerant = self._at_hand().tolerant
        memory = int(self.memory * MIB)
        found = iter(natural([part for _, part in parts], flat, damping, memory, tolerant, self.tolerance))
        return {name: _joined([next(found) for _ in given[name]], alone) for name in columns}

    def _damping(self, block: Block) -> Tensor:
        value = self._group(block.weight)["damping"]
        found = torch.as_tensor(value, dtype=torch.float64, device=block.weight.device)
        return found.as_subclass(Tensor).expand(self._replicas or 1)

    def _in_force(self) -> dict[str, list[Columns]]:
        if self.batch == "previous":
            kept = {name: self._stored(block) for name, block in self._blocks.items()}
            if any(kept.values()):
                return {name: parts for name, parts in kept.items() if parts}
        require(
            self._columns is not None,
            "no Fisher is at hand: call rule.estimate(x) with images of their own ahead of every step, or say "
            "batch='same' or 'previous'.",
        )
        assert self._columns is not None
        return self._columns

    def _stored(self, block: Block) -> list[Columns]:
        state = self.state[block.weight]
        if KEPT[0] not in state:
            return []
        groups = state[KEPT[0]].shape[0]
        masks = state.get(KEPT[2])
        return [
            Columns(state[KEPT[0]][g], state[KEPT[1]][g], None if masks is None else masks[g]) for g in range(groups)
        ]

    def _learn(self, done: Pass) -> None:
        if self.batch == "previous" and self._columns is not None:
            for name, parts in self._columns.items():
                state = self.state[self._blocks[name].weight]
                state[KEPT[0]] = torch.stack([part.inputs for part in parts])
                state[KEPT[1]] = torch.stack([part.errors for part in parts])
                state.pop(KEPT[2], None)
                if parts[0].mask is not None:
                    state[KEPT[2]] = torch.stack([part.mask for part in parts if part.mask is not None])
        self._columns = None


def _groups(block: Block) -> int:
    return int(getattr(block.layer, "groups", 1))


def _split(gradient: Gradient, groups: int, alone: bool) -> list[Gradient]:
    # One [R, O, I] per group of a convolution; R = 1 without replicas.
    if groups > 1:
        matrix = gradient.matrix[None] if alone else gradient.matrix
        return [Gradient(matrix=each) for each in matrix.unbind(1)]
    if not alone:
        return [gradient]
    rows = None if gradient.rows is None else (gradient.rows[0][None], gradient.rows[1][None])
    return [Gradient(rows, gradient.matrix[None] if gradient.ready else None)]


def _joined(parts: Sequence[Gradient], alone: bool) -> Gradient:
    # The inverse of `_split`.
    if len(parts) > 1:
        found = torch.stack([one.matrix for one in parts], 1)
        return Gradient(matrix=found[0] if alone else found)
    (one,) = parts
    if not alone:
        return one
    if one.ready or one.rows is None:
        return Gradient(matrix=one.matrix[0])
    return Gradient((one.rows[0][0], one.rows[1][0]))
