"""What no door of the package lets in: one line each, with the words that it is refused by."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import synsim
from synsim import (
    data,
    losses,
    meters,
    perceptron,
    plots,
    records,
    rules,
    spiking,
    statistics,
    streams,
    tasks,
    training,
)
from synsim._doors import ArgumentError, explained, typed

NAN = float("nan")
X, Y = torch.rand(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 1])
HUGE = 2**31


def net(replicas: int | None = None) -> nn.Sequential:
    return synsim.mlp([3, 4, 2], replicas=replicas)


def step(**changed: object) -> Tensor:
    given = {"p_up": 0.1, "p_down": 0.1, "g_lim": 0.1, **changed}
    return rules.probability_step(torch.full((2,), 0.5), torch.zeros(2), **given)


def dataset(**changed: object) -> data.Dataset:
    images, labels = torch.full((4, 1, 3), 9, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    given = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels, "classes": 2, "levels": 255}
    return data.Dataset("made", **{**given, "mean": (0.5,), "sd": (0.5,), **changed})


def task() -> tasks.Task:
    return tasks.single(dataset())[0]


def rule(model: nn.Module) -> synsim.PresynapticSGD:
    return synsim.PresynapticSGD(model, 0.1, p_up=0.1, p_down=0.1, g_lim=0.1)


MASKS = {"0": torch.ones(4, 3, dtype=torch.bool)}

NONSENSE = {
    "a probability above 1": (lambda: step(p_up=2), "p_up must be finite and between 0 and 1"),
    "a bound that is none": (lambda: step(p_min=NAN), "p_min must be finite"),
    "text for a flag": (lambda: statistics.compare([1, 2], [2, 3], paired="False"), "paired must be True or False"),
    "text that overwrites": (lambda: records.create(Path("x"), {}, overwrite="no"), "overwrite must be True or False"),
    "an index that wraps": (lambda: task().train.batch(torch.tensor([[-1]])), "index must lie from 0 to 3"),
    "a batch of minus one": (lambda: task().batch(torch.tensor(-1)), "index must"),
    "labels between classes": (lambda: meters.accuracy(net(), X, torch.full((4,), 1.9)), "y must hold integer class"),
    "labels of a loss": (lambda: synsim.cross_entropy(X, torch.full((4,), 1.9)), "y must hold integer class labels"),
    "a label that is no class": (
        lambda: losses.replica_cross_entropy(X, torch.tensor([0, 1, 2, 3])),
        "y must hold labels from 0 to 2",
    ),
    "fewer events than none": (lambda: meters.atp_of_events(-X, X, X), "spikes must be at least 0, got -"),
    "an infinite deviation": (lambda: dataset(sd=(float("inf"),)), "expected a mean and a positive sd"),
    "stars of no probability": (lambda: statistics.stars(-0.5), "p must lie between 0 and 1"),
    "a figure without end": (lambda: plots.figure(height=2**63), "height in inches must lie in"),
    "seeds between numbers": (lambda: synsim.seed(net(2), [1.9, 2.9]), "seed must be a whole number"),
    "a seed of text": (lambda: synsim.seed(net(2), "12"), "seed must be a whole number"),
    "an epoch between two": (lambda: tasks.epoch_order([1], 0, 1.9, 4), "epoch must be a whole number, got 1.9"),
    "a flag for a number": (lambda: tasks.epoch_order([1], True, 0, 4), "task must be a whole number, got True"),
    "a list for a tensor": (lambda: net()([[1.0, 2.0, 3.0]]), "x must be a dense tensor, got list"),
    "a sparse tensor": (lambda: net()(X.to_sparse()), "expects a dense tensor, got a .* in the layout sparse_coo"),
    "a tensor without values": (lambda: net()(X.to("meta")), "expects a dense tensor, got a .* without values"),
    "time steps of half": (lambda: net()[0](X, steps=0.5), "steps must be a whole number"),
    "an array for a mask": (
        lambda: net()[0].draw(np.ones((4, 3))),
        "weight must be a dense tensor or None, got a NumPy",
    ),
    "strengths of another shape": (lambda: net()[0].set_expected(X[:2, :1]), r"shape \[4, 3\], got"),
    "strengths that are none": (lambda: net()[0].set_expected(torch.full((4, 3), NAN)), "finite numbers"),
    "a state of something else": (lambda: net()[0].set_extra_state(X), "expected what get_extra_state returns"),
    "padding by name": (lambda: synsim.BernoulliConv2d(1, 1, 3, padding="some"), "padding must be one of same, valid"),
    "padding that has no size": (lambda: synsim.BernoulliConv2d(1, 1, 3, 2, "same"), "padding='same' needs a stride"),
    "a head where there is one": (
        lambda: training.train_step(net(), rule(net()), X, Y, head=1),
        "head must be None for a network with one output layer",
    ),
    "an optimiser of text": (lambda: training.train_step(net(), "sgd", X, Y), "optimiser must be an Optimizer"),
    "images that are none": (lambda: training.train_step(net(), rule(net()), X * NAN, Y), "x must be finite"),
    "a closure that is none": (lambda: rule(net()).step(3), "closure must be something to call, got 3"),
    "two penalties": (lambda: rule(net()).step({}, penalty={}), "expected one penalty, got two"),
    "five counters": (lambda: streams.philox([Y] * 5, (1, 2)), "expected four counters and two words of a key, got 5"),
    "a word below 0": (lambda: streams.philox([Y] * 4, (-1, 2)), "words must be a whole number from 0 to 4294967295"),
    "keys of another shape": (lambda: streams.uniform(Y, 3), r"keys must be of shape \[R, 2\]"),
    "shuffles of numbers": (lambda: meters.shuffled({"0": X}, [1]), "mask '0' must hold bools"),
    "answers for logits": (
        lambda: meters.accuracy(nn.Sequential(net(), _Argmax()), X, Y),
        "must return logits, floats",
    ),
    "replicas without end": (
        lambda: synsim.BernoulliLinear(3, 2, replicas=HUGE),
        "replicas must be a whole number",
    ),
    "encoders without end": (
        lambda: spiking.PoissonRates(window=10.0, dt=1.0, replicas=HUGE),
        "replicas must be a whole number",
    ),
    "random numbers without end": (lambda: streams.uniform(streams.keys("init", [1]), 2**40), "GiB of memory"),
    "passes without end": (
        lambda: meters.accuracy(net(), X, Y, samples=HUGE),
        "samples must be a whole number from 1 to",
    ),
    "draws without end": (lambda: synsim.BGD(net(), samples=HUGE), "samples must be a whole number"),
    "classes without end": (
        lambda: meters.mutual_information(net(), X, Y, classes=2**62),
        "classes must be a whole number from 1 to",
    ),
    "a gain that is none": (lambda: spiking.spiking_mlp([3, 2], gain=NAN), "gain must"),
    "shuffles without end": (lambda: meters.shuffled(MASKS, [1], 2**40), "GiB of memory"),
    "patterns without end": (lambda: perceptron.patterns([1], 0, 2**40, 2**20), "patterns may have"),
    "a pool without end": (lambda: synsim.networks.MaxPool(10**30), "size must be a whole number from 1 to"),
}


class _Argmax(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.argmax(-1, keepdim=True)


@pytest.mark.parametrize(("call", "words"), NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_refused_by_name(call, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, TypeError), match=words):
        call()
    assert list(tmp_path.iterdir()) == []


@explained
def above(x: Tensor, times: int = 2) -> Tensor:
    return x.mul(times) - x.min()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (([1.0],), "x must be a dense tensor, got list [1.0]. Make a tensor of it first"),
        ((X, "2"), "times must be a whole number, got '2'"),
        ((X.to_sparse(),), "x must be a dense tensor, got"),
    ],
)
def test_what_fails_inside_is_explained(given, words):
    with pytest.raises(ArgumentError, match=re.escape(words)) as caught:
        above(*given)
    assert caught.value.__cause__ is not None


def test_what_passes_is_not_looked_at():
    assert above(X, 2.0).tolist() == (2 * X - X.min()).tolist()


@pytest.mark.parametrize("door", [typed, explained])
def test_other_errors_stay_what_they_are(door):
    def fails(x: Tensor) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        door(fails)(X)


@pytest.mark.parametrize("door", [typed, explained])
def test_types_that_torch_has_no_operation_for_are_named(door):
    def pooled(x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(x, 2)

    with pytest.raises(ArgumentError, match=r"x must be a tensor of another type .*, got a torch.bool tensor"):
        door(pooled)(torch.ones(1, 1, 4, 4, dtype=torch.bool))


@pytest.mark.parametrize("door", [typed, explained])
def test_memory_that_runs_out_is_said(door):
    def hungry() -> Tensor:
        return torch.empty(2**60)

    with pytest.raises(MemoryError, match=r"hungry asks for more memory than there is.*Use smaller sizes"):
        door(hungry)()
