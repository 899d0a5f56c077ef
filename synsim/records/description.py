"""What `run.json` says about a run: its config, where it comes from, its progress, its files' digests."""

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synsim.records.errors import DamagedRecordError, RunMismatchError
from synsim.records.files import canonical, contents, digest, replacing
from synsim.records.origin import describe, now

FORMAT = "synsim run 1"
FREE = ("out", "resume", "overwrite", "threads", "checkpoint_every", "quiet", "data_dir")
"""Keys of a config that may differ when a run is resumed, because they don't change its results."""
UNFINISHED = ("running", "stopped", "interrupted")
"""Status of a run that has not come to its end: it goes on, was stopped and saved, or was ended at once."""

# What every description has, and of which kind it is.
_KINDS: dict[str, type | tuple[type, ...]] = {
    "command": list,
    "config": dict,
    "files": dict,
    "resumes": list,
    "started": str,
    "status": str,
    "wall_seconds": (int, float),
}
_NAMES = {dict: "an object", list: "a list", str: "text", (int, float): "a number"}
_ABSENT = object()


def new(config: dict[str, Any]) -> dict[str, Any]:
    """The description of a run that starts now.

    Args:
        config: the resolved config in JSON's types.

    Returns:
        What `run.json` is to hold.
    """
    return {
        **describe(config.get("device")),
        "config": config,
        "ended": None,
        "files": {},
        "format": FORMAT,
        "id": secrets.token_hex(8),
        "resumes": [],
        "seeds": config.get("seeds"),
        "started": now(),
        "status": "running",
        "wall_seconds": 0.0,
    }


def resumed(path: Path, config: dict[str, Any], free: Sequence[str], choices: Sequence[str] = ()) -> dict[str, Any]:
    """The description of a run that goes on now.

    Args:
        path: the `run.json` that is there.
        config: the resolved config in JSON's types.
        free: keys of the config that may differ.
        choices: keys that may differ too, and whose new values count from now on.

    Returns:
        What `run.json` is to hold.

    Raises:
        RunMismatchError: if other keys differ.
    """
    run = read(path)
    changed = _differences(run["config"], config)
    barred = {key: pair for key, pair in changed.items() if not {key, key.split(".")[0]} & {*free, *choices}}
    if barred:
        lines = "\n".join(f"  {key}: {old} in the run, {new} now" for key, (old, new) in sorted(barred.items()))
        raise RunMismatchError(
            f"{path.parent} holds a run with another config:\n{lines}\n"
            "Give the same values to go on with it, use --overwrite to start anew, or another --out."
        )
    # Another version or device may change the last bits: who resumed, where and with what, stays visible.
    again = {**describe(config.get("device")), "changed": changed, "started": now()}
    chosen = {key: config[key] for key in choices if key in config}
    return {
        **run,
        "config": {**run["config"], **chosen},
        "ended": None,
        "id": run.get("id") or secrets.token_hex(8),
        "resumes": [*run["resumes"], again],
        "status": "running",
    }


def write(run: dict[str, Any], path: Path) -> None:
    """Replace `run.json`, sealed with a digest of its content.

    Args:
        run: the description.
        path: the file.
    """
    sealed = {**run, "sha256": digest(canonical(run).encode())}
    with replacing(path) as temporary:
        temporary.write_text(canonical(sealed, indent=2) + "\n", encoding="ascii")


def read(path: Path) -> dict[str, Any]:
    """What `run.json` holds, if it is what was written.

    Args:
        path: the file.

    Returns:
        The description.

    Raises:
        DamagedRecordError: if it is not what was written, or written in another format.
    """
    try:
        run: dict[str, Any] = json.loads(contents(path))
        expected = run.pop("sha256")
        found = digest(canonical(run).encode())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise DamagedRecordError(path, f"it can't be read as the description of a run ({error})") from error
    if expected != found:
        raise DamagedRecordError(path, "its content does not fit the digest in it")
    if run.get("format") != FORMAT:
        raise DamagedRecordError(path, f"its format is {run.get('format')!r}, and this version reads {FORMAT!r}")
    for key, kind in _KINDS.items():
        if not isinstance(run.get(key), kind) or isinstance(run.get(key), bool):
            raise DamagedRecordError(path, f"its {key!r} is not {_NAMES[kind]}, but {show(run.get(key, _ABSENT), 40)}")
    for name, digests in run["files"].items():
        if not isinstance(digests, list) or not all(isinstance(one, str) for one in digests):
            raise DamagedRecordError(path, f"its digests of {name!r} are no list of text")
    if not all(isinstance(one, dict) for one in run["resumes"]):
        raise DamagedRecordError(path, "its 'resumes' are no list of objects")
    return run


def is_one(data: bytes) -> bool:
    """Whether the bytes look like a description of a run of any version, damaged or not.

    Args:
        data: the bytes of a file named `run.json`.

    Returns:
        False if they are somebody else's.
    """
    return FORMAT.rstrip("0123456789").encode() in data


def show(value: object, most: int = 300) -> str:
    """A value for a message.

    Args:
        value: anything that JSON can hold.
        most: characters after which it is cut.

    Returns:
        Its JSON text.
    """
    text = "nothing" if value is _ABSENT else canonical(value)
    return text if len(text) <= most else f"{text[:most]}..."


def _differences(old: object, new: object, key: str = "") -> dict[str, tuple[str, str]]:
    # Dotted keys whose values differ, with both values as text.
    if isinstance(old, dict) and isinstance(new, dict):
        result = {}
        for name in sorted(old.keys() | new.keys()):
            inner = f"{key}.{name}" if key else name
            result.update(_differences(old.get(name, _ABSENT), new.get(name, _ABSENT), inner))
        return result
    if old == new and isinstance(old, bool) == isinstance(new, bool):  # True is no 1 here, but 1 is 1.0
        return {}
    return {key: (show(old), show(new))}
