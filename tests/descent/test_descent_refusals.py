"""What rules that look at layers refuse, in words."""

import contextlib
import warnings

import pytest
import torch
from torch import nn

import synsim
from synsim._checks import NotFiniteError
from synsim.descent import factors

X, Y = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


def network(**options):
    return synsim.mlp([4, 5, 3], **{"p": 0.5, **options})


def foof(net=None, lr=0.1, damping=1.0, **options):
    return synsim.FOOF(network() if net is None else net, lr, damping, **{"warmup": 0, **options})


def watched(net, rule, x=X, y=Y):
    rule.zero_grad()
    with rule.watch():
        logits = net(x)
    rule.backward(synsim.losses.replica_cross_entropy(logits, y), logits)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(self.layer(x).relu())


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.two(self.one(x))


def spiking():
    net = synsim.spiking.spiking_mlp([4, 5, 3], p=0.5, window=5.0, dt=1.0)
    rule = foof(net)
    watched(net, rule, X.abs().clamp(max=1))


REFUSED = {
    "no damping": (lambda: foof(damping=0.0), "damping must be above 0.*small number, such as 1e-6"),
    "a negative damping": (lambda: foof(damping=-1.0), "damping must be above 0"),
    "one damping of none": (
        lambda: foof(network(replicas=2), damping=torch.tensor([1.0, 0.0])), "damping must be above 0"
    ),
    "a rate that is no number": (lambda: foof(lr=float("nan")), "lr must be finite"),
    "no steps between inversions": (lambda: foof(period=0), "period must be"),
    "more steps than a period has": (lambda: foof(period=5, collect=6), "collect counts steps before an inversion"),
    "an average of 1": (lambda: foof(average=1.0), r"average must lie in \[0, 1\)"),
    "a momentum of 1": (lambda: foof(momentum=1.0), r"momentum must lie in \[0, 1\)"),
    "an unknown scale": (lambda: foof(scale="median"), "scale must be one of sum, mean"),
    "a match without left": (lambda: synsim.KFAC(network(), 0.1, 1.0, match="norm"), "match goes with damp='left'"),
    "unknown labels": (lambda: synsim.KFAC(network(), 0.1, 1.0, labels="true"), "labels must be one of sampled"),
    "parameters": (lambda: foof(network().parameters()), "net must be a torch module"),
    "a rule": (
        lambda: foof(synsim.PresynapticSGD(network(), 0.1, p_up=0.1, p_down=0.1, g_lim=0.1)), "net must be a torch"
    ),
    "no layer": (lambda: foof(nn.LayerNorm(4)), "network with linear or convolutional layers, got none"),
    "other parameters": (lambda: foof(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))), "give lr_rest"),
    "powerpropagation": (
        lambda: synsim.Powerpropagation(foof(), 2.0, net=network()), "FOOF can't be powerpropagated"
    ),
    "a shared weight": (lambda: foof(Shared()), "'one' and 'two' share a parameter"),
    "replicas of some": (lambda: foof(nn.Sequential(network(replicas=2), nn.Linear(3, 3))), "leading axis of 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_when_built(case):
    build, message = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=message):
        build()


def passes():
    norm = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    twice, plain = Twice(), nn.Linear(4, 3)
    return {
        "a layer used twice": (lambda: watched(twice, foof(twice)), "'layer' was used 2 times in one pass"),
        "batch norm": (lambda: watched(norm, foof(norm, lr_rest=0.1)), r"'1' \(BatchNorm1d\) normalises"),
        "a mask per example": (
            lambda: watched(net := network(scope="sample"), foof(net)),
            r"scope='sample'.*synsim.expected\(net\).*scope=\"batch\"",
        ),
        "a mask per spike": (lambda: watched(net := network(scope="event"), foof(net)), "scope='event'"),
        "spikes": (spiking, "was used .* times in one pass|takes more than one input"),
        "no pass": (lambda: foof(plain).step(), "FOOF has no pass at hand: call the network within"),
        "a loss of no pass": (lambda: foof(plain).backward(torch.zeros(()), X), "no pass was watched"),
        "a warm-up of another width": (lambda: foof(plain).warm_up([X[:, :3]]), "warm_up expects batches as the net"),
        "a warm-up on nothing": (lambda: foof(plain).warm_up([]), "at least one batch, got none"),
        "a warm-up without labels": (
            lambda: synsim.KFAC(plain, 0.1, 1.0, labels="empirical").warm_up([X]), "KFAC needs labels"
        ),
    }  # fmt: skip


