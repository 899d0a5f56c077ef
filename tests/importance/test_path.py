"""Importances accumulated along the way against sums in NumPy over a recorded path."""

import copy

import naive
import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from synsim import Step, importance

STEPS = 9
KINDS = ("si", "si-unbiased", "si-bias", "path-integral", "online-absolute-fisher", "sos")


def network():
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    with torch.no_grad():
        for w in net.parameters():
            w.copy_(torch.randn(w.shape, generator=torch.Generator().manual_seed(w.numel())))
    return net


def record(net, seed=1):
    """A path of STEPS random steps, with random gradients."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: {k: torch.randn(w.shape, generator=generator).double() for k, w in net.named_parameters()}  # noqa: E731
    place = {k: w.detach().clone() for k, w in net.named_parameters()}
    steps = []
    for index in range(STEPS):
        delta = {name: 0.1 * value for name, value in draw().items()}
        steps.append(Step(index, draw(), delta, place, {"independent": draw(), "full": draw()}))
        place = {name: value + delta[name] for name, value in place.items()}
    return steps


def feed(measure, net, steps):
    for step in steps:
        with torch.no_grad():
            for name, w in net.named_parameters():
                w.copy_(step.before[name] + step.delta[name])
        extra = {kind: step.extra[kind] for kind in measure.wants(step.index)}
        measure.observe(net, Step(step.index, step.gradient, step.delta, step.before, extra))


def raw(kind, steps, name, *, window=(0, None), decay=None, every=1, alpha=0.0, beta=0.999):
    """The sum before clipping, rescaling and cap."""
    inside = [step for step in steps if window[0] <= step.index and (window[1] is None or step.index < window[1])]
    get = lambda values: np.array(values[name].tolist())  # noqa: E731
    terms = []
    for at, step in enumerate(inside):
        g, other, delta = get(step.gradient), get(step.extra["independent"]), get(step.delta)
        full = get(inside[at - at % every].extra["full"])
        terms.append({
            "si": -g * delta, "si-unbiased": -other * delta, "si-bias": -(g - other) * delta,
            "path-integral": -full * delta, "online-absolute-fisher": abs(g), "sos": (g - alpha * other) ** 2,
        }[kind])  # fmt: skip
    decay = beta if kind == "sos" else decay
    weights = [1.0 if decay is None else (1 - decay) * decay ** (len(terms) - 1 - t) for t in range(len(terms))]
    return sum(w * term for w, term in zip(weights, terms, strict=True))


CASES = [
    *[(kind, {}) for kind in KINDS],
    *[(kind, {"window": (2, 7)}) for kind in KINDS],
    *[(kind, {"rescale": True, "xi": 1e-3, "cap": 2.5}) for kind in KINDS],
    *[(kind, {"rescale": False, "clip": False}) for kind in KINDS],
    *[(kind, {"decay": 0.6, "window": (3, None)}) for kind in ("si", "si-bias", "online-absolute-fisher")],
    *[("path-integral", {"every": every, "window": window}) for every in (2, 4) for window in ((0, None), (1, 8))],
    ("sos", {"alpha": 0.7, "beta": 0.5}),
    ("sos", {"alpha": 1.0, "bias_correction": True, "window": (2, 7)}),
    ("sos", {"alpha": "unbiased", "batch": 16}),
    ("sos", {"alpha": "unbiased", "batch": 16, "root": "plus", "bias_correction": True}),
]


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_sums_of_a_path(kind, options):
    net = network()
    steps = record(net)
    measure = importance.make(kind, **options)
    measure.start(net)
    feed(measure, net, steps)
    found = measure.value()
    sums = dict(options)
    correction, batch, root = (sums.pop(key, None) for key in ("bias_correction", "batch", "root"))
    shape = {key: sums.pop(key) for key in ("rescale", "xi", "cap", "clip") if key in sums}
    scale = 1.0
    if sums.get("alpha") == "unbiased":
        sums["alpha"] = (batch + (1 if root == "plus" else -1) * np.sqrt(2 * batch - 1)) / (batch - 1)
        scale = (1 - sums["alpha"]) ** -2
    if correction:
        scale /= 1 - sums.get("beta", 0.999) ** len(range(*slice(*sums.get("window", (0, None))).indices(STEPS)))
    negative = 0
    for name, w in net.named_parameters():
        expected = raw(kind, steps, name, **sums)
        expected = np.sqrt(scale * expected) if kind == "sos" else expected
        negative += (expected < 0).sum()
        if shape.get("clip", True):
            expected = np.maximum(expected, 0)
        if shape.get("rescale", kind != "sos"):
            moved = np.array((w.detach() - steps[0].before[name]).tolist())
            expected = expected / (moved**2 + shape.get("xi", 0.1))
        expected = np.minimum(expected, shape.get("cap", np.inf))
        np.testing.assert_allclose(found[name].numpy(), expected, rtol=1e-10, atol=1e-14)
    assert negative > 0 or kind in ("online-absolute-fisher", "sos")
    if "cap" in shape:
        assert max(float(value.max()) for value in found.values()) == 2.5


def test_the_bias_is_the_difference_of_the_two():
    net = network()
    start = copy.deepcopy(net.state_dict())
    sums = []
    for kind in ("si", "si-unbiased", "si-bias"):
        net.load_state_dict(start)
        measure = importance.make(kind)
        measure.start(net)
        feed(measure, net, record(net))
        sums.append(measure.sums)
    naive.close({key: sums[1][key] + sums[2][key] for key in sums[0]}, sums[0], 1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_extra_gradients_are_asked_for_only_where_they_count(kind):
    extra = {"si-unbiased": {"independent"}, "si-bias": {"independent"}, "path-integral": {"full"}}
    measure = importance.make(kind, window=(2, 5))
    assert measure.needs == extra.get(kind, set())
    assert [measure.wants(index) for index in range(7)] == [measure.needs if 2 <= i < 5 else set() for i in range(7)]


def test_a_full_gradient_every_few_steps():
    measure = importance.make("path-integral", every=3, window=(1, 9))
    assert [index for index in range(12) if measure.wants(index)] == [1, 4, 7]
    assert importance.make("sos", alpha=0.5).needs == {"independent"}


@pytest.mark.parametrize("at", [0, 4, 5, STEPS])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_a_run_that_was_interrupted_gives_the_same_bits(kind, options, at):
    net = network()
    steps = record(net)
    whole = importance.make(kind, **options)
    whole.start(net)
    feed(whole, net, steps)
    expected = whole.value()

    other = network()
    first = importance.make(kind, **options)
    first.start(other)
    feed(first, other, steps[:at])
    state = load(save({name: value.contiguous() for name, value in first.state_dict().items()}))
    second = importance.make(kind, **options)
    second.start(other)
    second.load_state_dict(state)
    feed(second, other, steps[at:])
    found = second.value()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_task_starts_anew(kind):
    net = network()
    measure = importance.make(kind)
    values = []
    for _ in range(2):
        net.load_state_dict(network().state_dict())
        measure.start(net)
        feed(measure, net, record(net))
        values.append(measure.value())
    naive.close(values[1], values[0], 0)


@pytest.mark.parametrize("every", [1, 4])
def test_the_path_integral_of_small_steps_is_the_drop_of_the_loss(every):
    """First order in the rate: the error halves with it, and each of the errors has its bound."""
    matrix = torch.diag(torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64))

    def excess(rate):
        net = nn.Linear(3, 1, bias=False).double()
        with torch.no_grad():
            net.weight.copy_(torch.tensor([[1.0, -2.0, 0.5]]))
        measure = importance.make("path-integral", rescale=False, clip=False, every=every)
        measure.start(net)
        loss = lambda: float((net.weight @ matrix @ net.weight.t()).detach() / 2)  # noqa: E731
        start = loss()
        for index in range(round(2 / rate)):
            gradient = {"weight": (net.weight @ matrix).detach()}
            before = {"weight": net.weight.detach().clone()}
            delta = {"weight": -rate * gradient["weight"]}
            with torch.no_grad():
                net.weight += delta["weight"]
            measure.observe(net, Step(index, gradient, delta, before, {"full": gradient}))
        return float(measure.value()["weight"].sum()) / (start - loss()) - 1

    large, small = excess(1e-3), excess(5e-4)
    # Along an eigenvector of eigenvalue a, n steps of one gradient overestimate the drop by a·n·rate / 2 relatively.
    assert 0 < small < 3 * every * 5e-4 / 2 * 1.01
    assert 1.9 < large / small < 2.1
