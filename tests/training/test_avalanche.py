"""The plugin for Avalanche against the same training by hand, and against Avalanche's own EWC."""

import warnings

import pytest
import torch
from torch import nn

import synsim
from synsim.training import attach

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("avalanche", exc_type=ImportError)
    from avalanche.benchmarks import tensors_benchmark
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import EWC, Naive

    from synsim.training.avalanche import ProtectionPlugin

pytestmark = pytest.mark.filterwarnings("ignore")
STEPS, BATCH = 4, 5


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, STEPS * BATCH, 6, generator=generator)
    return [(one, torch.randint(3, (STEPS * BATCH,), generator=generator)) for one in x]


def benchmark():
    return tensors_benchmark(data(), data(), task_labels=[0, 0], complete_test_set_only=False)


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def trained(plugins=(), strategy=Naive, **options):
    net = network()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.2)
    made = strategy(
        net, optimiser, nn.CrossEntropyLoss(), plugins=list(plugins), train_mb_size=BATCH, train_epochs=2,
        eval_mb_size=20, evaluator=EvaluationPlugin(), **options,
    )  # fmt: skip
    for experience in benchmark().train_stream:
        made.train(experience, shuffle=False)
    return nn.utils.parameters_to_vector(net.parameters()).detach()


def by_hand(importance, consolidation, strength):
    net = network()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.2)
    guard = attach(net, optimiser, importance, consolidation, strength=strength)
    for x, y in data():
        guard.start()
        for _ in range(2):
            for rows in torch.arange(len(x)).split(BATCH):
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
                optimiser.step()
        guard.finish(x, y)
    return nn.utils.parameters_to_vector(net.parameters()).detach()


@pytest.mark.parametrize(
    ("importance", "consolidation", "strength"),
    [("fisher", "penalty", 20.0), ("si", "penalty", 5.0), ("mas", "modulation", 3.0)],
)
def test_the_strategy_does_what_the_loop_by_hand_does(importance, consolidation, strength):
    plugin = ProtectionPlugin(importance, consolidation, strength=strength)
    found = trained([plugin])
    assert torch.equal(found, by_hand(importance, consolidation, strength))
    assert not torch.equal(found, trained())
    assert plugin.guard.tasks == 2
    assert plugin.guard.found.keys() == dict(network().named_parameters()).keys()


def test_the_batched_fisher_is_that_of_avalanche():
    # Its EWC squares the gradient of each batch of the whole data set, and adds λ Σ Ω (θ − θ*)² to the loss.
    options = {"batch": BATCH, "convention": "mean"}
    plugin = ProtectionPlugin(
        synsim.importance.make("fisher-batched", **options),
        synsim.consolidation.make("penalty", factor=1.0, strength=7.0),
    )
    theirs = trained(strategy=EWC, ewc_lambda=7.0)
    assert torch.allclose(trained([plugin]), theirs, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(trained(), theirs, rtol=1e-2)


def test_a_strategy_with_another_optimiser_is_refused():
    plugin = ProtectionPlugin("si", "penalty", strength=1.0)
    trained([plugin])
    with pytest.raises(ValueError, match="must keep its optimiser"):
        trained([plugin])
    with pytest.raises(ValueError, match="importance must be one of"):
        trained([ProtectionPlugin("sj", "penalty", strength=1.0)])
