"""Every module that draws, under the tools of torch: the same bits as without them, or a refusal in words."""

import copy
import io
import pickle
import sys
import warnings
from threading import Barrier, Thread

import pytest
import torch
import torch.nn.functional as F
from layer_kinds import DOUBLE, KINDS, LAYERS, at, build, draws, gradients, inputs, passed, same
from torch import nn
from torch.func import functional_call, grad, jacrev, jvp, stack_module_state, vmap
from torch.nn.utils import parametrizations, parametrize, prune, weight_norm
from torch.utils.checkpoint import checkpoint

import synsim

BOTH = pytest.mark.parametrize("reentrant", [False, True], ids=["frames", "reentrant"])
EACH = pytest.mark.parametrize("kind", KINDS)


# ---- activation checkpoints


def test_passes_differ_and_count():
    for kind in KINDS:
        net, x = build(kind), inputs(kind)
        found = {str(net(x).detach().flatten().tolist()) for _ in range(10)}
        assert len(found) == (1 if kind == "always released" else 10), kind
        assert set(draws(net)) == {10}, kind


@BOTH
@EACH
def test_a_checkpoint_changes_no_bit(kind, reentrant):
    plain, net, x = build(kind), build(kind), inputs(kind)
    for _ in range(3):
        expected = passed(plain, plain, x)
        assert same(passed(net, lambda x: checkpoint(net, x, use_reentrant=reentrant), x), expected)
    assert draws(net) == draws(plain) == [3] * len(draws(net))


SITUATIONS = {
    "same input twice": lambda seg, net, x: seg(net, x) + 2 * seg(net, x),
    "segment that uses it twice": lambda seg, net, x: seg(lambda x: net(x) * net(1 - x), x),
    "nested": lambda seg, net, x: seg(lambda x: seg(net, x) * net(x) + seg(net, x), x),
    "after a pass without": lambda seg, net, x: net(x) * seg(net, x),
}


@BOTH
@pytest.mark.parametrize("situation", SITUATIONS)
@EACH
def test_checkpoints_in_any_arrangement(kind, situation, reentrant):
    plain, net, x = build(kind), build(kind), inputs(kind)
    run = SITUATIONS[situation]
    expected = passed(plain, lambda x: run(lambda f, x: f(x), plain, x), x)
    found = passed(net, lambda x: run(lambda f, x: checkpoint(f, x, use_reentrant=reentrant), net, x), x)
    assert torch.equal(found[0], expected[0])
    for one, other in zip(found, expected, strict=True):
        assert one is other is None or torch.allclose(one, other, rtol=1e-13, atol=1e-15)
    assert draws(net) == draws(plain)


@BOTH
@EACH
def test_several_batches_wait_for_their_backward_pass(kind, reentrant):
    plain, net = build(kind), build(kind)
    results = []
    for one, segment in ((plain, lambda f, x: f(x)), (net, lambda f, x: checkpoint(f, x, use_reentrant=reentrant))):
        batches = [inputs(kind, seed).requires_grad_() for seed in (2, 9)]
        outs = [segment(one, x) for x in batches]
        for k, out in enumerate(outs):
            out.square().sum().backward(retain_graph=k == 0)
        outs[0].sum().backward()
        results.append([*(out.detach() for out in outs), *(x.grad for x in batches), *gradients(one)])
    assert same(*results)
    assert draws(net) == draws(plain)


@BOTH
@pytest.mark.parametrize("view", ["frozen", "expected", "evaluation"])
@EACH
def test_a_view_that_is_left_before_the_backward_pass(kind, view, reentrant):
    plain, net, x = build(kind), build(kind), inputs(kind).requires_grad_()
    outs = []
    for one, segment in ((plain, lambda f, x: f(x)), (net, lambda f, x: checkpoint(f, x, use_reentrant=reentrant))):
        with at(one, view):
            out = segment(one, x)
        out.square().sum().backward()
        outs.append(out.detach())
    assert torch.equal(*outs)
    assert same(gradients(net), gradients(plain))
    assert set(draws(net)) == {0}


