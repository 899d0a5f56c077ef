"""What annotations promise, held at the door: one decorator, instead of a check of the type in each function.

Numbers of NumPy are numbers here, and so are tensors that hold one; True is no number, and "False" is no False.
"""

import dis
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import fields
from functools import cache, wraps
from inspect import Parameter, isfunction, signature
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor, nn

P = ParamSpec("P")
T = TypeVar("T")

_compiling = torch.compiler.is_compiling
ROWS = (Tensor, np.ndarray)
SEQUENCES = (Sequence, tuple, list)
ARRAYS = (np.ndarray, list, tuple)
_MEMORY = re.compile("DefaultCPUAllocator|Storage size calculation overflowed")
_RAISE = dis.opmap["RAISE_VARARGS"]
_HOUSE = str(Path(__file__).parent)
SHOWN = 80
"""Characters of a value that a message shows."""


class ArgumentError(TypeError, ValueError):
    """An argument is not of the kind that its function takes."""


def typed(function: Callable[P, T]) -> Callable[P, T]:
    """Hold the arguments of a function against its annotations, and explain what fails all the same.

    It costs some microseconds per call: not for what runs once per training step, see `explained`.

    Args:
        function: with annotations.

    Returns:
        The same function, which refuses other arguments by `ArgumentError`.
    """

    @wraps(function)
    def door(*args: P.args, **kwargs: P.kwargs) -> T:
        if _compiling():
            # A compiler would trace the checks, and warns of what is cached among them.
            return function(*args, **kwargs)
        names, hints = _promises(function)
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if name in hints:
                hints[name].hold(value, name)
        try:
            return function(*args, **kwargs)
        except Exception as error:
            explain(function, args, kwargs, error)
            raise

    return door


def explained(function: Callable[P, T]) -> Callable[P, T]:
    """Look at the arguments of a function once it has failed: what passes pays nothing for it.

    An error from inside (no attribute 'ndim', no such operation for sparse tensors) becomes an `ArgumentError` where
    an argument is not of the kind that its annotation names, or a tensor that torch cannot work with here; any other
    error stays what it is.

    Args:
        function: with annotations.

    Returns:
        The same function.
    """

    @wraps(function)
    def door(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            explain(function, args, kwargs, error)
            raise

    return door


def held(value: T, kind: type[T], name: str) -> T:
    """Refuse an object of another class: for what runs at every step, and does not fail by itself.

    Args:
        value: the argument.
        kind: the class that it must be of.
        name: of the argument.

    Returns:
        The value.

    Raises:
        ArgumentError: if it is not of that class.
    """
    if not isinstance(value, kind):
        raise ArgumentError(_wrong(value, kind, name))
    return value


def check_fields(record: Any) -> None:
    """Hold the fields of a dataclass against its annotations; for its `__post_init__`.

    Args:
        record: an instance.
    """
    kind: Any = type(record)
    for name, promise in _fields(kind).items():
        promise.hold(getattr(record, name), name)


class _Promise:
    # An annotation, and what most values that keep it are: of just these types, or instances of these classes.
    __slots__ = ("classes", "exact", "hint")

    def __init__(self, hint: Any) -> None:
        self.hint = hint
        of = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        self.exact = {kind for kind in (bool, int, float, NoneType) if kind in of}
        self.exact |= {int} if float in of else set()
        self.classes = tuple(filter(_ordinary, of))

    def hold(self, value: object, name: str) -> None:
        if type(value) in self.exact or isinstance(value, self.classes) or _fits(value, self.hint):
            return
        raise ArgumentError(_wrong(value, self.hint, name))


def _ordinary(kind: Any) -> bool:
    # Whether an instance is all that is asked for.
    if kind in _SIMPLE or kind in SEQUENCES or not isinstance(kind, type) or get_origin(kind) is not None:
        return False
    return not getattr(kind, "_is_protocol", False) and not issubclass(Tensor, kind) and not issubclass(kind, Tensor)


def explain(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], error: Exception) -> None:
    """Raise an `ArgumentError` if an argument is to blame for an error.

    Args:
        function: what failed, with annotations.
        args: its positional arguments.
        kwargs: its others.
        error: what it raised.

    Raises:
        ArgumentError: if an argument is not of the kind that its annotation names, or a tensor is of no use here.
        MemoryError: if the error says that memory ran out.
    """
    if isinstance(error, ArgumentError) or _in_words(error):
        return
    if isinstance(error, MemoryError) or _MEMORY.search(str(error)):
        raise MemoryError(f"{function.__qualname__} asks for more memory than there is ({error}). Use smaller sizes.")
    try:
        names, promises = _promises(function)
    except Exception:  # annotations of others, which may name anything
        return
    given = (*zip(names, args, strict=False), *kwargs.items())
    for name, value in given:
        if name in promises and not _fits(value, promises[name].hint):
            raise ArgumentError(_wrong(value, promises[name].hint, name)) from error
    if not isinstance(error, RuntimeError | TypeError | IndexError):
        return
    for name, value in given:
        for tensor in _tensors(value):
            use = _of_no_use(tensor, str(error))
            if use:
                raise ArgumentError(f"{name} must be {use}, got {shown(tensor)}.") from error


