"""Where a run comes from: the software, its commit, the device and the command line."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch


def now() -> str:
    """The time of day.

    Returns:
        ISO 8601 in UTC, to the second.
    """
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe(device: object) -> dict[str, Any]:
    """What someone needs to know to repeat a run, apart from its config.

    Args:
        device: the device of the config, or None if it names none.

    Returns:
        `command` (list of arguments), `commit` (of this package, see `commit`), `caller` (of the script, see
        `caller`), `device` and `versions`.
    """
    import synsim  # here, because synsim itself imports this package

    return {
        "caller": caller(),
        "command": list(sys.argv),
        "commit": commit(Path(synsim.__file__).parent),
        "device": _device(device),
        "versions": {
            "numpy": np.__version__,
            "platform": platform.platform(),
            "python": platform.python_version(),
            "synsim": synsim.__version__,
            "torch": torch.__version__,
        },
    }


def commit(folder: Path) -> dict[str, Any] | None:
    """The commit that a package folder is checked out at.

    Args:
        folder: the package's folder.

    Returns:
        `sha`, and `dirty`: whether a tracked file of the repository was changed since. None if git does not
        know the package, even if it lies inside somebody's repository, as a virtual environment may.
    """
    sha = _git(folder, "rev-parse", "HEAD")
    if sha is None or _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return {"sha": sha, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def caller() -> dict[str, Any] | None:
    """The commit of the repository that the running script belongs to; without a script, of the working folder.

    Returns:
        `repository` (name of its folder), `sha`, and `dirty`: whether a tracked file was changed since, or the script
        itself is not tracked. None if there is no repository.
    """
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    script = Path(file) if file and Path(file).exists() else None
    return _repository(Path.cwd() if script is None else script.parent.absolute(), script and script.name)


@cache
def _repository(folder: Path, script: str | None) -> dict[str, Any] | None:
    # Asked once in a process: what runs is what was there when it started.
    sha, top = _git(folder, "rev-parse", "HEAD"), _git(folder, "rev-parse", "--show-toplevel")
    if sha is None or top is None:
        return None
    unknown = script is not None and _git(folder, "ls-files", "--error-unmatch", script) is None
    dirty = unknown or bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    return {"repository": Path(top).name, "sha": sha, "dirty": dirty}


def _git(folder: Path, *arguments: str) -> str | None:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # a status must not write to the repository
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *arguments],
            capture_output=True, text=True, errors="replace", timeout=10, env=environment, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _device(device: object) -> str | None:
    if device is None:
        return None
    name = str(device)
    if name.startswith("cuda") and torch.cuda.is_available():
        return f"{name} ({torch.cuda.get_device_name(torch.device(name))})"
    return name
