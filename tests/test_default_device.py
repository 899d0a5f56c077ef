"""Another default device of torch, or another type, changes nothing for what lies on the CPU.

The meta device stands for an accelerator: a tensor that lands there by mistake can't be read.
"""

import ast
from pathlib import Path

import pytest
import torch
import torch._dynamo  # noqa: F401 (older torch can't import it under another default device)

import synsim

ROOT = Path(synsim.__file__).resolve().parent
# What torch puts on its default device unless it is told where.
FACTORIES = {
    "arange",
    "as_tensor",
    "asarray",
    "empty",
    "empty_strided",
    "eye",
    "frombuffer",
    "full",
    "linspace",
    "logspace",
    "normal",
    "ones",
    "rand",
    "randint",
    "randn",
    "randperm",
    "scalar_tensor",
    "tensor",
    "tril_indices",
    "triu_indices",
    "zeros",
}


def unplaced(path: Path) -> list[str]:
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    made = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr in FACTORIES]
    made = [call for call in made if isinstance(call.func.value, ast.Name) and call.func.value.id == "torch"]
    return [
        f"{path.name}:{call.lineno}"
        for call in made
        if not any(keyword.arg in ("device", None) for keyword in call.keywords)
    ]


def test_every_new_tensor_says_where_it_lies():
    files = sorted(ROOT.rglob("*.py"))
    assert len(files) > 100
    assert [place for path in files for place in unplaced(path)] == []


def test_the_check_above_finds_a_tensor_without_a_place(tmp_path):
    lines = ["a = torch.zeros(3)", "b = torch.zeros(3, device='cpu')", "c = torch.rand(2).sum()"]
    (tmp_path / "module.py").write_text("\n".join(lines))
    assert unplaced(tmp_path / "module.py") == ["module.py:1", "module.py:3"]


CPU = torch.Generator().manual_seed(0)
X = torch.rand(24, 64, generator=CPU)
Y = torch.arange(24) % 10


def network(**options):
    return synsim.mlp([64, 12, 10], p=0.5, seed=3, device="cpu", **options)


def learned(net):
    rule = synsim.PresynapticSGD(net, lr=0.1, p_up=[0.1, 0.2], p_down=0.1, g_lim=1e-3)
    synsim.cross_entropy(net(X), Y.expand(2, -1)).backward()
    rule.step()
    return net[0].p + net[0].weight


def gaussian(net):
    rule = synsim.BGD(net, sigma=0.1)

    def closure():
        loss = torch.nn.functional.cross_entropy(net(X), Y)
        loss.backward()
        return loss

    rule.step(closure)
    return net[0].weight


def fitted():
    net = network(replicas=2)
    rule = synsim.PresynapticSGD(net, lr=0.1, p_up=0.1, p_down=0.1, g_lim=1e-3)
    tasks = synsim.tasks.permuted(synsim.data.load("digits"), tasks=2, device="cpu", seeds=[3, 4])
    history = synsim.training.fit(net, rule, tasks, seeds=[3, 4], epochs=1, batch=200)
    return history.accuracy + net[0].weight.sum()


def learner():
    cells = synsim.perceptron.Perceptron([1, 2], device="cpu")
    patterns = synsim.perceptron.patterns([1, 2], 0, device="cpu")
    cells.learn(*patterns)
    return cells.weight


def spiking(seed=2):
    net = synsim.spiking.spiking_mlp([64, 8, 10], p=0.5, window=5.0, seed=seed, device="cpu")
    return net(X)


def penalty():
    net = network()
    keeper = synsim.consolidation.make("penalty", strength=2.0)
    keeper.remember(net, synsim.importance.make("fisher").estimate(net, X))
    with torch.no_grad():
        net[0].weight.mul_(1.5)
    return keeper.value(net)


MEASURES = {
    "forward": lambda: network()(X),
    "forward per example": lambda: network(scope="sample")(X),
    "forward per event": lambda: network(scope="event-gaussian")(X),
    "forward in another precision": lambda: network(dtype=torch.bfloat16)(X.bfloat16()),
    "a step of the rule": lambda: learned(network(replicas=2)),
    "a step of BGD": lambda: gaussian(synsim.mlp([64, 12, 10], p=1.0, seed=3, device="cpu")),
    "fit": fitted,
    "accuracy": lambda: synsim.meters.accuracy(network(), X, Y),
    "information": lambda: synsim.meters.mutual_information(network(), X, Y),
    "energy": lambda: synsim.meters.energy(network()),
    "ATP": lambda: synsim.meters.energy(network(), kind="atp", x=X),
    "lesions": lambda: synsim.lesion_curve(network(), X, Y, fractions=[0.5])[1],
    "clamped p": lambda: synsim.clamp_p(network(), low=0.6)[0].p,
    "the Fisher of sampled labels": lambda: estimate("fisher", labels="sampled"),
    "the Fisher of some images": lambda: estimate("fisher", images=5),
    "sliced": lambda: estimate("sliced-cramer"),
    "MAS": lambda: estimate("mas"),
    "penalty": penalty,
    "split tasks": lambda: synsim.tasks.split(synsim.data.load("digits"), device="cpu")[1].train[0:3],
    "permuted tasks": lambda: synsim.tasks.permuted(synsim.data.load("digits"), tasks=2, device="cpu")[1].train[0:3],
    "lifelong perceptron": learner,
    "spiking": spiking,
}


def estimate(name, **options):
    return synsim.importance.make(name, **options).estimate(network(), X, Y)["0.weight"]


@pytest.mark.parametrize("name", MEASURES)
def test_another_default_device_changes_no_value(name):
    with torch.device("meta"):
        elsewhere = MEASURES[name]()
    assert elsewhere.is_cpu
    assert torch.equal(elsewhere, MEASURES[name]())


def test_layers_are_made_on_the_default_device_as_those_of_torch_are():
    with torch.device("meta"):
        net = synsim.mlp([64, 12, 10], p=0.5, seed=3)
    assert {value.device.type for value in (*net.parameters(), *net.buffers())} == {"meta"}
    filled = net.to_empty(device="cpu")
    filled.load_state_dict(network().state_dict())
    assert torch.equal(filled(X), network()(X))


@pytest.mark.parametrize("p", [0.5, [0.25, 0.75]])
def test_release_probabilities_come_with_the_memory_of_a_layer(p):
    replicas = 2 if isinstance(p, list) else None
    options = {"p": p, "replicas": replicas}
    layer = torch.nn.utils.skip_init(synsim.BernoulliLinear, 4, 3, **options)
    assert torch.equal(layer.p, synsim.BernoulliLinear(4, 3, **options).p)
    with torch.device("meta"):
        empty = synsim.BernoulliLinear(4, 3, **options)
    loaded = {
        name: torch.full_like(value, 0.125) for name, value in layer.state_dict().items() if value.is_floating_point()
    }
    empty.load_state_dict(loaded, assign=True, strict=False)
    assert torch.equal(empty.double().p, torch.full_like(layer.p, 0.125).double())
