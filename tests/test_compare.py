"""The table beside other libraries: what is not installed, fails or differs says so, and ends nothing."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

import synsim


@pytest.fixture(scope="module")
def compare():
    path = Path(synsim.__file__).parent.parent / "experiments" / "compare.py"
    spec = importlib.util.spec_from_file_location("compare", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["compare"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["compare"]


def test_rows_that_cannot_be_measured_say_why(compare):
    def fails():
        raise RuntimeError("no such thing")

    def value(number):
        return lambda: lambda: {"w": torch.full((3,), number)}

    rows = [
        compare.Row("sum", "synsim", "synsim", value(2.0)),
        compare.Row("sum", "other", "torch", value(2.5), "another sum", compare.relative),
        compare.Row("sum", "absent", "no-package-of-this-name", value(1.0)),
        compare.Row("sum", "broken", "torch", fails),
    ]
    ours, other, absent, broken = compare.measured(rows, turns=2)
    assert (ours.version, ours.times_ours) == (synsim.__version__, 1.0)
    assert other.agreement == "differs by at most 0.2 of the largest"
    assert (absent.agreement, absent.seconds) == ("not installed", None)
    assert broken.agreement == "failed: RuntimeError: no such thing"
    assert compare.line(absent) == "| sum | absent | – | – | – | – | not installed |"
    assert compare.line(other).endswith("differs by at most 0.2 of the largest; another sum |")
