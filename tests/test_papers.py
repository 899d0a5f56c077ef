"""What papers have printed stands in one place, and reads as it is printed."""

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import synsim
from synsim.papers import Published, benzing2022, schug2021

ROOT = Path(synsim.__file__).resolve().parent.parent
PAPERS = sorted((ROOT / "synsim" / "papers").glob("*.py"))
READERS = [
    path
    for folder in ("synsim", "experiments", "analysis")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path not in PAPERS
]
DIGITS = 3


def significant(number: str) -> int:
    """Digits of a number in the source, without zeros in front of it."""
    return len(number.lower().partition("e")[0].replace("_", "").replace(".", "").lstrip("0"))


def numbers(path: Path) -> set[float]:
    """Numbers between two whole ones, of three digits or more: literals, and inside of texts."""
    source = path.read_text(encoding="utf-8")
    tree, found = ast.parse(source), set[float]()
    prose = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings may quote
    for node in ast.walk(tree):
        if node in prose:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            texts = [ast.get_source_segment(source, node) or ""]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts = re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)", node.value)
        else:
            continue
        found.update(float(text) for text in texts if float(text) % 1 and significant(text) >= DIGITS)
    return found


def values(part: object) -> Iterator[float]:
    """The means and constants of a module of a paper; errors are too common to tell where they are from."""
    if isinstance(part, Published):
        yield part.mean
    elif isinstance(part, float):
        yield part
    elif isinstance(part, Mapping):
        yield from values(list(part.values()))
    elif isinstance(part, list | tuple):
        for each in part:
            yield from values(each)


def test_no_published_number_stands_twice():
    modules = [importlib.import_module(f"synsim.papers.{path.stem}") for path in PAPERS if path.stem != "__init__"]
    printed = {abs(value) for module in modules for value in values(vars(module))}
    printed = {value for value in printed if value % 1 and significant(repr(value)) >= DIGITS}
    assert len(printed) > 70  # the tables were read
    twice = {path.relative_to(ROOT).as_posix(): sorted(printed & numbers(path)) for path in READERS}
    assert {name: found for name, found in twice.items() if found} == {}


@pytest.mark.parametrize(
    ("published", "text"),
    [
        (schug2021.TABLE_4_1["split", "mnist"]["presynaptic"], "82.90 ± 0.01"),
        (schug2021.TABLE_4_1["split", "mnist"]["ewc"], "70.41 ± 4.20"),
        (schug2021.CODE_4_1["split", "mnist"]["none"], "80.3"),
        (schug2021.GHOST["split"], "−1.4 (t = 3.44, p < 0.05)"),
        (schug2021.GHOST["permuted"], "−5.6 (t = 6.72, p < 0.01)"),
        (schug2021.CONTINUOUS["mnist", "presynaptic"], "85.39 ± 0.6"),
        (schug2021.PERCEPTRON_AVERAGE["standard"], "0.8862 ± 0.0046"),
        (schug2021.RECORDED, "Pearson r = −0.4416, p < 0.01"),
        (benzing2022.ACCURACY["si"], "97.2 ± 0.1"),
        (benzing2022.ACCURACY["uniform"], "88"),
        (Published(-5e-7), "−0.0000005"),
        (Published(-1.0, 0.25), "−1.00 ± 0.25"),
    ],
)
def test_a_published_value_reads_as_it_is_printed(published, text):
    assert str(published) == text


def test_a_published_value_with_so_many_digits():
    assert Published(-1.4, 0.407).printed(1) == "−1.4 ± 0.4"
    assert Published(2.0).printed(2) == "2.00"
    with pytest.raises(ValueError, match="digits must be a whole number from 0 to 20, got -1"):
        Published(2.0).printed(-1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Published(float("nan")), r"mean must lie in \(-inf, inf\), got nan"),
        (lambda: Published(1.0, float("nan")), r"sem must lie in \[0, inf\), got nan"),
        (lambda: Published(1.0, 0.1, 1.5), "n must be"),
    ],
)
def test_what_is_no_published_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_curve_is_what_was_read_where_it_was_read():
    curve = benzing2022.CURVES["5.1A"]["kfac"]
    assert curve.at(600).mean == 0.326
    assert str(benzing2022.CURVES["5.6A"]["kfac"].at(6000)) == "0.00012"
    with pytest.raises(ValueError, match=r"Fig. 5.1A was read at steps \[600, .*\], got 601"):
        curve.at(601)


def test_curves_are_as_long_as_their_steps_and_name_their_figure():
    for figures in (benzing2022.CURVES, benzing2022.COSINES):
        for figure, curves in figures.items():
            for curve in curves.values():
                assert (curve.figure, len(curve.values)) == (figure, len(curve.steps))
