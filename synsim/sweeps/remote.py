"""What is sent to a worker of a cluster: so little that it comes there without an import."""

from importlib import import_module
from typing import Any


def call(name: str, *given: Any, **options: Any) -> Any:
    """Call a function of `synsim.sweeps.serving`, in the thread in which a worker works.

    Args:
        name: of the function.
        *given: its arguments.
        **options: its arguments by name.

    Returns:
        What it returns.
    """
    return getattr(import_module("synsim.sweeps.serving"), name)(*given, **options)


# What stands in a script is sent as code. By its name here, the scheduler and the workers would import torch where they
# have to give and to see signs of life.
call.__module__ = "__main__"
