"""The re-analysis of recorded synapses, on made ones with a known correlation, against plain loops and scipy."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import synsim

FOLDER = Path(synsim.__file__).resolve().parent.parent / "analysis"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("analysis_recorded_synapses", FOLDER / "recorded_synapses.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(path, names, rows):
    lines = [",".join(names), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def synapses(rng, count=40):
    """Release probabilities, and strengths whose relative change falls with them."""
    p = rng.uniform(0.1, 0.95, count)
    size = np.clip(0.9 - 0.7 * p + rng.normal(0, 0.15, count), 0.02, None)
    sign = np.where(np.arange(count) % 2 == 0, 1, -1)
    before = rng.uniform(0.3, 3.0, count)
    return p, before, before * (1 + sign * size), ["LTP" if s > 0 else "LTD" for s in sign]


def written(path, rng, count=40):
    p, before, after, protocol = synapses(rng, count)
    rows = [(f"cell {k}", protocol[k], p[k], before[k], after[k]) for k in range(count)]
    return table(path, ["cell", "protocol", "p_before", "strength_before", "strength_after"], rows)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_numbers_against_loops_and_scipy(script, rng, tmp_path):
    file = written(tmp_path / "a.csv", rng)
    read = script.read(file)
    p, before, after, _ = synapses(np.random.default_rng(3))
    wanted = [abs(b - a) / a for a, b in zip(before, after, strict=True)]
    np.testing.assert_allclose(script.change(read), wanted, rtol=1e-12)
    found = script.correlations(read)
    x, y = p - p.mean(), np.array(wanted) - np.mean(wanted)
    r = sum(x * y) / math.sqrt(sum(x * x) * sum(y * y))
    one = found["all"]
    assert one["r"] == pytest.approx(r, abs=1e-12)
    t = r * math.sqrt(38 / (1 - r * r))
    assert one["p"] == pytest.approx(2 * stats.t.sf(abs(t), 38), rel=1e-6)
    z, half = math.atanh(r), 1.959963984540054 / math.sqrt(37)
    assert one["interval"] == pytest.approx([math.tanh(z - half), math.tanh(z + half)], abs=1e-9)
    ranks = [stats.rankdata(values) for values in (p, wanted)]
    assert one["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-12)
    assert one["r"] < -0.5
    assert one["n"] == 40
    assert found["LTP"]["n"] == found["LTD"]["n"] == 20
    even = slice(0, None, 2)
    assert found["LTP"]["r"] == pytest.approx(np.corrcoef(p[even], np.array(wanted)[even])[0, 1], abs=1e-12)


def test_a_known_correlation_lies_in_the_interval_as_often_as_it_says(script, rng):
    truth, inside = -0.4416, 0
    for _ in range(400):
        x = rng.normal(size=30)
        y = truth * x + math.sqrt(1 - truth**2) * rng.normal(size=30)
        low, high = script.correlation(x, y)["interval"]
        inside += low <= truth <= high
    assert 400 * 0.95 - 3 * math.sqrt(400 * 0.95 * 0.05) <= inside <= 400


def test_the_sign_can_be_kept(script, rng, tmp_path):
    read = script.read(written(tmp_path / "a.csv", rng))
    signed = script.change(read, "signed")
    assert (signed < 0).sum() == 20
    np.testing.assert_array_equal(np.abs(signed), script.change(read))
    assert script.correlations(read, "signed")["all"]["r"] != script.correlations(read)["all"]["r"]


def test_quanta_and_variation_say_the_same_as_p_and_strength(script, rng, tmp_path):
    p, before, after, protocol = synapses(rng, 12)
    p_after, sites = rng.uniform(0.2, 1, 12), 5
    plain = script.read(written(tmp_path / "plain.csv", np.random.default_rng(3), 12))
    quanta = [(k, protocol[k].lower(), p[k], p_after[k], before[k] / p[k], after[k] / p_after[k]) for k in range(12)]
    names = ["cell", "protocol", "p_before", "p_after", "q_before", "q_after"]
    found = script.read(table(tmp_path / "quanta.csv", names, quanta))
    np.testing.assert_allclose(script.change(found), script.change(plain), rtol=1e-12)
    # The response of N sites has mean N p q and variance N p (1 - p) q².
    cv = np.sqrt(sites * p * (1 - p)) / (sites * p)
    rows = [(k, protocol[k], cv[k], before[k], after[k]) for k in range(12)]
    file = table(tmp_path / "cv.csv", ["cell", "protocol", "cv_before", "strength_before", "strength_after"], rows)
    np.testing.assert_allclose(script.read(file, sites).p, p, rtol=1e-12)
    with pytest.raises(ValueError, match="--sites"):
        script.read(file)
    with pytest.raises(ValueError, match="at least 1"):
        script.read(file, 0)


GOOD = ["a", "LTP", "0.5", "1.0", "1.5"]
NAMES = ["cell", "protocol", "p_before", "strength_before", "strength_after"]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("p_before", "half", "line 4: p_before must be a number, got 'half'"),
        ("p_before", "", "p_before must be a number"),
        ("p_before", "0", r"p_before must be in \(0, 1\], got 0"),
        ("p_before", "1.01", r"must be in \(0, 1\], got 1.01"),
        ("p_before", "nan", r"must be in \(0, 1\], got nan"),
        ("strength_before", "0", "strength_before must be above 0"),
        ("strength_after", "-0.1", "strength_after must be not below 0"),
        ("strength_after", "inf", "strength_after must be"),
        ("protocol", "STP", "protocol must be LTP or LTD, got 'STP'"),
    ],
)
def test_what_does_not_fit_is_named_with_its_line(script, tmp_path, column, value, message):
    rows = [list(GOOD) for _ in range(8)]
    rows[2][NAMES.index(column)] = value
    with pytest.raises(ValueError, match=message):
        script.read(table(tmp_path / "a.csv", NAMES, rows))


def test_files_that_can_not_be_read(script, tmp_path):
    file = table(tmp_path / "a.csv", NAMES[:3], [GOOD[:3]] * 9)
    with pytest.raises(ValueError, match="lacks the columns strength_before, strength_after; it has cell, protocol"):
        script.read(file)
    with pytest.raises(ValueError, match="lacks the columns p_after, q_before"):
        script.read(table(file, [*NAMES[:3], "q_after"], [GOOD[:4]] * 9))
    with pytest.raises(ValueError, match="has 4 synapses; a correlation needs at least 5"):
        script.read(table(file, NAMES, [GOOD] * 4))
    with pytest.raises(ValueError, match="it has nothing"):
        script.read(table(file, [], []))
    with pytest.raises(ValueError, match="two columns p_before"):
        script.read(table(file, [*NAMES, "p_before"], [[*GOOD, "0.1"]] * 9))
    with pytest.raises(ValueError, match="line 3: it has another number of fields"):
        script.read(table(file, NAMES, [GOOD, GOOD[:4], *[GOOD] * 6]))
    with pytest.raises(ValueError, match="line 2: it has another number of fields"):
        script.read(table(file, NAMES, [[*GOOD, "1"], *[GOOD] * 6]))
    with pytest.raises(ValueError, match="there is no correlation"):
        script.correlations(script.read(table(file, NAMES, [GOOD] * 9)))
    assert len(script.read(table(file, NAMES, [*[GOOD] * 6, ["", " ", "", "", ""], GOOD])).p) == 7


def test_the_command_draws_and_says_what_is_missing(script, rng, tmp_path, capsys):
    file = written(tmp_path / "a.csv", rng)
    script.main([str(file), "--out", str(tmp_path / "figures")])
    said = capsys.readouterr().out
    assert "r = −0.4416, p < 0.01" in said
    assert "need the published data set" in said
    data = json.loads((tmp_path / "figures" / "recorded_synapses.json").read_text(encoding="utf-8"))
    assert data["correlation"]["all"]["r"] == pytest.approx(script.correlations(script.read(file))["all"]["r"])
    assert "need the published data set" in data["note"]
    assert len(data["p"]) == 40
    assert (tmp_path / "figures" / "recorded_synapses.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "figures" / "recorded_synapses.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit):
        script.main([str(tmp_path / "none.csv")])
    assert "none.csv" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        script.main(["--help"])
    assert "THE NUMBERS NEED THAT DATA SET" in capsys.readouterr().out
