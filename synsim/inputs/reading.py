"""Examples as people keep them: arrays, lists, data sets and loaders, read once into a tensor."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
)

from synsim._checks import tensor
from synsim._kept import kept_generators

EXPECTED = (
    "x must be a tensor, an array, a list of examples, a DataLoader, a data set, or an object with len() and slices"
)


class Read(NamedTuple):
    """What was read.

    Attributes:
        x: examples [N, ...].
        y: their labels [N, ...], or None.
        ordered: whether they are in the order of the data set, so that labels kept elsewhere belong to them.
    """

    x: Tensor
    y: Tensor | None = None
    ordered: bool = True


def read(x: Any) -> Read | None:
    """Examples, and labels if they come in pairs.

    Args:
        x: an array, a list, a loader, a data set, or an object with `len()` and slices.

    Returns:
        What was read, or None for an object whose slices are tensors, which needs no reading.

    Raises:
        TypeError: if x is nothing of these.
    """
    if isinstance(x, np.ndarray):
        return Read(tensor(x, "x"))
    if isinstance(x, DataLoader):
        return _loader(x)
    if isinstance(x, TensorDataset):
        return _pair(x.tensors)
    if isinstance(x, Dataset):
        _refuse_streams(x)
        return _items(x)
    if isinstance(x, tuple):
        raise TypeError(f"{EXPECTED}, got a tuple of {len(x)}. Give examples and labels apart: x, y.")
    if isinstance(x, list):
        return Read(_stacked(x, "examples")) if x else Read(torch.empty(0, device="cpu"))
    if not (hasattr(x, "__len__") and hasattr(x, "__getitem__")) or isinstance(x, dict | str | bytes):
        raise TypeError(f"{EXPECTED}, got {type(x).__name__}.")
    return None if len(x) == 0 else _object(x)


def _object(x: Any) -> Read | None:
    # By what a slice of it is: tensors already, something to convert, or nothing, as only single items can be had.
    try:
        part = x[0:1]
    except (TypeError, KeyError, IndexError, ValueError, AttributeError):
        return _items(x)
    if isinstance(part, Tensor):
        return None
    if isinstance(part, tuple):
        return _pair(x[0 : len(x)])
    return Read(tensor(x[0 : len(x)], "x")) if isinstance(part, np.ndarray) else _items(x)


def _refuse_streams(data: Any) -> None:
    if isinstance(data, IterableDataset):
        raise TypeError(
            f"{EXPECTED}, got a stream without length ({type(data).__name__}). Collect it into tensors first."
        )


def _loader(loader: DataLoader[Any]) -> Read:
    _refuse_streams(loader.dataset)
    sampler, ordered = loader.sampler, isinstance(loader.sampler, SequentialSampler)
    if type(loader.batch_sampler) is not BatchSampler:
        ordered = ordered and loader.batch_sampler is None
    elif isinstance(sampler, RandomSampler) and not sampler.replacement and sampler.num_samples == len(sampler):
        # The same examples, in the order in which labels kept elsewhere stand.
        ordered = True
        loader = DataLoader(
            loader.dataset, loader.batch_size, num_workers=loader.num_workers, collate_fn=loader.collate_fn,
            drop_last=loader.drop_last,
        )  # fmt: skip
    state = None if loader.generator is None else loader.generator.get_state()
    with kept_generators():
        try:
            parts = [_pair(batch) for batch in _batches(loader)]
        finally:
            if state is not None:
                loader.generator.set_state(state)
    x = _joined([part.x for part in parts], "batches")
    labels = [part.y for part in parts if part.y is not None]
    return Read(x, _joined(labels, "labels") if labels else None, ordered)


def _batches(loader: DataLoader[Any]) -> Iterator[Any]:
    for batch in loader:
        yield batch if loader.batch_size is not None or loader.batch_sampler is not None else _alone(batch)


def _alone(item: Any) -> Any:
    # A loader that does not collate yields single examples.
    pair = item if isinstance(item, tuple | list) else (item,)
    return tuple(tensor(part, "the examples").unsqueeze(0) for part in pair)


def _items(data: Any) -> Read:
    with kept_generators():
        items = [data[index] for index in range(len(data))]
    if not items:
        return Read(torch.empty(0, device="cpu"))
    if not isinstance(items[0], tuple | list):
        return Read(_stacked(items, "examples"))
    if {len(item) for item in items} not in ({1}, {2}):
        raise TypeError(f"a data set must hold examples or pairs (example, label), got {len(items[0])} parts.")
    columns = list(zip(*items, strict=True))
    return _pair([_stacked(column, name) for column, name in zip(columns, ("examples", "labels"), strict=False)])


def _pair(parts: Any) -> Read:
    if isinstance(parts, Tensor | np.ndarray):
        return Read(tensor(parts, "the examples"))
    if not isinstance(parts, tuple | list) or len(parts) not in (1, 2):
        what = f"{len(parts)} parts" if isinstance(parts, tuple | list) else f"a {type(parts).__name__}"
        raise TypeError(f"a loader or data set must yield examples or pairs (examples, labels), got {what}.")
    x, *y = (tensor(part, "the examples") for part in parts)
    return Read(x, y[0] if y else None)


def _stacked(items: Sequence[Any], what: str) -> Tensor:
    try:
        return torch.stack([tensor(item, "the examples") for item in items])
    except RuntimeError as error:
        raise ValueError(f"the {what} differ in shape, so that no tensor holds them: {error}") from error


def _joined(parts: list[Tensor], what: str) -> Tensor:
    if not parts:
        return torch.empty(0, device="cpu")
    try:
        return torch.cat(parts)
    except RuntimeError as error:
        raise ValueError(f"the {what} differ in shape, so that no tensor holds them: {error}") from error