@pytest.mark.parametrize("case", passes())
def test_refused_at_a_pass(case):
    run, message = passes()[case]
    with pytest.raises(ValueError, match=message):
        run()


def test_a_mask_per_example_is_fine_in_the_mean_field():
    net = network(scope="sample")
    rule = foof(net)
    with synsim.expected(net):
        watched(net, rule)
    rule.step()


def test_a_loss_that_is_not_finite_names_step_and_replica_and_moves_nothing():
    net = network(replicas=3)
    rule = foof(net)
    watched(net, rule)
    rule.step()
    with torch.no_grad():
        net[2].weight[1].fill_(float("inf"))
    before = [parameter.detach().clone() for parameter in net.parameters()]
    with pytest.raises(NotFiniteError, match=r"loss of replicas \[1\] is not finite at step 1") as error:
        watched(net, rule)
    assert error.value.replicas == (1,)
    assert all(torch.equal(one, two) for one, two in zip(before, net.parameters(), strict=True))


def test_a_factor_without_an_inverse_names_layer_damping_and_replica():
    bad = torch.eye(3).expand(2, 3, 3).clone()
    bad[1, 0, 0] = -5.0
    message = r"layer 'net.2' is not positive definite at step 7 with the damping 0.5 in replicas \[1\], in float64 too"
    with pytest.raises(NotFiniteError, match=message):
        factors.inverse(bad, 0.5, "net.2", 7)


def test_losses_of_another_shape_or_another_pass():
    net = network(replicas=2)
    rule = foof(net)
    with rule.watch():
        logits = net(X)
    losses = synsim.losses.replica_cross_entropy(logits, Y)
    with pytest.raises(ValueError, match=r"losses must be \[2\] or a number"):
        rule.backward(torch.stack([losses, losses]), logits)
    with pytest.raises(ValueError, match="these need no gradient"):
        rule.backward(losses.detach(), logits)
    with pytest.raises(ValueError, match=r"logits must be the output of the network, \[2, B, C\]"):
        rule.backward(losses, logits[0])
    other = synsim.losses.replica_cross_entropy(net(X), Y)
    with pytest.raises(ValueError, match="do not depend on the pass that was watched"):
        rule.backward(other, logits)


def test_a_penalty_that_does_not_fit():
    net = network()
    rule = foof(net)
    watched(net, rule)
    with pytest.raises(ValueError, match="the penalty names 'nobody'"):
        rule.step(penalty={"nobody": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"penalty of '0.weight' must have shape \[5, 4\]"):
        rule.step(penalty={"0.weight": torch.zeros(3)})


def test_a_start_without_a_warm_up_is_said_once():
    net = network()
    rule = foof(net, warmup=50, period=10)
    watched(net, rule)
    with pytest.warns(UserWarning, match=r"hold until step 10: call rule.warm_up\(batches\) first, which takes in 50"):
        rule.step()
    watched(net, rule)
    rule.step()


@pytest.mark.parametrize("clear", [None, {}, {"set_to_none": False}], ids=["never", "to none", "in place"])
def test_gradients_that_are_not_cleared_between_steps_are_said(clear):
    net = synsim.mlp([4, 3, 2], p=1.0)
    rule = synsim.FOOF(net, lr=0.1, damping=1.0, warmup=0)
    x, y = torch.ones(2, 4), torch.tensor([0, 1])

    def step():
        if clear is not None:
            rule.zero_grad(**clear)
        with rule.watch():
            logits = net(x)
        rule.backward(synsim.cross_entropy(logits, y), logits)
        rule.step()

    step()
    said = pytest.warns(UserWarning, match=r"rule.zero_grad\(\) before") if clear is None else contextlib.nullcontext()
    with said, warnings.catch_warnings():
        warnings.simplefilter("always" if clear is None else "error")
        step()


def test_two_passes_of_one_step_need_no_clearing(recwarn):
    net = synsim.mlp([4, 2], p=1.0)
    rule = synsim.FOOF(net, lr=0.1, damping=1.0, warmup=0)
    for _ in range(2):
        with rule.watch():
            logits = net(torch.ones(2, 4))
        rule.backward(synsim.cross_entropy(logits, torch.tensor([0, 1])), logits)
    rule.step()
    assert not [each for each in recwarn if "zero_grad" in str(each.message)]
