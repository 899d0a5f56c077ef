"""Tensors and everything else a run needs to go on, in one safetensors file.

The file is a JSON header and raw values (https://github.com/huggingface/safetensors#format). Its metadata
hold, under the key "synsim", the JSON text `{"meta": ..., "sha256": ...}`.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from synsim.records.errors import DamagedRecordError
from synsim.records.files import canonical, plain

KEY = "synsim"


def write(tensors: Mapping[str, Tensor], meta: Mapping[str, Any], path: Path) -> None:
    """Write tensors and meta with a digest over both.

    Args:
        tensors: by name; of any shape, dtype (bool, integers, floats), device and stride.
        meta: whatever JSON can hold, see `files.plain`.
        path: the file to write.

    Raises:
        TypeError: if a value is not a tensor.
    """
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"tensors[{name!r}] is a {type(tensor).__name__}, not a tensor; put other things into meta."
            )
    # A copy each, since safetensors refuses tensors that share memory, and views of larger ones.
    values = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    meta = plain(meta, "meta")
    text = canonical({"meta": meta, "sha256": _digest(values, meta)})
    safetensors.torch.save_file(values, path, metadata={KEY: text})


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and meta, if they are what was written.

    Args:
        path: the file.

    Returns:
        The tensors by name, and the meta.

    Raises:
        DamagedRecordError: if the file is not what was written.
    """
    data = path.read_bytes()
    try:
        tensors = safetensors.torch.load(data)
        length = int.from_bytes(data[:8], "little")
        content = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][KEY])
        meta, expected = content["meta"], content["sha256"]
        found = _digest(tensors, meta)
    except Exception as error:  # safetensors, json and torch each fail in their own ways on damaged bytes
        raise DamagedRecordError(path, f"it can't be read as a checkpoint ({error})") from error
    if expected != found:
        raise DamagedRecordError(path, "its content does not fit the digest in it")
    return tensors, meta


def _digest(tensors: Mapping[str, Tensor], meta: object) -> str:
    result = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        # The shape tells how many bytes follow, so one tensor can't run into the next.
        result.update(canonical([name, tensor.dtype, tensor.shape]).encode() + b"\0")
        result.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    result.update(canonical(meta).encode())
    return result.hexdigest()
