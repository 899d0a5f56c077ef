"""Workers of another version are refused: what they make would not be what the others make."""

from collections.abc import Mapping

import torch

import synsim


def versions() -> dict[str, str]:
    """What must be the same everywhere.

    Returns:
        Package -> its version.
    """
    return {"synsim": synsim.__version__, "torch": torch.__version__}


def strangeness(there: Mapping[str, object], where: str) -> str:
    """What is strange about a worker.

    Args:
        there: package -> its version.
        where: the worker.

    Returns:
        A sentence; empty if nothing is.
    """
    ours = versions()
    # Builds of one version, for CPUs and for GPUs, differ after the plus.
    other = [name for name in ours if str(there.get(name)).split("+")[0] != ours[name].split("+")[0]]
    if not other:
        return ""
    parts = [f"{name} {there.get(name) or 'is missing'} (here: {ours[name]})" for name in other]
    return f"the worker at {where} is refused: {', '.join(parts)}. Install the same versions there."