# ---- precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@EACH
def test_autocast_draws_the_same_and_rounds(kind, dtype):
    plain, net, x = build(kind).float(), build(kind).float(), inputs(kind).float()
    expected = passed(plain, plain, x)
    with torch.autocast("cpu", dtype):
        net.zero_grad()
        x = x.requires_grad_()
        out = net(x)
    loss = out.float().square().sum()
    loss.backward()
    found = [out.detach().float(), x.grad, *gradients(net)]
    assert out.dtype == dtype
    for one, other in zip(found, expected, strict=True):
        if other is None:
            assert one is None
            continue
        assert one.dtype == torch.float32
        assert (one - other).abs().max() <= 0.03 * other.abs().max()
    assert draws(net) == draws(plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@EACH
def test_half_precision_draws_the_same_and_rounds(kind, dtype):
    plain, net, x = build(kind), build(kind).to(dtype), inputs(kind).to(dtype)
    plain.load_state_dict(net.state_dict())
    for _ in range(2):
        expected, found = passed(plain, plain, x.double()), passed(net, net, x)
        for one, other in zip(found, expected, strict=True):
            if other is not None:
                assert one.dtype == dtype
                assert (one.double() - other).abs().max() <= 0.03 * other.abs().max()
    assert draws(net) == draws(plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, DOUBLE])
@pytest.mark.parametrize("kind", ["batch", "sample", "event", "convolution", "convolution, sample", "three sites"])
def test_p_of_one_never_fails(kind, dtype):
    net, x = build(kind).to(dtype), inputs(kind).to(dtype)
    layer = net[0]
    layer.p.fill_(1)
    out = layer(x)
    assert bool((layer.draw_mask() == layer.sites).all())
    w, b = layer.weight, layer.bias
    plain = F.linear(x, w, b) if w.ndim == 2 else F.conv2d(x, w, b, layer.stride, layer.padding, groups=2)
    assert torch.allclose(out, plain, rtol=4 * torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps)


# ---- copies


def saved_whole(net):
    file = io.BytesIO()
    torch.save(net, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=False)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
    "torch.save": saved_whole,
}


def saved_state(net, kind):
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    twin = build(kind, seed=11)
    twin.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    return twin


@pytest.mark.parametrize("how", [*COPIES, "state"])
@EACH
def test_copies_go_on_alike_and_apart(kind, how):
    net, x = build(kind), inputs(kind)
    for _ in range(2):
        passed(net, net, x)
    twin = saved_state(net, kind) if how == "state" else COPIES[how](net)
    before = draws(twin)
    alone = [passed(net, net, x) for _ in range(3)]
    assert draws(twin) == before, "the copy moved with the original"
    assert all(same(passed(twin, twin, x), one) for one in alone)
    with torch.no_grad():
        next(twin.parameters()).zero_()
        for layer in synsim.synapses(twin).values():
            layer.p.fill_(1)
    assert not any(bool((layer.p == 1).all()) for layer in synsim.synapses(net).values()) or kind == "always released"
    assert bool(next(net.parameters()).any())


# ---- functional


@EACH
def test_functional_call(kind):
    net, twin, x = build(kind), build(kind), inputs(kind)
    given = {name: (2 * p.detach()).requires_grad_() for name, p in net.named_parameters()}
    with torch.no_grad():
        for p in twin.parameters():
            p.mul_(2)
    for _ in range(2):
        out, expected = functional_call(net, given, (x,)), twin(x)
        assert torch.equal(out, expected)
        found = torch.autograd.grad(out.square().sum(), list(given.values()))
        assert same(list(found), list(torch.autograd.grad(expected.square().sum(), list(twin.parameters()))))
    assert draws(net) == [2] * len(draws(net))
    twin.load_state_dict(net.state_dict())
    for layer in synsim.synapses(twin).values():
        layer.p.fill_(0.5)
    halves = {name: torch.full_like(p, 0.5) for name, p in net.named_buffers() if name.endswith(".p")}
    assert torch.equal(functional_call(net, halves, (x,)), twin(x))