def _in_words(error: Exception) -> bool:
    # Where synsim itself raises a ValueError, it has said what is wrong, and what to do.
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or not isinstance(error, ValueError):
        return False
    code = trace.tb_frame.f_code
    return code.co_filename.startswith(_HOUSE) and code.co_code[trace.tb_lasti] == _RAISE


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [each for each in value.values() if isinstance(each, Tensor)]
    return [each for each in value if isinstance(each, Tensor)] if isinstance(value, list | tuple) else []


def _of_no_use(tensor: Tensor, said: str) -> str:
    # What a tensor would have to be for an operation that torch has refused; "" if it is not to blame.
    if tensor.is_meta:
        return "a tensor with values (on the CPU or a GPU)"
    if tensor.layout != torch.strided:
        return "a dense tensor (convert it by to_dense())"
    refused = re.search(r"not implemented for '(\w+)'", said)
    if refused and getattr(torch, _TYPES.get(refused[1], refused[1].lower()), None) == tensor.dtype:
        return "a tensor of another type (convert it, for instance by float())"
    return ""


_TYPES = {"ComplexFloat": "complex64", "ComplexDouble": "complex128", "Byte": "uint8", "Char": "int8"}
"""Names of types in torch's errors, where they are not those of its constants in lower case."""


@cache
def _fields(kind: Any) -> dict[str, _Promise]:
    hints = _hints(kind)
    return {field.name: _Promise(hints[field.name]) for field in fields(kind) if field.name in hints}


@cache
def _promises(function: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, _Promise]]:
    parameters = signature(function).parameters.values()
    named = [one.name for one in parameters if one.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)]
    places = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    hints = _hints(function)
    return tuple(places), {name: _Promise(hints[name]) for name in named if hints.get(name, Any) is not Any}


@cache
def _hints(of: Any) -> dict[str, Any]:
    return get_type_hints(of)


def _wrong(value: object, hint: Any, name: str) -> str:
    remedy = " Make a tensor of it first: torch.as_tensor(...)." if hint is Tensor and isinstance(value, ARRAYS) else ""
    for kind in get_args(hint) or (hint,):
        if getattr(kind, "_is_protocol", False):
            lacking = [member for member in _members(kind) if not hasattr(value, member)]
            remedy = f" It has no {', '.join(lacking)}. {(kind.__doc__ or '').strip().splitlines()[0]}"
    return f"{name} must be {_described(hint)}, got {shown(value)}.{remedy}"


def _unfolded(hint: Any) -> Any:
    # What a type variable or an alias stands for; aliases (`type A = ...`) came with Python 3.12.
    if isinstance(hint, TypeVar):
        return hint.__bound__ or Any
    for alias in (hint, get_origin(hint)):
        if type(alias).__name__ == "TypeAliasType":
            return _unfolded(alias.__value__)
    return hint


