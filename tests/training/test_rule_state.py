"""The state of any rule in a checkpoint: tensors of any shape and type under any key, or refused in words."""

import copy
import json

import pytest
import torch
from torch import nn

import synsim
from synsim.rules.base import begin_anew, traits
from synsim.training.state import groups_of, pack, unpack
from synsim.training.step import apply_step


class Keeping(torch.optim.SGD):
    """Keeps whatever it is given beside the state of its parameters."""

    def __init__(self, net, lr=0.1, kept=None):
        super().__init__(net.parameters(), lr=lr)
        self.kept = kept

    def state_dict(self):
        return {**super().state_dict(), "kept": self.kept}

    def load_state_dict(self, state):
        self.kept = state["kept"]
        super().load_state_dict(state)


def network(dtype=torch.float32):
    return nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)).to(dtype)


def through_a_file(net, optimiser):
    """What comes back from JSON and from a file of tensors that share no memory."""
    tensors, numbers = pack(net, optimiser)
    groups = groups_of(optimiser, tensors)
    return {name: value.clone() for name, value in tensors.items()}, *json.loads(json.dumps([numbers, groups]))


def resumed(net, optimiser, other, again):
    tensors, numbers, groups = through_a_file(net, optimiser)
    unpack(other, again, tensors, numbers, groups)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


STATE = {
    "a layer": {"left": torch.rand(3, 3, dtype=torch.float64), "right": [torch.rand(7), torch.arange(4)], "steps": 3},
    "a/b": torch.ones(2),
    "a": {"b": torch.zeros(2)},
    1: torch.full((2, 1), 1.0),
    "1": torch.full((1, 2), 2.0),
    "numbers": [0.1, float("inf"), None, True, "text", (1, 2)],
    "empty": {},
    "view": torch.arange(12.0).reshape(3, 4).T,
    "half": torch.rand(2).bfloat16(),
}


def test_state_of_any_shape_and_key_comes_back() -> None:
    net, other = network(), network()
    rule, again = Keeping(net, kept=copy.deepcopy(STATE)), Keeping(other, kept=copy.deepcopy(STATE))
    again.kept = {key: value for key, value in again.kept.items() if key == "numbers"}
    resumed(net, rule, other, again)
    assert same(again.kept, STATE)
    assert all(torch.equal(one, two) for one, two in zip(net.parameters(), other.parameters(), strict=True))


def test_what_stands_in_the_state_of_an_optimiser_under_other_keys_comes_back() -> None:
    net, other = network(), network()
    rule, again = (torch.optim.SGD(each.parameters(), 0.1, momentum=0.9) for each in (net, other))
    net(torch.ones(2, 5)).sum().backward()
    rule.step()
    first = next(net.parameters())
    rule.state[first] |= {"factor": torch.rand(6, 6, dtype=torch.float64), "list": [torch.rand(2).double(), 3]}
    rule.state["layer/0"] = {"sum": torch.rand(3)}
    rule.state["7"] = torch.rand(2)
    rule.state["flat"] = {"mean": torch.rand(2), "count": 4}
    resumed(net, rule, other, again)
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        assert same(dict(rule.state[one]), dict(again.state[two]))
    for key in ("layer/0", "7", "flat"):
        assert same(rule.state[key], again.state[key]), key


def test_a_checkpoint_of_another_precision_follows_the_network() -> None:
    net, other = network(), network(torch.float64)
    rule, again = (torch.optim.SGD(each.parameters(), 0.1, momentum=0.9) for each in (net, other))
    net(torch.ones(2, 5)).sum().backward()
    rule.step()
    resumed(net, rule, other, again)
    other(torch.ones(2, 5).double()).sum().backward()
    again.step()
    assert all(state["momentum_buffer"].dtype == torch.float64 for state in again.state.values())


@pytest.mark.parametrize(
    ("build", "resume", "message"),
    [
        (lambda net: Keeping(net, kept=[1]), lambda net: torch.optim.SGD(net.parameters(), 0.1), "begun with Keeping"),
        (lambda net: torch.optim.SGD(net.parameters(), 0.1), lambda net: Keeping(net, kept=[1]), "this is Keeping"),
        (lambda net: torch.optim.Adam(net.parameters()), lambda net: synsim.BGD(net), "the state of that; this is BGD"),
    ],
)
def test_a_rule_of_another_kind_is_refused_and_nothing_moves(build, resume, message) -> None:
    net, other = network(), network()
    again = resume(other)
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(ValueError, match=message):
        resumed(net, build(net), other, again)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_a_rule_that_keeps_less_or_more_than_the_checkpoint_is_refused() -> None:
    net = network()
    tensors, numbers, groups = through_a_file(net, Keeping(net, kept=[1]))
    less = type("Keeping", (torch.optim.SGD,), {})(net.parameters(), 0.1)
    with pytest.raises(ValueError, match="holds kept of a Keeping, and this Keeping keeps nothing of that name"):
        unpack(net, less, tensors, numbers, groups)
    tensors, numbers, groups = through_a_file(net, less)
    with pytest.raises(ValueError, match="this Keeping keeps kept, and the checkpoint holds nothing of that name"):
        unpack(net, Keeping(net, kept=[1]), tensors, numbers, groups)


