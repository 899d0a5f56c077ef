"""The experiment on owned synapses: what its table, remarks and figure say of a record that is known."""

import importlib
import json

import numpy as np
import pytest
import torch
import xarray

from analysis import owned as figure

SEEDS = (3, 5, 8)
COUNT = 4

pytestmark = pytest.mark.usefixtures("scripts")


@pytest.fixture
def script():
    return importlib.import_module("owned")


def config(script, **options):
    return script.Config(
        **{
            "data": "digits", "seeds": SEEDS, "tasks": COUNT, "gammas": (0.9, 0.99), "retrain": (0, 1),
            "alphas": (1.0, 2.0), "hidden": (5,), **options,
        }
    )  # fmt: skip


def record(script, chosen):
    """Measurements as `fit` leaves them, of random numbers; EfficientPackNet with α = 1 and γ = 0.99 is full."""
    rng, every = np.random.default_rng(4), script.settings(chosen)
    names, shape = [script.label(one) for one in every], (len(every), len(SEEDS))
    after = rng.uniform(0.5, 1, (*shape, COUNT, COUNT))
    for place, one in enumerate(every):
        for k in range(COUNT):
            after[place, :, k, k + 1 :] = np.nan
            if one["method"] in script.OWNED:
                after[place, :, k:, k] = after[place, :, k, k][:, None]
    claimed = rng.uniform(0, 0.2, (*shape, COUNT))
    claimed /= np.array([one["alpha"] for one in every])[:, None, None]
    place = names.index("efficient-packnet α = 1, γ = 0.99")
    claimed[place] = [0.5, 0.5, 0, 0]
    full = np.zeros((*shape, COUNT))
    full[place, 0, 2:] = full[place, 1, 3:] = 1
    failed = np.zeros(shape, bool)
    failed[0, 2] = True
    axes = ("model", "replica", "task")
    dataset = xarray.Dataset(
        {
            "accuracy": (("model", "replica", "after_task", "test_task"), after),
            "claimed": (axes, claimed),
            "used": (axes, claimed.cumsum(-1)),
            "density": (axes, 1.5 * claimed),
            "dense_accuracy": (axes, np.full((*shape, COUNT), 0.9)),
            "energy": (axes, np.full((*shape, COUNT), [2.0, 3, 4, 5])),
            "full": (axes, full),
            "failed": (axes[:2], failed),
        },
        coords={"model": names, "replica": range(len(SEEDS))},
    )
    coordinates = {name: ("model", [one[name] for one in every]) for name in ("method", "alpha", "gamma", "retrain")}
    return script.curves(dataset).assign_coords(coordinates), after


def test_the_settings_are_those_that_were_measured_by_prototypes(script):
    found = [script.label(one) for one in script.settings(config(script, alphas=(1.0, 2.0, 3.0)))]
    assert found == [
        "single", "naive", "packnet", "packnet, retrained",
        *(f"efficient-packnet α = {alpha}, γ = {gamma}" for gamma in (0.9, 0.99) for alpha in (1, 2, 3)),
        *(f"efficient-packnet α = {alpha}, γ = 0.9, retrained" for alpha in (1, 2, 3)),
    ]  # fmt: skip
    rates = {one["alpha"]: one["rate"] for one in script.settings(config(script))}
    assert rates == {1.0: 1e-3, 2.0: pytest.approx(1e-2)}
    bare = {"alphas": (1.0, 2.0, 3.0), "gammas": ()}
    several = script.settings(config(script, methods=("packnet",), retrain=(2,), **bare))
    assert [script.label(one) for one in several] == ["packnet, 2 epochs retrained"]


def test_the_rate_is_another_one_while_a_task_retrains(script):
    assert script.paced(config(script), 1) is None
    assert script.paced(config(script, retrain_factor=0.1), 0) is None
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedule, rates = script.paced(config(script, epochs=2, retrain_factor=0.1), 1)(sgd), []
    for _ in range(6):
        rates.append(sgd.param_groups[0]["lr"])
        sgd.step()
        schedule.step()
    assert rates == pytest.approx([0.5, 0.5, 0.05, 0.5, 0.5, 0.05])


def test_accuracy_so_far_and_what_has_moved(script):
    chosen = config(script)
    dataset, after = record(script, chosen)
    for place, name in enumerate(dataset.model.values):
        for r in range(len(SEEDS)):
            own = [after[place, r, k, k] for k in range(COUNT)]
            for k in range(COUNT):
                so_far = own[: k + 1] if name == "single" else after[place, r, k, : k + 1]
                assert float(dataset.average[place, r, k]) == pytest.approx(np.mean(so_far))
            moved = 0 if name == "single" else max(abs(after[place, r, -1, k] - own[k]) for k in range(COUNT))
            assert float(dataset.moved[place, r]) == pytest.approx(moved, abs=1e-15)
            assert (float(dataset.moved[place, r]) == 0) == (name != "naive")


