"""The Fisher diagonal in every variant, and its absolute and square-root relatives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import finite, require, times, whole
from synsim._doors import typed
from synsim.curvature import (
    Score,
    Term,
    batch_gradients,
    case_of,
    measured,
    refuse_meeting,
    sum_over_examples,
    wide,
)
from synsim.curvature.linear import linear
from synsim.curvature.roots import fisher_roots
from synsim.importance.base import Importance
from synsim.importance.selection import View, own_labels, sampled_labels, seeds_of, select
from synsim.inputs import logits_of, output_replicas
from synsim.losses import class_logits
from synsim.networks import replicas_of

LABELS = ("exact", "sampled", "predicted", "empirical")
CONVENTIONS = ("mean", "sum", "scaled")


def _pick(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    index = labels.expand(log_probabilities.shape[:-1]).unsqueeze(-1)
    return -log_probabilities.gather(-1, index).squeeze(-1)


NEGATIVE_LOG_LIKELIHOOD = Score(lambda logits: class_logits(logits).log_softmax(-1), _pick)
"""ℓ(x, y) = −log p(y | x) of every example, in nats."""
ALONG = Score(class_logits, lambda logits, root: (logits * root).sum(-1))
"""The logits along given directions, which take the place of labels."""


@dataclass(frozen=True, kw_only=True)
class _Options(View):
    labels: str = "exact"
    draws: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.labels in LABELS, f"labels must be one of {', '.join(LABELS)}, got {self.labels!r}.")
        self._keep("draws", times(self.draws, "draws"))


class Fisher(Importance):
    """Diagonal of the Fisher information: (1/N) Σ_x Σ_y q_x(y) · g(x, y)², squared example by example.

    g(x, y) is the gradient of −log p(y | x). labels="exact": q_x = p_x, the network's own output, C − 1 backward passes
    per chunk; "sampled": labels drawn from p_x (`draws` per image); "predicted": the most probable label;
    "empirical": the true label. Source: protocols of Kirkpatrick et al. 2017 (EWC) and Benzing 2022, section 3.

    One output is that of a binary classifier: p(1) is its sigmoid. With an output at each of T tokens, [N, T, C], the
    labels of an example are independent given x, and g is the gradient of the sum over its tokens: the exact Fisher is
    then the sum of those of the tokens, T · (C − 1) backward passes per chunk.

    Args:
        labels: "exact", "sampled", "predicted" or "empirical".
        images: images to use, drawn at random; None: all.
        draws: labels drawn per image and pass (labels="sampled").
        view: "expected" measures the mean field; "sampled" the mean over `samples` stochastic passes.
        samples: stochastic passes in the sampled view.
        block: images that share a mask in the sampled view.
        memory: MiB that a chunk may take.
        seed: of images, labels and masks. Every task draws with the same numbers; an importance of another seed has
            independent ones.
    """

    name = "fisher"
    power = "square"

    def __init__(
        self,
        *,
        labels: str = "exact",
        draws: int = 1,
        images: int | None = None,
        view: str = "expected",
        samples: int = 10,
        block: int = 100,
        memory: float = 16.0,
        seed: int = 0,
    ) -> None:
        self.options = _Options(
            labels=labels,
            draws=draws,
            images=images,
            view=view,
            samples=samples,
            block=block,
            memory=memory,
            seed=seed,
        )

    @typed
    def estimate(self, net: nn.Module, x: Any, y: Any = None, *, head: int | None = None) -> dict[str, Tensor]:
        """Measure the diagonal.

        Args:
            net: the network.
            x: images.
            y: true labels, needed for labels="empirical".
            head: index of the active head.

        Returns:
            Parameter name -> importance, shaped like the parameter.
        """
        chosen, y = select(net, x, y, self.options)
        seeds, count = seeds_of(net, self.options.seed), len(chosen)
        # Squares add up to the same for every root of the Fisher information, and one has C − 1 columns.
        by_roots = self.options.labels == "exact" and self.power == "square" and linear(net, chosen[0:2], head)

        def terms(output: Tensor, rows: slice, number: int) -> Sequence[Term]:
            logits = class_logits(output)
            tokens = logits.ndim == 3 and output_replicas(net) is None
            if by_roots:
                roots = fisher_roots(logits)
                places = range(logits.shape[1]) if tokens else (None,)
                return [Term(root, token=t) for t in places for root in roots]
            if self.options.labels == "exact":
                return self._every_label(logits.softmax(-1), tokens)
            if self.options.labels == "predicted":
                return [Term(logits.argmax(-1))]
            if self.options.labels == "empirical":
                return [Term(own_labels(net, y, logits, rows, "labels='empirical'"))]
            draws, name = self.options.draws, f"importance/{self.options.seed}"
            share = torch.full_like(logits[:, 0, 0] if tokens else logits[..., 0], 1 / draws)
            return [
                Term(
                    sampled_labels(logits.softmax(-1), seeds, name, rows, count, draws * number + draw, tokens=tokens),
                    share,
                )
                for draw in range(draws)
            ]

        with measured(
            net, self.options.view, self.options.samples, self.options.block, self.options.seed
        ) as measurement:
            sums = sum_over_examples(
                net, chosen, ALONG if by_roots else NEGATIVE_LOG_LIKELIHOOD, terms, measurement,
                power=self.power, head=head, memory=self.options.memory,
            )  # fmt: skip
        return {name: value.div_(count) for name, value in sums.items()}

    def _every_label(self, probabilities: Tensor, tokens: bool) -> list[Term]:
        require(
            not tokens,
            f"{self.name} with labels='exact' would need every sequence of labels at the {probabilities.shape[1]} "
            "tokens of an example: absolute values do not add up over tokens. Use labels='sampled'.",
        )
        every = torch.zeros(probabilities.shape[:-1], dtype=torch.int64, device=probabilities.device)
        return [Term(every + c, probabilities[..., c]) for c in range(probabilities.shape[-1])]


class AbsoluteFisher(Fisher):
    """Absolute Fisher: (1/N) Σ_x Σ_y q_x(y) · |g(x, y)| (Benzing 2022, Table 3.3); options as for `fisher`.

    For normal gradients whose noise exceeds their mean it is √(2/π) · √F.
    """

    name = "absolute-fisher"
    power = "absolute"


class SqrtFisher(Fisher):
    """Square root of the Fisher diagonal of a task, taken before tasks are added; options as for `fisher`."""

    name = "sqrt-fisher"

    @typed
    def estimate(self, net: nn.Module, x: Any, y: Any = None, *, head: int | None = None) -> dict[str, Tensor]:
        """Measure the root of the diagonal.

        Args:
            net: the network.
            x: images.
            y: true labels, needed for labels="empirical".
            head: index of the active head.

        Returns:
            Parameter name -> importance, shaped like the parameter.
        """
        return {name: value.sqrt_() for name, value in super().estimate(net, x, y, head=head).items()}


@dataclass(frozen=True, kw_only=True)
class _BatchedOptions(View):
    batch: int = 128
    convention: str = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._keep("batch", whole(self.batch, "batch"))
        require(
            self.convention in CONVENTIONS,
            f"convention must be one of {', '.join(CONVENTIONS)}, got {self.convention!r}.",
        )


class FisherBatched(Importance):
    """What libraries often compute in place of the empirical Fisher: the square of each batch's gradient.

    convention="mean": (1/M) Σ_B (mean gradient)², about 1/b of the empirical Fisher where noise dominates;
    "sum": (1/M) Σ_B (summed gradient)²; "scaled": b · (1/M) Σ_B (mean gradient)², about the empirical Fisher (the
    Batch-EF of Benzing 2022). Batches are successive images, in random order with `images`; an incomplete last one is
    dropped. With an output at each of several tokens, the gradient of an example is that of the sum over its tokens.

    Args:
        batch: examples b per batch.
        convention: "mean", "sum" or "scaled".
        images: images to use, drawn at random; None: all.
        view: "expected" or "sampled".
        samples: stochastic passes in the sampled view.
        block: ignored: a batch has one mask.
        memory: ignored: a batch is one pass.
        seed: of images and masks.
    """

    name = "fisher-batched"

    def __init__(
        self,
        *,
        batch: int = 128,
        convention: str = "mean",
        images: int | None = None,
        view: str = "expected",
        samples: int = 10,
        block: int = 100,
        memory: float = 16.0,
        seed: int = 0,
    ) -> None:
        self.options = _BatchedOptions(
            batch=batch,
            convention=convention,
            images=images,
            view=view,
            samples=samples,
            block=block,
            memory=memory,
            seed=seed,
        )

    @typed
    def estimate(self, net: nn.Module, x: Any, y: Any = None, *, head: int | None = None) -> dict[str, Tensor]:
        """Measure the squares.

        Args:
            net: the network.
            x: images.
            y: true labels.
            head: index of the active head.

        Returns:
            Parameter name -> importance, shaped like the parameter.
        """
        options = self.options
        chosen, y = select(net, x, y, options)
        total: dict[str, Tensor] = {}
        count = 0
        with measured(net, options.view, options.samples, options.batch, options.seed) as measurement:
            refuse_meeting(case_of(net, chosen, measurement, head), options.batch)
            with torch.no_grad():
                logits = logits_of(net, chosen[0:1], head)
            own_labels(net, y, logits, slice(0, 1), "fisher-batched")
            assert y is not None
            y = y.to(logits.device)
            for gradient in batch_gradients(net, chosen, y, measurement, head, options.batch):
                count += 1
                for name, value in gradient.items():
                    value = wide(value)
                    total[name] = value.square() if name not in total else total[name].addcmul_(value, value)
        size = min(options.batch, len(chosen))
        scale = {"mean": 1.0, "sum": float(size) ** 2, "scaled": float(size)}[options.convention] / count
        found = {name: value * scale for name, value in total.items()}
        finite(found, "squared gradients", replicas_of(net))
        return found
