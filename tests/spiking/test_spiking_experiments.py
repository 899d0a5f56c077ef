"""The experiments with spikes run on the digits, leave a record, draw their figures and can be resumed."""

import pytest
from small_runs import SPIKING, runs_resumes_and_is_drawn

pytestmark = pytest.mark.usefixtures("scripts")


@pytest.mark.parametrize("name", SPIKING)
def test_it_runs_resumes_and_is_drawn(name, tmp_path, capsys):
    if name == "brian2_check":
        pytest.importorskip("brian2")
    runs_resumes_and_is_drawn(name, tmp_path / "run", capsys)
