"""Which way gradients per example are taken: shown by trial, forgotten when the network changes, in any precision."""

import copy
import gc
import types

import naive
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import synsim
from synsim import curvature, importance
from synsim.curvature import case_of, measured
from synsim.curvature.trial import Way, way_of
from synsim.inputs import as_images

X = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
Y = torch.arange(9) % 3
MEASURED = {"fisher": {}, "absolute-fisher": {}, "mas": {}, "fisher-batched": {"batch": 3}, "sliced-cramer": {}}


def plain(dtype=torch.float64, seed=2):
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for w in net.parameters():
            w.copy_(torch.randn(w.shape, generator=generator) / 2)
    return net


def fisher(net, x=None, **options):
    return importance.make("fisher", **options).estimate(net, X.double() if x is None else x)


def check(net, x=None):
    x = X.double() if x is None else x
    naive.close(fisher(net, x), naive.importance("fisher", net, x), 1e-10)


CHANGES = {
    "forward hook": lambda net: net[0].register_forward_hook(lambda module, inputs, out: 2 * out),
    "pre-hook": lambda net: net[0].register_forward_pre_hook(lambda module, inputs: (inputs[0] ** 2,)),
    "backward hook": lambda net: net[2].register_full_backward_hook(lambda module, grads, outs: (0 * grads[0],)),
    "parameter hook": lambda net: net[0].weight.register_hook(lambda grad: grad * torch.arange(6.0)),
    "tied": lambda net: setattr(net[0], "bias", nn.Parameter(net[2].weight[0].detach().clone())),
    "frozen": lambda net: net[0].requires_grad_(False),
    "another layer": lambda net: net.insert(1, nn.LayerNorm(5).double()),
    "a forward of its own": lambda net: setattr(net[0], "forward", lambda x: F.linear(x, F.normalize(net[0].weight))),
    "twice": lambda net: net.insert(2, net[1]),
}


@pytest.mark.filterwarnings("ignore:gradients are taken one example at a time")
@pytest.mark.parametrize("change", CHANGES)
def test_what_was_shown_for_a_network_is_forgotten_when_it_changes(change):
    net = plain()
    check(net)
    CHANGES[change](net)
    check(net)


class Modal(nn.Module):
    """A network with a switch, kept in one of the places where people keep settings."""

    def __init__(self, place):
        super().__init__()
        self.a, self.b, self.place = nn.Linear(6, 6), nn.Linear(6, 3), place
        self.by_hand, self.listed, self.named, self.nested = False, [False], {"by hand": False}, {"a": [{"b": False}]}
        self.config = types.SimpleNamespace(by_hand=False)
        self.register_buffer("kept", torch.tensor(False))
        self.method = self.usual

    def usual(self):
        return False

    def other(self):
        return True

    def forward(self, x):
        x = F.linear(x, self.a.weight) if SWITCHES[self.place][0](self) else self.a(x)
        return self.b(x.tanh())


SWITCHES = {
    "attribute": (lambda net: net.by_hand, lambda net: setattr(net, "by_hand", True)),
    "list": (lambda net: net.listed[0], lambda net: net.listed.__setitem__(0, True)),
    "dict": (lambda net: net.named["by hand"], lambda net: net.named.update({"by hand": True})),
    "nested": (lambda net: net.nested["a"][0]["b"], lambda net: net.nested["a"][0].update(b=True)),
    "object": (lambda net: net.config.by_hand, lambda net: setattr(net.config, "by_hand", True)),
    "buffer": (lambda net: bool(net.kept), lambda net: net.kept.fill_(True)),
    "method": (lambda net: net.method(), lambda net: setattr(net, "method", net.other)),
}


@pytest.mark.parametrize("place", SWITCHES)
def test_a_mode_of_a_network_is_part_of_its_structure(place):
    net = Modal(place).double()
    check(net)
    SWITCHES[place][1](net)
    check(net)


