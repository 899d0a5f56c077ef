"""A labelled dataset as a NetCDF file, with a digest of its content that is free of the file format."""

import hashlib
import io
import math
import re
import struct
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray

from synsim._checks import require
from synsim._doors import typed
from synsim.records.errors import DamagedRecordError
from synsim.records.files import canonical, writable

ATTRIBUTE = "sha256"
"""Attribute of the dataset that holds its own digest; left out of what is digested."""

ROOM = 2**24
"""Bytes that a file may unpack to whatever its size. Nothing in a record is packed: beyond these, more than EXPANSION
times the size of the file is refused before it is unpacked."""
EXPANSION = 4

RESERVED = (
    "CLASS", "DIMENSION_LIST", "NAME", "REFERENCE_LIST", "_NCProperties", "_Netcdf4Coordinates", "_Netcdf4Dimid",
    "_nc3_strict",
)  # fmt: skip
"""Attributes by which NetCDF builds upon HDF5."""

_NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"


@typed
def sha256(dataset: xarray.Dataset) -> str:
    """SHA-256 of what a dataset says: names, roles, dimensions, dtypes, values and attributes.

    The order of variables, the byte order, the width of text and the bits of a NaN don't count; neither does
    an attribute `sha256`. The same dataset has the same digest before it is written and after it is read.

    Args:
        dataset: variables and coordinates of bool, integer, float or text, of any shape.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(canonical(_digests(dataset)).encode()).hexdigest()


@typed
def write(dataset: xarray.Dataset, path: Path) -> None:
    """Write a dataset with its digest as an attribute, and read it back to see that nothing was lost.

    Args:
        dataset: what `sha256` takes.
        path: the file to write.

    Raises:
        ValueError: if NetCDF can't hold something in it.
    """
    _require_names(dataset)
    dataset = dataset.compute().drop_encoding()
    dataset = dataset.assign_attrs({ATTRIBUTE: sha256(dataset)})
    # Without a fill value, NaN is stored as it is and integers are never masked.
    encoding: dict[Any, dict[str, Any]] = {name: {"_FillValue": None} for name in dataset.variables}
    # By way of the memory, since HDF5 reports a full disk in ways of its own, and some only when Python ends.
    try:
        with _in_this_process():
            data = bytes(dataset.to_netcdf(engine="h5netcdf", encoding=encoding))
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:  # each layer below has its own
        raise ValueError(f"NetCDF can't hold this dataset ({error}). Use plain dtypes and attributes.") from error
    before, after = _digests(dataset), _digests(_decode(data))
    lost = sorted(name for name in before if before[name] != after.get(name))
    if lost:
        raise ValueError(
            f"NetCDF changes these parts of the dataset: {', '.join(lost)}. Use plain dtypes and attributes."
        )
    path.write_bytes(data)


def is_name(name: object) -> bool:
    """Whether a record can hold a variable, an axis or an attribute of this name.

    Args:
        name: any object.

    Returns:
        True for printable text that is not empty, without "/", and no single point.
    """
    return isinstance(name, str) and bool(name.strip()) and name.isprintable() and "/" not in name and name != "."


def _require_names(dataset: xarray.Dataset) -> None:
    names = [("variable", name) for name in dataset.variables] + [("axis", name) for name in dataset.dims]
    names += [("attribute", name) for name in dataset.attrs]
    for variable, one in dataset.variables.items():
        names += [(f"attribute of {variable!r}", name) for name in one.attrs]
    for what, name in names:
        require(
            is_name(name) and name not in RESERVED,
            f"the {what} named {name!r} can't be kept in a record: a name must be printable text, not empty, without "
            f"'/', and none of HDF5's own ({', '.join(RESERVED)}). Rename it.",
        )


@typed
def read(data: bytes, path: Path) -> xarray.Dataset:
    """A dataset from the bytes of its file, if its content is what was written.

    Args:
        data: the bytes of the file.
        path: where they are from, for messages.

    Returns:
        The dataset, in memory.

    Raises:
        DamagedRecordError: if the bytes are no dataset, or another one than was written.
    """
    try:
        dataset = _decode(data)
        expected, found = dataset.attrs.get(ATTRIBUTE), sha256(dataset)
    except Exception as error:  # HDF5, h5netcdf and xarray each fail in their own ways on damaged bytes
        raise DamagedRecordError(path, f"it can't be read as a dataset ({error})") from error
    if expected != found:
        raise DamagedRecordError(path, "its content does not fit the digest in it")
    return dataset


def _in_this_process() -> AbstractContextManager[object]:
    # Beside a client or in a worker of dask.distributed, xarray would ask the cluster for a lock, even for a file that
    # is in the memory of this process.
    dask: Any = sys.modules.get("dask")
    return nullcontext() if dask is None else dask.config.set(scheduler="synchronous")


def _decode(data: bytes) -> xarray.Dataset:
    _require_small(data)
    # Nothing is decoded but text and bool: an attribute units="seconds" must not make durations of numbers.
    with (
        _in_this_process(),
        xarray.open_dataset(
            io.BytesIO(data), engine="h5netcdf", mask_and_scale=False, decode_times=False, decode_timedelta=False
        ) as opened,
    ):
        return opened.load()


def _require_whole_heaps(data: bytes) -> None:
    # Texts lie in heaps, as objects one behind the other; HDF5 searches one whose sizes don't fit without end.
    # https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html, "Disk Format: Level 1E - Global Heap"
    for heap in re.finditer(rb"GCOL\x01\0\0\0", data):
        (size,) = struct.unpack_from("<Q", data.ljust(heap.end() + 8, b"\0"), heap.end())
        at, end = heap.end() + 8, heap.start() + size
        if end > len(data):
            raise ValueError("a heap of texts is not whole")
        while at + 16 <= end:
            index, _, _, length = struct.unpack_from("<HHIQ", data, at)
            # Object 0 is what is left of the heap, its own header included.
            at += length if index == 0 else 16 + (length + 7) // 8 * 8
            if at > end or (index == 0 and length < 16):
                raise ValueError("a heap of texts is not whole")


def _require_small(data: bytes) -> None:
    # The sizes are in the headers. What points out of the file, or to other parts of it, no record has.
    _require_whole_heaps(data)
    most = ROOM + EXPANSION * len(data)
    with h5py.File(io.BytesIO(data), "r") as file:
        left = most
        _require_few(file.attrs, len(data))
        for name in file:
            variable = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
            if not isinstance(variable, h5py.Dataset):
                raise ValueError(f"{name} is no variable")
            if variable.external is not None or variable.is_virtual:
                raise ValueError(f"{name} takes its values from another file")
            _require_few(variable.attrs, len(data))
            if not bytes(variable.attrs.get("NAME", b"")).startswith(_NO_VARIABLE):
                left -= _size(variable, len(data), left)
            if left < 0:
                raise ValueError(f"it has {len(data):,} bytes and would unpack to more than {most:,}")


def _size(variable: Any, file: int, most: int) -> int:
    # Bytes that a variable takes in memory; texts may share one place in the file, and are therefore counted.
    fixed: int = variable.dtype.itemsize * max(math.prod(variable.shape), math.prod(variable.chunks or ()))
    if fixed > most or variable.dtype.kind != "O":
        return fixed
    if h5py.check_string_dtype(variable.dtype) is None:
        raise ValueError(f"{variable.name} holds something else than numbers and text")
    if not variable.shape:
        return fixed + len(bytes(variable[()]))
    rows, step = variable.shape[0], math.prod(variable.shape[1:])
    at_once = max(1, most // max(1, file * step))
    for start in range(0, rows, at_once):
        fixed += sum(map(len, variable[start : start + at_once].ravel()))
        if fixed > most:
            break
    return fixed


def _require_few(attributes: Any, file: int) -> None:
    # Numbers in attributes take no more than they do in the file. Each text may be as large as the file, and attributes
    # are read whole. They are not read here: HDF5 may search a forged one without end.
    for name in attributes:
        identity = attributes.get_id(name)
        if identity.dtype.kind != "O" or name in ("DIMENSION_LIST", "REFERENCE_LIST"):
            continue
        if h5py.check_string_dtype(identity.dtype) is None:
            raise ValueError(f"attribute {name} holds something else than numbers and text")
        count = math.prod(identity.shape)
        if count > max(64, ROOM // file):
            raise ValueError(f"attribute {name} holds {count:,} texts, which is too many for a file of this size")


def _digests(dataset: xarray.Dataset) -> dict[str, Any]:
    attributes = {name: value for name, value in dataset.attrs.items() if name != ATTRIBUTE}
    parts: dict[str, Any] = {"the attributes": _attributes(attributes)}
    for name, variable in dataset.variables.items():
        role = "coordinate" if name in dataset.coords else "variable"
        parts[f"{role} {name}"] = _variable(variable, f"{role} {name}")
    return parts


def _variable(variable: xarray.Variable, name: str) -> str:
    kind, data = _values(np.asarray(variable.values), name)
    header = canonical([kind, variable.dims, variable.shape, _attributes(variable.attrs)])
    # JSON text holds no zero byte, so header and values can't run into each other.
    return hashlib.sha256(header.encode() + b"\0" + data).hexdigest()


def _values(array: np.ndarray[Any, Any], name: str) -> tuple[str, bytes]:
    # Canonical dtype and bytes: little-endian, row by row, every NaN the same one, text as a JSON list.
    if array.dtype.kind in "OUT":
        items = array.ravel().tolist()
        if not all(isinstance(item, str) for item in items):
            raise TypeError(f"{name} holds objects other than text; records take bool, integer, float and text.")
        unfit = next((item for item in items if "\0" in item or not writable(item)), None)
        require(
            unfit is None,
            f"{name} holds the text {unfit!r}, which NetCDF can't hold: no zero bytes, no halves of surrogate pairs. "
            "Take them out.",
        )
        return "text", canonical(items).encode()
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {array.dtype}; records take bool, integer, float and text.")
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), array.dtype.type(np.nan), array)
    little = array.dtype.newbyteorder("<")
    return little.str, np.ascontiguousarray(array, dtype=little).tobytes()


def _attributes(attributes: dict[Any, Any]) -> dict[str, list[str]]:
    # NetCDF gives numbers back as NumPy scalars, lists as arrays, lists of one as scalars: take all as lists.
    result = {}
    for name, value in attributes.items():
        array = np.asarray(value)
        if array.dtype.kind == "b":
            raise TypeError(f"attribute {name} is bool; NetCDF has no such attribute. Use 0 and 1, or text.")
        if array.ndim > 1:
            raise TypeError(f"attribute {name} has the shape {array.shape}; NetCDF keeps rows. Make it a variable.")
        kind, data = _values(array.ravel(), f"attribute {name}")
        result[str(name)] = [kind, data.hex()]
    return result
