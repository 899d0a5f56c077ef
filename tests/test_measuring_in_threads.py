"""Several threads measure one network: each number is that of a measurement alone, and the network stays as it was."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import synsim
from synsim import importance, meters
from synsim.synapses import evaluation

X = torch.rand(40, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
Y = torch.arange(40) % 3
MEASUREMENTS = {
    "accuracy": lambda net: meters.accuracy(net, X, Y, samples=3, block=10),
    "information": lambda net: meters.mutual_information(net, X, Y),
    "synaptic": meters.energy,
    "activity": lambda net: meters.energy(net, "activity", x=X, samples=2),
    "release": lambda net: meters.energy(net, "release", x=X, samples=2),
    "fisher": lambda net: importance.make("fisher").estimate(net, X, Y),
    "sampled view": lambda net: importance.make("mas", view="sampled", samples=2).estimate(net, X),
    "batched": lambda net: importance.make("fisher-batched", batch=8).estimate(net, X, Y),
    "slices": lambda net: importance.make("sliced-cramer", slices=None).estimate(net, X),
    "lesions": lambda net: synsim.lesion_curve(net, X, Y, fractions=(0.0, 0.5), samples=1)[1],
}


@pytest.fixture
def hasty():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def same(a, b):
    return all(torch.equal(a[key], b[key]) for key in a) if isinstance(a, dict) else torch.equal(a, b)


def test_measurements_of_one_network_in_several_threads(hasty):
    net = synsim.mlp([12, 10, 8, 3], bias=True, p=0.5, seed=3, dtype=torch.float64)
    net[0].bias.requires_grad_(False)
    alone = {name: measure(net) for name, measure in MEASUREMENTS.items()}
    with ThreadPoolExecutor(4) as pool:
        found = [(name, pool.submit(MEASUREMENTS[name], net)) for name in [*MEASUREMENTS] * 4]
    wrong = [name for name, one in found if one.exception() or not same(one.result(), alone[name])]
    assert not wrong
    assert net.training
    assert [name for name, w in net.named_parameters() if not w.requires_grad] == ["0.bias"]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_passes_go_on_in_the_thread_that_began_them():
    net = synsim.mlp([12, 3], p=0.5, dtype=torch.float64)
    with evaluation(net) as passes, ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(passes.at, 0, 0, 0).exception()
    with pytest.raises(RuntimeError, match="belong to the thread that began them"):
        raise elsewhere
