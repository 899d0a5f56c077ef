"""Settings × seeds: what belongs to which replica, told apart by doing it by hand."""

import numpy as np
import pytest
import torch
import xarray

import synsim
from synsim import Sweep
from synsim.networks import initialised
from synsim.training import fit

GRID = {"lr": (0.1, 0.3), "decay": (0.0, 0.01, 0.1)}
SEEDS = (4, 2)


def by_hand() -> list[tuple[float, float, int]]:
    return [(lr, decay, seed) for lr in GRID["lr"] for decay in GRID["decay"] for seed in SEEDS]


def test_a_grid_is_every_combination_with_every_seed():
    sweep = Sweep(GRID, SEEDS)
    assert Sweep({"lr": np.array([0.1, 0.3])}, SEEDS).column("lr").tolist() == [0.1, 0.1, 0.3, 0.3]
    assert (len(sweep), sweep.replicas, sweep.names) == (6, 12, ("lr", "decay"))
    rows = zip(sweep.column("lr").tolist(), sweep.column("decay").tolist(), sweep.seeds, strict=True)
    assert list(rows) == by_hand()
    assert sweep.column(lambda setting: setting["lr"] * 10).tolist() == [10 * lr for lr, _, _ in by_hand()]
    assert repr(sweep) == "Sweep(2 lr × 3 decay × 2 seeds = 12 replicas)"
    assert [sweep.seeds[sweep.replicas_of(3)], sweep.replicas_of(3)] == [(4, 2), slice(6, 8)]


def test_measurements_are_found_under_their_names():
    sweep = Sweep(GRID, SEEDS)
    value = np.array([[1000 * lr + 10 * decay + seed, epoch] for lr, decay, seed in by_hand() for epoch in [7]])
    dataset = xarray.Dataset(
        {"loss": (("epoch", "replica"), value.T), "seconds": ("epoch", [1.0, 2.0])},
        {"replica": range(12), "seed": ("replica", list(sweep.seeds))},
        {"title": "kept"},
    )
    unfolded = sweep.unfold(dataset)
    assert unfolded.loss.dims == ("lr", "decay", "seed", "epoch")
    for lr, decay, seed in by_hand():
        assert float(unfolded.loss.sel(lr=lr, decay=decay, seed=seed)[0]) == 1000 * lr + 10 * decay + seed
    assert unfolded.seconds.equals(dataset.seconds)
    assert unfolded.attrs == {"title": "kept"}


def test_settings_that_are_no_grid_have_one_axis():
    settings = [{"up": 0.05, "name": "slow"}, {"up": 0.07, "name": "fast"}, {"up": 0.07, "name": "none"}]
    sweep = Sweep(settings, (0, 1))
    unfolded = sweep.unfold(xarray.Dataset({"a": ("replica", np.arange(6))}))
    assert unfolded.a.dims == ("setting", "seed")
    assert unfolded.name.values.tolist() == ["slow", "fast", "none"]
    assert unfolded.a.isel(setting=1).values.tolist() == [2, 3]
    assert sweep.each("name") == ("slow", "slow", "fast", "fast", "none", "none")


def test_the_best_setting_is_chosen_on_seeds_of_its_own():
    sweep = Sweep({"lr": (1, 2, 3)}, (0, 1, 2))
    by = torch.tensor([[9.0, 1.0, 1.0], [0.0, 5.0, 5.0], [9.0, torch.nan, 9.0]]).flatten()
    assert sweep.best(by) == 0
    assert sweep.best(by, chosen_on=(1, 2)) == 1
    assert sweep.best(by, chosen_on=(0, 1)) == 0
    assert sweep.best(by, chosen_on=(0,), most=False) == 1
    with pytest.raises(ValueError, match="every setting has a replica that failed"):
        sweep.best(by * torch.nan)


