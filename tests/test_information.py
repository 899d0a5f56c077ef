"""The uncertainty and the bias of mutual information: naive doubles, and worlds whose information is known."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats

import synsim
from synsim import meters
from synsim.meters.estimators import information, jackknife, joint_distribution, leave_one_out, miller_madow
from synsim.meters.uncertainty import bootstrap, resampled

CPU = torch.device("cpu")


class Fixed(torch.nn.Module):
    """A network that answers with what it is shown: its input are its logits."""

    def forward(self, x):
        return x


def world(count, classes, signal, seed, width=None, labels=False):
    """Images of a world: labels, and a softmax whose right entry is raised by `signal` among normal noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (count,), generator=generator)
    z = torch.randn(count, width or classes, generator=generator, dtype=torch.float64)
    z[torch.arange(count), y] += signal
    if labels:
        return y, torch.nn.functional.one_hot(z.argmax(1), z.shape[1]).double()
    return y, z.softmax(1)


@cache
def truth(classes, signal, width=None, labels=False):
    """Its information, from so many images (error below 1e-3 bits) that it is exact for practical purposes."""
    y, seen = world(400_000, classes, signal, 99, width, labels)
    rows = torch.stack([seen[y == c].mean(0) for c in range(classes)]) / classes
    return float(information(rows))


def estimates(seen, y, classes):
    bits = information(joint_distribution(seen[None], y[None], classes))
    return float(bits), float(jackknife(bits, leave_one_out(seen[None], y[None], classes)))


def test_leave_one_out_against_leaving_one_out():
    for labels in (False, True):
        pairs = [world(40, 4, 1.0, seed, 5, labels) for seed in range(3)]
        y, seen = torch.stack([one[0] for one in pairs]), torch.stack([one[1] for one in pairs])
        y[0, 0], seen[0, 0] = 5, torch.tensor([0.0, 0, 0, 0, 1])  # the only image of its class
        found = leave_one_out(seen, y, 6)
        bits = information(joint_distribution(seen, y, 6))
        for r in range(3):
            naive = []
            for i in range(40):
                stay = torch.arange(40) != i
                naive.append(float(information(joint_distribution(seen[r, stay][None], y[r, stay][None], 6))))
            np.testing.assert_allclose(found[r].numpy(), naive, rtol=0, atol=1e-12)
            expected = 40 * float(bits[r]) - 39 * np.mean(naive)
            assert float(jackknife(bits, found)[r]) == pytest.approx(expected, abs=1e-10)


def test_the_jackknife_of_independent_labels_is_close_to_miller_madow():
    y, seen = world(400, 3, 0.0, 0, labels=True)
    bits, corrected = estimates(seen, y, 3)
    other = float(miller_madow(joint_distribution(seen[None], y[None], 3), 400))
    assert corrected - bits == pytest.approx(other, rel=0.1)


@pytest.mark.parametrize(
    ("count", "classes", "signal", "labels"),
    [(60, 4, 1.0, False), (100, 10, 0.0, False), (100, 10, 3.0, False), (60, 3, 1.0, True)],
)
def test_the_correction_takes_the_bias_off(count, classes, signal, labels):
    known = truth(classes, signal, labels=labels)
    pairs = [world(count, classes, signal, seed, labels=labels) for seed in range(400)]
    plain, corrected = np.array([estimates(seen, y, classes) for y, seen in pairs]).T
    bias, left = plain.mean() - known, corrected.mean() - known
    assert stats.ttest_1samp(plain, known).pvalue < 1e-10, "there must be a bias to take off"
    assert bias > 0
    assert abs(left) < 0.25 * bias
    assert abs(left) < 0.01 * math.log2(classes)
    assert corrected.std() < 1.2 * plain.std() + 1e-3, "the correction must not cost precision"


def test_miller_madow_would_overcorrect_softmax_means():
    # The spread of softmax outputs is smaller than that of labels, so a correction for labels takes off too much.
    known = truth(4, 1.0)
    gap = []
    for seed in range(100):
        y, seen = world(60, 4, 1.0, seed)
        joint = joint_distribution(seen[None], y[None], 4)
        gap.append(float(information(joint) + miller_madow(joint, 60)) - known)
    assert stats.ttest_1samp(gap, 0, alternative="less").pvalue < 1e-10


def test_bootstrap_against_drawing_images():
    pairs = [world(30, 4, 1.0, seed) for seed in range(2)]
    y, seen = torch.stack([one[0] for one in pairs]), torch.stack([one[1] for one in pairs])
    weights = resampled(30, range(7), 3, CPU)
    found = bootstrap(seen, y, 5, 7, 3)
    assert found.shape == (7, 2)
    for b in range(7):
        index = torch.repeat_interleave(torch.arange(30), weights[b].long())
        naive = information(joint_distribution(seen[:, index], y[:, index], 5))
        assert torch.allclose(found[b], naive, rtol=1e-12)


