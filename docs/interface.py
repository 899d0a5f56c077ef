"""Pages of the interface: one for each room, with every name that it makes public."""

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import synsim

INNER = ("kernels",)
"""Rooms that nobody calls from outside."""
INTRODUCTION = """# Interface

Every public name, by room. What stands at the top of the package (`synsim.mlp`) is described in its room.

```{toctree}
:maxdepth: 1

"""


def rooms() -> list[str]:
    """Names of the public rooms."""
    found = [module.name for module in pkgutil.iter_modules(synsim.__path__) if not module.name.startswith("_")]
    return [name for name in found if name not in INNER]


def public(module: ModuleType) -> list[str]:
    """Names of functions and classes of synsim that a room makes public, in the order of the alphabet."""
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    kept = []
    for name in names:
        value = getattr(module, name)
        ours = getattr(value, "__module__", "").startswith(module.__name__)
        if ours and (inspect.isfunction(value) or inspect.isclass(value)):
            kept.append(name)
    return sorted(kept, key=str.lower)


def page(room: str) -> str:
    """The page of a room, in reStructuredText."""
    module = importlib.import_module(f"synsim.{room}")
    title = f"synsim.{room}"
    lines = [title, "=" * len(title), "", f".. automodule:: {title}", "   :no-members:", ""]
    for name in public(module):
        value = getattr(module, name)
        if inspect.isclass(value):
            lines += [f".. autoclass:: {title}.{name}", "   :members:", "   :show-inheritance:", ""]
        else:
            lines += [f".. autofunction:: {title}.{name}", ""]
    return "\n".join(lines)


def write(folder: Path) -> None:
    """Write all pages, those alone that have changed."""
    folder.mkdir(exist_ok=True)
    pages = {f"{room}.rst": page(room) for room in rooms()}
    pages["index.md"] = INTRODUCTION + "\n".join(rooms()) + "\n```\n"
    for old in folder.iterdir():
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
