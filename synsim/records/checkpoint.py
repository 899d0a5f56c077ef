"""Tensors and everything else a run needs to go on, in one safetensors file.

The file is a JSON header and raw values (https://github.com/huggingface/safetensors#format). Its metadata
hold, under the key "synsim", the JSON text `{"meta": ..., "owner": ..., "sha256": ...}`. The owner is the run that
wrote it; files of old have none.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from synsim._checks import require
from synsim._doors import ArgumentError, shown
from synsim.records.errors import DamagedRecordError, RunMismatchError
from synsim.records.files import canonical, contents, plain, writable

KEY, RESERVED = "synsim", "__metadata__"
"""The text of ours in the metadata of the file, and the name under which these stand beside the tensors."""
LARGEST_HEADER = 2**27


def owner(run: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says about the run that it belongs to.

    Args:
        run: what `run.json` holds.

    Returns:
        Its id and its seeds.
    """
    return {"id": run.get("id"), "seeds": run.get("seeds")}


def write(tensors: Mapping[str, Tensor], meta: Mapping[str, Any], path: Path, run: Mapping[str, Any]) -> None:
    """Write tensors, meta and owner with a digest over all.

    Args:
        tensors: by name; of any shape, dtype (bool, integers, floats), device and stride.
        meta: whatever JSON can hold, see `files.plain`.
        path: the file to write.
        run: what `run.json` holds.

    Raises:
        ArgumentError: if tensors or meta are no mapping.
        TypeError: if a value is not a tensor, or a name no text.
        ValueError: if the file can't hold a tensor or a name.
        OSError: if it can't be written.
    """
    for given, what in ((tensors, "tensors"), (meta, "meta")):
        if not isinstance(given, Mapping):
            raise ArgumentError(f"{what} must be a dict, by name, got {shown(given)}.")
    for name, tensor in tensors.items():
        _require_holdable(name, tensor)
    # A copy each, since safetensors refuses tensors that share memory, and views of larger ones.
    values = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    meta = plain(meta, "meta")
    said = {"meta": meta, "owner": owner(run)}
    text = canonical({**said, "sha256": _digest(values, said)})
    try:
        safetensors.torch.save_file(values, path, metadata={KEY: text})
    except safetensors.SafetensorError as error:  # it hides the errors of the system
        raise OSError(f"{path.name} can't be written ({error}); is the disk full?") from error


def _require_holdable(name: object, tensor: object) -> None:
    if not isinstance(name, str):
        raise ArgumentError(f"tensors has the key {name!r}; keys must be text. Use str(key) and convert on reading.")
    if not isinstance(tensor, Tensor):
        raise TypeError(f"tensors[{name!r}] is a {type(tensor).__name__}, not a tensor; put other things into meta.")
    require(
        name != RESERVED and writable(name),
        f"tensors has the key {name!r}, which the file can't hold. Give it another name.",
    )
    require(
        tensor.layout is torch.strided and not tensor.is_meta and not tensor.is_quantized,
        f"tensors[{name!r}] must be dense and have values, got {shown(tensor)}. Use to_dense(), or dequantize().",
    )


def read(path: Path, run: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and meta, if they are what was written by this run.

    Args:
        path: the file.
        run: what the `run.json` beside it holds.

    Returns:
        The tensors by name, and the meta.

    Raises:
        DamagedRecordError: if the file is not what was written.
        FileNotFoundError: if there is none.
        RunMismatchError: if it was written by another run.
    """
    try:
        length = _require_header(path)
        data = contents(path)
        tensors = safetensors.torch.load(data)
        content = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][KEY])
        meta, expected = content["meta"], content["sha256"]
        said = {"meta": meta, "owner": content["owner"]} if "owner" in content else meta
        found = _digest(tensors, said)
    except FileNotFoundError:
        raise
    except Exception as error:  # safetensors, json and torch each fail in their own ways on damaged bytes
        raise DamagedRecordError(path, f"it can't be read as a checkpoint ({error})") from error
    if expected != found:
        raise DamagedRecordError(path, "its content does not fit the digest in it")
    if not isinstance(meta, dict):
        raise DamagedRecordError(path, "its meta is no JSON object")
    theirs, ours = content.get("owner"), owner(run)
    if theirs is not None and theirs != ours:
        raise RunMismatchError(
            f"{path} is the checkpoint of another run ({_named(theirs)}), not of the one in this folder "
            f"({_named(ours)}). Put back its own checkpoint, or start the run again with --overwrite."
        )
    return tensors, meta


def _require_header(path: Path) -> int:
    # The length of the header, if header and values fill the file: nothing large is read before that is known.
    data = contents(path, 8)
    length, size = int.from_bytes(data, "little"), path.stat().st_size
    if len(data) < 8 or not 2 <= length <= min(size - 8, LARGEST_HEADER):
        raise ValueError("its header is not whole")
    header = json.loads(contents(path, 8 + length)[8:])
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    if 8 + length + max(ends, default=0) != size:
        raise ValueError(f"it has {size:,} bytes, and its header speaks of {8 + length + max(ends, default=0):,}")
    return length


def _named(run: object) -> str:
    seeds = run.get("seeds") if isinstance(run, dict) else None
    return f"seeds {canonical(seeds)[:80]}" if seeds is not None else "without seeds"


def _digest(tensors: Mapping[str, Tensor], meta: object) -> str:
    result = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        # The shape tells how many bytes follow, so one tensor can't run into the next.
        result.update(canonical([name, tensor.dtype, tensor.shape]).encode() + b"\0")
        result.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    result.update(canonical(meta).encode())
    return result.hexdigest()
