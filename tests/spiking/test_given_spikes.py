"""Spike trains of the user's own: from lists and files to training, meters, lesions and importances."""

import numpy as np
import pytest
import torch

import synsim
from synsim import importance, lesions, meters, spiking, tasks
from synsim.data import Dataset, binned, load
from synsim.training import fit

N, T, NEURONS, DT = 24, 6, 5, 0.5
RNG = np.random.default_rng(1)
TRAINS = (RNG.random((N, T, NEURONS)) < 0.4).astype(np.uint8)
TRAINS[:, -1, -1] = 1
TRAINS[:, :, 0] = 0
LABELS = np.array(["left", "right"] * (N // 2))


def listed(trains: np.ndarray) -> dict[str, np.ndarray]:
    """Every spike in the middle of its step."""
    example, step, neuron = np.nonzero(trains)
    return {"time": (step + 0.5) * DT, "neuron": neuron, "example": example}


def net(**options: object) -> spiking.SpikingMLP:
    encoder = spiking.GivenSpikes(window=T * DT, dt=DT, replicas=options.get("replicas"))
    return spiking.spiking_mlp([NEURONS, 7, 2], encoder=encoder, dt=DT, threshold=0.3, gain=3.0, **options)


def task() -> tasks.Task:
    return tasks.single(Dataset.from_arrays(TRAINS, LABELS, dt=DT), pixels="unit")[0]


def test_a_list_of_spikes_becomes_the_trains_it_was_made_of():
    assert (binned(**listed(TRAINS), examples=N, dt=DT).numpy() == TRAINS).all()
    longer = binned(**listed(TRAINS), examples=N + 1, neurons=NEURONS + 2, window=(T + 1) * DT, dt=DT)
    assert longer.shape == (N + 1, T + 1, NEURONS + 2)
    assert (longer[:N, :T, :NEURONS].numpy() == TRAINS).all()
    assert int(longer.sum()) == TRAINS.sum()


def test_spikes_on_the_edge_of_a_step_belong_to_the_later_one():
    times = np.arange(10) * 0.1
    found = binned(times, [0] * 10, [0] * 10, examples=1, window=1.0, dt=0.1)
    assert found.flatten().tolist() == [1] * 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 1.0}, r"of 3 spikes come after the window of 1.0 ms, the last at 2 ms. Take a window of 2.5 ms"),
        ({"time": [0.0, np.nan, 1]}, "time must be finite"),
        ({"time": [0.0, -1, 1]}, "at least 0 ms"),
        ({"time": [0.0, 1]}, "one entry for each spike.*got 2, 3 and 3"),
        ({"time": [], "neuron": [], "example": []}, "one spike at least"),
        ({"neuron": [0, 1.5, 2]}, "neuron must hold whole numbers.*fractions"),
        ({"neuron": [0, -1, 2]}, "neuron must lie from 0 to 2, got -1"),
        ({"neurons": 2}, "neuron must lie from 0 to 1, got 2"),
        ({"examples": 1}, "example must lie from 0 to 0, got 1"),
        ({"dt": 0}, "dt must lie in"),
        ({"window": 2.2, "dt": 0.5}, "window must be a multiple of dt"),
        ({"neurons": 10**6, "examples": 10**6}, "GiB of memory"),
    ],
)
def test_lists_that_do_not_fit_are_refused(change, message):
    given = {"time": [0.0, 1, 2], "neuron": [0, 1, 2], "example": [0, 0, 1], "examples": 2, "dt": 0.5}
    with pytest.raises(ValueError, match=message):
        binned(**{**given, **change})


def test_spikes_that_share_a_step_are_counted():
    with pytest.warns(UserWarning, match="2 of 4 spikes share their step.*counted once"):
        found = binned([0, 0.1, 0.2, 1.5], [0] * 4, [0] * 4, examples=1)
    assert found.flatten().tolist() == [1, 1]


