"""Small runs whose results are kept as digests, so that a change of the house that moves a bit is seen.

python tests/frozen/results.py            prints the digests
python tests/frozen/results.py --write    replaces those that are kept, after a change that is meant
"""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import synsim
from synsim import meters, perceptron
from synsim.spiking import FastSigmoid, spiking_mlp
from synsim.training import Protection, fit

KEPT = Path(__file__).with_name("digests.json")
RULE = {"lr": 0.05, "p_up": 0.07, "p_down": 0.05, "g_lim": 0.001}
Found = dict[str, Tensor]
RUNS: dict[str, Callable[[], Found]] = {}


def result(run: Callable[[], Found]) -> Callable[[], Found]:
    RUNS[run.__name__.replace("_", " ")] = run
    return run


def state(net: torch.nn.Module) -> Found:
    return {name: value for name, value in net.state_dict().items() if value.is_floating_point()}


def split(importance: str, strength: float, build: Callable[..., torch.optim.Optimizer]) -> Found:
    """Two tasks of the split digits, with a consolidation; two replicas."""
    tasks = synsim.tasks.split(synsim.data.load("digits"), heads="separate")[:2]
    trunk = synsim.mlp([64, 40, 20], replicas=2, seed=3)
    heads = [synsim.BernoulliLinear(20, 2, replicas=2) for _ in range(2)]
    net = synsim.networks.initialised(synsim.MultiHead(trunk, heads), 3)
    protection = Protection(synsim.importance.make(importance), synsim.consolidation.make("penalty", strength=strength))
    history = fit(net, build(net), tasks, seeds=(3, 4), epochs=2, batch=20, samples=2, protection=protection)
    return {**state(net), "accuracy": history.accuracy, "loss": history.per_epoch["loss"]}


@result
def split_digits_with_release_probabilities() -> Found:
    return split(
        "release-probability", 0.1, lambda net: synsim.PresynapticSGD(net, weight_decay=1e-3, modulate_lr=True, **RULE)
    )


@result
def split_digits_with_synaptic_intelligence() -> Found:
    return split("si", 0.1, lambda net: synsim.PresynapticSGD(net, plastic=False, **RULE))


@result
def split_digits_with_the_fisher_information_and_adam() -> Found:
    return split("fisher", 10.0, lambda net: torch.optim.Adam(net.parameters(), 1e-3))


@result
def energy_on_digits() -> Found:
    task = synsim.tasks.single(synsim.data.load("digits"))[0]
    net = synsim.mlp([64, 40, 10], replicas=3, seed=1)
    rule = synsim.PresynapticSGD(net, weight_decay=torch.tensor([0.0, 0.003, 0.01]), **RULE)
    fit(net, rule, [task], seeds=(1, 2, 3), epochs=2, batch=20, samples=2)
    x, y = task.test[0:200], task.test.y[:200]
    return {
        **state(net),
        "energy": meters.energy(net),
        "information": meters.mutual_information(net, x, y),
        "accuracy": meters.accuracy(net, x, y),
    }


@result
def lesions_on_digits() -> Found:
    task = synsim.tasks.single(synsim.data.load("digits"))[0]
    net = synsim.mlp([64, 40, 10], seed=5)
    fit(net, synsim.PresynapticSGD(net, **RULE), [task], seeds=(5,), epochs=1, batch=20, samples=1)
    x, y = task.test[0:200], task.test.y[:200]
    return {order: synsim.lesion_curve(net, x, y, order, samples=2)[1] for order in ("p", "weight", "random")}


@result
def spiking_digits() -> Found:
    task = synsim.tasks.single(synsim.data.load("digits"), pixels="unit")[0]
    shared = {"window": 10.0, "threshold": 0.3, "gain": 3.0, "surrogate": FastSigmoid(10.0)}
    found: Found = {}
    for scope in ("batch", "event"):
        net = spiking_mlp([64, 30, 10], scope=scope, replicas=2, seed=2, **shared)
        history = fit(net, synsim.PresynapticSGD(net, **RULE), [task], seeds=(2, 3), steps=30, batch=20, samples=1)
        found.update({f"{scope}/{name}": value for name, value in state(net).items()})
        found[f"{scope}/accuracy"] = history.accuracy
    return found


@result
def lifelong_perceptron() -> Found:
    seeds = (1, 2)
    learner = perceptron.Perceptron(seeds, inputs=100)
    for task in range(4):
        x, y = perceptron.patterns(seeds, task, 20, 100)
        for _ in range(5):
            learner.learn(x, y)
    state = {name: value for name, value in learner.state_dict().items() if isinstance(value, Tensor)}
    return {**state, "right": learner.correct(x, y)}


@result
def convolutions_with_dropout() -> Found:
    net = synsim.networks.cnn(seed=4)
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    rule = synsim.PresynapticSGD(net, **RULE)
    for _ in range(2):
        rule.zero_grad()
        synsim.cross_entropy(net(x), torch.tensor([0, 1, 2, 3])).backward()
        rule.step()
    return state(net)


def digest(found: Found) -> str:
    """SHA-256 over names, types, shapes and values."""
    total = hashlib.sha256()
    for name in sorted(found):
        value = found[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
        total.update(value.numpy().tobytes())
    return total.hexdigest()


def summary(found: Found) -> dict[str, float]:
    """The mean of every value, for a machine whose matrix products round otherwise."""
    return {name: float(value.double().nanmean()) for name, value in found.items()}


def arithmetic() -> str:
    """Digest of what this machine makes of products, sums and exponentials: equal here, equal there."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(20, 64, generator=generator), torch.randn(64, 40, generator=generator)
    image, kernel = torch.randn(4, 3, 32, 32, generator=generator), torch.randn(32, 3, 3, 3, generator=generator)
    convolved = torch.nn.functional.conv2d(image, kernel, padding=1)
    three = torch.bmm(a.expand(3, 20, 64), b.expand(3, 64, 40))
    return digest({"product": a @ b, "three": three, "softmax": (a @ b).log_softmax(1), "convolution": convolved})


def main(write: bool) -> None:
    torch.set_num_threads(1)
    found = {name: run() for name, run in RUNS.items()}
    kept = {
        "torch": torch.__version__.partition("+")[0],
        "arithmetic": arithmetic(),
        "runs": {name: {"digest": digest(part), "means": summary(part)} for name, part in found.items()},
    }
    text = json.dumps(kept, indent=1)
    print(text)
    if write:
        KEPT.write_text(text + "\n")


if __name__ == "__main__":
    main("--write" in sys.argv[1:])