class Places(nn.Module):
    """Two experts with four places each: whoever comes later in a batch gets none."""

    def __init__(self):
        super().__init__()
        self.gate, self.shared = nn.Linear(6, 2), nn.Linear(6, 3)
        self.experts = nn.ModuleList([nn.Linear(6, 3), nn.Linear(6, 3)])

    def forward(self, x):
        chosen = F.one_hot(self.gate(x).argmax(-1), 2).to(x.dtype)
        inside = chosen * (chosen.cumsum(0) <= 4)
        return self.shared(x) + sum(inside[:, i : i + 1] * expert(x) for i, expert in enumerate(self.experts))


class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(x - x.mean(0) if len(x) > 3 else x)


MET = "examples meet inside this network"


@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize("kind", [Places, Centred])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_examples_that_meet_in_large_batches_alone_are_refused(name, kind, dtype):
    net, options = kind().to(dtype), {"batch": 9} if name == "fisher-batched" else {}
    few = importance.make(name, **options)
    few.estimate(net, X[:3].to(dtype), Y[:3])
    with pytest.raises(ValueError, match=MET):
        few.estimate(net, X.to(dtype), Y)


def test_examples_that_meet_in_no_chunk_are_alone():
    net = Places().double()
    naive.close(fisher(net, memory=1e-6), naive.importance("fisher", net, X.double()), 1e-10)
    found = importance.make("fisher-batched", batch=3).estimate(net, X.double(), Y)
    naive.close(found, naive.importance("fisher-batched", net, X.double(), Y, batch=3), 1e-10)


def scaled_by_frequency():
    return nn.Sequential(nn.Embedding(5, 6, scale_grad_by_freq=True), nn.Flatten(), nn.Linear(18, 3)).double()


def clipped():
    net = plain()
    net[0].weight.register_hook(lambda gradient: gradient.clamp(-1e-3, 1e-3))
    return net


