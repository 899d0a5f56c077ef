"""The figure of a sweep: means with errors over the axes of its grid, and the best cell by seeds that are not told."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from matplotlib import pyplot
from test_processes import Here

from synsim import sweeps

pytestmark = pytest.mark.usefixtures("scripts")
SEEDS = (1, 2, 3, 4)
GRID = {"rate": [2.0, 0.5, 50.0], "widths": [2, "2 3"], "flag": [True, False]}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    out = tmp_path_factory.mktemp("swept")
    assert sweeps.run(tiny.EXPERIMENT, GRID, Here(), seeds=SEEDS, out=out, seeds_per_cell=2, quiet=True).complete
    return out


@pytest.fixture
def script():
    from analysis import sweep

    yield sweep
    pyplot.close("all")


def means(table, **setting):
    for name, value in setting.items():
        table = table[table[name] == value]
    return table.value.mean()


def drawn(script, capsys, *arguments):
    script.main([str(each) for each in arguments])
    said = capsys.readouterr().out.splitlines()
    return said, json.loads(next(Path(line) for line in said if line.endswith(".json")).read_text())


def test_the_table_has_one_row_per_cell_seed_and_metric_and_a_column_per_setting(swept):
    table = sweeps.table(swept)
    assert len(table) == 3 * 2 * 2 * len(SEEDS)
    assert not table.duplicated(["rate", "widths", "flag", "seed", "metric"]).any()
    assert set(table.widths) == {2, "2 3"}
    assert set(table.flag) == {True, False}


def test_a_heat_map_has_the_means_of_its_cells(swept, script, capsys, tmp_path):
    said, data = drawn(script, capsys, swept, "--axes", "rate", "widths", "--at", "flag=True", "--out", tmp_path)
    table = sweeps.table(swept)
    expected = [
        [means(table, rate=rate, widths=widths, flag=True) for rate in (0.5, 2.0, 50.0)] for widths in ("2 3", 2)
    ]
    np.testing.assert_allclose(data["walk"], expected)
    best = {"rate": 50.0, "widths": "2 3", "flag": True}
    assert data["best"]["walk"] == best
    others = table[table.seed.isin([3, 4])]
    assert f": {means(others, **best):.0f}" in said[0].replace(" ± ", " ")
    assert said[0].endswith("(n = 2) at rate = 50, widths = 2 3, flag = True, chosen on seeds 1, 2")
    assert (tmp_path / "sweep.pdf").stat().st_size > 0


def test_lines_have_the_seeds_of_their_cells(swept, script, capsys):
    said, data = drawn(script, capsys, swept, "--axes", "rate", "--least", "--chosen-on", "4")
    assert data["best"]["walk"]["rate"] == 0.5
    table = sweeps.table(swept)
    assert np.shape(data["place at the end"]["walk"]) == (len(SEEDS), 3)
    widths, flag = (data["best"]["walk"][name] for name in ("widths", "flag"))
    expected = [means(table, rate=rate, widths=widths, flag=flag) for rate in (0.5, 2.0, 50.0)]
    np.testing.assert_allclose(np.mean(data["place at the end"]["walk"], axis=0), expected)
    assert "(n = 3)" in said[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--metric", "none"], "--metric must be one of place at the end"),
        (["--axes", "rat"], "--axes must be one of rate, widths, flag"),
        (["--axes", "rate", "widths", "flag"], "one axis or two"),
        (["--at", "rate=7"], "--at rate must be one of 2.0, 0.5, 50.0"),
        (["--methods", "run"], "--methods must be one of walk"),
        (["--chosen-on", "9"], "--chosen-on must name seeds of"),
    ],
)
def test_what_a_sweep_does_not_have_is_refused(swept, script, capsys, arguments, words):
    with pytest.raises(SystemExit):
        script.main([str(swept), *arguments])
    assert words in capsys.readouterr().err


def test_a_folder_that_is_no_sweep_says_so(script, capsys, tmp_path):
    with pytest.raises(SystemExit):
        script.main([str(tmp_path)])
    assert "is not the folder of a sweep" in capsys.readouterr().err
