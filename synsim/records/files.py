"""Files that are whole or absent, and JSON with one spelling."""

import dataclasses
import hashlib
import json
import math
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synsim._files import regular

RUN = "run.json"
RECORD = "record.nc"
CHECKPOINT = "checkpoint.safetensors"
SUMMARY = "summary.json"
NAMES = (RUN, RECORD, CHECKPOINT, SUMMARY)
README = "README.txt"
"""For people: nothing reads it back, and nothing lists its digest."""

LARGEST = {RUN: 2**24, SUMMARY: 2**24, RECORD: 2**31, CHECKPOINT: 2**34}
"""Bytes up to which a file of a run is read: 16 MiB of JSON, 2 GiB of results, a checkpoint of 16 GiB."""

_TEMPORARY = re.compile(rf"\.({'|'.join(map(re.escape, (*NAMES, README)))})\.[0-9a-f]{{8}}\.tmp")


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk.

    Args:
        path: a file or a folder.
    """
    if path.is_dir() and os.name == "nt":  # Windows can't open folders, and keeps their entries in order itself
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary file that takes the target's place if all goes well: the target is whole at any moment.

    Args:
        target: the file to be written or replaced.

    Yields:
        The path to write to.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        # Some writers make files for their owner alone; a run is as readable as its folder says.
        temporary.chmod(mode)
        sync(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync(target.parent)


def contents(path: Path, first: int | None = None) -> bytes:
    """The bytes of a file of a run, if it is a regular file of a size that such a file may have.

    Args:
        path: the file, by its usual name.
        first: how many bytes to read; None reads all.

    Returns:
        Its bytes.

    Raises:
        ValueError: if it is something else than a regular file, too large, or larger than the memory.
    """
    with regular(path, LARGEST.get(path.name, 2**24)) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            return file.read(size if first is None else min(first, size))
        except MemoryError as error:
            raise ValueError(f"its {size:,} bytes don't fit into the memory") from error


def is_temporary(path: Path) -> bool:
    """Whether this is what a killed run may leave of a file it was writing.

    Args:
        path: any path.

    Returns:
        True if the name is one that `replacing` gives for a file of a run.
    """
    return _TEMPORARY.fullmatch(path.name) is not None


def digest(data: bytes) -> str:
    """SHA-256 of bytes.

    Args:
        data: the bytes.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(data).hexdigest()


def canonical(value: object, indent: int | None = None) -> str:
    """JSON text with sorted keys: equal values have equal text, whatever the machine.

    Args:
        value: anything `plain` takes.
        indent: spaces per level for human readers; None writes one line.

    Returns:
        The text, ASCII only (so that undecodable bytes in a command line survive as escapes).
    """
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(plain(value), sort_keys=True, allow_nan=False, indent=indent, separators=separators)


def writable(text: str) -> bool:
    """Whether text can be written to a file.

    Args:
        text: any text.

    Returns:
        False for half of a surrogate pair, which Python makes of undecodable bytes.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain(value: object, where: str = "the value") -> Any:
    """The value in JSON's own types.

    Tuples and NumPy arrays become lists, paths and torch devices text, dataclasses dicts.

    Args:
        value: nested dicts, sequences, dataclasses, numbers, text, paths, torch devices and dtypes.
        where: name of the value in messages.

    Returns:
        Nested dicts, lists, str, int, float, bool and None.

    Raises:
        TypeError: if something in it is of another type, or a key is not text.
        ValueError: if a number is NaN or infinite.
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}; JSON has no such number. Use None, or save it as a tensor.")
        return value
    if isinstance(value, Mapping):
        return {_text_key(key, where): plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, os.PathLike | torch.device | torch.dtype):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return plain(fields, where)
    raise TypeError(f"{where} is a {type(value).__name__}, which can't be written as JSON. Convert it first.")


def _text_key(key: object, where: str) -> str:
    # JSON would turn a key 3 into "3" without a word, and a resumed run would not find it again.
    if not isinstance(key, str):
        raise TypeError(f"{where} has the key {key!r}; keys must be text. Use str(key) and convert on reading.")
    return key
