"""The lifelong perceptron against plain loops, exact special cases and the published values."""

import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

import synsim
from synsim import perceptron, records, statistics, streams
from synsim.perceptron import MODELS, Perceptron, direction, majority, patterns, presynaptic_step, standard_step

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(synsim.__file__).resolve().parent.parent
DOUBLE = torch.float64
SMALL = ["--inputs", "60", "--tasks", "4", "--patterns", "20", "--epochs", "4", "--seeds", "1", "2", "3", "--quiet"]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    monkeypatch.syspath_prepend(str(ROOT))
    sys.modules.pop("perceptron", None)
    return importlib.import_module("perceptron")


def trained(seeds, model, *, tasks=2, count=20, inputs=100, batch=5, epochs=5, dtype=torch.float32, **constants):
    net = Perceptron(seeds, model, inputs=inputs, dtype=dtype, **constants)
    drawn = [patterns(seeds, task, count, inputs) for task in range(tasks)]
    for x, y in drawn:
        for _ in range(epochs):
            for start in range(0, count, batch):
                net.learn(x[:, start : start + batch], y[:, start : start + batch])
    return net, torch.cat([x for x, _ in drawn], dim=1), torch.cat([y for _, y in drawn], dim=1)


def released(purpose, seed, p, rows, example, draw):
    """Masks of some patterns: synapse n of pattern b is number b · N + n of its stream."""
    keys = streams.keys(purpose, [seed], "perceptron")
    bits = streams.release_bits(keys, rows * len(p), site=0, example=torch.tensor([example]), draw=draw)
    bits = bits.reshape(rows, len(p)).tolist()
    return [[1 if bits[b][n] < p[n] * 65536 else 0 for n in range(len(p))] for b in range(rows)]


def sums(x, mask, strength):
    """Activation of a pattern; its sign must not hang on rounding, or the comparison would mean nothing."""
    found = math.fsum(a * r * s for a, r, s in zip(x, mask, strength, strict=True))
    assert abs(found) > 1e-9 or all(r * s == 0 for r, s in zip(mask, strength, strict=True)), "choose another seed"
    return found


def naive(seed, presynaptic, tasks, count, inputs, batch, epochs):
    """The protocol of the published code, one pattern and one synapse after the other."""
    w, p, frozen = [0.0] * inputs, [0.25] * inputs, [False] * inputs
    step, wentdown = 0, 0
    for task in range(tasks):
        x, y = (part[0].tolist() for part in patterns([seed], task, count, inputs))
        for _ in range(epochs):
            for start in range(0, count, batch):
                masks = released("train", seed, p, batch, 0, step) if presynaptic else [[1] * inputs] * batch
                strength = [a / b for a, b in zip(w, p, strict=True)] if presynaptic else list(w)
                u = [0.0] * inputs
                for b in range(batch):
                    pattern, label = x[start + b], y[start + b]
                    if presynaptic:
                        guess = 1 if sums(pattern, masks[b], strength) >= 0 else -1
                    else:
                        guess = 1 if math.fsum(a * s for a, s in zip(pattern, strength, strict=True)) >= 0 else -1
                    for n in range(inputs):
                        u[n] += (label - guess) * pattern[n] * masks[b][n] / batch
                for n in range(inputs):
                    if not presynaptic:
                        w[n] += u[n]
                        continue
                    old = p[n]
                    w[n] += u[n] * (1 - old)
                    if not frozen[n]:
                        p[n] += (0.2 if abs(u[n]) > 0.1 else -0.2) * (1 - old)
                        wentdown += 0.25 < p[n] < old
                    p[n] = min(max(p[n], 0.25), 0.9)
                    frozen[n] = frozen[n] or p[n] >= 0.9
                step += 1
    return w, p, frozen, wentdown


