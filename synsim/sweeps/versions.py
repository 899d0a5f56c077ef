"""Workers of another version are refused: what they make would not be what the others make."""

import platform
from collections.abc import Mapping

import torch

import synsim


def versions() -> dict[str, str]:
    """What must be the same everywhere.

    Returns:
        Package -> its version.
    """
    # Plain text: torch has a class of its own for it, whose import would hold a scheduler up.
    return {"synsim": synsim.__version__, "torch": str(torch.__version__)}


def strangeness(here: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """What is strange about this worker.

    Args:
        here: package -> its version.
        expected: package -> version of whoever asks.

    Returns:
        A sentence; empty if nothing is.
    """
    # Builds of one version, for CPUs and for GPUs, differ after the plus.
    other = [name for name in expected if here[name].split("+")[0] != expected[name].split("+")[0]]
    if not other:
        return ""
    parts = [f"{name} {here[name]} (where the sweep was started: {expected[name]})" for name in other]
    return f"a worker on {platform.node()} is refused: {', '.join(parts)}. Install the same versions there."