class Clipping(torch.autograd.Function):
    """The identity, whose gradient is cut."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(-1e-3, 1e-3)


class Clipped(nn.Module):
    def __init__(self, within):
        super().__init__()
        self.first, self.second, self.within = nn.Linear(6, 5), nn.Linear(5, 3), within

    def forward(self, x):
        x = self.first(x).tanh()
        return self.second(Clipping.apply(x) if self.within else x)


@pytest.mark.filterwarnings("ignore:gradients are taken one example at a time")
@pytest.mark.parametrize("how", ["hook of a module", "function"])
def test_gradients_that_are_changed_on_their_way_are_those_of_labels(how):
    net = Clipped(how == "function").double()
    if how != "function":
        net.second.register_full_backward_hook(lambda module, inputs, outputs: (inputs[0].clamp(-1e-3, 1e-3),))
    check(net)


@pytest.mark.filterwarnings("ignore:gradients are taken one example at a time")
@pytest.mark.parametrize(
    ("build", "x"), [(scaled_by_frequency, torch.arange(27).reshape(9, 3) * 7 % 5), (clipped, X.double())]
)
def test_gradients_of_batches_that_are_no_sums_are_refused(build, x):
    net = build()
    check(net, x)
    for name in ("fisher-batched", "sliced-cramer"):
        with pytest.raises(ValueError, match=MET):
            importance.make(name, **MEASURED[name]).estimate(net, x, Y)


def test_a_network_that_takes_no_single_example_is_refused():
    class Pairs(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(x.t()).t()

    for name in MEASURED:
        with pytest.raises(ValueError, match="takes 3 examples at once, but not 1: mat1"):
            importance.make(name, **MEASURED[name]).estimate(Pairs().double(), X[:3, :4].double(), Y[:3])


def kind(net, x, **view):
    ways: list[Way] = []
    images = as_images(net, x)
    with measured(net, **view) as measurement:
        from synsim.curvature.examples import _batched_squares, _closed_squares

        case = case_of(net, images, measurement, None)
        closed = lambda *given: _closed_squares(None, case.axis, *given)  # noqa: E731
        batched = lambda *given: _batched_squares(None, case.axis, *given)  # noqa: E731
        ways.append(way_of(case, closed, batched))
    return ways[0].kind


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_plain_networks_have_closed_forms_in_every_type(dtype):
    for seed in range(5):
        assert kind(plain(dtype, seed), X.to(dtype)) == "closed"
    assert kind(synsim.mlp([6, 50, 50, 3], dtype=dtype, seed=1), X.to(dtype)) == "closed"
    assert kind(synsim.mlp([6, 50, 50, 3], dtype=dtype, seed=1), X.to(dtype), view="sampled") == "closed"
    convolutions = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 3))
    assert kind(convolutions.to(dtype), torch.randn(5, 1, 8, 8).to(dtype)) == "closed"


def test_networks_that_only_look_closed_go_through_torch_func():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            # For these examples the way around is shut; the graph shows it all the same.
            return self.b(self.a(x).tanh() + (x > 100).to(x) * self.a.weight.sum())

    assert kind(Around().double(), X.double()) == "batched"
    assert kind(nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3)).double(), X.double()) == "batched"


class Squared(synsim.BernoulliLinear):
    """Transmits φ |φ| on average."""

    @property
    def expected_strength(self):
        return self.weight * self.weight.abs()


class OfSquares(curvature.Linear):
    def slope(self, layer):
        return 2 * layer.weight.abs()


def test_a_layer_of_ones_own_takes_the_closed_form_that_is_registered_for_it(monkeypatch):
    monkeypatch.setattr(curvature.layers, "_HANDLERS", dict(curvature.layers._HANDLERS))
    net = synsim.networks.initialised(nn.Sequential(*(Squared(6, n, dtype=torch.float64) for n in (6, 3))), 1)
    several = nn.Sequential(Squared(6, 3, replicas=2, scope="sample", sites=2, dtype=torch.float64))
    synsim.networks.initialised(several, 1)
    views = [(net, "expected"), (net, "sampled"), (several, "sampled")]
    ways, sums = [], []
    for handler in (None, curvature.Linear(), OfSquares()):
        if handler is not None:
            curvature.register(Squared, handler)
        for each, view in views:
            ways.append(kind(each, X.double(), view=view))
            sums.append(importance.make("fisher", view=view).estimate(each, X.double()))
    # None, one that forgets the slope, and one that does not.
    assert ways == 3 * ["batched"] + 3 * ["batched"] + 3 * ["closed"]
    for general, forgetful, closed in zip(sums[:3], sums[3:6], sums[6:], strict=True):
        naive.close(forgetful, general, 1e-12)
        naive.close(closed, general, 1e-10)


def test_what_is_no_handler_or_no_layer_is_refused():
    with pytest.raises(TypeError, match=r"subclass of torch.nn.Module, got 'Squared'"):
        curvature.register("Squared", curvature.Linear())
    with pytest.raises(TypeError, match=r"take synsim.curvature.Linear\(\)"):
        curvature.register(Squared, curvature.Linear)


@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("normed", [False, True])
def test_networks_of_16_bits_have_importances_in_float32(name, dtype, normed):
    net = plain(torch.float32)
    if normed:
        net.insert(1, nn.LayerNorm(5))
    low = copy.deepcopy(net).to(dtype)
    # The same numbers in both, so that only the arithmetic differs.
    net.load_state_dict({key: value.float() for key, value in low.state_dict().items()})
    x, measure = X.to(dtype), importance.make(name, **MEASURED[name])
    found, wanted = measure.estimate(low, x, Y), measure.estimate(net, x.float(), Y)
    assert all(value.dtype == torch.float32 for value in found.values())
    naive.close(found, wanted, 0.1)


def test_small_squares_do_not_vanish_in_float16():
    net = plain(torch.float32)
    with torch.no_grad():
        net[2].weight.mul_(5e-4)
    found = fisher(copy.deepcopy(net).half(), X.half())
    assert (found["0.weight"] > 0).all()
    assert float(found["0.weight"].max()) < 6e-8, "such numbers are 0 in float16"
    naive.close(found, fisher(net, X), 0.1)


# Under autocast, torch.func cannot go through layer norm.
@pytest.mark.filterwarnings("ignore:gradients are taken one example at a time")
@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize("normed", [False, True])
def test_importances_under_autocast(name, normed):
    net, measure = plain(torch.float32), importance.make(name, **MEASURED[name])
    if normed:
        net.insert(1, nn.LayerNorm(5))
    wanted = measure.estimate(net, X, Y)
    with torch.autocast("cpu", torch.bfloat16):
        found = measure.estimate(net, X, Y)
    assert all(value.dtype == torch.float32 for value in found.values())
    naive.close(found, wanted, 0.1)
    assert any(not torch.equal(found[key], wanted[key]) for key in found), "autocast was in force"


def test_path_importances_of_16_bits_add_up_in_float32():
    net = nn.Linear(2, 2).half()
    with torch.no_grad():
        net.weight.fill_(1.0)
    measure = importance.make("si", rescale=False)
    measure.start(net)
    small = {name: torch.full_like(w, 1e-4) for name, w in net.named_parameters()}
    for index in range(100):
        step = synsim.Step(index, small, {name: -value for name, value in small.items()}, small)
        measure.observe(net, step)
    found = measure.value()["weight"]
    assert found.dtype == torch.float32
    assert torch.allclose(found, torch.full((2, 2), 100 * float(torch.tensor(1e-4).half()) ** 2), rtol=1e-5)


def test_hooks_that_only_look_see_no_tensor_of_a_transform():
    net = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3)).double()
    seen = []
    net[1].register_forward_hook(lambda module, inputs, out: seen.append(out))
    check(net)
    assert seen
    assert not any(torch._C._functorch.is_functorch_wrapped_tensor(one) for one in seen)


class Gated(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.a, self.b, self.kind = nn.Linear(6, 5), nn.Linear(5, 3), kind

    def forward(self, x):
        h = self.a(x).tanh()
        if self.kind == "dropout by hand":
            h = F.dropout(h, 0.5, training=True)
        if self.kind == "cut":
            h = h.detach() * 0 + 1
            return self.b(h).detach()
        return self.b(h)


def test_networks_without_repeatable_or_differentiable_passes_are_refused():
    dropping, cut = Gated("dropout by hand").double(), Gated("cut").double()
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="changes from pass to pass"):
        fisher(dropping)
    with pytest.raises(ValueError, match="does not depend on any parameter"):
        fisher(cut)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_way_of_a_network_is_forgotten_with_it():
    from synsim.curvature import trial

    gc.collect()
    before = len(trial._WAYS)
    net = plain()
    fisher(net)
    assert len(trial._WAYS) == before + 1
    held = Modal("method").double()
    for held.steps in range(70):
        fisher(held)
    assert len(trial._WAYS[held]) < 40
    del net, held
    gc.collect()
    assert len(trial._WAYS) == before


def test_measuring_inside_of_inference_mode():
    net = plain()
    wanted = fisher(net)
    with torch.inference_mode():
        found = fisher(net, X.double())
    naive.close(found, wanted, 1e-12)


@pytest.mark.parametrize("memory", [1e-6, 1e-3, 16])
@pytest.mark.parametrize("name", ["fisher", "mas"])
def test_tokens_do_not_depend_on_the_memory(name, memory):
    net, x = plain(), torch.randn(9, 4, 6, dtype=torch.float64)
    whole = importance.make(name).estimate(net, x)
    naive.close(importance.make(name, memory=memory).estimate(net, x), whole, 1e-12)
