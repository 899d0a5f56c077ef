"""The README is short, and its numbers are those of the report."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "REPRODUCTION.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def front():
    spec = importlib.util.spec_from_file_location("front", ROOT / "analysis" / "front.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 110


def test_the_table_is_that_of_the_report(front):
    assert front.written(README, PAGE) == README


def test_another_page_makes_another_table(front):
    assert front.written(README, PAGE.replace("82.90 ± 0.01", "12.34 ± 0.01")) != README


def test_every_cell_is_filled(front):
    lines = front.table(PAGE).splitlines()[2:]
    assert len(lines) == 5
    assert not any("–" in line for line in lines)


def test_a_page_without_the_table_is_refused(front):
    with pytest.raises(SystemExit, match="column 1: Split MNIST"):
        front.table("# another page\n")
