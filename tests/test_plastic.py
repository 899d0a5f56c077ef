"""`plastic`: release probabilities beside any optimiser move by the same step as under the rule."""

import pytest
import torch

import synsim
from synsim.rules import probability_step

CONSTANTS = {"p_up": 0.1, "p_down": 0.05, "g_lim": 0.01}
X = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(20) % 3


def network(**options):
    return synsim.mlp([6, 5, 3], p=0.4, bias=True, seed=1, **options)


def step(net, optimiser):
    optimiser.zero_grad()
    synsim.cross_entropy(net(X), Y).backward()
    optimiser.step()


@pytest.mark.parametrize("bounds", ["soft", "hard"])
@pytest.mark.parametrize("build", [torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop])
def test_it_is_the_probability_step_of_the_task_s_gradient(build, bounds) -> None:
    net, plain = network(), network()
    optimiser, other = (
        build(net.parameters(), lr=0.01, weight_decay=0.1),
        build(plain.parameters(), lr=0.01, weight_decay=0.1),
    )
    synsim.plastic(optimiser, net, **CONSTANTS, bounds=bounds)
    for _ in range(3):
        before = {name: layer.p.clone() for name, layer in synsim.synapses(net).items()}
        # The same strengths as without plasticity, as long as the releases are the same.
        for layer, twin in zip(synsim.synapses(net).values(), synsim.synapses(plain).values(), strict=True):
            twin.p.copy_(layer.p)
        step(net, optimiser)
        step(plain, other)
        for name, layer in synsim.synapses(net).items():
            twin = synsim.synapses(plain)[name]
            assert torch.equal(layer.weight, twin.weight)
            assert torch.equal(layer.bias, twin.bias)
            expected = probability_step(before[name], layer.weight.grad, **CONSTANTS, bounds=bounds)
            assert torch.allclose(layer.p, expected, atol=1e-7)
            assert not torch.equal(layer.p, before[name])


def test_with_plain_descent_it_is_the_rule_to_the_bit() -> None:
    net, other = network(), network()
    sgd = torch.optim.SGD(net.parameters(), lr=0.05)
    synsim.plastic(sgd, net, **CONSTANTS)
    rule = synsim.PresynapticSGD(other, 0.05, **CONSTANTS)
    for _ in range(4):
        step(net, sgd)
        step(other, rule)
    for name, layer in synsim.synapses(net).items():
        twin = synsim.synapses(other)[name]
        assert torch.equal(layer.p, twin.p)
        assert torch.allclose(layer.weight, twin.weight, atol=1e-7)


@pytest.mark.parametrize("first", ["plastic", "guard"])
def test_a_penalty_never_enters_the_probabilities(first) -> None:
    net = network()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    if first == "plastic":
        synsim.plastic(optimiser, net, **CONSTANTS)
    guard = synsim.attach(net, optimiser, "uniform", "penalty", strength=100.0)
    if first == "guard":
        synsim.plastic(optimiser, net, **CONSTANTS)
    with guard.task(X, Y):
        step(net, optimiser)
    guard.start()
    with torch.no_grad():
        net[0].weight += 1
    before = net[0].p.clone()
    step(net, optimiser)
    # After the step the gradients at hand are the task's alone.
    assert torch.allclose(net[0].p, probability_step(before, net[0].weight.grad, **CONSTANTS), atol=1e-7)


def test_a_handle_lets_go_and_keeps_its_constants() -> None:
    net = network()
    optimiser = torch.optim.Adam(net.parameters())
    handle = synsim.plastic(optimiser, net, **CONSTANTS)
    handle.rule.param_groups[0]["p_up"] = 0.3
    saved = handle.state_dict()
    handle.detach()
    before = net[0].p.clone()
    step(net, optimiser)
    assert torch.equal(net[0].p, before)
    handle = synsim.plastic(optimiser, net, **CONSTANTS)
    handle.load_state_dict(saved)
    assert handle.rule.param_groups[0]["p_up"] == 0.3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda net: (synsim.PresynapticSGD(net, 0.1, **CONSTANTS), net),
            "moves strengths alone, got a PresynapticSGD",
        ),
        (lambda net: (torch.optim.SGD(network().parameters(), 0.1), net), "holds none of the parameters"),
        (
            lambda net: (torch.optim.SGD(torch.nn.Linear(3, 2).parameters(), 0.1), torch.nn.Linear(3, 2)),
            "stochastic layers",
        ),
        (lambda net: (torch.optim.LBFGS(net.parameters()), net), "needs no closure"),
        (lambda net: ("adam", net), "got .adam"),
    ],
)
def test_it_says_what_does_not_fit(make, message) -> None:
    optimiser, net = make(network())
    with pytest.raises(ValueError, match=message):
        synsim.plastic(optimiser, net, **CONSTANTS)


def test_once_is_enough() -> None:
    net = network()
    optimiser = torch.optim.Adam(net.parameters())
    synsim.plastic(optimiser, net, **CONSTANTS)
    with pytest.raises(ValueError, match="with this optimiser already"):
        synsim.plastic(optimiser, net, **CONSTANTS)
