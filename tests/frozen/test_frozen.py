"""Results of small runs, bit for bit those that are kept; where a machine rounds otherwise, near to them."""

import json

import pytest
import torch
from results import KEPT, RUNS, arithmetic, digest, summary

pytestmark = pytest.mark.usefixtures("one_thread")

kept = json.loads(KEPT.read_text())


def test_every_run_is_kept() -> None:
    assert set(RUNS) == set(kept["runs"])


@pytest.mark.parametrize("name", RUNS)
def test_no_bit_has_moved(name) -> None:
    found, before = RUNS[name](), kept["runs"][name]
    if kept["torch"] == torch.__version__.partition("+")[0] and kept["arithmetic"] == arithmetic():
        assert digest(found) == before["digest"]
    means = summary(found)
    assert set(means) == set(before["means"])
    for part, mean in means.items():
        assert mean == pytest.approx(before["means"][part], rel=0.1, abs=0.05), part
