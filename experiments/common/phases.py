"""Phases of a run that are no `fit`: measurements, arrays, and learning by other loops."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
import xarray
from torch import Tensor

from common.axes import nested
from synsim._progress import bar
from synsim.training import Session


def study(
    session: Session, name: str, measure: Callable[[str], dict[str, Tensor]], dims: Sequence[str], **axis: Iterable[str]
) -> xarray.Dataset:
    """Measurements without training, [axis, *dims], and the seconds they took: each once in a run, as `name/label`."""

    def measured(**label: str) -> xarray.Dataset:
        (one,) = label.values()
        store = session.open(f"{name}/{one}")
        if store.load() is None:
            start = time.perf_counter()
            store.save(measure(one), {"seconds": time.perf_counter() - start})
        tensors, meta = store.load() or ({}, {})
        variables: dict[str, Any] = {key: (tuple(dims), value.numpy()) for key, value in tensors.items()}
        return xarray.Dataset({**variables, "seconds": meta["seconds"]})

    return nested(measured, **{key: list(labels) for key, labels in axis.items()})


def kept(
    session: Session, phase: str, measure: Callable[[], Mapping[str, "np.ndarray[Any, Any]"]]
) -> dict[str, "np.ndarray[Any, Any]"]:
    """Arrays that are made once in a run, as a phase of it."""
    store = session.open(phase)
    if store.load() is None:
        made = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in measure().items()}
        store.save(made, {})
    tensors, _ = store.load() or ({}, {})
    return {name: values.numpy() for name, values in tensors.items()}


class Learner(Protocol):
    """What learns, and whose state can be kept."""

    def state_dict(self) -> dict[str, Tensor]:
        """The state."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> Any:
        """Go on from a state."""


def steps(
    session: Session, phase: str, unit: str, count: int, learner: Learner, results: Mapping[str, Tensor]
) -> Iterator[int]:
    """The steps of a phase that are still to do, for learning without `fit`.

    Learner and results, which the caller fills in place, are kept in the checkpoint, and come back from it.
    """
    store = session.open(phase)
    state, done = store.load() or ({}, {f"{unit}s": 0})
    if state:
        learner.load_state_dict(state)
        for name, values in results.items():
            values.copy_(state[name])
    todo = range(done[f"{unit}s"], count)
    for step in bar(todo, initial=todo.start, total=count, desc=phase, unit=unit, shown=not session.quiet):
        yield step
        if store.due() or step == count - 1:
            store.save({**learner.state_dict(), **results}, {f"{unit}s": step + 1})
