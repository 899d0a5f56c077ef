"""The rows of a result table as JSON, `{"rows": [{"method": ..., "metric": ..., ...}, ...]}`."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synsim.records.errors import DamagedRecordError
from synsim.records.files import SUMMARY, canonical, plain

KEYS = frozenset({"method", "metric", "mean", "sem", "n", "published"})


def text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as JSON, checked.

    Args:
        rows: one dict per row of the table; see `RunFolder.save_summary`.

    Returns:
        The text of the file. NaN and infinite numbers are null in it.
    """
    return canonical({"rows": [_row(row, index) for index, row in enumerate(rows)]}, indent=2) + "\n"


def read(data: bytes, path: Path = Path(SUMMARY)) -> list[dict[str, Any]]:
    """The rows of a file whose digest has been checked.

    Args:
        data: the bytes of the file.
        path: where they are from, for messages.

    Returns:
        One dict per row.

    Raises:
        DamagedRecordError: if they are no rows of a table.
    """
    try:
        rows = json.loads(data)["rows"]
        return [_row(row, index) for index, row in enumerate(rows)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise DamagedRecordError(path, f"it can't be read as a table ({error})") from error


def _row(row: Mapping[str, Any], index: int) -> dict[str, Any]:
    if set(row) != KEYS:
        missing, unknown = sorted(KEYS - set(row)), sorted(set(row) - KEYS)
        raise ValueError(f"rows[{index}] must have the keys {sorted(KEYS)}: missing {missing}, unknown {unknown}.")
    result = {key: plain(_finite(value), f"rows[{index}][{key!r}]") for key, value in row.items()}
    wrong = [key for key, value in result.items() if not _fits(key, value)]
    if wrong:
        shown = ", ".join(f"{key}={row[key]!r}" for key in wrong)
        raise ValueError(
            f"rows[{index}] has {shown}: method and metric must be text, mean and sem numbers or None, "
            "n a whole number, published a number, text or None."
        )
    return result


def _fits(key: str, value: object) -> bool:
    if isinstance(value, bool):
        return False
    if key in ("method", "metric"):
        return isinstance(value, str)
    if key == "n":
        return isinstance(value, int) and 0 <= value < 2**63
    if isinstance(value, int) and abs(value) > 2**1023:  # no float holds it
        return False
    return isinstance(value, int | float | None) or (key == "published" and isinstance(value, str))


def _finite(value: object) -> object:
    return None if isinstance(value, float | np.floating) and not math.isfinite(value) else value
