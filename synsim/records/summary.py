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
"""What every row has; rows of older runs have nothing else."""
MORE = frozenset({"setting", "values", "test", "reference"})
"""What a row may have too: the settings that it is about, one value per seed, a test, a published value as numbers."""
TEST = frozenset({"t", "df", "p", "p_holm", "g", "family"})
REFERENCE = frozenset({"mean", "sem", "n", "source"})


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
    if not set(row) >= KEYS or set(row) - KEYS - MORE:
        missing, unknown = sorted(KEYS - set(row)), sorted(set(row) - KEYS - MORE)
        raise ValueError(
            f"rows[{index}] must have the keys {sorted(KEYS)}, and may have {sorted(MORE)}: missing {missing}, unknown "
            f"{unknown}."
        )
    result = {key: plain(_finite(value), f"rows[{index}][{key!r}]") for key, value in row.items()}
    wrong = [key for key, value in result.items() if not _fits(key, value)]
    if wrong:
        shown = ", ".join(f"{key}={row[key]!r}" for key in wrong)
        raise ValueError(
            f"rows[{index}] has {shown}: method and metric must be text, mean and sem numbers or None, "
            "n a whole number, published a number, text or None; values a list of numbers or None, setting a mapping "
            f"name -> number, text or None, test one with {sorted(TEST)}, reference one with {sorted(REFERENCE)}."
        )
    return result


def _fits(key: str, value: object) -> bool:
    if key in ("method", "metric"):
        return isinstance(value, str)
    if key == "n":
        return isinstance(value, int) and _number(value) and 0 <= value < 2**63
    if key in MORE:
        return _fits_more(key, value)
    return value is None or _number(value) or (key == "published" and isinstance(value, str))


def _fits_more(key: str, value: object) -> bool:
    if key == "values":
        return isinstance(value, list) and all(each is None or _number(each) for each in value)
    if key == "setting":
        return isinstance(value, dict) and all(_single(each) for each in value.values())
    return _of(value, TEST if key == "test" else REFERENCE)


def _of(value: object, keys: frozenset[str]) -> bool:
    # The keys of a test or of a published value: numbers, but for one text.
    return (
        isinstance(value, dict)
        and set(value) == keys
        and all(
            isinstance(each, str) if key in ("family", "source") else each is None or _number(each)
            for key, each in value.items()
        )
    )


def _single(value: object) -> bool:
    return value is None or isinstance(value, bool | str) or _number(value)


def _number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) <= 2**1023  # above, no float holds it


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float | np.floating) and not math.isfinite(value) else value
