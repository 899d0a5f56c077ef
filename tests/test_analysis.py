"""The figures of the experiments: their files, and the numbers in them against plain loops over the record."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import xarray

import synsim

FOLDER = Path(synsim.__file__).resolve().parent.parent / "analysis"
SEEDS = [3, 5, 8]


def script(name):
    spec = importlib.util.spec_from_file_location(f"analysis_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(name, dataset, folder, *more, figures=None):
    """The numbers of each figure; the axes of the record are turned round, so that only names can find them."""
    turned = dataset.transpose(*reversed(list(dataset.sizes)))
    files = script(name).draw(turned, folder, *more)
    figures = figures or [name]
    assert sorted(files) == sorted(folder / f"{f}{s}" for f in figures for s in (".pdf", ".png", ".json"))
    for file in files:
        assert file.stat().st_size > 500 or file.suffix == ".json", file
    assert files[0].read_bytes().startswith(b"%PDF")
    assert files[1].read_bytes().startswith(b"\x89PNG")
    return [json.loads((folder / f"{f}.json").read_text(encoding="utf-8")) for f in figures]


def close(found, wanted):
    np.testing.assert_allclose(np.array(found, dtype=float), np.array(wanted, dtype=float), rtol=1e-12, atol=1e-12)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def fisher_variants(rng):
    names, strengths, tasks = ["exact", "batched", "none"], [0.0, 1.0, 10.0, 100.0, 1000.0], 2
    accuracy = rng.uniform(0.2, 0.4, (3, 3, 5, tasks, tasks))
    level = {0: [0, 0.700, 0.955, 0.960, 0.800], 1: [0, 0.900, 0.895, 0.700, 0.990]}
    for model, values in level.items():
        accuracy[model, :, :, -1] = np.array(values)[None, :, None] + rng.normal(0, 1e-4, (3, 5, tasks))
    failed = np.zeros((3, 3, 5), dtype=bool)
    failed[:2, :, 0] = failed[2, :, 1:] = True
    failed[1, 2, 4] = True  # the best strength on average, but not with all seeds
    return xarray.Dataset(
        {
            "accuracy": (("model", "seed", "strength", "after_task", "test_task"), accuracy),
            "failed": (("model", "seed", "strength"), failed),
        },
        coords={"model": names, "seed": SEEDS, "strength": strengths},
    )


def test_fisher_variants(rng, tmp_path):
    data = fisher_variants(rng)
    (found,) = drawn("fisher_variants", data, tmp_path)
    assert found["best"] == {"exact": 100.0, "batched": 1.0}
    assert found["range_within_a_point"] == {"exact": [10.0, 100.0], "batched": [1.0, 10.0]}
    for model, name, strength in ((0, "exact", 3), (1, "batched", 1)):
        wanted = [100 * data.accuracy.values[model, s, strength, -1].mean() for s in range(3)]
        close(found["at_best_percent"][name], wanted)
    assert found["axes"] == ["model", "seed", "strength"]
    close(found["accuracy_percent"][2][1][0], 100 * data.accuracy.values[2, 1, 0, -1].mean())
    assert found["finished"] == {"exact": [3, 3, 3, 3], "batched": [3, 3, 3, 2]}


def test_importances(rng, tmp_path):
    names = ["si", "sos", "uniform", "magnitude", "si-2048", "sos-2048"]
    accuracy = rng.uniform(0.5, 0.9, (6, 3, 2, 2))
    failed = np.zeros((6, 3), dtype=bool)
    failed[2, 1] = True
    dataset = xarray.Dataset(
        {
            "accuracy": (("model", "replica", "after_task", "test_task"), accuracy),
            "failed": (("model", "replica"), failed),
        },
        coords={"model": names, "replica": range(3), "seed": ("replica", SEEDS)},
    )
    (found,) = drawn("importances", dataset, tmp_path)
    final = {name: [100 * accuracy[k, r, -1].mean() for r in range(3)] for k, name in enumerate(names)}
    final["uniform"][1] = np.nan
    assert set(found["accuracy_percent"]) == set(names)
    for name in names:
        close(found["accuracy_percent"][name], final[name])
    order = sorted(names, key=lambda name: -np.nanmean(final[name]))
    assert list(found["accuracy_percent"]) == order
    published = {"si": 97.2, "sos": 97.3, "si-2048": 96.2, "sos-2048": 97.1, "magnitude": 95.0, "uniform": 88.0}
    assert found["published_percent"] == published
    for name in ("si", "sos"):
        close(found["fall_points"][name], np.array(final[name]) - np.array(final[f"{name}-2048"]))
    found = script("importances").published_of(names)
    assert found["magnitude"][2]
    assert not found["si"][2]


def test_importance_relations(rng, tmp_path):
    names = ["SI", "SIU", "SIB", "SOS", "MAS", "MASX", "AF²", "Fisher", "√Fisher"]
    points = rng.gamma(1.0, 1.0, (3, 2, 9, 400))
    correlation = np.stack([[np.corrcoef(task) for task in replica] for replica in points])
    correlation[:, :, 0, 3] += 0.25  # not symmetric, so that a swap of the axes shows
    failed = np.array([True, False, False])
    dataset = xarray.Dataset(
        {
            "correlation": (("replica", "task", "measure", "other"), correlation),
            "points": (("replica", "task", "measure", "point"), points),
            "failed": ("replica", failed),
        },
        coords={"measure": names, "other": names, "replica": range(3), "seed": ("replica", SEEDS)},
    )
    figures = ["importance_relations", "importance_relations_intensity", "importance_relations_matrix"]
    scatter, intensity, matrix = drawn("importance_relations", dataset, tmp_path, figures=figures)
    assert scatter["pairs"][0] == ["SI", "SOS"]
    assert len(scatter["pairs"]) == 6
    close(scatter["correlation"][0][1:], correlation[1:, 1, 0, 3])
    x, y = points[1, 1, 0], points[1, 1, 3]
    close(scatter["points"][0], [x / x.max(), y / y.max()])
    bins = np.array(intensity["intensity"][0])
    assert bins.shape == (80, 50)
    assert set(bins.max(1)) == {0.0, 1.0}
    column = int(np.floor((x[0] - x.min()) / (x.max() - x.min()) * 80))
    row = int(np.floor((y[0] - y.min()) / (y.max() - y.min()) * 50))
    assert bins[min(column, 79), min(row, 49)] > 0
    close(matrix["mean"][0][3], correlation[1:, 1, 0, 3].mean())
    close(matrix["mean"][3][0], correlation[1:, 1, 3, 0].mean())
    close(matrix["sem"][0][3], correlation[1:, 1, 0, 3].std(ddof=1) / np.sqrt(2))


def test_path_integral(rng, tmp_path):
    names = ("SI", "SIU", "full gradient", "drop of the loss", "noise", "signal")
    values = {name: rng.uniform(0.5, 5.0, (3, 40)) for name in names}
    dataset = xarray.Dataset(
        {name: (("replica", "step"), value) for name, value in values.items()},
        coords={"step": np.arange(40) * 20, "seed": ("replica", SEEDS)},
    )
    (found,) = drawn("path_integral", dataset, tmp_path)
    for name in names[:4]:
        close(found["sums_nats"][name], values[name])
    ratio = values["noise"] / values["signal"]
    close(found["noise"]["median"], [np.median(row) for row in ratio])
    limits, shares = found["noise"]["limits"], found["noise"]["share_percent"]
    close([limits[0], limits[-1]], [ratio.min(), ratio.max()])
    for replica in range(3):
        for k in (0, 50, 120, 198):
            close(shares[replica][k], 100 * sum(value >= limits[k] for value in ratio[replica]) / 40)


def sliced_cramer(rng):
    models = {"permuted": ["scp", "mas", "ewc"], "encoder": ["scp", "mas"]}
    strengths, bins = [0.0, 0.1, 1.0, 10.0], np.linspace(-30, 10, 81)
    tasks = {"permuted": 2, "encoder": 5}
    variables, coords = {}, {"seed": SEEDS, "strength": strengths, "bin": (bins[1:] + bins[:-1]) / 2}
    for part, names in models.items():
        shape = (len(names), 3, 4)
        axes = (f"{part}_model", "seed", "strength")
        failed = np.zeros(shape, dtype=bool)
        failed[0, 0, 3] = True
        accuracy = rng.uniform(0.3, 0.6, (*shape, tasks[part], tasks[part]))
        accuracy[0, :, 3] = 0.99 if part == "permuted" else 0.01  # would be the best, but one seed failed
        shares = rng.dirichlet(np.ones(80), (*shape, tasks[part]))
        variables[f"{part}_accuracy"] = ((*axes, f"{part}_after_task", f"{part}_test_task"), accuracy)
        variables[f"{part}_failed"] = (axes, failed)
        variables[f"{part}_log_importance"] = ((*axes, f"{part}_task", "bin"), shares)
        coords[f"{part}_model"] = names
    return xarray.Dataset(variables, coords=coords)


def test_sliced_cramer(rng, tmp_path):
    dataset = sliced_cramer(rng)
    (found,) = drawn("sliced_cramer", dataset, tmp_path)
    for part, scale, sign in (("permuted", 100, 1), ("encoder", 1000, -1)):
        accuracy = dataset[f"{part}_accuracy"].values
        final = scale * accuracy[:, :, :, -1].mean(-1)
        final[0, 0, 3] = np.nan
        close(found[part]["final"], final)
        for model, name in enumerate(found[part]["models"]):
            usable = [1, 2] if model == 0 else [1, 2, 3]
            best = max(usable, key=lambda k: sign * final[model, :, k].mean())
            assert found[part]["best"][name] == dataset.strength.values[best]
            if part == "permuted":
                shares = dataset.permuted_log_importance.values[model, :, best, -1]
                close(found[part]["log_importance_percent"][name], 100 * shares.mean(0))
            else:
                close(found[part]["per_digit"][name], 1000 * accuracy[model, :, best, -1])
        if part == "encoder":
            close(found[part]["per_digit"]["none"], 1000 * accuracy[0, :, 0, -1])


def test_sliced_cramer_with_one_part(rng, tmp_path):
    dataset = sliced_cramer(rng)
    one = dataset.drop_vars([name for name in dataset.variables if name.startswith("permuted")])
    (found,) = drawn("sliced_cramer", one, tmp_path)
    assert "permuted" not in found
    assert list(found["encoder"]["best"]) == ["scp", "mas"]


def test_combinations(rng, tmp_path):
    kinds, importances, consolidations = ["plain", "stochastic"], ["fisher", "release-probability", "si"], list("abcd")
    final, none = rng.uniform(60, 90, (2, 3, 4, 3)), rng.uniform(50, 60, (2, 3))
    chosen, edge = rng.integers(0, 5, (2, 3, 4)).astype(float), rng.integers(0, 2, (2, 3, 4)).astype(float)
    final[0, 1], chosen[0, 1], edge[0, 1] = np.nan, np.nan, np.nan  # a row that was not run
    final[1, 2, 3, 0] = np.nan  # one seed failed
    final[1, 0, 0] = np.nan  # all failed
    axes = ("kind", "importance", "consolidation")
    dataset = xarray.Dataset(
        {
            "final": ((*axes, "seed"), final),
            "chosen": (axes, chosen),
            "edge": (axes, edge),
            "none_final": (("kind", "seed"), none),
        },
        coords={"kind": kinds, "importance": importances, "consolidation": consolidations, "seed": SEEDS},
    )
    (found,) = drawn("combinations", dataset, tmp_path)
    texts = {kind: script("combinations").texts(dataset, kind) for kind in kinds}
    for k, kind in enumerate(kinds):
        close(found["no_protection_percent"][kind], none[k])
        for i in range(3):
            for c in range(4):
                change = final[k, i, c] - none[k]
                change = change[~np.isnan(change)]
                assert found["difference_n"][kind][i][c] == len(change)
                assert found["at_edge"][kind][i][c] == (edge[k, i, c] == 1)
                assert texts[kind][i][c].count("*") == (edge[k, i, c] == 1)
                if len(change):
                    mean, sem = change.mean(), change.std(ddof=1) / np.sqrt(len(change))
                    close(found["difference_mean"][kind][i][c], mean)
                    close(found["difference_sem"][kind][i][c], sem)
                    assert texts[kind][i][c].startswith(f"+{mean:.1f} ± {sem:.1f}")
    assert texts["plain"][1] == [""] * 4
    assert texts["stochastic"][0][0].startswith("failed")
    scale = script("combinations").scale
    assert scale(np.array([[1.0, np.nan, 3.0]])) == {"colours": "Purples", "limits": (0.0, 3.0)}
    assert scale(np.array([-1.0, -3.0])) == {"colours": "Oranges_r", "limits": (-3.0, 0.0)}
    assert scale(np.array([-1.0, 3.0])) == {"colours": "PuOr", "limits": (-3.0, 3.0)}
    assert scale(np.array([np.nan]))["limits"] == (0.0, 1.0)
    assert texts["stochastic"][2][3].endswith("†")


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__"))
def test_every_script_says_what_it_wants(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        script(name).main(["--help"])
    assert stopped.value.code == 0
    assert name in capsys.readouterr().out
