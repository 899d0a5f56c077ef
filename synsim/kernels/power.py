"""Steps of powerpropagated weights by compiled loops, for the powers that have one."""

from functools import partial
from typing import Any

from torch import Tensor
from torch.autograd.graph import increment_version

from synsim.kernels import pool
from synsim.kernels.compiling import Later
from synsim.kernels.dispatch import path

cpu = Later("synsim.kernels.cpu_power")
LOOPS = {1.5: "sesqui", 2.0: "square", 3.0: "cube", 4.0: "fourth"}
"""Powers with a loop of their own."""


def serves(weight: Tensor, before: Tensor, alphas: list[float]) -> bool:
    """Whether `advance` serves a weight.

    Args:
        weight: the weight.
        before: the weight before a step.
        alphas: powers, one or one per replica.

    Returns:
        True or False.
    """
    return all(alpha in LOOPS for alpha in alphas) and path(weight, before) == "numba"


def advance(weight: Tensor, before: Tensor, alphas: list[float], shrink: list[float]) -> None:
    """Turn the step that a rule made on θ into one on φ, in place; see `synsim.sparse.power.advanced`.

    Args:
        weight: θ after the step of the rule [*shape] or [R, *shape].
        before: θ before it.
        alphas: α, one, or one per replica.
        shrink: the factor of φ, as many.
    """
    new, old = weight.detach().view(len(alphas), -1).numpy(), before.view(len(alphas), -1).numpy()
    bits, third = old.view(f"i{old.itemsize}"), cpu.THIRD[old.itemsize]
    for row, alpha in enumerate(alphas):
        loop, factor = getattr(cpu, LOOPS[alpha]), new.dtype.type(shrink[row])
        lines = (new[row], old[row], bits[row])
        if new.shape[1] < pool.GRAIN:
            loop(*lines, third, factor)
        else:
            pool.split(partial(_part, loop, lines, third, factor), new.shape[1], new.shape[1])
    increment_version(weight)


def _part(loop: Any, lines: tuple[Any, ...], third: Any, factor: Any, start: int, stop: int) -> None:
    loop(*(line[start:stop] for line in lines), third, factor)
