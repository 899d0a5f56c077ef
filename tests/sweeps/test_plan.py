"""A grid in words becomes cells; whatever does not fit is refused before anything runs."""

import json
from pathlib import Path

import pytest
import tiny

from synsim import records, sweeps
from synsim.sweeps import cell, mixing, plan, source, values
from synsim.sweeps.mixing import Probe
from synsim.training.stopping import StoppedError

SCRIPT = source.find(Path(tiny.__file__))


def cells(grid, seeds=(1, 2), out=Path("/nowhere"), options=None, each=2):
    return plan.cells(SCRIPT, grid, seeds, out, options=options or {}, seeds_per_cell=each)


def test_a_grid_is_cells_with_names():
    made = cells({"rate": ["0.5", 2], "widths": ["2", (2, 3)]})
    assert [cell.name for cell in made] == ["rate=0.5,widths=2", "rate=0.5,widths=2+3", "rate=2.0,widths=2",
                                            "rate=2.0,widths=2+3"]  # fmt: skip
    config = made[1].config()
    assert (config.rate, config.widths, config.seeds, config.out) == (0.5, (2, 3), (1, 2), str(made[1].folder))
    assert plan.cell_of(json.loads(json.dumps(made[1].message()))).config() == config


def test_seeds_are_replicas_or_cells_of_their_own():
    made = cells({"rate": [1.0]}, (1, 2, 3, 4, 5), each=2)
    assert [cell.name for cell in made] == ["rate=1.0,seeds=1-2", "rate=1.0,seeds=3-4", "rate=1.0,seeds=5"]
    assert [cell.name for cell in cells({}, (7,), each=1)] == ["seeds=7"]


def test_names_that_a_folder_cannot_have_are_made_otherwise():
    names = [cell.name for cell in cells({"data": ["a/b", "a?b", "../x", "y" * 300]})]
    assert len(set(names)) == 4
    assert all(len(name) < 200 and "/" not in name and not name.startswith(".") for name in names)


