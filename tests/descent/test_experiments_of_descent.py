"""What the experiments on descent measure, against matrices written out."""

import importlib

import pytest
import torch

import synsim
from synsim import Sweep

pytestmark = pytest.mark.usefixtures("scripts")


def problem():
    numbers = torch.Generator().manual_seed(0)
    gradient = torch.randn(1, 4, 5, generator=numbers, dtype=torch.float64)
    a, e = (torch.randn(n, n, generator=numbers, dtype=torch.float64) for n in (5, 4))
    return gradient, (a @ a.t())[None], (e @ e.t())[None], torch.tensor(0.3, dtype=torch.float64).reshape(1, 1, 1)


def test_every_damping_is_its_dense_inverse_and_the_published_code_is_none():
    script = importlib.import_module("neurons_descent")
    gradient, inputs, outputs, damping = problem()
    found = script.preconditioned(gradient, inputs, outputs, damping)
    standard = torch.linalg.inv(torch.kron(outputs[0], inputs[0]) + 0.3 * torch.eye(20, dtype=torch.float64))
    expected = (standard @ gradient.flatten()).reshape(4, 5)
    assert float((found["standard"][0] - expected).abs().max()) <= 1e-12
    ratio = ((inputs[0].trace() / 5) / (outputs[0].trace() / 4)).sqrt()
    left, right = ratio * 0.3**0.5, 0.3**0.5 / ratio
    one = torch.eye(5, dtype=torch.float64)
    foof = gradient[0] @ torch.linalg.inv(inputs[0] + left * one)
    assert float((found["foof"][0] - foof).abs().max()) <= 1e-12
    heuristic = torch.linalg.inv(outputs[0] + right * one[:4, :4]) @ foof
    assert float((found["heuristic"][0] - heuristic).abs().max()) <= 1e-12
    other = found["published code"][0]
    assert float((other - expected).norm() / expected.norm()) > 0.1


def test_the_published_code_as_a_rule_moves_as_its_formula():
    script = importlib.import_module("neurons_descent")
    net = synsim.mlp([5, 4], p=1.0, replicas=2).double()
    rules = {kind: rule(net, 1.0, 0.3, damp="standard", warmup=0, period=1, average=0.0) for kind, rule in (
        ("standard", synsim.KFAC), ("published code", script.PublishedCode))}  # fmt: skip
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.arange(8) % 4
    for kind, rule in rules.items():
        net.zero_grad()
        with rule.watch():
            logits = net(x)
        rule.backward(synsim.losses.replica_cross_entropy(logits, y), logits)
        (move,) = rule.moves().values()
        ((inputs, outputs),) = rule.averages().values()
        damping = torch.tensor(0.3, dtype=torch.float64).reshape(1, 1, 1)
        expected = script.preconditioned(next(net.parameters()).grad, inputs, outputs, damping)[kind]
        assert float((move - expected).abs().max()) <= 1e-12


def test_measurements_on_the_path_leave_no_trace():
    script = importlib.import_module("neurons_descent")
    config = script.Config(data="digits", seeds=(1, 2), hidden=(10,), batch=20, epochs=1, every=20)
    course = script.Course(config)
    sweep = Sweep([{"lr": each.lr, "damping": each.damping} for each in script.PATHS], config.seeds)
    weights = []
    for measured in (False, True):
        net = course.network(sweep)
        rule = script.kfac("heuristic", config, net, sweep)
        path = script.OnPath(rule, course.task, 20, sweep.seeds)
        probes = path.probes() if measured else {}
        synsim.training.fit(net, rule, [course.task], seeds=sweep.seeds, epochs=2, batch=20, probes=probes)
        weights.append([parameter.detach().clone() for parameter in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    found = path.measured(net)
    assert set(found) == set(path.probes())
    assert all(bool(((value <= 1) & (value >= -1)).all()) for name, value in found.items() if "cosine" in name)
    assert bool((found["decrease foof"].isfinite()).all())


def test_the_toy_example_is_that_of_the_paper():
    outputs = importlib.import_module("neurons_descent").toy().outputs
    assert abs(outputs.sel(toy="foof").values - [1, -1]).max() <= 1e-5
    assert float(outputs.sel(toy="sgd", example=1)) > 0


def test_images_that_choose_are_not_those_that_are_reported():
    script = importlib.import_module("descent_subset")
    config = script.Config(data="digits", seeds=(1,), images=40, selection_images=30)
    reported, choosing = (script.task_of(config, chooses).train for chooses in (False, True))
    assert (len(reported), len(choosing)) == (40, 30)
    both = torch.cat([reported.images, choosing.images]).flatten(1)
    assert len(both.unique(dim=0)) == 70
    with pytest.raises(ValueError, match="settings must be chosen on other seeds"):
        script.Config(data="digits", seeds=(101,))
