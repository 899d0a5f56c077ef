"""Every importance under every consolidation: strength 0 is no protection to the bit, a clear one another run."""

import functools

import pytest
import torch

import synsim
from synsim import consolidation, importance, tasks
from synsim.training import fit
from synsim.training.protection import Protection

# What one importance for all holds, and that it is said, is the business of test_consolidation.
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:(freeze|mask) holds no parameter:UserWarning"),
]
SEEDS = (3, 4, 5)
FEW = {name: {"images": 12} for name in ("fisher", "sqrt-fisher", "absolute-fisher", "mas", "mas-max")}
FEW |= {"fisher-batched": {"images": 24, "batch": 8}, "sliced-cramer": {"images": 12, "slices": 4}}
FEW |= {"path-integral": {"every": 3}, "sos": {"alpha": "unbiased", "batch": 24}}
# The strengths of the three replicas; the first has none.
HOW = {
    "penalty": ("strength", (0.0, 0.5, 1.5), {}),
    "modulation": ("strength", (0.0, 0.5, 4.0), {"scale": "max"}),
    "freeze": ("share", (0.0, 0.5, 1.0), {}),
    "mask": ("share", (0.0, 0.5, 1.0), {}),
}
KINDS = ("plain", "stochastic")
CELLS = [(kind, how, name) for kind in KINDS for how in HOW for name in importance.available()]


@functools.cache
def digits():
    return tasks.split(synsim.data.load("digits"))[:2]


class Alike(importance.Importance):
    """Scaled to a mean of 1 per replica and cut at 5, so that one strength is clear, and stable, for all."""

    def __init__(self, inner):
        self.inner, self.accumulated, self.needs = inner, inner.accumulated, inner.needs
        for name in ("wants", "start", "observe"):
            setattr(self, name, getattr(inner, name))

    def estimate(self, net, x, y=None, *, head=None):
        return self._scaled(self.inner.estimate(net, x, y, head=head))

    def value(self):
        return self._scaled(self.inner.value())

    def _scaled(self, found):
        total = sum(value.sum((1, 2), keepdim=True) for value in found.values())
        count = sum(value[0].numel() for value in found.values())
        assert (total > 0).all(), "an importance that is 0 everywhere protects nothing"
        return {name: (value * count / total).clamp(max=5) for name, value in found.items()}


class Run:
    """What a run leaves: weights and p after each task, the masks drawn last, and how many were drawn."""

    def __init__(self, kind, protection):
        plain = kind == "plain"
        net = synsim.mlp([64, 6, 2], p=1.0 if plain else 0.4, replicas=len(SEEDS), seed=SEEDS)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.05) if plain else synsim.PresynapticSGD(
            net, 0.05, p_up=0.1, p_down=0.05, g_lim=0.01
        )  # fmt: skip
        self.after = []

        def look(net, task):
            self.after.append(
                [value.clone() for layer in (net[0], net[2]) for value in (layer.weight.detach(), layer.p)]
            )
            return torch.zeros(len(SEEDS))

        fit(net, optimiser, digits(), seeds=SEEDS, steps=6, batch=24, test=[], tested_by=look, protection=protection)
        self.masks, self.draws = [net[0].mask, net[2].mask], [net[0].draws, net[2].draws]
        assert len(self.after) == 2

    def replica(self, r):
        return [value[r] for value in (*self.after[0], *self.after[1], *self.masks)]


@functools.cache
def unprotected(kind):
    return Run(kind, None)


def protected(kind, how, name, strength, scaled=True):
    argument, _, options = HOW[how]
    inner = importance.make(name, **FEW.get(name, {}))
    kept = consolidation.make(how, **{argument: strength}, **options)
    return Run(kind, Protection(Alike(inner) if scaled else inner, kept)), kept


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("kind", "how", "name"), CELLS)
def test_a_strength_of_zero_is_no_protection_to_the_bit(kind, how, name):
    run, kept = protected(kind, how, name, 0)
    reference = unprotected(kind)
    assert kept.state_dict(), "the importance was never asked for"
    for r in range(len(SEEDS)):
        assert same(run.replica(r), reference.replica(r))
    assert run.draws == reference.draws


def together(values, r):
    return torch.cat([value[r].flatten() for value in values.values()])


def moved(run, r):
    """How far each weight of a replica went in the second task."""
    return torch.cat([(run.after[1][i][r] - run.after[0][i][r]).flatten() for i in (0, 2)])


@pytest.mark.parametrize(("kind", "how", "name"), CELLS)
def test_a_clear_strength_is_another_run(kind, how, name):
    run, kept = protected(kind, how, name, HOW[how][1])
    reference = unprotected(kind)
    assert same(run.replica(0), reference.replica(0)), "strength 0 among other strengths"
    assert run.draws == reference.draws
    for r in range(len(SEEDS)):
        assert same([value[r] for value in run.after[0]], [value[r] for value in reference.after[0]]), "no old task yet"
    for r in (1, 2):
        weight, went, free = together(kept.importance, r), moved(run, r), moved(reference, r)
        if how in ("freeze", "mask"):
            held = together(kept.rate(None), r) == 0
            assert (went[held] == 0).all()
            # One importance for all leaves no most important half: such ties are spared, and a share of 1 takes all.
            if float(weight.std()) < 1e-6 and r == 1:
                assert not held.any()
                assert same(run.replica(r), reference.replica(r))
                continue
            assert 0 < int(held.sum()) <= len(held) / (3 - r)
            assert r == 1 or torch.equal(held, weight > 0)
        assert float((went - free).norm()) > 0.01 * float(free.norm()) > 0.0005
        assert float((weight * went**2).sum()) < 0.9 * float((weight * free**2).sum()), "it protects what matters"


@pytest.mark.parametrize("how", HOW)
def test_release_probabilities_of_a_plain_network_are_alike(how):
    run, kept = protected("plain", how, "release-probability", HOW[how][1], scaled=False)
    assert all((value == 1).all() for value in kept.importance.values())
    other, _ = protected("plain", how, "uniform", HOW[how][1], scaled=False)
    assert same(run.replica(2), other.replica(2))


def test_every_importance_and_every_consolidation_is_in_the_matrix():
    fed = consolidation.available(owns=False)
    assert len(CELLS) == 2 * len(importance.available()) * len(fed)
    assert tuple(HOW) == fed
    assert len(importance.available()) == 16
