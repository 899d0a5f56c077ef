"""One network in several threads: views belong to their thread, and measurements are those of one thread."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import pytest
import torch

import synsim

SECONDS = 60


@pytest.fixture
def net() -> torch.nn.Module:
    return synsim.mlp([20, 16, 4], p=0.5, seed=3)


def outputs(net: torch.nn.Module, x: torch.Tensor, draw: int) -> torch.Tensor:
    with synsim.frozen(net, draw):
        return net(x)


@torch.no_grad()
def test_views_that_overlap_in_two_threads_are_each_their_own(net) -> None:
    x, place = torch.ones(5, 20), Barrier(2, timeout=SECONDS)
    three, seven = outputs(net, x, 3), outputs(net, x, 7)

    @torch.no_grad()
    def first() -> torch.Tensor:
        with synsim.frozen(net, 3):
            place.wait()  # the other enters its view
            place.wait()
            found = net(x)
        place.wait()  # and goes on with it after the end of this one
        return found

    @torch.no_grad()
    def second() -> list[torch.Tensor]:
        place.wait()
        with synsim.frozen(net, 7):
            place.wait()
            found = [net(x)]
            place.wait()
            return [*found, net(x)]

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.submit(first), pool.submit(second)
        assert torch.equal(one.result(), three)
        assert all(torch.equal(found, seven) for found in other.result())
    # Nothing stays: passes draw anew, from the first draw on.
    plain = [net(x) for _ in range(3)]
    assert torch.equal(plain[0], outputs(net, x, 0))
    assert not torch.equal(plain[1], plain[2])


@pytest.mark.parametrize(
    "measure",
    [
        lambda net, x, y, samples: synsim.meters.accuracy(net, x, y, samples=samples),
        lambda net, x, y, samples: synsim.meters.mutual_information(net, x, y, seed=samples),
        lambda net, x, y, samples: synsim.importance.make("fisher", seed=samples).estimate(net, x)["0.weight"],
        lambda net, x, y, samples: synsim.lesion_curve(net, x, y, fractions=[0.5], samples=samples)[1],
    ],
    ids=["accuracy", "information", "fisher", "lesions"],
)
def test_four_threads_measure_what_one_does(net, measure) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(60, 20, generator=generator), torch.randint(0, 4, (60,), generator=generator)
    samples = range(1, 9)
    alone = [measure(net, x, y, count) for count in samples]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(partial(measure, net, x, y), samples))
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
    assert torch.equal(net(x), outputs(net, x, 0))


def test_networks_of_their_own_learn_beside_each_other(net) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(60, 20, generator=generator), torch.randint(0, 4, (60,), generator=generator)
    alone = synsim.meters.accuracy(net, x, y, samples=50)

    def train(seed: int) -> torch.Tensor:
        copy = synsim.mlp([20, 16, 4], p=0.5, seed=seed)
        rule = synsim.PresynapticSGD(copy, lr=0.1, p_up=0.1, p_down=0.1, g_lim=1e-3)
        for _ in range(20):
            rule.zero_grad()
            synsim.cross_entropy(copy(x), y).backward()
            rule.step()
        return copy[0].weight.detach()

    expected = [train(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        measured = [pool.submit(synsim.meters.accuracy, net, x, y, samples=50) for _ in range(2)]
        trained = list(pool.map(train, range(4)))
        assert all(torch.equal(one.result(), alone) for one in measured)
    assert all(torch.equal(one, other) for one, other in zip(expected, trained, strict=True))
