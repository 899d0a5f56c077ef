"""Sliced Cramér preservation: how much the mean response moves, whatever the direction."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from synsim import streams
from synsim._checks import finite, times, whole
from synsim._doors import typed
from synsim.curvature import case_of, mean_response_gradients, measured, refuse_meeting, wide
from synsim.importance.base import Importance
from synsim.importance.selection import View, select
from synsim.inputs import logits_of, output_replicas
from synsim.networks import replicas_of


@dataclass(frozen=True, kw_only=True)
class _Options(View):
    slices: int | None = 100
    chunk: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.slices is not None:
            self._keep("slices", times(self.slices, "slices"))
        self._keep("chunk", whole(self.chunk, "chunk"))


class SlicedCramer(Importance):
    """Sliced Cramér preservation: (1/L) Σ_l (∂ (ξ_l · φ̄) / ∂w)² (Kolouri et al. 2020, Algorithm 1).

    φ̄ is the mean output over the images; the mean is inside the square, so that gradients of examples may cancel. The
    directions ξ_l are uniform on the unit sphere; with slices=None their expectation is taken in closed form,
    (1/K) Σ_k (∂φ̄_k / ∂w)², K backward passes for K outputs; an output at each of T tokens is one of T · C numbers.

    Args:
        slices: directions L, or None for the closed expectation.
        chunk: images per forward pass.
        images: images to use, drawn at random; None: all.
        view: "expected" measures the mean field; "sampled" takes the mean response over stochastic passes as well.
        samples: stochastic passes in the sampled view.
        block: images that share a mask in the sampled view.
        memory: ignored: nothing is kept per example.
        seed: of directions, images and masks. All tasks have the same directions, so that their errors do not average
            out over tasks; an importance of another seed has independent ones.
    """

    name = "sliced-cramer"

    def __init__(
        self,
        *,
        slices: int | None = 100,
        chunk: int = 1000,
        images: int | None = None,
        view: str = "expected",
        samples: int = 10,
        block: int = 100,
        memory: float = 16.0,
        seed: int = 0,
    ) -> None:
        self.options = _Options(
            slices=slices,
            chunk=chunk,
            images=images,
            view=view,
            samples=samples,
            block=block,
            memory=memory,
            seed=seed,
        )

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
        with measured(net, options.view, options.samples, options.block, options.seed) as measurement:
            refuse_meeting(case_of(net, chosen, measurement, head), options.chunk)
            with torch.no_grad():
                logits = logits_of(net, chosen[0:1], head)
            outputs = logits[0].numel() if output_replicas(net) is None else logits.shape[-1]
            slices = None if options.slices is None else directions(options.slices, outputs, options.seed)
            # With fewer outputs than slices, the gradients of the outputs are made once and combined.
            along = slices if slices is not None and slices.shape[0] < outputs else None
            parts = list(mean_response_gradients(net, chosen, measurement, along, head, options.chunk))
        total = {}
        for name in parts[0]:
            stacked = torch.stack([wide(part[name]) for part in parts])
            if slices is None or along is not None:
                total[name] = stacked.square().mean(0)
                continue
            # (1/L) Σ_l (Σ_k ξ_lk g_k)² = Σ_kj g_k M_kj g_j with M = ΞᵀΞ / L: no tensor with an axis of slices.
            metric = (slices.t() @ slices / slices.shape[0]).to(stacked)
            total[name] = (stacked * torch.tensordot(metric, stacked, 1)).sum(0)
        finite(total, "squared gradients", replicas_of(net))
        return total


@typed
def directions(slices: int, outputs: int, seed: int) -> Tensor:
    """Directions uniform on the unit sphere.

    Args:
        slices: how many.
        outputs: dimension K.
        seed: of the stream.

    Returns:
        float64 [slices, K], each row of length 1.
    """
    numbers = streams.uniform(streams.keys("label", [seed], "slices"), 2 * slices * outputs)[0]
    first, second = numbers.reshape(2, slices, outputs)
    normal = (-2 * (1 - first).log()).sqrt() * (2 * math.pi * second).cos()
    found: Tensor = normal / normal.norm(dim=1, keepdim=True)
    return found