def _fits(value: Any, hint: Any) -> bool:
    hint = _unfolded(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        # NumPy's ArrayLike is a union with str and bytes: whoever takes it converts, and refuses what does not convert.
        return bytes in inner or any(_fits(value, each) for each in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple and inner[-1:] != (...,):
        return _row(value) and len(value) == len(inner) and all(map(_fits, value, inner))
    return _fits_type(value, origin or hint, inner)


def _fits_type(value: Any, kind: Any, inner: tuple[Any, ...]) -> bool:
    if kind in _SIMPLE:
        return _SIMPLE[kind](value)
    if isinstance(value, Tensor) and not _dense(value):
        return False
    if not isinstance(kind, type):
        return True
    if getattr(kind, "_is_protocol", False):
        return all(hasattr(value, name) for name in _members(kind))
    if issubclass(kind, Mapping) and isinstance(value, kind):
        of = inner or (Any, Any)
        return all(_fits(key, of[0]) and _fits(each, of[1]) for key, each in value.items())
    if kind in SEQUENCES:
        return _row(value) and _fits_rows(value, inner[0] if inner else Any)
    return isinstance(value, kind)


@cache
def _members(protocol: type) -> tuple[str, ...]:
    made = {name for name, value in vars(protocol).items() if isfunction(value) or isinstance(value, property)}
    made |= vars(protocol).get("__annotations__", {}).keys()
    return tuple(sorted(made - {"__init__", "__subclasshook__"}))


def _fits_rows(value: Any, hint: Any) -> bool:
    if isinstance(value, ROWS):  # one look at the first row, not one at each number
        return _numeric(value) and _fits(value[0] if len(value) else value.sum(0), hint)
    return all(_fits(each, hint) for each in value)


def _row(value: object) -> bool:
    if isinstance(value, ROWS):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _dense(value: Tensor) -> bool:
    return value.layout is torch.strided and not value.is_meta


def _numeric(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.dtype != torch.bool and not value.is_complex() and _dense(value)
    return value.dtype.kind in "iuf"


def _is_number(value: Any) -> bool:
    if isinstance(value, ROWS):
        return value.ndim == 0 and _numeric(value)
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _is_whole(value: Any) -> bool:
    if isinstance(value, Tensor):
        return _is_number(value) and not value.is_floating_point()
    if isinstance(value, np.ndarray):
        return _is_number(value) and value.dtype.kind in "iu"
    return isinstance(value, Integral) and not isinstance(value, bool | np.bool_)


_SIMPLE: dict[Any, Callable[[Any], bool]] = {
    Any: lambda value: True,
    object: lambda value: True,
    None: lambda value: value is None,
    NoneType: lambda value: value is None,
    bool: lambda value: isinstance(value, bool | np.bool_),
    int: _is_whole,
    float: _is_number,
    Callable: callable,
}

_WORDS: dict[Any, str] = {
    None: "None",
    NoneType: "None",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    Tensor: "a dense tensor",
    nn.Module: "a torch module",
    Callable: "something to call",
}


def _described(hint: Any) -> str:
    hint = _unfolded(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_described(each) for each in inner))
    if origin is Literal:
        return " or ".join(repr(each) for each in inner)
    kind = origin or hint
    if kind in _WORDS:
        return _WORDS[kind]
    if isinstance(kind, type) and issubclass(kind, Mapping | Sequence | Set | Iterable) and inner:
        return f"a {kind.__name__.lower()} of {', '.join(_described(each) for each in inner if each is not ...)}"
    if getattr(kind, "_is_protocol", False):
        return f"an object with {', '.join(_members(kind))}"
    name = getattr(kind, "__name__", str(kind))
    return f"an {name}" if name[:1] in "AEIOU" else f"a {name}"


def shown(value: object) -> str:
    """A value for a message: its type, and how it looks in short.

    Args:
        value: any object.

    Returns:
        The text.
    """
    if isinstance(value, Tensor):
        layout = "" if value.layout is torch.strided else f" in the layout {str(value.layout).removeprefix('torch.')}"
        return f"a {value.dtype} tensor of shape {list(value.shape)}{layout}" + (
            " on the meta device, without values" if value.is_meta else ""
        )
    if isinstance(value, np.ndarray):
        return f"a NumPy array of {value.dtype} and shape {list(value.shape)}"
    if value is None or isinstance(value, bool | int | float | str):
        text = repr(value)
    elif isinstance(value, nn.Module) or not isinstance(value, Sequence | Mapping | np.generic):
        return f"an object of type {type(value).__name__}"
    else:
        text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
