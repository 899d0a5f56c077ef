"""A labelled dataset as a NetCDF file, with a digest of its content that is free of the file format."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from synsim.records.errors import DamagedRecordError
from synsim.records.files import canonical

ATTRIBUTE = "sha256"
"""Attribute of the dataset that holds its own digest; left out of what is digested."""


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


def write(dataset: xarray.Dataset, path: Path) -> None:
    """Write a dataset with its digest as an attribute, and read it back to see that nothing was lost.

    Args:
        dataset: what `sha256` takes.
        path: the file to write.

    Raises:
        ValueError: if NetCDF can't hold something in it.
    """
    dataset = dataset.compute().drop_encoding()
    dataset = dataset.assign_attrs({ATTRIBUTE: sha256(dataset)})
    # Without a fill value, NaN is stored as it is and integers are never masked.
    dataset.to_netcdf(path, engine="h5netcdf", encoding={name: {"_FillValue": None} for name in dataset.variables})
    before, after = _digests(dataset), _digests(_decode(path.read_bytes()))
    lost = sorted(name for name in before if before[name] != after.get(name))
    if lost:
        raise ValueError(
            f"NetCDF changes these parts of the dataset: {', '.join(lost)}. Use plain dtypes and attributes."
        )


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


def _decode(data: bytes) -> xarray.Dataset:
    # Nothing is decoded but text and bool: an attribute units="seconds" must not make durations of numbers.
    with xarray.open_dataset(
        io.BytesIO(data), engine="h5netcdf", mask_and_scale=False, decode_times=False, decode_timedelta=False
    ) as opened:
        return opened.load()


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
        kind, data = _values(array.ravel(), f"attribute {name}")
        result[str(name)] = [kind, data.hex()]
    return result
