"""Docstrings of public names render as they are read: without a message about their markup."""

import importlib.util
import inspect
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

docutils_core = pytest.importorskip("docutils.core")
napoleon = pytest.importorskip("sphinx.ext.napoleon")

ROOT = Path(__file__).resolve().parent.parent


def module(path):
    spec = importlib.util.spec_from_file_location("interface", path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


interface = module(ROOT / "docs" / "interface.py")


def documented(room: str) -> Iterator[tuple[str, str]]:
    there = importlib.import_module(f"synsim.{room}")
    yield room, inspect.getdoc(there)
    for name in interface.public(there):
        value = getattr(there, name)
        yield f"{room}.{name}", inspect.getdoc(value) or ""
        if inspect.isclass(value):
            for inner, member in vars(value).items():
                if not inner.startswith("_") and (callable(member) or isinstance(member, property | classmethod)):
                    yield f"{room}.{name}.{inner}", inspect.getdoc(getattr(value, inner)) or ""


def messages(text: str) -> str:
    """What docutils has to say about a docstring."""
    config = napoleon.Config(napoleon_use_ivar=True, napoleon_use_rtype=False)
    words = str(napoleon.GoogleDocstring(text, config))
    stream = io.StringIO()
    settings = {"warning_stream": stream, "report_level": 2, "halt_level": 5, "input_encoding": "unicode"}
    docutils_core.publish_doctree(f".. default-role:: code\n\n{words}", settings_overrides=settings)
    return stream.getvalue()


@pytest.mark.parametrize("room", interface.rooms())
def test_docstrings_render(room):
    found = {name: said for name, text in documented(room) if (said := messages(text))}
    assert not found


def test_what_does_not_render_is_found():
    assert "substitution" in messages("Moves where |g| is large.")
    assert messages("Weights [*shape] of a layer.")
    assert not messages("Weights `[*shape]`.\n\nArgs:\n    x: of the layer, abs(g).")
