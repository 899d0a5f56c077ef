"""Memory-aware synapses: how much the output moves with a parameter, without any labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from synsim._checks import require
from synsim._doors import typed
from synsim.curvature import Score, Term, measured, sum_over_examples
from synsim.importance.base import Importance
from synsim.importance.selection import View, select
from synsim.losses import class_logits

OUTPUTS = ("probabilities", "logits")


@dataclass(frozen=True, kw_only=True)
class _Options(View):
    of: str = "probabilities"
    squared: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.of in OUTPUTS, f"of must be one of {', '.join(OUTPUTS)}, got {self.of!r}.")


class MAS(Importance):
    """Memory-aware synapses: (1/N) Σ_x |∂‖f(x)‖² / ∂w| (Aljundi et al. 2018; Benzing 2022, Table 3.3).

    The probabilities of one output are those of its two classes; an output at each of several tokens is one long f.

    Args:
        of: f: "probabilities" (softmax, as in Benzing 2022) or "logits" (any output, also of an auto-encoder).
        squared: square instead of the absolute value (the reading of the sliced Cramér paper, eq. 7).
        images: images to use, drawn at random; None: all.
        view: "expected" measures the mean field; "sampled" the mean over `samples` stochastic passes.
        samples: stochastic passes in the sampled view.
        block: images that share a mask in the sampled view.
        memory: MiB that a chunk may take.
        seed: of images and masks.
    """

    name = "mas"

    def __init__(
        self,
        *,
        of: str = "probabilities",
        squared: bool = False,
        images: int | None = None,
        view: str = "expected",
        samples: int = 10,
        block: int = 100,
        memory: float = 16.0,
        seed: int = 0,
    ) -> None:
        self.options = _Options(
            of=of,
            squared=squared,
            images=images,
            view=view,
            samples=samples,
            block=block,
            memory=memory,
            seed=seed,
        )

    @typed
    def score(self, output: Tensor) -> Tensor:
        """‖f‖² of every example.

        Args:
            output: of the network, [..., B, K].

        Returns:
            [..., B].
        """
        return self._f(output).square().sum(-1)

    def _f(self, output: Tensor) -> Tensor:
        return class_logits(output).softmax(-1) if self.options.of == "probabilities" else output

    @typed
    def estimate(self, net: nn.Module, x: Any, y: Any = None, *, head: int | None = None) -> dict[str, Tensor]:
        """Measure the sensitivities.

        Args:
            net: the network.
            x: images.
            y: not used.
            head: index of the active head.

        Returns:
            Parameter name -> importance, shaped like the parameter.
        """
        options = self.options
        chosen, _ = select(net, x, None, options)

        def terms(output: Tensor, rows: slice, number: int) -> Sequence[Term]:
            return [Term(torch.zeros(output.shape[:-1], dtype=torch.int64, device=output.device))]

        with measured(net, options.view, options.samples, options.block, options.seed) as measurement:
            sums = sum_over_examples(
                net, chosen, Score(self.score, lambda value, labels: value), terms, measurement,
                power="square" if options.squared else "absolute", head=head, memory=options.memory,
            )  # fmt: skip
        return {name: value.div_(len(chosen)) for name, value in sums.items()}


class MASMax(MAS):
    """MAS of the largest output alone, MASX: (1/N) Σ_x |∂ (max_y f_y(x))² / ∂w|; options as for `mas`.

    On probabilities it is about 2 p² |∂ log p / ∂w| of the predicted class (Benzing 2022). With an output at each of
    several tokens it is the sum over the largest of each.
    """

    name = "mas-max"

    @typed
    def score(self, output: Tensor) -> Tensor:
        """(max f)² of every example.

        Args:
            output: of the network, [..., B, K].

        Returns:
            [..., B].
        """
        return self._f(output).amax(-1).square()
