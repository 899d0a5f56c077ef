"""Permuted tasks that pass into one another: the stream of examples, and training on it."""

import numpy as np
import pytest
import torch

import synsim
from synsim import tasks
from synsim.training import fit

SEEDS = [3, 11]


@pytest.fixture(scope="module")
def digits():
    return synsim.data.load("digits")


def published(draw, length=600_000, ramp=75_000, first=False, last=False):
    """Probability of the neighbour before and after at a draw, written from the protocol."""
    before = 0.5 - 0.5 * draw / ramp if draw < ramp and not first else 0.0
    after = 0.5 * (draw - (length - ramp)) / ramp if draw >= length - ramp and not last else 0.0
    return before, after


@pytest.mark.parametrize("phase", [0, 4, 9])
def test_the_probabilities_are_those_of_the_protocol(phase):
    stream = tasks.Transition(phase, 10, 60_000, 60_000, 10, 75_000)
    at = torch.arange(0, 600_000, 997)
    found = stream.shares(at)
    for draw, share in zip(at.tolist(), found.tolist(), strict=True):
        before, after = published(draw, first=phase == 0, last=phase == 9)
        assert max(-share, 0.0) == pytest.approx(before, abs=1e-12)
        assert max(share, 0.0) == pytest.approx(after, abs=1e-12)


def test_the_draws_follow_the_probabilities():
    stream = tasks.Transition(1, 3, 500, 20_000, 3, 7_500)
    drawn = torch.cat([stream(range(8), epoch) for epoch in range(3)], dim=1)
    task, image = drawn // 500, drawn % 500
    at = torch.arange(60_000)
    expected = stream.shares(at)
    for which, wanted in ((0, expected.clamp_max(0).abs()), (2, expected.clamp_min(0))):
        hits = (task == which).double().reshape(8, 24, 2_500)
        share = wanted.reshape(24, 2_500).mean(1)
        spread = (share * (1 - share) / (8 * 2_500)).sqrt()
        error = (hits.mean((0, 2)) - share).abs()
        assert bool((error <= 4 * spread + 1e-12).all())
    counts = np.bincount(image.flatten().numpy(), minlength=500)
    chi = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert 499 - 4 * np.sqrt(2 * 499) < chi < 499 + 4 * np.sqrt(2 * 499)


def test_the_ends_of_the_stream_have_no_neighbours():
    for phase, absent in ((0, -1), (2, 3)):
        stream = tasks.Transition(phase, 3, 500, 5_000, 1, 1_000)
        seen = set((stream(SEEDS, 0) // 500).flatten().tolist())
        assert absent not in seen
        assert phase in seen


def test_a_replica_draws_the_same_alone():
    stream = tasks.Transition(1, 3, 500, 5_000, 2, 1_000)
    both = stream(SEEDS, 0)
    assert torch.equal(both[1:], stream(SEEDS[1:], 0))
    assert not torch.equal(both, stream(SEEDS, 0, independent=True))
    assert not torch.equal(both, stream(SEEDS, 1))


def test_a_batch_holds_the_images_of_its_tasks(digits):
    sequence = tasks.continuous(digits, tasks=3, epochs=2, transition=1.0, seeds=SEEDS)
    plain = tasks.permuted(digits, tasks=3, seeds=SEEDS)
    index = sequence[1].order(SEEDS, 1, 0)[:, :50]
    x, y = sequence[1].batch(index)
    count = len(plain[0].train)
    assert len({int(one) // count for one in index.flatten()}) > 1
    for replica in range(2):
        for place in range(50):
            task, image = divmod(int(index[replica, place]), count)
            wanted = plain[task].train[image : image + 1][replica, 0]
            assert torch.equal(x[replica, place], wanted)
            assert int(y[replica, place]) == int(digits.y_train[image])
    assert torch.equal(sequence[1].test[0:5], plain[1].test[0:5])


def trained(digits, seeds, **more):
    sequence = tasks.continuous(digits, tasks=2, epochs=6, seeds=seeds)
    net = synsim.networks.initialised(synsim.mlp([64, 20, 10], p=0.25, replicas=len(seeds)), seeds)
    rule = synsim.PresynapticSGD(net, 0.05, p_up=0.05, p_down=0.05, g_lim=1e-3)
    history = fit(net, rule, sequence, seeds=seeds, epochs=6, batch=20, samples=1, **more)
    return net, history


def test_it_trains_and_later_tasks_are_known_best(digits):
    net, history = trained(digits, SEEDS)
    assert history.accuracy.shape == (2, 2, 2)
    assert bool((history.accuracy[:, 1, 1] > 0.5).all())
    assert bool((history.accuracy[:, 0, 0] > history.accuracy[:, 0, 1]).all())
    alone, single = trained(digits, SEEDS[1:])
    torch.testing.assert_close(history.accuracy[1:], single.accuracy)
    assert all(bool(torch.isfinite(p).all()) for p in [*net.parameters(), *alone.parameters()])


@pytest.mark.parametrize(
    ("options", "message"), [({"transition": 1.5}, "share between 0 and 1"), ({"epochs": 0}, "epochs")]
)
def test_what_does_not_fit_is_refused(digits, options, message):
    with pytest.raises(ValueError, match=message):
        tasks.continuous(digits, **options)