@EACH
def test_vmap_over_examples_is_a_frozen_pass(kind):
    net, x = build(kind), inputs(kind)
    axis = -2 if kind.endswith("replicas") else 0
    net(x)

    def one(x):
        return net(x.unsqueeze(0)).squeeze(-2)

    with synsim.frozen(net):
        expected = net(x)
    found = vmap(one, out_dims=axis, randomness="different")(x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert draws(net) == [1] * len(draws(net))


TRANSFORMS = {
    "grad": lambda f, x: grad(lambda x: f(x).sum())(x),
    "jacrev": lambda f, x: jacrev(lambda x: f(x).flatten(0, -2).sum(0))(x).sum(0),
    "jvp": lambda f, x: jvp(f, (x,), (x,))[1].sum(),
}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("transform", TRANSFORMS)
@EACH
def test_a_first_pass_inside_a_transform(kind, transform):
    net, plain, x = build(kind), build(kind), inputs(kind)
    with synsim.frozen(plain, 0):
        given = x.clone().requires_grad_()
        if kind.startswith("spiking"):
            expected = torch.zeros_like(x)  # no gradient goes through a spike that is drawn
        else:
            (expected,) = torch.autograd.grad(plain(given).sum(), given)
        after = plain(x)
    found = TRANSFORMS[transform](net, x)
    torch.testing.assert_close(found, (expected * x).sum() if transform == "jvp" else expected, rtol=1e-10, atol=1e-13)
    assert set(draws(net)) == {0}
    assert torch.equal(net(x), after)


@EACH
def test_an_ensemble_of_networks(kind):
    nets, x = [build(kind) for _ in range(3)], inputs(kind)
    with torch.no_grad():
        for k, net in enumerate(nets):
            for parameter in net.parameters():
                parameter.mul_(1 + k)
            for layer in synsim.synapses(net).values():
                layer.p.mul_(0.9**k)
    parameters, buffers = stack_module_state(nets)
    found = vmap(lambda w, b, x: functional_call(nets[0], (w, b), (x,)), in_dims=(0, 0, None))(parameters, buffers, x)
    with synsim.frozen(nets[0], 0), synsim.frozen(nets[1], 0), synsim.frozen(nets[2], 0):
        torch.testing.assert_close(found, torch.stack([net(x) for net in nets]), rtol=1e-10, atol=1e-13)


@EACH
def test_inference_mode(kind):
    net, plain, x = build(kind), build(kind), inputs(kind)
    for _ in range(2):
        with torch.inference_mode():
            out = net(x)
        assert out.is_inference()
        assert torch.equal(out, plain(x))
    assert same(passed(net, net, x), passed(plain, plain, x))
    with torch.inference_mode():
        inside = build(kind)
        out = inside(x)
    assert torch.equal(out, build(kind)(x))


@pytest.mark.parametrize("kind", ["convolution", "convolution, sample"])
def test_channels_last(kind):
    net, plain, x = build(kind), build(kind), inputs(kind)
    net = net.to(memory_format=torch.channels_last)
    assert not net[0].weight.is_contiguous()
    for given in (x, x.contiguous(memory_format=torch.channels_last)):
        for one, other in zip(passed(net, net, given), passed(plain, plain, x), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
        assert torch.equal(net[0].draw_mask(), plain[0].draw_mask())


# ---- weights that are computed


class Softened(nn.Module):
    """Counts how often it is asked."""

    asked = 0

    def forward(self, w):
        self.asked += 1
        return torch.sinh(w)


def old_norm(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return weight_norm(module)


def old_spectral(module):
    return nn.utils.spectral_norm(module)


REPARAMETRISED = {
    "prune": lambda module: prune.l1_unstructured(module, "weight", 0.5),
    "weight_norm": old_norm,
    "parametrizations.weight_norm": parametrizations.weight_norm,
    "spectral_norm": old_spectral,
    "parametrizations.spectral_norm": parametrizations.spectral_norm,
    "parametrize": lambda module: parametrize.register_parametrization(module, "weight", Softened()),
}


@pytest.mark.parametrize("how", REPARAMETRISED)
@pytest.mark.parametrize("kind", LAYERS)
def test_weights_that_are_computed(kind, how):
    net, twin, x = build(kind), build(kind), inputs(kind)
    # The double of the computation: torch's own, on a module that holds nothing but the weight.
    holder = nn.Module()
    holder.weight = nn.Parameter(net[0].weight.detach().clone())
    holder.forward = lambda: holder.weight
    with torch.random.fork_rng():
        torch.manual_seed(0)
        REPARAMETRISED[how](net[0])
        torch.manual_seed(0)
        REPARAMETRISED[how](holder)
    for _ in range(3):
        made = holder()
        with torch.no_grad():
            twin[0].weight.copy_(made)
        found, expected = passed(net, net, x), passed(twin, twin, x)
        assert same(found[:2], expected[:2])
        holder.zero_grad()
        made.backward(twin[0].weight.grad)
        sources = {name: p.grad for name, p in holder.named_parameters()}
        mine = {name: p.grad for name, p in net[0].named_parameters() if name != "bias"}
        assert mine.keys() == sources.keys()
        for name, gradient in sources.items():
            torch.testing.assert_close(mine[name], gradient, rtol=1e-12, atol=1e-15)
    assert draws(net) == draws(twin)


@pytest.mark.parametrize("view", ["training", "without gradients", "frozen", "expected", "evaluation"])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_computed_weight_is_asked_for_once_a_pass(kind, view):
    net, x = build(kind), inputs(kind)
    counter = Softened()
    parametrize.register_parametrization(net[0], "weight", counter)
    counter.asked = 0
    if view == "training":
        net(x)
    elif view == "without gradients":
        with torch.no_grad():
            net(x)
    else:
        with at(net, view):
            net(x)
    assert counter.asked == 1


@pytest.mark.parametrize("how", REPARAMETRISED)
def test_release_probabilities_of_a_computed_weight(how):
    net = build("batch")
    REPARAMETRISED[how](net[0])
    with pytest.raises(ValueError, match=r"the weight of layer '0' is computed from other parameters.*permanent first"):
        synsim.importance.make("release-probability").estimate(net)


def test_a_weight_of_two_layers():
    net = nn.Sequential(*(synsim.BernoulliLinear(5, 5, p=p, dtype=DOUBLE) for p in (0.5, 0.25)))
    synsim.networks.initialised(net, 3)
    net[1].weight = net[0].weight
    x = torch.rand(4, 5, dtype=DOUBLE)
    out = net(x)
    out.square().sum().backward()
    w = net[0].weight.detach().clone().requires_grad_()
    first, second = (layer.draw_mask() / layer.p for layer in net)
    naive = x @ (w * first).t() @ (w * second).t()
    naive.square().sum().backward()
    torch.testing.assert_close(out, naive, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(net[0].weight.grad, w.grad, rtol=1e-13, atol=1e-15)
    assert not torch.equal(first > 0, second > 0)


@pytest.mark.parametrize("kind", LAYERS)
def test_expected_strengths_are_set_in_autograd(kind):
    layer = build(kind)[0]
    wanted = torch.rand(layer.weight.shape, dtype=DOUBLE).requires_grad_()
    leaf = layer.weight
    layer.set_expected(2 * wanted)
    assert layer.weight is leaf
    assert leaf.is_leaf
    assert leaf.requires_grad
    torch.testing.assert_close(layer.expected_strength, 2 * wanted, rtol=1e-12, atol=0)
    layer(inputs(kind)).sum().backward()
    assert wanted.grad is None


# ---- threads


@pytest.mark.parametrize("kind", [kind for kind in LAYERS if kind != "always released"])
def test_four_threads_share_a_network(kind):
    layer, alone, x = build(kind)[0], build(kind)[0], inputs(kind)
    expected = [passed(alone, alone, x)[:2] for _ in range(4 * 10)]
    found, errors = [], []

    def work():
        try:
            for _ in range(10):
                given = x.clone().requires_grad_()
                out = layer(given)
                (grad,) = torch.autograd.grad(out.square().sum(), given)
                found.append([out.detach(), grad])
        except Exception as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not errors
    assert layer.draws == 40

    def key(pair):
        return [t.flatten().tolist() for t in pair]

    assert sorted(map(key, found)) == sorted(map(key, expected))


@pytest.mark.parametrize("kind", [kind for kind in LAYERS if kind != "always released"])
def test_views_belong_to_their_thread(kind):
    net, x = build(kind), inputs(kind)
    expected = []
    for draw in range(4):
        with synsim.frozen(net, draw):
            expected.append(net(x).detach())
    found = [[] for _ in range(4)]
    start = Barrier(4)

    def work(draw):
        start.wait()
        for _ in range(10):
            with synsim.frozen(net, draw):
                found[draw].append(net(x).detach())

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [Thread(target=work, args=(draw,)) for draw in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert all(len(outs) == 10 and all(torch.equal(out, expected[k]) for out in outs) for k, outs in enumerate(found))
    assert set(draws(net)) == {0}
    net(x)
    assert set(draws(net)) == {1}