def test_resamples_are_draws_with_replacement():
    weights = resampled(50, range(3000), 0, CPU)
    assert torch.equal(weights.sum(1), torch.full((3000,), 50.0, dtype=torch.float64))
    counts = np.bincount(weights.flatten().long().numpy(), minlength=8)
    expected = stats.binom.pmf(np.arange(8), 50, 1 / 50) * weights.numel()
    merged = [np.append(one[:6], one[6:].sum()) for one in (counts, expected)]
    assert stats.chisquare(merged[0], merged[1] * merged[0].sum() / merged[1].sum()).pvalue > 1e-3
    assert stats.chisquare(weights.sum(0).numpy()).pvalue > 1e-3, "no image is preferred"
    assert not torch.equal(weights[:5], resampled(50, range(5), 1, CPU))


def test_resamples_do_not_depend_on_chunks(monkeypatch):
    y, seen = world(30, 4, 1.0, 0)
    whole = bootstrap(seen[None], y[None], 4, 20, 0)
    monkeypatch.setattr("synsim.meters.uncertainty.WEIGHTS", 100)
    assert torch.allclose(bootstrap(seen[None], y[None], 4, 20, 0), whole, rtol=1e-12)


@pytest.mark.parametrize(
    ("count", "classes", "signal", "level", "low", "high"),
    [
        (200, 4, 1.0, 0.95, 0.90, 0.985),
        (200, 4, 1.0, 0.80, 0.73, 0.87),
        (300, 10, 3.0, 0.95, 0.90, 0.985),
        (200, 10, 0.0, 0.95, 0.95, 1.0),  # at chance: wide, where percentiles would never hold the truth
    ],
)
def test_the_interval_holds_the_truth_as_often_as_it_says(count, classes, signal, level, low, high):
    known, held, sides = truth(classes, signal), [], []
    for seed in range(160):
        y, seen = world(count, classes, signal, seed)
        one = meters.information_interval(Fixed(), seen.log(), y, level=level, resamples=200, seed=seed)
        assert one.low < one.corrected < one.high
        held.append(one.low <= known <= one.high)
        sides.append(one.low > known)
    assert low <= np.mean(held) <= high
    assert np.mean(sides) <= (1 - level) + 0.02, "the misses must not be all on one side"


def test_the_interval_of_labels_and_the_published_estimates():
    y, seen = world(500, 4, 2.0, 0)
    for kind in ("soft", "argmax"):
        found = meters.information_interval(Fixed(), seen.log(), y, kind=kind)
        assert float(found.bits) == float(meters.mutual_information(Fixed(), seen.log(), y, kind=kind))
        jack = meters.mutual_information(Fixed(), seen.log(), y, kind=kind, correction="jackknife")
        assert float(found.corrected) == pytest.approx(float(jack), rel=1e-12)
        assert found.low < truth(4, 2.0, labels=kind == "argmax") < found.high
        none = meters.mutual_information(Fixed(), seen.log(), y, kind=kind, correction="none")
        assert (float(none) == float(found.bits)) == (kind == "soft")


def test_the_width_goes_with_the_root_of_the_images_and_with_the_level():
    def width(count, level=0.95):
        y, seen = world(count, 4, 1.0, 5)
        found = meters.information_interval(Fixed(), seen.log(), y, level=level)
        return float(found.high - found.low)

    assert width(400) / width(6400) == pytest.approx(4, rel=0.2)
    ratio = stats.norm.ppf(0.975) / stats.norm.ppf(0.75)
    assert width(1600) / width(1600, 0.5) == pytest.approx(ratio, rel=0.15)


def test_a_perfect_predictor_is_sure_but_for_the_shares_of_the_classes():
    y = torch.arange(200) % 4
    logits = 200.0 * torch.nn.functional.one_hot(y, 4).double()
    found = meters.information_interval(Fixed(), logits, y)
    assert float(found.bits) == pytest.approx(2, abs=1e-12)
    assert found.low <= 2.02
    assert 0 < float(found.high - found.low) < 0.1


def test_a_replica_has_the_interval_it_has_alone():
    net = synsim.mlp([20, 15, 4], seed=3, replicas=3, dtype=torch.float64)
    alone = synsim.mlp([20, 15, 4], seed=4, dtype=torch.float64)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(230, 20, generator=generator, dtype=torch.float64)
    y = torch.randint(4, (230,), generator=generator)
    together, single = (meters.information_interval(one, x, y, resamples=50, seed=1) for one in (net, alone))
    for a, b in zip(together, single, strict=True):
        assert a.shape == (3,)
        assert b.shape == ()
        assert torch.allclose(a[1], b, rtol=1e-10)
    assert torch.equal(together.bits, meters.mutual_information(net, x, y, seed=1))
    assert torch.equal(together.low, meters.information_interval(net, x, y, resamples=50, seed=1).low)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 1.0}, "level must be between 0 and 1"),
        ({"level": 95}, "level must be between 0 and 1"),
        ({"resamples": 1}, "resamples must be a whole number from 2 to"),
        ({"kind": "hard"}, "kind must be one of soft, argmax"),
        ({"classes": 2}, "must lie below classes=2"),
        ({"seed": -1}, "seed must be a whole number"),
    ],
)
def test_bad_input_of_intervals(options, message):
    y, seen = world(50, 4, 1.0, 0)
    with pytest.raises(ValueError, match=message):
        meters.information_interval(Fixed(), seen, y, **options)


def test_bad_corrections():
    y, seen = world(50, 4, 1.0, 0)
    with pytest.raises(ValueError, match="correction must be one of published, none, jackknife"):
        meters.mutual_information(Fixed(), seen, y, correction="bootstrap")
