"""Which way gradients per example may be taken for this network, shown by trying it on a few examples."""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import vmap

from synsim._checks import warn
from synsim._kept import kept
from synsim.curvature.capture import simple
from synsim.curvature.case import FAILURES, HOOKS, Case, remember
from synsim.curvature.means import dense, parameters_of
from synsim.curvature.meeting import along_of, close, refuse, separately, tolerance
from synsim.inputs import tensor_of

Squares = dict[str, Tensor]
Sums = Callable[[nn.Module, Tensor, Tensor], Squares]
"""(network, examples, directions like the output) -> Σ over examples of (∂ output · direction)²."""


@dataclass(frozen=True)
class Way:
    """How to take gradients per example.

    Attributes:
        kind: "closed" (products of inputs and output gradients), "batched" (torch.func) or "single" (one at a time).
        width: values that the known layers take in and give out per example.
        hooks: whether torch.func has to run the hooks of the network; observers are spared its tensors.
        why: why not batched, if "single".
    """

    kind: str
    width: int
    hooks: bool = True
    why: str = ""


BENT = "something changes gradients on their way, such as a hook that cuts them."
_WAYS: "WeakKeyDictionary[nn.Module, dict[object, Way]]" = WeakKeyDictionary()


def way_of(case: Case, closed: Sums, batched: Sums) -> Way:
    """The fastest way whose gradients are those of single examples; it is tried once per structure of a network.

    Args:
        case: the network and the examples to try.
        closed: sums by closed forms.
        batched: sums by torch.func.

    Returns:
        The way.

    Raises:
        ValueError: if examples meet inside the network, or its output changes from pass to pass, or hides parameters.
    """
    ways, key = _WAYS.setdefault(case.net, {}), case.structure
    way = ways.get(key)
    if way is None:
        way, doubt = _judged(case, closed, batched)
        if doubt:
            way = _again(case, way, closed, batched)
        if way.kind == "meeting":
            refuse(case)
        remember(ways, key, way)
    if way.kind == "single":
        warn(
            f"gradients are taken one example at a time, which is slow: {way.why} "
            "If it takes too long, measure on fewer examples (images=...).",
        )
    return way


def _again(case: Case, way: Way, closed: Sums, batched: Sums) -> Way:
    # Thresholds may fall on either side by rounding alone: what came out different is looked at in float64.
    twin = None if case.x.dtype == torch.float64 else case.in_doubles()
    if twin is None:
        return way
    try:
        return _judged(twin, closed, batched)[0]
    except FAILURES:
        return way


def _judged(case: Case, closed: Sums, batched: Sums) -> tuple[Way, bool]:
    # The way, and whether any two numbers were found to differ.
    wanted = parameters_of(case.net)
    outputs, along, squares = _alone(case, wanted)
    together, may, width = simple(case.net, wanted, case.count, case.together)
    if not close(outputs, together.detach()):
        why = _why_not(case)
        return Way("single" if why else "meeting", width, why=why), True
    doubt = False
    if _bent(case, wanted):
        return Way("single", width, why=BENT), True
    if may:
        try:
            doubt = not _agree(closed(case.net, case.x, along), squares)
        except FAILURES:
            # Some layers have no closed form in some views, such as releases per event.
            may = False
    if may and not doubt:
        why = _why_not(case)
        return Way("single" if why else "closed", width, why=why), False
    why = ""
    for hooks in (False, True) if _hooked(case.net) else (True,):
        try:
            with nullcontext() if hooks else unhooked(case.net):
                found = batched(case.net, case.x, along)
        except FAILURES as error:
            why = _reason(case.net, error)
            continue
        if _agree(found, squares):
            return Way("batched", width, hooks), doubt
        doubt = True
        why = (
            "torch.func gives other gradients than plain passes do, since it passes hooks of parameters and modules by."
        )
    return Way("single", width, why=why), doubt