def test_what_is_no_replica_is_a_program_of_its_own():
    sweep = Sweep({"hidden": ((10,), (20, 20)), "lr": (0.1, 0.2, 0.3)}, (5, 6))
    programs = list(sweep.programs("hidden"))
    assert [program.common for program in programs] == [{"hidden": (10,)}, {"hidden": (20, 20)}]
    assert [program.numbers for program in programs] == [(0, 1, 2), (3, 4, 5)]
    assert programs[1].sweep.column("lr").tolist() == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]
    packed = list(sweep.programs("hidden", memory=50, each=12))
    assert [program.numbers for program in packed] == [(0, 1), (2,), (3, 4), (5,)]
    with pytest.raises(ValueError, match="more than memory=20 MiB"):
        list(sweep.programs("hidden", memory=20, each=12))
    for each in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="each must be"):
            list(sweep.programs(memory=20, each=each))


def test_a_replica_of_a_sweep_is_the_run_alone():
    (task,) = synsim.tasks.single(synsim.data.load("digits"))

    def trained(sweep: Sweep) -> xarray.Dataset:
        net = initialised(synsim.mlp([64, 10], replicas=sweep.replicas), sweep.seeds, sweep=True)
        rule = synsim.PresynapticSGD(net, sweep.column("lr"), p_up=0.07, p_down=0.07, g_lim=sweep.column("g_lim"))
        return sweep.unfold(fit(net, rule, [task], seeds=sweep.seeds, steps=20, batch=20).dataset())

    both = trained(Sweep({"lr": (0.05, 0.1), "g_lim": (1e-3, 1e-2)}, (1, 2)))
    alone = trained(Sweep({"lr": (0.1,), "g_lim": (1e-3,)}, (2,)))
    chosen = both.sel(lr=[0.1], g_lim=[1e-3], seed=[2])
    assert np.allclose(chosen.loss.values, alone.loss.values, rtol=1e-5)
    assert not np.allclose(both.sel(lr=[0.05], g_lim=[1e-3], seed=[2]).loss.values, alone.loss.values, rtol=1e-3)


@pytest.mark.parametrize(
    ("settings", "seeds", "words"),
    [
        (GRID, (), "at least one seed"),
        (GRID, (1, 1), "seed must be given once"),
        (GRID, (-1,), "every seed"),
        ([], (1,), "at least one setting"),
        ({"lr": 0.1}, (1,), "list of values"),
        ({"lr": torch.tensor(0.1)}, (1,), "list of values"),
        ({"lr": ()}, (1,), "one value at least"),
        ({"lr": "0.1"}, (1,), "list of values"),
        ({"lr": (0.1, np.float64(0.1))}, (1,), "twice"),
        ([{"lr": 1}, {"lr": 1}], (1,), "twice"),
        ([{"lr": 1}, {"decay": 1}], (1,), "same names"),
        ({"seed": (1, 2)}, (1,), "none of replica, seed"),
    ],
)
def test_what_is_no_sweep(settings, seeds, words):
    with pytest.raises((ValueError, TypeError), match=words):
        Sweep(settings, seeds)


def test_questions_that_have_no_answer():
    sweep = Sweep({"lr": (0.1, 0.2), "kind": ("a", "b")}, (1,))
    with pytest.raises(ValueError, match="expected one of lr, kind, got 'rate'"):
        sweep.column("rate")
    with pytest.raises(ValueError, match="separate programs"):
        sweep.column("kind")
    with pytest.raises(ValueError, match="with 4 replicas, got 3"):
        sweep.unfold(xarray.Dataset({"a": ("replica", [1, 2, 3])}))
    with pytest.raises(ValueError, match="axes lr already"):
        sweep.unfold(xarray.Dataset({"a": (("replica", "lr"), np.zeros((4, 2)))}))
    with pytest.raises(ValueError, match="one number per replica"):
        sweep.best([1.0])
    with pytest.raises(ValueError, match="seeds of"):
        sweep.best([1.0] * 4, chosen_on=(7,))
    with pytest.raises(ValueError, match="setting"):
        sweep.replicas_of(4)
