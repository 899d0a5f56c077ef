"""One mask for a loop over time written by hand: the loop is one pass of all of its steps, in every view."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import synsim
from synsim.dropout import StreamDropout
from synsim.synapses import evaluation

STEPS, BATCH = 5, 4
SCOPES = ("batch", "sample", "event", "event-gaussian")


def layer(scope, replicas=None, seed=3, **options):
    made = synsim.BernoulliLinear(7, 6, p=0.4, scope=scope, replicas=replicas, dtype=torch.float64, **options)
    synsim.seed(made, seed)
    made.reset_parameters()
    return made


def spikes(lead=()):
    drawn = torch.rand(*lead, STEPS, BATCH, 7, generator=torch.Generator().manual_seed(0))
    return (drawn < 0.4).double()


def by_hand(one, x):
    with synsim.held(one):
        return torch.stack([one(now) for now in x.unbind(-3)], -3)


def at_once(one, x):
    return one(x.flatten(-3, -2), steps=STEPS).unflatten(-2, (STEPS, BATCH))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("replicas", [None, 2])
def test_a_loop_is_one_pass_of_all_steps(scope, replicas):
    one, x = layer(scope, replicas, sites=2), spikes(() if replicas is None else (2,))
    twin = copy.deepcopy(one)
    for number in (1, 2):
        found, expected = by_hand(one, x), at_once(twin, x)
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)
        along = torch.randn(found.shape, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
        for each, out in ((one, found), (twin, expected)):
            each.zero_grad()
            out.backward(along)
        assert torch.allclose(one.weight.grad, twin.weight.grad, rtol=1e-10, atol=1e-13)
        assert one.draws == number
        if scope == "batch":
            assert torch.equal(one.mask, twin.mask)
    assert not torch.allclose(found, by_hand(one, x))


@pytest.mark.parametrize("scope", SCOPES)
def test_views_stay_in_force(scope):
    one, x = layer(scope), spikes()
    with synsim.frozen(one, 4):
        assert torch.equal(by_hand(one, x), by_hand(one, x))
        assert torch.allclose(by_hand(one, x), at_once(one, x), rtol=1e-12, atol=1e-14)
    with synsim.expected(one):
        assert torch.allclose(by_hand(one, x), x @ one.weight.t())
    assert one.draws == 0
    with evaluation(one, 2) as passes:
        passes.at(1, 0, 0)
        measured = by_hand(one, x)
        assert torch.allclose(measured, at_once(one, x), rtol=1e-12, atol=1e-14)
    assert one.draws == 0
    with synsim.held(one):
        one(x[0])
        # What is measured inside of a loop does not depend on the loop.
        with evaluation(one, 2) as passes:
            passes.at(1, 0, 0)
            assert torch.allclose(measured, at_once(one, x), rtol=1e-12, atol=1e-14)
    assert one.draws == 1


def test_a_loop_within_a_loop_goes_on_with_it():
    one, x = layer("event"), spikes()
    twin = copy.deepcopy(one)
    with synsim.held(one):
        first = [one(now) for now in x[:2]]
        with synsim.held(one):
            second = [one(now) for now in x[2:4]]
        last = one(x[4])
    assert torch.allclose(torch.stack([*first, *second, last]), at_once(twin, x), rtol=1e-12)
    assert one.draws == 1


def test_what_is_not_called_draws_nothing_and_an_error_ends_the_loop():
    net = synsim.MultiHead(layer("batch"), [layer("batch"), layer("batch")])
    with pytest.raises(ValueError, match="expects inputs of shape"), synsim.held(net):
        net.heads[0](net.trunk(spikes()[0]))
    assert [one.draws for one in synsim.synapses(net).values()] == [1, 0, 0]
    net.trunk(spikes()[0])
    assert net.trunk.draws == 2
    with pytest.raises(ValueError, match="net must be a torch module, got 3"), synsim.held(3):
        pass


class Recurrence(nn.Module):
    """A network whose own loop is held."""

    def __init__(self, scope, inner=lambda run, *given: run(*given)):
        super().__init__()
        self.into, self.back, self.inner = (
            layer(scope),
            synsim.BernoulliLinear(6, 6, p=0.5, scope=scope).double(),
            inner,
        )
        self.drop = StreamDropout(0.5)
        synsim.networks.initialised(self, 1)

    def step(self, now, h):
        return self.drop((self.into(now) + self.back((h > 0.1).double() + h - h.detach())).tanh())

    def forward(self, x):
        trains = x.unflatten(-1, (STEPS, 7)).movedim(-2, 0)
        h = x.new_zeros(len(x), 6)
        with synsim.held(self):
            for now in trains:
                h = self.inner(self.step, now, h)
        return h


@pytest.mark.parametrize("scope", ["batch", "sample"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_in_and_around_a_loop(scope, reentrant):
    def segment(run, *given):
        return checkpoint(run, *given, use_reentrant=reentrant)

    x, found = spikes().movedim(0, 1).flatten(1).requires_grad_(), []
    for inside, around in ((False, False), (True, False), (False, True)):
        net = Recurrence(scope, segment) if inside else Recurrence(scope)
        for _ in range(2):
            x.grad = None
            net.zero_grad()
            out = segment(net, x) if around else net(x)
            out.square().sum().backward()
        found.append([out, *(one.grad for one in net.parameters())])
        assert [one.draws for one in (net.into, net.back, net.drop)] == [2, 2, 2]
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            assert torch.allclose(one, same, rtol=1e-12)


@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_meters_and_importances_measure_it(scope):
    net, x = Recurrence(scope), spikes().movedim(0, 1).flatten(1)
    first = synsim.meters.class_probabilities(net, x, samples=2, block=2)
    assert torch.equal(first, synsim.meters.class_probabilities(net, x, samples=2, block=2))
    assert net.into.draws == 0
    kind = {"labels": "exact", "view": "sampled", "samples": 1, "block": BATCH}
    net.eval()
    found = synsim.importance.make("fisher", **kind).estimate(net, x)
    with evaluation(net) as passes:
        sums = {name: torch.zeros_like(value) for name, value in net.named_parameters()}
        for i in range(BATCH):
            passes.at(0, 0, 0) if scope == "batch" else passes.at(0, 0, i)
            log_p = net(x[i : i + 1]).log_softmax(-1)[0]
            for c in range(6):
                gradients = torch.autograd.grad(log_p[c], list(net.parameters()), retain_graph=True)
                for name, one in zip(sums, gradients, strict=True):
                    sums[name] += log_p[c].exp().detach() * one.square() / BATCH
    for name, value in sums.items():
        assert torch.allclose(found[name], value, rtol=1e-8, atol=1e-14)
        assert float(value.sum()) > 0


def test_a_copy_made_in_a_loop_stays_in_it():
    one, x = layer("batch"), spikes()[0]
    with synsim.held(one):
        out, twin = one(x), copy.deepcopy(one)
        assert torch.equal(twin(x), out)
    assert not torch.equal(one(x), out)
