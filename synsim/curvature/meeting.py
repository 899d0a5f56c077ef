"""Networks in which examples meet: no example has an output or a gradient of its own there."""

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from synsim._checks import require, whole
from synsim._doors import typed
from synsim.curvature.capture import simple
from synsim.curvature.case import FAILURES, TRIED, Case, remember
from synsim.curvature.means import gradients, parameters_of

CHUNK = 256
"""Examples that are looked at, at most, of a chunk in which they may meet."""
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
"""How far two ways to one number may lie apart, relative to the largest; a tenth for types of 16 bits."""

_APART: "WeakKeyDictionary[nn.Module, dict[object, int]]" = WeakKeyDictionary()


def refuse_chunks(case: Case, size: int, *, gradients: bool = False) -> None:
    """Refuse a network in which examples meet, once they are as many as in a chunk.

    A chunk is compared with its halves, once per structure of a network: a trial on a few examples does not see what
    meets in larger numbers alone, such as examples that compete for places.

    Args:
        case: the network and the examples of a trial, which are known to be apart.
        size: how many examples a chunk has at most.
        gradients: whether gradients are compared, too, since those of a batch are used.
    """
    count = min(size, len(case.images), CHUNK)
    known, key = _APART.setdefault(case.net, {}), (gradients, case.structure)
    if count <= max(TRIED, known.get(key, 0)):
        return
    _refuse_parts(case.chunk(count), (count + 1) // 2, gradients)
    remember(known, key, count)


@typed
def refuse_meeting(case: Case, size: int) -> None:
    """Refuse a network in which examples meet, so that no result depends on how they are cut into passes.

    Args:
        case: the network and the examples to try.
        size: how many examples a pass has at most.
    """
    size = whole(size, "size")
    known, key = _APART.setdefault(case.net, {}), (True, case.structure)
    if key not in known:
        # The graph tells whether it hides parameters.
        simple(case.net, parameters_of(case.net), case.count, case.together)
        _refuse_parts(case, 1, True)
        remember(known, key, case.count)
    refuse_chunks(case, size, gradients=True)


def _refuse_parts(case: Case, size: int, graded: bool) -> None:
    differ = _gradients_differ if graded else _outputs_differ
    if not differ(case, size):
        return
    # Thresholds may fall on either side by rounding alone: what came out different is looked at in float64.
    twin = None if case.x.dtype == torch.float64 else case.in_doubles()
    if twin is None or differ(twin, size):
        refuse(case)


def _outputs_differ(case: Case, size: int) -> bool:
    with torch.no_grad():
        return not close(torch.cat(separately(case, size), case.lead), case.together())


def _gradients_differ(case: Case, size: int) -> bool:
    parameters = parameters_of(case.net)
    with torch.enable_grad():
        outputs = separately(case, size)
        directions = [along_of(one, i) for i, one in enumerate(outputs)]
        parts = [gradients((one * along).sum(), parameters) for one, along in zip(outputs, directions, strict=True)]
        whole = case.together()
        if not close(torch.cat(outputs, case.lead).detach(), whole.detach()):
            return True
        found = gradients((whole * torch.cat(directions, case.lead)).sum(), parameters)
    sizes = {name: max(float(part[name].abs().max()) for part in parts) for name in parameters}
    for name, value in found.items():
        allowed = tolerance(value.dtype) * sizes[name] + 100 * torch.finfo(value.dtype).eps * max(sizes.values())
        gap = (value - torch.stack([part[name] for part in parts]).sum(0)).abs()
        # What is not finite is told later, by name.
        if bool((gap > allowed).any()):
            return True
    return False


def along_of(output: Tensor, i: int) -> Tensor:
    """A direction in the space of an output, so that one number stands for it.

    Args:
        output: of a network.
        i: another number, another direction.

    Returns:
        A tensor like the output.

    Raises:
        ValueError: if the output has no gradient.
    """
    require(
        output.requires_grad,
        "the output of the network does not depend on any parameter that requires a gradient. "
        "Is there a detach() or a no_grad() on the way?",
    )
    along = torch.cos(1 + 2.4 * torch.arange(output.numel(), device=output.device) + i)
    return along.to(output.dtype).reshape(output.shape)


def separately(case: Case, size: int = 1) -> list[Tensor]:
    """Outputs of a few examples at a time.

    Args:
        case: the network and the examples.
        size: how many; 1: each alone.

    Returns:
        One output for each part.

    Raises:
        ValueError: if the network takes all of them at once, but not these.
    """
    with _explained(case, size):
        return list(case.in_parts(size))


@contextmanager
def _explained(case: Case, size: int) -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        try:
            with torch.no_grad():
                case.together()
        except FAILURES:
            raise error from None
        raise ValueError(
            f"the network takes {case.count} examples at once, but not {size}: {error}. "
            "Let it treat each example alone."
        ) from error


def tolerance(dtype: torch.dtype) -> float:
    """How far two ways to one number may lie apart, relative to the largest.

    Args:
        dtype: of the numbers.

    Returns:
        The bound.
    """
    low = torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")
    return 0.1 if low and dtype == torch.float32 else TOLERANCE.get(dtype, 0.1)


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two ways came to the same numbers.

    Args:
        a: what one way gave.
        b: what the other gave.

    Returns:
        The answer.
    """
    if a.shape != b.shape:
        return False
    finite = a[a.isfinite()]
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    bound = tolerance(a.dtype)
    return bool(torch.isclose(a, b, rtol=bound, atol=bound * largest, equal_nan=True).all())


def refuse(case: Case) -> None:
    """Say that examples meet, or that passes differ, whichever it is.

    Args:
        case: the network and the examples.

    Raises:
        ValueError: always.
    """
    with torch.no_grad():
        first, second = (next(iter(case.in_parts())) for _ in range(2))
    if not close(first, second):
        raise ValueError(
            "the output of this network for one and the same example changes from pass to pass (dropout by hand, a "
            "state that moves), so that no gradient of an example is defined. Make its passes repeatable first."
        )
    raise ValueError(
        "examples meet inside this network: the output or the gradient for an example depends on which others are in "
        "its batch (by batch statistics, centring, attention over the batch, or places for which they compete), so "
        "that no example has a gradient of its own. Use running statistics, or let it treat each example alone."
    )