@pytest.mark.parametrize("tested", [False, True])
def test_both_files_make_the_same_data_set(tmp_path, tested):
    part = {"x_test": TRAINS[:4, :, :3].repeat(2, axis=2)[:, :, :NEURONS], "y_test": LABELS[:4]} if tested else {}
    np.savez(tmp_path / "trains.npz", x=TRAINS, y=LABELS, dt=DT, **part)
    more = {f"{name}_test": value for name, value in listed(part["x_test"]).items()} if tested else {}
    more |= {"y_test": LABELS[:4]} if tested else {}
    np.savez(tmp_path / "list.npz", **listed(TRAINS), y=LABELS, dt=DT, **more)
    one, other = (load(str(tmp_path / f"{name}.npz")) for name in ("trains", "list"))
    for name in ("x_train", "y_train", "x_test", "y_test"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert (one.dt, other.dt, one.names) == (DT, DT, ("left", "right"))
    assert "spike trains in steps of 0.5 ms of 6×5" in repr(one)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"window": 1.0}, "spikes come after the window"),
        ({"example": [99]}, "must have one entry for each spike"),
        ({"y": LABELS[:3]}, "example must lie from 0 to 2"),
        ({"time_test": [0.0]}, "missing neuron_test, example_test, y_test"),
    ],
)
def test_files_of_spikes_that_do_not_fit_are_refused(tmp_path, changed, message):
    np.savez(tmp_path / "list.npz", **{**listed(TRAINS), "y": LABELS, "dt": DT, **changed})
    with pytest.raises(ValueError, match=f"list.npz: .*{message}"):
        load(str(tmp_path / "list.npz"))


@pytest.mark.parametrize("replicas", [None, 3])
def test_the_net_sees_the_spikes_themselves(replicas):
    model, data = net(replicas=replicas, seed=4), task()
    x = data.train[:]
    spikes = model.encode(x)
    assert (spikes.movedim(0, 1).to(torch.uint8) == data.train.images).all()
    assert model.encoder.idle()
    with synsim.frozen(model):
        torch.testing.assert_close(model(x), model.run(spikes).logits)
    own = x if replicas is None else torch.stack([x, 1 - x, x])
    assert model(own).shape == ((len(x), 2) if replicas is None else (3, len(x), 2))


def test_what_is_no_train_is_refused():
    model = net()
    for x, message in (
        (torch.zeros(2, T * NEURONS + 1), f"vectors of {T} · neurons entries"),
        (torch.full((2, T * NEURONS), 0.5), "spikes must be 0 or 1"),
        (torch.full((2, T * NEURONS), 2.0), "must lie in"),
        (torch.zeros(2, T * (NEURONS + 1)), "inputs|features"),
    ):
        with pytest.raises(ValueError, match=message):
            model(x)
    with pytest.raises(ValueError, match=f"images must have {T * NEURONS} pixels"):
        model.encode(torch.zeros(2, NEURONS))


def test_everything_takes_them():
    model, data = net(replicas=2), task()
    rule = synsim.PresynapticSGD(model, 0.05, p_up=0.07, p_down=0.07, g_lim=0.001)
    before = model.layers[0].weight.clone()
    history = fit(model, rule, [data], seeds=(0, 1), epochs=2, batch=6)
    assert not torch.equal(before, model.layers[0].weight)
    assert history.accuracy.shape == (2, 1, 1)
    x = data.test
    torch.testing.assert_close(
        spiking.spikes_per_neuron(model, x)["input"][0].double(), x.images.double().sum(1).mean(0)
    )
    assert bool((spiking.events(model, x).spikes > 0).all())
    assert meters.mutual_information(model, x, x.y).shape == (2,)
    _, curve = lesions.lesion_curve(model, x, order="p", fractions=(0.0, 1.0), samples=2)
    assert curve.shape == (2, 2)
    found = importance.make("fisher", images=6).estimate(model, data.train)
    for value in found.values():
        assert bool((value >= 0).all())
        assert bool(value.any())
    assert not bool(found["layers.0.weight"][..., 0].any())  # a neuron that never fires
