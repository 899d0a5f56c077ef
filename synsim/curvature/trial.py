"""Which way gradients per example may be taken for this network, shown by trying it on a few examples."""

import copy
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import vmap

from synsim._checks import require, warn
from synsim._doors import typed
from synsim._kept import INTERNAL, kept
from synsim.curvature.capture import simple
from synsim.curvature.means import parameters_of
from synsim.curvature.measuring import Measurement
from synsim.inputs import Images, count_of, has_replicas, logits_of, output_replicas, tensor_of
from synsim.synapses import Addressed, addressed

TRIED = 3
"""Examples of a trial."""
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
"""How far two ways to one number may lie apart, relative to the largest; a tenth for types of 16 bits."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.Size)
FAILURES = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError)
"""What networks raise inside of torch.func, where it cannot go."""

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


@dataclass(frozen=True)
class Case:
    """A network with a few examples.

    Attributes:
        net: the network, in the state in which it is to be measured.
        x: the examples.
        axis: which axis of x counts them.
        head: index of the head, or None.
    """

    net: nn.Module
    x: Tensor
    axis: int
    head: int | None

    @property
    def count(self) -> int:
        """Number of examples."""
        return self.x.shape[self.axis]

    @property
    def lead(self) -> int:
        """Which axis of the output counts the examples."""
        return 0 if output_replicas(self.net) is None else 1

    def alone(self) -> Iterator[Tensor]:
        """Pass each example alone, with the masks that it has in a pass of all.

        Yields:
            Outputs of one example.
        """
        for i in range(self.count):
            layers = [layer for layer in addressed(self.net).values() if layer.per_example and not layer.address.mean]
            with _later(layers, i):
                yield logits_of(self.net, self.x.narrow(self.axis, i, 1), self.head)

    def together(self) -> Tensor:
        """Pass all examples at once.

        Returns:
            Their output.
        """
        return logits_of(self.net, self.x, self.head)

    def in_doubles(self) -> "Case | None":
        """The same in float64.

        Returns:
            A case of a copy, or None if the network cannot be copied.
        """
        try:
            net = copy.deepcopy(self.net).double()
        except FAILURES:
            return None
        return replace(self, net=net, x=self.x.double() if self.x.is_floating_point() else self.x)


_WAYS: "WeakKeyDictionary[nn.Module, dict[object, Way]]" = WeakKeyDictionary()


@typed
def case_of(net: nn.Module, images: Images, measurement: Measurement, head: int | None) -> Case:
    """The first examples, with the masks of the first pass.

    Args:
        net: the network.
        images: its examples.
        measurement: the passes to make.
        head: index of the head, or None.

    Returns:
        The case.

    Raises:
        ValueError: if there are no examples.
    """
    parts = [images[i : i + 1] for i in range(min(TRIED, count_of(images)))]
    axis = 1 if has_replicas(net, parts[0]) else 0
    measurement.start()
    return Case(net, torch.cat(parts, axis), axis, head)


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
    ways, key = _WAYS.setdefault(case.net, {}), _structure(case)
    way = ways.get(key)
    if way is None:
        way, doubt = _judged(case, closed, batched)
        if doubt:
            way = _again(case, way, closed, batched)
        if way.kind == "meeting":
            _refuse(case)
        ways[key] = way
    if way.kind == "single":
        warn(
            f"gradients are taken one example at a time, which is slow: {way.why} "
            "If it takes too long, measure on fewer examples (images=...).",
        )
    return way


@typed
def refuse_meeting(case: Case) -> None:
    """Refuse a network in which examples meet, so that no result depends on how they are cut into passes.

    Args:
        case: the network and the examples to try.
    """
    ways, key = _WAYS.setdefault(case.net, {}), ("apart", _structure(case))
    if key in ways:
        return
    # The graph tells whether it hides parameters.
    simple(case.net, parameters_of(case.net), case.count, case.together)
    for one in (case, case.in_doubles()):
        if one is not None:
            with torch.no_grad():
                if _close(torch.cat(list(one.alone()), one.lead), one.together()):
                    break
    else:
        _refuse(case)
    ways[key] = Way("apart", 0)


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
    if not _close(outputs, together.detach()):
        why = _why_not(case)
        return Way("single" if why else "meeting", width, why=why), True
    doubt = False
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


def _alone(case: Case, wanted: dict[str, Tensor]) -> tuple[Tensor, Tensor, Squares]:
    squares = {name: torch.zeros_like(value, requires_grad=False) for name, value in wanted.items()}
    outputs, directions = [], []
    with torch.enable_grad():
        for i, output in enumerate(case.alone()):
            require(
                output.requires_grad,
                "the output of the network does not depend on any parameter that requires a gradient. "
                "Is there a detach() or a no_grad() on the way?",
            )
            along = torch.cos(1 + 2.4 * torch.arange(output.numel(), device=output.device) + i).to(output.dtype)
            along = along.reshape(output.shape)
            found = torch.autograd.grad(output, list(wanted.values()), along, allow_unused=True)
            for value, gradient in zip(squares.values(), found, strict=True):
                if gradient is not None:
                    value += gradient.square()
            outputs.append(output.detach())
            directions.append(along)
    return torch.cat(outputs, case.lead), torch.cat(directions, case.lead), squares


def _tolerance(dtype: torch.dtype) -> float:
    low = torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")
    return 0.1 if low and dtype == torch.float32 else TOLERANCE.get(dtype, 0.1)


def _close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    finite = a[a.isfinite()]
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    bound = _tolerance(a.dtype)
    return bool(torch.isclose(a, b, rtol=bound, atol=bound * largest, equal_nan=True).all())


def _agree(found: Squares, squares: Squares) -> bool:
    # By roots, so that the bound is one of gradients. What is not finite is told later, by name.
    if not all(bool(value.isfinite().all()) for value in squares.values()):
        return True
    most = max(float(value.max()) for value in squares.values()) ** 0.5
    for name, value in squares.items():
        bound, largest = _tolerance(value.dtype), float(value.max()) ** 0.5
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


def _refuse(case: Case) -> None:
    with torch.no_grad():
        first, second = (next(iter(case.alone())) for _ in range(2))
    if not _close(first, second):
        raise ValueError(
            "the output of this network for one and the same example changes from pass to pass (dropout by hand, a "
            "state that moves), so that no gradient of an example is defined. Make its passes repeatable first."
        )
    raise ValueError(
        "examples meet inside this network: the output for an example depends on which others are in its batch (by "
        "batch statistics, centring, or attention over the batch), so that no example has a gradient of its own. Use "
        "running statistics, or let it treat each example alone."
    )


@contextmanager
def _later(layers: list[Addressed], i: int) -> Iterator[None]:
    before = [layer.address for layer in layers]
    for layer in layers:
        layer.address = replace(layer.address, example=layer.address.example + i)
    try:
        yield
    finally:
        for layer, address in zip(layers, before, strict=True):
            layer.address = address


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


def _structure(case: Case) -> object:
    # What a way was shown for: anything else is tried anew. Numbers of hooks are never given twice.
    seen: dict[int, int] = {}
    parts: list[object] = []
    for module in case.net.modules():
        own = module.__dict__
        plain = tuple((name, value) for name, value in own.items() if name not in INTERNAL and _fixed(value))
        hooks = tuple(tuple(own[kind]) for kind in HOOKS)
        held = tuple(
            (name, seen.setdefault(id(p), len(seen)), p.shape, p.dtype, p.requires_grad, tuple(p._backward_hooks or ()))
            for name, p in module._parameters.items()
            if p is not None
        )
        address = own.get("address")
        state = None if address is None else (address.mean, address.draw is None)
        parts.append((type(module), type(module).forward, plain, hooks, held, state))
    modes = torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda"), torch.is_grad_enabled()
    shape = case.x.shape, case.axis, case.x.dtype, case.x.device
    return (*parts, shape, case.head, modes)


def _fixed(value: Any) -> bool:
    return isinstance(value, PLAIN) or callable(value) or (isinstance(value, tuple) and all(map(_fixed, value)))