def test_the_table_says_who_knows_the_task_and_where_a_network_is_full(script):
    chosen = config(script)
    dataset, after = record(script, chosen)
    found = {(row["method"], row["metric"]): row for row in script.rows(chosen, dataset)}
    assert {method for method, metric in found if metric == script.FINAL} == {"naive"}
    # The third replica of the first model failed.
    assert found["single", script.KNOWN]["n"] == 2
    np.testing.assert_allclose(
        found["single", script.KNOWN]["values"][:2], 100 * np.diagonal(after[0, :2], axis1=1, axis2=2).mean(1)
    )
    alive = [(after[2, r, -1] > 0.8).sum() for r in range(len(SEEDS))]
    assert found["packnet", "tasks above 80% at the end"]["values"] == alive
    when = {name: row["values"] for (name, metric), row in found.items() if "no synapse free" in metric}
    assert when.keys() == {"efficient-packnet α = 1, γ = 0.99"}
    np.testing.assert_array_equal(np.array(when.popitem()[1], float), [3, 4, np.nan])
    tested = {key for key, row in found.items() if "test" in row}
    assert tested == {
        (f"efficient-packnet α = 2, γ = {gamma}", metric)
        for gamma in ("0.9", "0.99", "0.9, retrained")
        for metric in (script.KNOWN, script.USED)
    }
    one = found["efficient-packnet α = 2, γ = 0.9", script.USED]
    gap = np.mean(one["values"]) - np.mean(found["efficient-packnet α = 1, γ = 0.9", script.USED]["values"])
    assert one["test"]["df"] == 2
    assert np.sign(one["test"]["t"]) == np.sign(gap)


def test_remarks_say_whether_larger_powers_use_less_and_when_a_network_was_full(script):
    chosen = config(script)
    dataset, _ = record(script, chosen)
    found = script.remarks(chosen, dataset)
    assert found[0].startswith("Tests of packnet, efficient-packnet must know their task")
    assert found[1] == "at equal γ the used share falls with α."
    assert found[2].startswith(
        "efficient-packnet α = 1, γ = 0.99: no synapse was free any more from task 3, 4, never on"
    )
    assert len(found) == 3
    more = dataset.copy(deep=True)
    more.used[{"model": list(dataset.model.values).index("efficient-packnet α = 2, γ = 0.9")}] = 1.0
    assert "but for: efficient-packnet α = 2, γ = 0.9 uses 100.0 %" in script.remarks(chosen, more)[1]


def test_remarks_say_where_large_weights_leave_a_new_task_nothing_to_learn_with(script):
    chosen = config(script)
    dataset, _ = record(script, chosen)
    name = "efficient-packnet α = 2, γ = 0.9, retrained"
    place = list(dataset.model.values).index(name)
    dataset.dense_accuracy[place, :, 2:] = 0.4
    found = script.remarks(chosen, dataset)
    assert found[3] == (
        f"{name}: synapses are free, but beside those that are owned task 3 is learned to 40 % only (the first: 90 %). "
        "Σ|w̄| has grown from 2 to 4: steps of Adam move weights of a high power the further the larger they are. Use a "
        "smaller rate (--factor, --retrain-factor)."
    )
    assert len(found) == 4
    # A network that is full has another reason.
    dataset.full[place, :, 2:] = 1
    assert not [one for one in script.remarks(chosen, dataset) if "beside those" in one]
    # So has one whose accuracy is that of before.
    dataset.full[place] = 0
    dataset.dense_accuracy[place, :, 2:] = 0.46
    assert not [one for one in script.remarks(chosen, dataset) if "beside those" in one]


def test_the_figure_says_what_the_record_says(script, tmp_path):
    dataset, _ = record(script, config(script))
    figure.draw(dataset.transpose(*reversed(list(dataset.sizes))), tmp_path)
    data = json.loads((tmp_path / "owned.json").read_text(encoding="utf-8"))
    assert list(data) == ["γ = 0.9", "γ = 0.99", "γ = 0.9, retrained"]
    names = {"γ = 0.9": "{}, γ = 0.9", "γ = 0.99": "{}, γ = 0.99", "γ = 0.9, retrained": "{}, γ = 0.9, retrained"}
    for column, form in names.items():
        packnet = "packnet, retrained" if "retrained" in column else "packnet"
        wanted = {f"α = {alpha}": form.format(f"efficient-packnet α = {alpha}") for alpha in (1, 2)}
        wanted |= {"packnet": packnet}
        assert data[column]["used"].keys() == wanted.keys()
        for label, name in (*wanted.items(), ("naive", "naive")):
            np.testing.assert_allclose(data[column]["average"][label], 100 * dataset.average.sel(model=name).values)
        for label, name in wanted.items():
            np.testing.assert_allclose(data[column]["used"][label], 100 * dataset.used.sel(model=name).values)
        np.testing.assert_allclose(np.array(data[column]["average"]["single"][2], float), np.nan)