@pytest.mark.parametrize(
    ("kept", "message"), [({(1, 2): 3}, r"rule/kept has the key \(1, 2\)"), ([len], "can't keep: it holds tensors")]
)
def test_state_that_no_file_holds_is_refused(kept, message) -> None:
    net = network()
    with pytest.raises(TypeError, match=message):
        pack(net, Keeping(net, kept=kept))


def test_a_checkpoint_that_does_not_say_its_rule_still_opens() -> None:
    net, other = network(), network()
    rule, again = (torch.optim.Adam(each.parameters()) for each in (net, other))
    net(torch.ones(2, 5)).sum().backward()
    rule.step()
    tensors, numbers, groups = through_a_file(net, rule)
    del numbers["rule"]
    unpack(other, again, tensors, numbers, groups)
    assert same(rule.state_dict()["state"], again.state_dict()["state"])


class TakesPenalty(torch.optim.SGD):
    def step(self, closure=None, *, penalty=None):
        self.penalty = penalty


class NeedsClosure(torch.optim.SGD):
    couples_replicas = False

    def step(self, closure):
        return closure()


QUESTIONS = {
    "SGD": (lambda net: torch.optim.SGD(net.parameters(), 0.1), (False, False, False, "")),
    "AdamW": (lambda net: torch.optim.AdamW(net.parameters()), (False, False, False, "")),
    "LBFGS": (lambda net: torch.optim.LBFGS(net.parameters()), (False, True, True, "")),
    "PresynapticSGD": (
        lambda net: synsim.PresynapticSGD(net, 0.1, p_up=0.1, p_down=0.1, g_lim=1.0),
        (True, False, False, ""),
    ),
    "BGD": (synsim.BGD, (False, True, False, "with the spread of its weights")),
    "own": (lambda net: TakesPenalty(net.parameters(), 0.1), (True, False, False, "")),
    "own with a closure": (lambda net: NeedsClosure(net.parameters(), 0.1), (False, True, False, "")),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_rule_answers_as_it_is(name) -> None:
    build, answers = QUESTIONS[name]
    rule = build(synsim.mlp([4, 3]))
    found = traits(rule)
    rule.step = rule.step  # as schedulers wrap it
    assert traits(rule) == found
    assert (found.takes_penalty, found.needs_closure, found.couples_replicas, found.protects) == answers


def test_a_rule_of_one_s_own_is_given_the_penalty_apart() -> None:
    net = network()
    rule = TakesPenalty(net.parameters(), 0.1)
    net(torch.ones(2, 5)).sum().backward()
    before = net[0].weight.grad.clone()
    penalty = {"0.weight": torch.ones(4, 5)}
    apply_step(net, rule, lambda: penalty)
    assert rule.penalty is penalty
    assert torch.equal(net[0].weight.grad, before)


def test_a_rule_of_one_s_own_may_take_both_a_closure_and_a_penalty() -> None:
    class Both(torch.optim.SGD):
        needs_closure = True

        def step(self, closure=None, *, penalty=None):
            self.given = closure(), penalty

    net = network()
    rule, penalty = Both(net.parameters(), 0.1), {"0.weight": torch.ones(4, 5)}
    apply_step(net, rule, lambda: penalty, lambda: torch.tensor(2.0))
    assert rule.given == (torch.tensor(2.0), penalty)
    apply_step(net, rule, None, lambda: torch.tensor(2.0))
    assert rule.given == (torch.tensor(2.0), None)
    with pytest.raises(ValueError, match="Both needs the loss anew: give `again`"):
        apply_step(net, rule)


def test_to_begin_anew_is_refused_where_nobody_says_how() -> None:
    net = network()
    with pytest.raises(ValueError, match=r"Keeping keeps kept: give it a method reset\(\)"):
        begin_anew(Keeping(net, kept=[1]))
    adam = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 5)).sum().backward()
    adam.step()
    begin_anew(adam)
    assert not adam.state
