"""Reader of arrays in NumPy's `.npz`: images, spike trains or lists of spikes, with their labels."""

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from synsim._checks import require
from synsim.data.spikes import binned
from synsim.data.stored import LARGEST, opened, stranger

IMAGES = ("x", "y", "x_train", "y_train", "x_test", "y_test", "bounds", "dt")
SPIKES = ("time", "neuron", "example")
LIST = (*SPIKES, "y", "time_test", "neuron_test", "example_test", "y_test", "neurons", "window", "dt")

Arrays = dict[str, NDArray[Any]]


def read_npz(path: Path) -> dict[str, Any]:
    """The arrays of a file of images or spikes.

    Args:
        path: the file; its arrays have at most 1 GiB (`LARGEST`). Nothing pickled is read.

    Returns:
        What `Dataset.from_arrays` takes, by name.

    Raises:
        ValueError: if the file is damaged, or arrays are missing, unknown, or hold objects of Python.
    """
    with opened(path, packed=False) as file:
        try:
            with zipfile.ZipFile(file) as archive:  # type: ignore[arg-type,unused-ignore]
                given = _members(archive, path)
        except zipfile.BadZipFile as error:
            file.seek(0)
            raise ValueError(
                f"{path}: expected arrays as numpy.savez writes them, but {error}. {stranger(file.read(64))}"
            ) from error
    return _spikes(given, path) if given.keys() & set(SPIKES) else _images(given, path)


def _members(archive: zipfile.ZipFile, path: Path) -> Arrays:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    unknown = sorted(members.keys() - {*IMAGES, *LIST})
    require(
        not unknown,
        f"{path}: expected arrays called {', '.join(IMAGES)}, or {', '.join(LIST)}, got also {', '.join(unknown)}. "
        "Save these elsewhere, or make the data set by Dataset.from_arrays.",
    )
    size = sum(info.file_size for info in members.values())
    require(
        size <= LARGEST,
        f"{path}: its arrays have {size:,} bytes, and at most {LARGEST:,} are read. Keep fewer examples in a file, or "
        "make the data set by Dataset.from_arrays.",
    )
    return {name: _array(archive.read(info), f"{path}: {name}") for name, info in members.items()}


def _array(data: bytes, what: str) -> NDArray[Any]:
    file = io.BytesIO(data)
    header: Any = npy
    try:
        first = header.read_magic(file) == (1, 0)
        shape, _, dtype = header.read_array_header_1_0(file) if first else header.read_array_header_2_0(file)
    except Exception as error:  # NumPy reads the header as an expression of Python, which fails in ways of its own
        raise ValueError(f"{what}: expected an array of NumPy, but {error}.") from error
    require(
        not dtype.hasobject,
        f"{what} holds Python objects, which are pickled and therefore not read, since they could run code. "
        "Make an array of numbers or text of it, with rows of equal length.",
    )
    # Before NumPy makes room for it: a damaged header may speak of any size.
    expected, there = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
    require(expected == there, f"{what}: expected {expected:,} bytes for shape {list(shape)}, got {there:,}.")
    found: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return found


def _images(given: Arrays, path: Path) -> dict[str, Any]:
    train = "_train" if "x_train" in given else ""
    lacking = [name for name in (f"x{train}", f"y{train}") if name not in given]
    require(
        not lacking,
        f"{path}: expected x and y, or x_train, y_train, x_test and y_test, got {', '.join(given) or 'nothing'}: "
        f"{', '.join(lacking)} missing. Every example needs a label: numpy.savez(file, x=images, y=labels).",
    )
    extra = sorted(given.keys() - {f"x{train}", f"y{train}", "x_test", "y_test", "bounds", "dt"})
    require(not extra, f"{path}: expected either x and y, or x_train and y_train, got also {', '.join(extra)}.")
    found: dict[str, Any] = {name: given.get(name) for name in ("x_test", "y_test", "bounds")}
    return {**found, "x": given[f"x{train}"], "y": given[f"y{train}"], "dt": _number(given, "dt", path)}


def _spikes(given: Arrays, path: Path) -> dict[str, Any]:
    endings = ("", "_test") if any(name.endswith("_test") for name in given) else ("",)
    wanted = [f"{name}{end}" for end in endings for name in (*SPIKES, "y")]
    lacking = [name for name in wanted if name not in given]
    extra = sorted(given.keys() - set(LIST))
    require(
        not lacking and not extra,
        f"{path}: a list of spikes is {', '.join(SPIKES)} with an entry for each spike, and y with a label for each "
        f"example; missing {', '.join(lacking) or 'nothing'}, too many {', '.join(extra) or 'none'}.",
    )
    dt, window, neurons = (_number(given, name, path) for name in ("dt", "window", "neurons"))
    dt = 1.0 if dt is None else dt
    try:
        trains = _binned(
            [{name: given[f"{name}{end}"] for name in (*SPIKES, "y")} for end in endings], dt, window, neurons
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    tested = trains[1] if len(trains) > 1 else None
    return {"x": trains[0], "y": given["y"], "x_test": tested, "y_test": given.get("y_test"), "dt": dt}


def _binned(parts: list[Arrays], dt: float, window: float | None, neurons: float | None) -> list[Tensor]:
    # What the file does not say is the same in all parts: as many neurons, and as long, as the largest one needs.
    def trains(part: Arrays, window: float | None, neurons: float | None) -> Tensor:
        lists = [part[name] for name in SPIKES]
        count = len(np.atleast_1d(part["y"]))
        return binned(*lists, examples=count, neurons=neurons, window=window, dt=dt)  # type: ignore[arg-type]

    found = [trains(part, window, neurons) for part in parts]
    steps, most = (max(each.shape[axis] for each in found) for axis in (1, 2))
    if all(each.shape[1:] == (steps, most) for each in found):
        return found
    return [trains(part, steps * dt, most) for part in parts]


def _number(given: Arrays, name: str, path: Path) -> float | None:
    if name not in given:
        return None
    value = given[name]
    require(
        value.size == 1 and value.dtype.kind in "iuf",
        f"{path}: {name} must be one number, got an array of {value.dtype} of shape {list(value.shape)}.",
    )
    number = float(value.reshape(()))
    return int(number) if value.dtype.kind in "iu" else number
