"""Nested state as tensors and JSON: what optimisers and schedules keep, without pickles."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

_PLAIN = (bool, int, str, type(None))


def encode(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """A value as JSON; its tensors are put aside.

    Args:
        value: nested dicts, lists and tuples of tensors, numbers, text and None.
        path: name under which tensors are put aside.
        tensors: gets them.

    Returns:
        JSON values.

    Raises:
        TypeError: if something else is in it, such as a function.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Tensor):
        while path in tensors:
            path += "'"  # two keys that read alike, such as 1 and "1"
        tensors[path] = value.detach()
        return {"tensor": path}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, list | tuple):
        return {"list": [encode(each, f"{path}/{index}", tensors) for index, each in enumerate(value)]}
    if isinstance(value, Mapping):
        odd = [key for key in value if not isinstance(key, (*_PLAIN, float))]
        if odd:
            raise TypeError(f"{path} has the key {odd[0]!r:.60}; a checkpoint keeps dicts by text and numbers.")
        return {"items": [[key, encode(each, f"{path}/{key}", tensors)] for key, each in value.items()]}
    raise TypeError(
        f"{path} is a {type(value).__name__}, which a checkpoint can't keep: it holds tensors, numbers, text, "
        "lists and dicts only."
    )


def decode(tree: Any, tensors: Mapping[str, Tensor], like: Any = None) -> Any:
    """The value that was encoded.

    Args:
        tree: of `encode`.
        tensors: those put aside.
        like: a value of the same structure, which says what is a tuple or a `Counter`, and where tensors live.

    Returns:
        The value.
    """
    if not isinstance(tree, Mapping):
        return tree
    if "tensor" in tree:
        found = tensors[tree["tensor"]].clone()
        return found.to(like.device) if isinstance(like, Tensor) else found
    if "float" in tree:
        return float(tree["float"])
    if "list" in tree:
        known = (
            like if isinstance(like, list | tuple) and len(like) == len(tree["list"]) else [None] * len(tree["list"])
        )
        values = [decode(each, tensors, one) for each, one in zip(tree["list"], known, strict=True)]
        return tuple(values) if isinstance(like, tuple) else values
    inner = like if isinstance(like, Mapping) else {}
    pairs = {key: decode(each, tensors, inner.get(key)) for key, each in tree["items"]}
    return Counter(pairs) if isinstance(like, Counter) else pairs