@pytest.mark.parametrize("seed", [2, 4])
def test_presynaptic_learning_is_the_published_loop(seed):
    sizes = {"tasks": 3, "count": 12, "inputs": 37, "batch": 4, "epochs": 12}
    w, p, frozen, wentdown = naive(seed, True, **sizes)
    net, *_ = trained([seed + 10, seed], "presynaptic", dtype=DOUBLE, **sizes)
    torch.testing.assert_close(net.weight[1], torch.tensor(w, dtype=DOUBLE), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(net.p[1], torch.tensor(p, dtype=DOUBLE), rtol=1e-12, atol=1e-12)
    assert net.frozen[1].tolist() == frozen
    assert 0 < sum(frozen) < len(frozen)  # else the freezing would not have been tried
    assert wentdown > 0
    assert net.updates == 3 * 12 * 3


def test_standard_learning_is_the_published_loop():
    # With batches of 4 everything is a multiple of 1/2, so that even ties are the same.
    sizes = {"tasks": 3, "count": 12, "inputs": 37, "batch": 4, "epochs": 6}
    w, *_ = naive(4, False, **sizes)
    net, *_ = trained([9, 4], "standard", dtype=DOUBLE, **sizes)
    assert net.weight[1].tolist() == w
    assert len(set(w)) > 5
    assert bool((net.p == 1).all())
    assert not net.frozen.any()


def test_evaluation_is_the_published_loop():
    # More patterns than synapses can hold, and a last block that is not full.
    net, x, y = trained([5, 6], "presynaptic", tasks=3, count=11, inputs=20, batch=11, epochs=6, dtype=DOUBLE)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found, samples = net.correct(x, y, samples=4), 4
    p, strength = net.p[1].tolist(), (net.weight / net.p)[1].tolist()
    wanted, ties = [], 0
    for first in range(0, 33, perceptron.BLOCK):
        rows = range(first, min(first + perceptron.BLOCK, 33))
        votes = dict.fromkeys(rows, 0)
        for draw in range(samples):
            masks = released("eval", 6, p, len(rows), first // perceptron.BLOCK, draw)
            for mask, row in zip(masks, rows, strict=True):
                votes[row] += 1 if sums(x[1, row].tolist(), mask, strength) > 0 else -1
        ties += sum(vote == 0 for vote in votes.values())
        wanted += [votes[row] * int(y[1, row]) > 0 for row in rows]
    assert found[1].tolist() == wanted
    assert ties > 0
    assert 0 < sum(wanted) < 33
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(net.correct(x, y, samples=4), found)
    assert torch.equal(net.correct(x[:, :13], y[:, :13], samples=4), found[:, :13])


def test_a_tie_is_wrong():
    votes = torch.tensor([[[1.0, 1.0, -1.0, 0.0, 1.0]], [[-1.0, -1.0, -1.0, 0.0, 0.0]]])
    y = torch.tensor([[1, -1, -1, 1, 1]], dtype=torch.int8)
    assert majority(votes, y).tolist() == [[False, False, True, False, True]]


def test_before_learning():
    x, y = patterns([1, 2], 0, 30, 50)
    # Nothing is transmitted: the standard model says +1, every vote of the presynaptic one is a tie.
    assert torch.equal(Perceptron([1, 2], "standard", inputs=50).correct(x, y), y == 1)
    assert not Perceptron([1, 2], "presynaptic", inputs=50).correct(x, y).any()


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("model", MODELS)
def test_a_replica_alone_is_the_same_bits(model, dtype):
    seeds = [3, 8, 1000]
    together, x, y = trained(seeds, model, inputs=1000, dtype=dtype)
    for k, seed in enumerate(seeds):
        alone, own, labels = trained([seed], model, inputs=1000, dtype=dtype)
        assert torch.equal(own[0], x[k])
        assert torch.equal(labels[0], y[k])
        for name in ("weight", "p", "frozen"):
            assert torch.equal(getattr(alone, name)[0], getattr(together, name)[k]), name
        assert torch.equal(alone.correct(own, labels)[0], together.correct(x, y)[k])
    assert not torch.equal(together.weight[0], together.weight[1])


def test_constants_may_differ_between_replicas():
    constants = {"p_up": [0.2, 0.3], "p_down": [0.2, 0.1], "g_lim": [0.1, 0.5], "p_freeze": [0.9, 0.8]}
    constants["p_min"] = [0.25, 0.4]
    together, *_ = trained([4, 4], "presynaptic", **constants)
    for k in range(2):
        alone, *_ = trained([4], "presynaptic", **{name: value[k] for name, value in constants.items()})
        assert torch.equal(alone.weight[0], together.weight[k])
        assert torch.equal(alone.p[0], together.p[k])
    assert not torch.equal(together.p[0], together.p[1])


def test_it_goes_on_from_a_state():
    whole, x, y = trained([2, 7], "presynaptic", tasks=1, epochs=6)
    first, *_ = trained([2, 7], "presynaptic", tasks=1, epochs=2)
    state = first.state_dict()
    first.learn(x[:, :5], y[:, :5])  # the state is a copy
    second = Perceptron([2, 7], inputs=100)
    second.load_state_dict(state)
    for _ in range(4):
        for start in range(0, 20, 5):
            second.learn(x[:, start : start + 5], y[:, start : start + 5])
    for name, value in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


def test_reliable_synapses_of_fixed_probability_learn_as_the_standard_ones():
    # Masks of one, p = ½ for good: the same predictions, and (1 − p) = ½ of every step, to the bit.
    x, y = patterns([1, 2], 0, 60, 30)
    x, w = x.double(), torch.zeros(2, 30, dtype=DOUBLE)
    bar, p, frozen = w.clone(), torch.full_like(w, 0.5), torch.zeros(2, 30, dtype=torch.bool)
    for start in [*range(0, 60, 5)] * 4:
        rows = slice(start, start + 5)
        w = standard_step(w, direction(x[:, rows], y[:, rows], w))
        u = direction(x[:, rows], y[:, rows], bar / p)
        bar, p, frozen = presynaptic_step(bar, p, frozen, u, p_up=0.0, p_down=0.0)
        assert torch.equal(bar, w / 2)
    assert bool((p == 0.5).all())
    assert w.abs().max() > 1


def test_synapses_that_never_fail_never_learn():
    net, *_ = trained([1], "presynaptic", p_min=1.0, p_freeze=1.0)
    assert not net.weight.any()
    assert bool((net.p == 1).all())


def test_one_presynaptic_step_by_hand():
    p = torch.tensor([[0.25, 0.5, 0.5, 0.5, 0.88, 0.9, 0.9]], dtype=DOUBLE)
    u = torch.tensor([[0.0, 0.1, -0.4, 0.0, 0.4, 0.4, 0.0]], dtype=DOUBLE)
    frozen = torch.tensor([[False, False, False, True, False, True, False]])
    weight, moved, after = presynaptic_step(torch.ones_like(p), p, frozen, u)
    # |u| = g_lim is not above it; a frozen p stays, its strength moves on; p is cut at both ends.
    np.testing.assert_allclose(moved.numpy(), [[0.25, 0.4, 0.6, 0.5, 0.9, 0.9, 0.88]], rtol=1e-15)
    np.testing.assert_allclose(weight.numpy(), [[1.0, 1.05, 0.8, 1.0, 1.048, 1.04, 1.0]], rtol=1e-15)
    assert after.tolist() == [[False, False, False, True, True, True, False]]


def test_an_unreleased_synapse_keeps_its_strength():
    net, x, y = trained([3], "presynaptic", count=5, tasks=1, epochs=1)
    masks = torch.tensor(released("train", 3, [0.25] * 100, 5, 0, 0))
    wrong = y[0] < 0  # at zero strength the prediction is +1
    wanted = 0.75 * (-2 * wrong[:, None] * x[0] * masks).double().sum(0) / 5
    torch.testing.assert_close(net.weight[0].double(), wanted, rtol=1e-6, atol=0)
    assert not net.weight[0][(masks * wrong[:, None]).sum(0) == 0].any()


def test_masks_are_drawn_per_pattern_and_per_update_with_probability_p():
    seeds = list(range(20))
    keys = streams.keys("train", seeds, "perceptron")
    x, p = torch.ones(20, 5, 1000, dtype=DOUBLE), torch.full((20, 1000), 0.4, dtype=DOUBLE)
    x[:, :, ::2] = -1
    draws = [perceptron.released(x, p, keys, keys.numpy().astype(np.uint32), draw=draw) for draw in (0, 1)]
    for found in draws:
        assert set(found.unique().tolist()) == {-1.0, 0.0, 1.0}
        mask = found * x
        assert abs(mask.mean() - 0.4) < 4 * math.sqrt(0.24 / 100_000)
        both = (mask[:, 0] * mask[:, 1]).mean()  # independent between patterns
        assert abs(both - 0.16) < 4 * math.sqrt(0.16 * 0.84 / 20_000)
    both = (draws[0].abs() * draws[1].abs()).mean()  # and between updates
    assert abs(both - 0.16) < 4 * math.sqrt(0.16 * 0.84 / 100_000)


def test_patterns_are_fair_and_a_function_of_seed_and_task():
    x, y = patterns(range(1000, 1020), 3, 100, 1000)
    assert x.shape == (20, 100, 1000)
    assert y.shape == (20, 100)
    assert x.dtype == y.dtype == torch.int8
    assert set(x.unique().tolist()) == set(y.unique().tolist()) == {-1, 1}
    for values in (x, y):
        assert abs(values.double().mean()) < 4 / math.sqrt(values.numel())
    assert (x.double().mean((0, 1)).abs() < 5 / math.sqrt(2000)).all()
    overlaps = torch.einsum("in,jn->ij", x[0].double(), x[0].double()).triu(1)
    variance = overlaps[overlaps != 0].square().mean() / 1000
    assert abs(variance - 1) < 0.1
    alone, labels = patterns([1007], 3, 100, 1000)
    assert torch.equal(alone[0], x[7])
    assert torch.equal(labels[0], y[7])
    other, _ = patterns([1007], 4, 100, 1000)
    assert abs((other * alone).double().mean()) < 5 / math.sqrt(100_000)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Perceptron([1], "plastic"), "model must be one of standard, presynaptic, got 'plastic'"),
        (lambda: Perceptron([]), "at least one seed"),
        (lambda: Perceptron([-1]), "seed must be a whole number"),
        (lambda: Perceptron([1], inputs=0), "inputs must be a whole number"),
        (lambda: Perceptron([1], dtype=torch.float16), "dtype must be"),
        (lambda: Perceptron([1], p_min=0.0), "p_min must be finite and between"),
        (lambda: Perceptron([1], p_up=1.5), "p_up must be finite and between"),
        (lambda: Perceptron([1], p_min=0.9, p_freeze=0.5), "p_min must not exceed p_freeze"),
        (lambda: Perceptron([1, 2], g_lim=[0.1, 0.2, 0.3]), "g_lim must be a number or a tensor of shape"),
        (lambda: patterns([1], -1), "task must be a whole number"),
        (lambda: patterns([1], 0, 0), "count must be a whole number"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_patterns_that_do_not_fit_are_refused():
    net, (x, y) = Perceptron([1, 2], inputs=30), patterns([1, 2], 0, 5, 30)
    for call in (net.learn, net.correct):
        with pytest.raises(ValueError, match=r"patterns must have shape \[2, B, 30\]"):
            call(x[:1], y[:1])
        with pytest.raises(ValueError, match=r"patterns must have shape \[2, B, 30\]"):
            call(x[:, :, :7], y)
        with pytest.raises(ValueError, match="labels must be −1 or \\+1 of shape"):
            call(x, (y + 1) // 2)
        with pytest.raises(ValueError, match="labels must be −1 or \\+1 of shape"):
            call(x, y[:, :3])
    with pytest.raises(ValueError, match="samples must be a whole number"):
        net.correct(x, y, samples=0)
    with pytest.raises(ValueError, match=r"state\['weight'\] must have shape \[2, 30\]"):
        net.load_state_dict(Perceptron([1], inputs=30).state_dict())
    assert net.updates == 0


X, Y = patterns([1, 2], 0, 5, 30)
W, P = torch.rand(2, 30, generator=torch.Generator().manual_seed(0)), torch.full((2, 30), 0.5)
OFF = torch.zeros(2, 30, dtype=torch.bool)
KEYS = streams.keys("eval", [1, 2], "perceptron")
WORDS = KEYS.numpy().astype(np.uint32)
WIDE = torch.zeros(3, 2, 5)
UNFIT = {
    "patterns without end": (lambda: patterns([1], 0, 2**31), "patterns may have 1,073,741,824 entries over all seeds"),
    "no seed": (lambda: patterns([], 0), "expected at least one seed, got none"),
    "a state without end": (lambda: Perceptron([1], inputs=2**40), "the state may have 1,073,741,824 entries"),
    "strengths": (lambda: perceptron.activation(X, W[:, :7]), r"strength must hold real numbers of shape \[2, 30\]"),
    "strengths that broadcast": (lambda: perceptron.activation(X, W[:1]), r"strength must hold .*got .*\[1, 30\]"),
    "flat patterns": (lambda: direction(X[0], Y, W), r"patterns must be real numbers \[R, B, N\]"),
    "labels of classes": (
        lambda: direction(X, (Y + 1) // 2, W),
        "labels must be −1 or \\+1 of shape .* values from 0 to 1",
    ),
    "labels that broadcast": (lambda: direction(X, Y[:, :1], W), r"labels must be −1 or \+1 of shape \[2, 5\]"),
    "a weight of no axes": (lambda: standard_step(W[0, 0], W), r"weight must hold real numbers \[R, N\]"),
    "a weight that is complex": (lambda: standard_step(W + 1j, W), "weight must hold real numbers"),
    "another u": (
        lambda: presynaptic_step(W, P, OFF, W[:1]),
        "u must hold real numbers .* in one shape with the others",
    ),
    "frozen by number": (lambda: presynaptic_step(W, P, W, W), "frozen must hold truth values"),
    "p above 1": (lambda: presynaptic_step(W, P + 1, OFF, W), r"p must lie in \[0, 1\], got values from 1.5"),
    "p_up": (lambda: presynaptic_step(W, P, OFF, W, p_up=2**31), "p_up must be finite and between 0 and 1"),
    "p_min": (lambda: presynaptic_step(W, P, OFF, W, p_min=torch.rand(3, 1)), r"p_min must be .*\[2\]"),
    "p of another width": (lambda: perceptron.released(X, P[:, :7], KEYS, WORDS), "p must hold real numbers"),
    "p that is NaN": (lambda: perceptron.released(X, P * math.nan, KEYS, WORDS), r"p must lie in \[0, 1\]"),
    "keys of one": (lambda: perceptron.released(X, P, KEYS[:1], WORDS), r"keys must be int64 \[2, 2\]"),
    "words of one column": (
        lambda: perceptron.released(X, P, KEYS, WORDS[:, :1]),
        "words must hold the keys as uint32",
    ),
    "words of one row": (lambda: perceptron.released(X, P, KEYS, WORDS[:1]), "words must hold the keys as uint32"),
    "words of other keys": (lambda: perceptron.released(X, P, KEYS, WORDS + 1), "words must hold the keys as uint32"),
    "signed words": (lambda: perceptron.released(X, P, KEYS, -KEYS.numpy()), "words must hold the keys as uint32"),
    "votes": (lambda: majority(WIDE[..., :4], Y), r"votes must be real numbers \[samples, 2, 5\]"),
    "votes on classes": (lambda: majority(WIDE, (Y + 1) // 2), "labels must be −1 or"),
    "no updates": (
        lambda: Perceptron([1]).load_state_dict({**Perceptron([1]).state_dict(), "updates": torch.tensor(0.5)}),
        r"state\['updates'\] must be a whole number",
    ),
    "another p": (
        lambda: Perceptron([1]).load_state_dict({**Perceptron([1]).state_dict(), "p": torch.full((1, 1000), 2.0)}),
        r"p must lie in \[0, 1\]",
    ),
}


@pytest.mark.parametrize(("make", "message"), UNFIT.values(), ids=UNFIT.keys())
def test_what_would_be_broadcast_or_leave_a_kernel_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def run(script, out, *more):
    script.EXPERIMENT.main([*SMALL, "--threads", "1", "--out", str(out), *more])
    return records.open(out)


def test_a_run_that_was_cut_off_goes_on_to_the_same_numbers(script, tmp_path, monkeypatch):
    wanted = run(script, tmp_path / "whole").dataset.load()
    correct, calls = Perceptron.correct, []

    def stopping(*arguments, **options):
        calls.append(1)
        if len(calls) == 7:  # in the third task of the second model
            raise KeyboardInterrupt
        return correct(*arguments, **options)

    monkeypatch.setattr(Perceptron, "correct", stopping)
    with pytest.raises(SystemExit):
        run(script, tmp_path / "cut", "--checkpoint-every", "0")
    found = run(script, tmp_path / "cut", "--checkpoint-every", "0", "--resume").dataset.load()
    assert len(calls) == 7 + 2  # nothing is learned twice but the task that was cut off
    xarray.testing.assert_identical(found.drop_attrs(), wanted.drop_attrs())


def test_what_was_measured_after_some_tasks_is_a_run_of_so_many(script, tmp_path):
    long = run(script, tmp_path / "long").dataset.load()
    short = run(script, tmp_path / "short", "--tasks", "2").dataset.load()
    part = long.accuracy.sel(after_task=slice(1, 2), test_task=slice(1, 2))
    assert np.array_equal(part.values, short.accuracy.values, equal_nan=True)
    assert short["load"].values.tolist() == [20, 40]
    assert np.isnan(long.accuracy.sel(after_task=2, test_task=3)).all()
    wanted = long.accuracy.sel(after_task=3).values[:, :, :3].mean(-1)
    np.testing.assert_allclose(long.average.sel(after_task=3).values, wanted, rtol=1e-12)


def test_the_published_accuracies_and_the_gap_that_shrinks_with_the_load(script, tmp_path):
    # Twenty other seeds than the published ten; 0.0049 is the published standard error with n − 1.
    seeds = [str(seed) for seed in range(1000, 1020)]
    sizes = ["--inputs", "1000", "--patterns", "100", "--tasks", "7", "--epochs", "25", "--dtype", "float32"]
    average = run(script, tmp_path / "run", *sizes, "--seeds", *seeds).dataset.average.load()
    end = {model: average.sel(model=model, after_task=5).values for model in MODELS}
    for model, published in (("standard", 0.8862), ("presynaptic", 0.9174)):
        error = math.hypot(statistics.summary(end[model]).sem, 0.0049)
        assert abs(end[model].mean() - published) < min(3 * error, 0.01)
    test = statistics.compare(end["standard"], end["presynaptic"])
    assert test.t < 0
    assert test.p < 0.01
    many = (average.sel(model="presynaptic") - average.sel(model="standard")).sel(after_task=7).values
    assert statistics.interval(end["presynaptic"] - end["standard"] - many).low > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--batch", "3"], "patterns must be a multiple of batch"), (["--samples", "0"], "must be at least 1")],
)
def test_options_that_do_not_fit_are_refused(script, arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(script, tmp_path / "run", *arguments)
    assert message in capsys.readouterr().err


def test_the_figure_shows_the_record(script, tmp_path, monkeypatch):
    data = run(script, tmp_path / "run").dataset.load()
    turned = data.transpose(*reversed(list(data.sizes)))
    files = importlib.import_module("analysis.perceptron").draw(turned, tmp_path)
    assert sorted(file.suffix for file in files) == [".json", ".pdf", ".png"]
    found = json.loads((tmp_path / "perceptron.json").read_text())
    for k, model in enumerate(MODELS):
        accuracy = data.accuracy.transpose("model", "replica", "after_task", "test_task").values[k]
        np.testing.assert_allclose(found["task_1_percent"][model], 100 * accuracy[:, :, 0])
        np.testing.assert_allclose(found["average"]["percent"][model], 100 * accuracy[:, -1].mean(-1))
        curve = [[100 * row[: j + 1].mean() for j, row in enumerate(one)] for one in accuracy]
        np.testing.assert_allclose(found["sweep_percent"][model], curve)
    assert found["sweep_percent"]["load"] == [20, 40, 60, 80]
    assert found["sweep_percent"]["capacity"] == 120
    wanted = statistics.compare(*[found["average"]["percent"][model] for model in MODELS])
    assert found["average"]["test"]["t"] == pytest.approx(wanted.t)