def _bent(case: Case, wanted: dict[str, Tensor]) -> bool:
    # Weights of terms go through the network with them, which is right only where gradients go along linearly.
    with torch.enable_grad():
        output = next(iter(separately(case)))
        along = along_of(output, 0)
        single, double = (
            torch.autograd.grad(output, list(wanted.values()), scale * along, retain_graph=True, allow_unused=True)
            for scale in (1.0, 0.5)
        )
    reached = [(dense(a), dense(b)) for a, b in zip(single, double, strict=True) if a is not None]
    for whole, half in reached:
        bound = tolerance(whole.dtype) * float(whole.abs().max())
        if bool(whole.isfinite().all()) and not bool(((whole - 2 * half).abs() <= bound).all()):
            return True
    return False


def _alone(case: Case, wanted: dict[str, Tensor]) -> tuple[Tensor, Tensor, Squares]:
    squares = {name: torch.zeros_like(value, requires_grad=False) for name, value in wanted.items()}
    outputs, directions = [], []
    with torch.enable_grad():
        for i, output in enumerate(separately(case)):
            along = along_of(output, i)
            found = torch.autograd.grad(output, list(wanted.values()), along, allow_unused=True)
            for value, gradient in zip(squares.values(), found, strict=True):
                if gradient is not None:
                    value += dense(gradient).square()
            outputs.append(output.detach())
            directions.append(along)
    return torch.cat(outputs, case.lead), torch.cat(directions, case.lead), squares


def _agree(found: Squares, squares: Squares) -> bool:
    # By roots, so that the bound is one of gradients. What is not finite is told later, by name.
    if not all(bool(value.isfinite().all()) for value in squares.values()):
        return True
    most = max(float(value.max()) for value in squares.values()) ** 0.5
    for name, value in squares.items():
        bound, largest = tolerance(value.dtype), float(value.max()) ** 0.5
        # A gradient that is 0 but for rounding has no digits to compare.
        allowed = bound * largest + 100 * torch.finfo(value.dtype).eps * most
        if not bool(((found[name].to(value).sqrt() - value.sqrt()).abs() <= allowed).all()):
            return False
    return True


def _why_not(case: Case) -> str:
    # Why a network cannot run under vmap, such as a branch on its data; "" if it can. Hooks see no vmap if possible.
    options = {} if case.head is None else {"head": case.head}

    def one(x: Tensor) -> Tensor:
        return tensor_of(case.net(x.unsqueeze(case.axis), **options))

    why = ""
    for hooks in (False, True) if _hooked(case.net) else (True,):
        try:
            with torch.no_grad(), kept(case.net), quiet(), nullcontext() if hooks else unhooked(case.net):
                vmap(one, in_dims=case.axis, randomness="different")(case.x)
            return ""
        except FAILURES as error:
            why = _reason(case.net, error)
    return why


def _reason(net: nn.Module, error: BaseException) -> str:
    names = {id(module): name for name, module in net.named_modules()}
    where, trace = "the network", error.__traceback__
    while trace is not None:
        module = trace.tb_frame.f_locals.get("self")
        if id(module) in names and names[id(module)]:
            where = f"module {names[id(module)]!r} ({type(module).__name__})"
        trace = trace.tb_next
    text = str(error).strip().splitlines() or [type(error).__name__]
    return f"torch.func cannot go through {where} ({text[0][:100].rstrip('.')})."


@contextmanager
def quiet() -> Iterator[None]:
    """Keep torch's remarks on its own speed under vmap from the user.

    Yields:
        Nothing.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        yield


def _hooked(net: nn.Module) -> bool:
    return any(getattr(module, kind) for module in net.modules() for kind in HOOKS)


@contextmanager
def unhooked(net: nn.Module) -> Iterator[None]:
    """Run a network without its hooks.

    Args:
        net: any module.

    Yields:
        Nothing.
    """
    before = [(module, kind, getattr(module, kind)) for module in net.modules() for kind in HOOKS]
    try:
        for module, kind, _ in before:
            module.__dict__[kind] = OrderedDict()
        yield
    finally:
        for module, kind, hooks in before:
            module.__dict__[kind] = hooks