def test_words_of_a_grid_and_of_seeds():
    assert values.grid_of(["lr=0.1, 1", "--max-len=2 3,4"]) == {"lr": ["0.1", "1"], "max_len": ["2 3", "4"]}
    assert values.seeds_of(["1:3", "7", 9]) == (1, 2, 3, 7, 9)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"rates": [1]}, "must be one of .* Did you mean 'rate'"),
        ({"rate": ["fast"]}, "rate must be a number, got 'fast'"),
        ({"rate": [float("nan")]}, "rate must be a number, got nan"),
        ({"rate": [True]}, "rate must be a number, got True"),
        ({"steps": [1.5]}, "steps must be a whole number, got 1.5"),
        ({"flag": ["perhaps"]}, "flag must be true or false"),
        ({"kind": ["strange"]}, "kind must be one of plain, broken, rare"),
        ({"widths": [()]}, "widths must have at least one value"),
        ({"rate": []}, "rate must have a list of values"),
        ({"rate": 0.5}, "rate must have a list of values"),
        ({"rate": [1, "1.0"]}, "twice"),
        ({"seeds": [1]}, "--seeds 1:20"),
        ({"out": ["a"]}, "out changes no result"),
        ({"epochs": [0]}, "epochs=0: epochs must be a whole number"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused(grid, words):
    with pytest.raises(ValueError, match=words):
        cells(grid)


@pytest.mark.parametrize("word", ["lr", "lr=", "=1", "lr=1,,2"])
def test_words_that_are_no_axis_are_refused(word):
    with pytest.raises(ValueError, match="--grid must be NAME=VALUE"):
        values.grid_of([word])


@pytest.mark.parametrize(
    ("seeds", "words"),
    [(["5:1"], "did you mean 1:5"), (["a"], "range such as 1:20"), ([1, "1:2"], "once"), ([], "at least one"),
     ([-1], "at least 0"), (["0:9999999"], "a million")],
)  # fmt: skip
def test_seeds_that_are_none_are_refused(seeds, words):
    with pytest.raises(ValueError, match=words):
        values.seeds_of(seeds)


def test_an_experiment_is_found_by_name_path_module_or_itself():
    here = Path(tiny.__file__).parent
    assert source.find("tiny", [here]) == SCRIPT == source.find(tiny.EXPERIMENT)
    assert source.load(source.find("tiny:EXPERIMENT")) is tiny.EXPERIMENT is source.load(SCRIPT)
    with pytest.raises(ValueError, match=r"a script in .*tiny"):
        source.find("tinny", [here])
    with pytest.raises(ValueError, match="under a name of its own"):
        source.find(object())
    with pytest.raises(ValueError, match="no experiment OTHER"):
        source.load(source.find("tiny:OTHER"))
    with pytest.raises(ValueError, match="not the script that the sweep was started with"):
        source.load(source.Source(SCRIPT.module, digest="0" * 64))


def test_a_cell_with_another_config_and_another_sweep_are_refused(tmp_path):
    run = records.create(tmp_path / "rate=0.5", {"rate": 0.7, "seeds": [1]})
    run.finish()
    before = (tmp_path / "rate=0.5" / "run.json").read_bytes()
    with pytest.raises(records.RunMismatchError, match=r"rate: 0\.7 in the run, 0.5 now"):
        sweeps.run(tiny.EXPERIMENT, {"rate": [0.5]}, seeds_per_cell=2, out=tmp_path, quiet=True)
    assert (tmp_path / "rate=0.5" / "run.json").read_bytes() == before
    plan.note(tmp_path, {"experiment": "tiny", "seeds": [1, 2], "seeds_per_cell": 2, "options": {}}, {})
    with pytest.raises(ValueError, match="holds another sweep: its seeds"):
        sweeps.run(tiny.EXPERIMENT, {"rate": [2.0]}, seeds=(1, 2, 3), seeds_per_cell=2, out=tmp_path, quiet=True)
    with pytest.raises(ValueError, match="no options typo"):
        sweeps.run(tiny.EXPERIMENT, {}, options={"typo": 1}, out=tmp_path / "new", quiet=True)


def test_the_fastest_mix_is_taken():
    steps = {8: 8.0, 4: 3.9, 2: 2.0, 1: 1.0}  # eight replicas cost as much as eight runs, but halves fit the caches
    probes = {count: Probe(count, step) for count, step in steps.items()}
    assert mixing.candidates(8) == [8, 4, 2, 1]
    assert mixing.candidates(3) == [3, 2, 1]
    assert mixing.fastest(probes, settings=1, seeds=8, jobs=2) == 4
    assert mixing.fastest(probes, settings=1, seeds=8, jobs=1) == 8  # equal within 5 %: most replicas
    free = {count: Probe(count, 1.0, 1.0) for count in steps}
    assert mixing.fastest(free, settings=4, seeds=8, jobs=2) == 8
    assert mixing.fastest({8: Probe(8)}, settings=1, seeds=8, jobs=2) == 8


class Watch:
    """Runs nothing: probes are answered from a table, and written down."""

    def __init__(self, jobs, **answers):
        self.jobs, self.answers, self.asked = jobs, answers, []

    def probe(self, each, seconds):
        self.asked.append(len(each.seeds))
        answer = self.answers[f"of{len(each.seeds)}"]
        return Probe(len(each.seeds), **(answer if isinstance(answer, dict) else answer[self.asked.count(4) - 1]))

    def execute(self, todo, done, stop):
        for each in todo:
            done(cell.Outcome(each.name, "finished"))

    def close(self):
        pass


@pytest.mark.parametrize(
    ("jobs", "answers", "asked", "taken"),
    [
        # A long cell: the first moment counts, though it has loaded everything too, since only steps are told by it.
        (2, {"of4": {"step": 4.0}, "of2": {"step": 2.0}, "of1": {"step": 1.0}}, [4, 2, 1], 2),
        # A cell that ended is asked again: the first time has the load in it.
        (1, {"of4": [{"step": 1e-3, "whole": 3.0}, {"step": 1e-3, "whole": 0.1}]}, [4, 4], 4),
        (
            2,
            {
                "of4": [{"step": 1e-3, "whole": 3.0}, {"step": 1e-3, "whole": 0.1}],
                "of2": {"step": 1e-3, "whole": 0.04},
                "of1": {"step": 1e-3, "whole": 0.03},
            },
            [4, 4, 2, 1],
            2,
        ),
        (1, {"of4": {"message": "ValueError: broken"}}, [4], 4),
    ],
)
def test_the_mix_is_measured_with_as_few_moments_as_tell_it(tmp_path, jobs, answers, asked, taken):
    watch = Watch(jobs, **answers)
    sweeps.run(tiny.EXPERIMENT, {}, watch, seeds=(1, 2, 3, 4), out=tmp_path, quiet=True)
    assert watch.asked == asked
    assert plan.noted(tmp_path)["seeds_per_cell"] == taken
    again = Watch(jobs)
    sweeps.run(tiny.EXPERIMENT, {}, again, seeds=(1, 2, 3, 4), out=tmp_path, quiet=True)
    assert again.asked == []


def test_a_hiccup_is_not_taken_for_the_time_of_a_step(tmp_path, monkeypatch):
    """Of nine steps of 1 ms one takes 201 ms."""
    moments = iter([0.0, *(10.0 + 1e-3 * step + 0.2 * (step > 5) for step in range(12))])
    monkeypatch.setattr(mixing.time, "monotonic", lambda: next(moments))

    def runs(experiment, config, folder, stops):
        while not stops():
            pass
        raise StoppedError

    monkeypatch.setattr(mixing, "measured", runs)
    (cell_of_one,) = cells({}, out=tmp_path)
    found = mixing.probe(cell_of_one, 0.206, lambda: False)
    assert found.step == pytest.approx(1e-3)
    assert found.whole == float("inf")
