"""Weights to and from plain models and files of safetensors."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import synsim
from synsim.conversion import load_plain_state, plain_state
from synsim.networks import cnn

X = torch.rand(3, 6, generator=torch.Generator().manual_seed(0))


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))


def test_the_plain_model_computes_the_mean_field():
    net, model = synsim.mlp([6, 5, 4], bias=True, seed=2), plain()
    model.load_state_dict(plain_state(net))
    with synsim.expected(net), torch.no_grad():
        assert torch.equal(net(X), model(X))


def test_convolutions_and_what_has_no_synapses():
    net, other = cnn(4, seed=1), cnn(4, seed=7)
    state = plain_state(net)
    assert {name.rpartition(".")[2] for name in state} == {"weight", "bias"}
    assert state["conv2.weight"].shape == (32, 32, 3, 3)
    assert load_plain_state(other, state) is other
    for name, value in plain_state(other).items():
        assert torch.equal(value, state[name])
    mixed = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), synsim.BernoulliLinear(6, 2))
    mixed[1].running_mean += 3
    again = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), synsim.BernoulliLinear(6, 2))
    load_plain_state(again, plain_state(mixed))
    assert torch.equal(again[1].running_mean, mixed[1].running_mean)
    assert torch.equal(again[0].weight, mixed[0].weight)


def test_replicas_one_by_one_and_all_at_once():
    net, model = synsim.mlp([6, 5, 4], bias=True, replicas=3), plain()
    before = plain_state(net, 0)
    p = net[0].p.clone()
    load_plain_state(net, model.state_dict(), replica=2)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in plain_state(net, 2).items())
    assert all(torch.equal(value, before[name]) for name, value in plain_state(net, 0).items())
    load_plain_state(net, model.state_dict())
    assert torch.equal(plain_state(net, 0)["0.weight"], model[0].weight)
    assert torch.equal(net[0].p, p)


def test_a_layer_that_stores_something_else_takes_expected_strengths(tmp_path):
    net = synsim.controls.mlp([6, 5, 4], "unnormalised")
    for layer in synsim.synapses(net).values():
        layer.p.fill_(0.5)
    wanted = {name: torch.full_like(value, 0.25) for name, value in plain_state(net).items()}
    save_file(wanted, tmp_path / "weights.safetensors")
    load_plain_state(net, tmp_path / "weights.safetensors")
    assert torch.allclose(net[0].expected_strength, torch.tensor(0.25))
    assert torch.allclose(net[0].weight, torch.tensor(0.5))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (lambda: {**plain().state_dict(), "4.weight": X}, r"missing \[\], unknown \['4.weight'\]"),
        (lambda: {"0.weight": X}, r"missing \['0.bias', '2.bias', '2.weight'\]"),
        (lambda: {**plain().state_dict(), "2.weight": X}, r"'2.weight' must be a tensor \[4, 5\], got"),
    ],
)
def test_states_that_do_not_fit_change_nothing(state, message):
    net = synsim.mlp([6, 5, 4], bias=True)
    before = plain_state(net)
    with pytest.raises(ValueError, match=message):
        load_plain_state(net, state())
    assert all(torch.equal(value, before[name]) for name, value in plain_state(net).items())


def test_other_refusals(tmp_path):
    net, several = synsim.mlp([6, 4]), synsim.mlp([6, 4], replicas=2)
    with pytest.raises(ValueError, match="has 2 replicas; choose one of them, got replica=None"):
        plain_state(several)
    with pytest.raises(ValueError, match="has no replicas"):
        plain_state(net, 0)
    with pytest.raises(ValueError, match="has 2 replicas"):
        load_plain_state(several, plain_state(net), replica=2)
    with pytest.raises(FileNotFoundError, match="is no file"):
        load_plain_state(net, tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="can't be read as safetensors"):
        load_plain_state(net, tmp_path / "bad.safetensors")
