"""Things that fit each other: a network of 6 inputs and 4 outputs, 12 examples, tasks, records, neurons, axes."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray
from kinds import Scene
from matplotlib.figure import Figure
from torch import Tensor, nn

import synsim
from synsim import curvature, perceptron, records, spiking, streams, tasks, training
from synsim.spiking.local import LocalMLP
from synsim.sweeps import plan
from synsim.training.moment import Moment

N, INPUTS, CLASSES = 12, 6, 4


def numbers(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(len(shape) + sum(shape)))


def net(scene: Scene) -> nn.Module:
    return scene.once("net", lambda: synsim.mlp([INPUTS, 5, CLASSES], p=0.5, seed=1))


def multi_head(scene: Scene) -> nn.Module:
    def build() -> nn.Module:
        trunk, heads = synsim.mlp([INPUTS, 5], p=0.5), [synsim.BernoulliLinear(5, 2, p=0.5) for _ in range(2)]
        return synsim.MultiHead(trunk, heads)

    return scene.once("heads", build)


def spiking_net(scene: Scene) -> spiking.SpikingMLP:
    return scene.once("spiking", lambda: spiking.spiking_mlp([INPUTS, 5, CLASSES], p=0.5, window=10.0))


def local_net(scene: Scene) -> LocalMLP:
    return LocalMLP(spiking_net(scene))


def layer(scene: Scene) -> Any:
    return scene.once("layer", lambda: synsim.BernoulliLinear(INPUTS, 4, p=0.5))


def control(scene: Scene) -> Any:
    return scene.once("control", lambda: synsim.controls.ControlLinear(INPUTS, 4, p=0.5))


def convolution(scene: Scene) -> Any:
    return scene.once("convolution", lambda: synsim.BernoulliConv2d(2, 3, 2, p=0.5))


def encoder(scene: Scene) -> spiking.Encoder:
    return spiking.PoissonRates(window=10.0, dt=1.0)


def x(scene: Scene) -> Tensor:
    return numbers(N, INPUTS)


def y(scene: Scene) -> Tensor:
    return torch.arange(N) % CLASSES


def spikes(scene: Scene) -> Tensor:
    return (numbers(5, 3, INPUTS) > 0.5).float()


def weight(scene: Scene) -> Tensor:
    return numbers(4, INPUTS)


def keys(scene: Scene) -> Tensor:
    return streams.keys("eval", [3], "fuzz")


def words(scene: Scene) -> np.ndarray:
    return keys(scene).numpy().astype(np.uint32)


def importance(scene: Scene) -> dict[str, Tensor]:
    return {name: value.detach().abs() for name, value in net(scene).named_parameters()}


def accuracy(scene: Scene) -> Tensor:
    return torch.tensor([[0.9, 0.5, 0.5], [0.7, 0.8, 0.5], [0.6, 0.7, 0.9]], dtype=torch.float64)


def baseline(scene: Scene) -> Tensor:
    return torch.tensor([0.5, 0.5, 0.5], dtype=torch.float64)


def index(scene: Scene) -> Tensor:
    return torch.tensor([[0, 3, 5]])


def data(scene: Scene) -> synsim.data.Dataset:
    images = (numbers(24, 2, 3) * 255).to(torch.uint8)
    labels = (torch.arange(24) % CLASSES).to(torch.uint8)
    return synsim.data.Dataset("fuzz", images, labels, images[:N], labels[:N], CLASSES, 255, (0.5,), (0.3,))


def all_tasks(scene: Scene) -> list[tasks.Task]:
    return scene.once("tasks", lambda: tasks.permuted(data(scene), tasks=2))


def task(scene: Scene) -> tasks.Task:
    return all_tasks(scene)[0]


def rule(scene: Scene) -> torch.optim.Optimizer:
    def build() -> torch.optim.Optimizer:
        return synsim.PresynapticSGD(net(scene), 0.1, p_up=0.07, p_down=0.07, g_lim=1e-3)

    made = scene.once("rule", build)
    backward(scene)
    return made


def bgd(scene: Scene) -> synsim.BGD:
    return synsim.BGD(plain_net(scene), samples=1)


def watching(scene: Scene) -> synsim.FOOF:
    """A rule that has seen a pass, whose output is `watched`."""

    def build() -> synsim.FOOF:
        made = synsim.FOOF(net(scene), 0.1, 1.0, warmup=0)
        with made.watch():
            scene.made["watched"] = net(scene)(x(scene))
        return made

    return scene.once("watching", build)


def watched(scene: Scene) -> Tensor:
    watching(scene)
    return scene.made["watched"]


def losses(scene: Scene) -> Tensor:
    return synsim.losses.replica_cross_entropy(watched(scene), y(scene))


def descending(scene: Scene) -> synsim.FOOF:
    watching(scene).backward(losses(scene), watched(scene))
    return watching(scene)


def natural(scene: Scene) -> synsim.NaturalGradient:
    return scene.once("natural", lambda: synsim.NaturalGradient(net(scene), 0.1, 1.0))


def plain_net(scene: Scene) -> nn.Module:
    return scene.once("plain", lambda: nn.Linear(INPUTS, CLASSES))


def backward(scene: Scene) -> None:
    synsim.cross_entropy(net(scene)(x(scene)), y(scene)).backward()


def closure(scene: Scene) -> Any:
    def again() -> Tensor:
        loss = synsim.cross_entropy(net(scene)(x(scene)), y(scene))
        loss.backward()
        return loss.detach()

    return again


def closure_of_bgd(scene: Scene) -> Any:
    def again() -> Tensor:
        loss = synsim.cross_entropy(plain_net(scene)(x(scene)), y(scene))
        loss.backward()
        return loss.detach()

    return again


def new_path(scene: Scene) -> Path:
    return scene.folder / f"new-{scene.rng.randrange(10**9)}"


def run_folder(scene: Scene) -> records.RunFolder:
    return scene.once("run", lambda: records.create(new_path(scene), {"experiment": "fuzz", "seeds": [1, 2]}))


def dataset(scene: Scene) -> xarray.Dataset:
    return xarray.Dataset({"accuracy": (("model", "replica"), [[0.5, 0.6]])}, {"model": ["a"], "replica": [0, 1]})


def finished(scene: Scene) -> Path:
    run = run_folder(scene)
    run.save_record(dataset(scene))
    run.save_summary(rows(scene))
    run.save_checkpoint({"a": torch.zeros(2)}, {"task": 1})
    run.finish()
    return run.path


def swept(scene: Scene) -> Path:
    run = finished(scene)
    plan.note(run.parent, {"experiment": "fuzz"}, {run.name: {}})
    return run.parent


def rows(scene: Scene) -> list[dict[str, Any]]:
    return [synsim.tables.row("a", "b", [0.5, 0.6])]


def figure(scene: Scene) -> Figure:
    def build() -> Figure:
        made, _ = synsim.plots.figure()
        made.axes[0].plot([0.0, 1.0], [0.0, 1.0], label="a")
        return made

    return scene.once("figure", build)


def axes(scene: Scene) -> Any:
    return figure(scene).axes[0]


def history(scene: Scene) -> training.History:
    return training.History.empty([1], ["a"], ["a"], 1, ["p"])


def moment(scene: Scene) -> Moment:
    return Moment(net(scene), rule(scene), task(scene), 0, 0, 0, (1,), 4, None, history(scene))


def about(scene: Scene) -> dict[str, Any]:
    return history(scene).description()


def perceptrons(scene: Scene) -> perceptron.Perceptron:
    return perceptron.Perceptron([1], inputs=INPUTS)


def signs(scene: Scene) -> Tensor:
    return perceptron.patterns([1], 0, 4, INPUTS)[0]


def signed_labels(scene: Scene) -> Tensor:
    return perceptron.patterns([1], 0, 4, INPUTS)[1]


def state(scene: Scene) -> dict[str, Tensor]:
    return perceptrons(scene).state_dict()


def measurement(scene: Scene) -> Any:
    # Left open: what is measured is in force as long as the scene is.
    return scene.once("measured", lambda: curvature.measured(net(scene))).__enter__()


def protection(scene: Scene) -> training.Protection:
    penalty = synsim.consolidation.make("penalty", strength=1.0)
    return training.Protection(synsim.importance.make("si"), penalty)


def owning(scene: Scene) -> training.Protection:
    return training.Protection(consolidation=synsim.consolidation.make("packnet", tasks=3))


def powered(scene: Scene) -> synsim.Powerpropagation:
    return synsim.Powerpropagation(torch.optim.SGD(net(scene).parameters(), lr=0.1), 2.0, net=net(scene))


def sparsity(scene: Scene) -> synsim.sparse.Gradual:
    made = synsim.sparse.Gradual(0.5, 0, 5, 1)
    made.attach(net(scene), powered(scene))
    return made


def session(scene: Scene) -> training.Session:
    return training.Session(run_folder(scene))


def fitted(scene: Scene, store: Any) -> training.History:
    return training.fit(net(scene), rule(scene), all_tasks(scene), seeds=[1], epochs=1, batch=6, samples=1, store=store)


def probability(scene: Scene) -> Tensor:
    return torch.full((4, INPUTS), 0.5)


def descent(scene: Scene) -> torch.optim.Optimizer:
    def build() -> torch.optim.Optimizer:
        backward(scene)
        return torch.optim.SGD(net(scene).parameters(), 0.1)

    return scene.once("descent", build)


def guard(scene: Scene) -> training.Guard:
    importance = synsim.importance.make("fisher", labels="empirical")
    return scene.once("guard", lambda: training.attach(net(scene), descent(scene), importance, "penalty"))


def guard_of_all_data(scene: Scene) -> training.Guard:
    return scene.once("guard", lambda: training.attach(net(scene), descent(scene), "path-integral"))


def open_guard(scene: Scene) -> training.Guard:
    made = guard(scene)
    made.start()
    return made


def plasticity(scene: Scene) -> Any:
    def build() -> Any:
        return synsim.plastic(descent(scene), net(scene), p_up=0.07, p_down=0.07, g_lim=1e-3)

    return scene.once("plasticity", build)


def kind_of_importance(scene: Scene) -> type:
    class Mine(synsim.importance.Importance):
        name = "fuzz"

    return Mine


def kind_of_layer(scene: Scene) -> type:
    return type("Mine", (synsim.BernoulliLinear,), {})


def kind_of_consolidation(scene: Scene) -> type:
    class Mine(synsim.consolidation.Consolidation):
        name = "fuzz"

    return Mine


def sequence(scene: Scene) -> xarray.Dataset:
    """What a record of two methods on two tasks holds."""
    accuracy = numbers(2, 3, 2, 2).double().numpy()
    course = numbers(2, 3, 2, 1).double().numpy() + 0.1
    axes = ("model", "replica", "task", "epoch")
    return xarray.Dataset(
        {
            "accuracy": (("model", "replica", "after_task", "test_task"), accuracy),
            "information": (axes, course),
            "energy": (axes, course),
            "failed": (("model", "replica"), [[False] * 3] * 2),
        },
        {"model": ["a", "b"], "after_task": ["0 1", "2 3"], "test_task": ["0 1", "2 3"]},
    )


def item(scene: Scene) -> synsim.report.Item:
    """A claim of an experiment."""
    claim = synsim.report.Order("a over b", ("final", "a"), ("final", "b"))
    return synsim.report.Item("Fig. 1", "a is larger.", "lifelong", "python a.py", claims=(claim,))


def studies(scene: Scene) -> tuple[synsim.report.Study, ...]:
    return (synsim.report.Study("a", "Is it?", "sites", "python a.py"),)


def part(scene: Scene) -> synsim.report.Part:
    """What a page says of one paper."""
    findings = (synsim.report.assess(item(scene), []),)
    return synsim.report.Part("a: b", "c", findings, tuple(synsim.report.studies([], studies(scene))))
