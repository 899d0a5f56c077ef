"""`suggest_g_lim`: the share of synapses that was asked for grows in a step."""

import pytest
import torch

import synsim

X = torch.rand(200, 12, generator=torch.Generator().manual_seed(0))
Y = torch.arange(200) % 4
SHARE = 0.1


@pytest.mark.parametrize("replicas", [None, 3])
def test_the_share_that_was_asked_for_grows(replicas) -> None:
    net = synsim.mlp([12, 40, 4], p=0.5, replicas=replicas, seed=2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    g_lim = synsim.suggest_g_lim(net, X, Y, share=SHARE, batch=50)
    assert synsim.PresynapticSGD.suggest_g_lim is synsim.suggest_g_lim
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    rule = synsim.PresynapticSGD(net, 0.0, p_up=0.1, p_down=0.1, g_lim=g_lim)
    grown = []
    for rows in torch.arange(200).split(50):
        at = [layer.p.clone() for layer in synsim.synapses(net).values()]
        rule.zero_grad()
        synsim.cross_entropy(net(X[rows]), Y[rows]).backward()
        rule.step()
        now = [layer.p for layer in synsim.synapses(net).values()]
        grown.append(torch.cat([(new > old).reshape(replicas or 1, -1) for new, old in zip(now, at, strict=True)], 1))
    shares = torch.stack(grown).double().mean((0, 2))
    # Eight masks in all, of 640 synapses that depend on each other.
    assert bool((shares - SHARE).abs().max() < 0.04)


def test_it_is_the_quantile_of_the_gradients_of_a_loop() -> None:
    net = synsim.mlp([12, 5, 4], p=1.0, seed=2, dtype=torch.float64)
    x = X.double()
    sizes = []
    for rows in torch.arange(200).split(50)[:2]:
        net.zero_grad()
        torch.nn.functional.cross_entropy(net(x[rows]), Y[rows]).backward()
        sizes.append(torch.cat([p.grad.flatten() for p in net.parameters()]).abs())
    exceeded = (torch.cat(sizes) > synsim.suggest_g_lim(net, x, Y, share=0.25, batch=50, batches=2)).double().mean()
    assert abs(float(exceeded) - 0.25) <= 1 / (2 * 80)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 0.0}, "share must be above 0"),
        ({"share": 1.0}, "share must be below 1"),
        ({"share": "a"}, "share must be a number"),
        ({"share": 0.9}, "fewer than 90% of the synapses have a gradient"),
        ({"y": None}, "labels are needed"),
        ({"net": torch.nn.Linear(12, 4)}, "stochastic layers, got none"),
    ],
)
def test_it_says_what_does_not_fit(options, message) -> None:
    given = {"net": synsim.mlp([12, 5, 4], p=0.5), "x": X, "y": Y, **options}
    with pytest.raises(ValueError, match=message):
        synsim.suggest_g_lim(**given)
