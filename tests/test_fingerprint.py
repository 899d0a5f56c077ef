"""Whatever is measured leaves a network as it was: its fingerprint before and after, over the zoo and every measure.

The fingerprint holds modes, attributes (private ones, too), buffers, parameters and their gradients, hooks, draws and
addresses, and the states of the global generators.
"""

import contextlib
import random
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zoo import KIND, TRAITS, ZOO

import synsim
from synsim import importance, meters
from synsim.lesions import clamp_p, lesion_curves, shuffle_p
from synsim.synapses import addressed

TABLES = ("_parameters", "_buffers", "_modules")


def told(value: Any, deep: int = 5) -> Any:
    """A value as something that compares by what is in it."""
    if isinstance(value, Tensor):
        return id(value), str(value.dtype), tuple(value.shape), value.detach().double().numpy().tobytes()
    if isinstance(value, np.ndarray):
        return id(value), value.tobytes()
    if isinstance(value, dict) and deep:
        return id(value), [(str(key), told(one, deep - 1)) for key, one in value.items()]
    if isinstance(value, list | tuple | set) and deep:
        return [told(one, deep - 1) for one in value]
    return value if isinstance(value, int | float | str | bool | None) else id(value)


def fingerprint(net: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, module in net.named_modules():
        for key, value in vars(module).items():
            if key not in TABLES:
                found[f"{name}.{key}"] = told(value)
        for table in TABLES[:2]:
            found[f"{name}.{table}"] = told(getattr(module, table))
    for name, parameter in net.named_parameters():
        found[f"{name}, asked"] = parameter.requires_grad
        found[f"{name}, gradient"] = told(parameter.grad)
    for name, module in addressed(net).items():
        found[f"{name}, stream"] = module.draws, module.address, module.seeds, told(module.stream.counts)
    found["torch"] = torch.get_rng_state().numpy().tobytes()
    state = np.random.get_state()  # noqa: NPY002
    found["numpy"] = state[1].tobytes(), state[2:]
    found["python"] = random.getstate()
    return found


def views(net: nn.Module, x: Tensor, y: Tensor, **options: Any) -> None:
    for view in (synsim.expected(net), synsim.frozen(net), synsim.frozen(net, 3)):
        with view:
            meters.class_probabilities(net, x, **options)


def broken(net: nn.Module, x: Tensor, y: Tensor, **options: Any) -> None:
    """A pass that fails on its way."""

    def fail(module: nn.Module, inputs: object) -> None:
        raise ValueError("no further")

    handle = list(net.modules())[-1].register_forward_pre_hook(fail)
    try:
        meters.accuracy(net, x, y, **options)
    finally:
        handle.remove()


METERS = {
    "accuracy": lambda net, x, y, **o: meters.accuracy(net, x, y, samples=2, **o),
    "information": meters.mutual_information,
    "interval": lambda net, x, y, **o: meters.information_interval(net, x, y, resamples=3, **o),
    "bits per energy": meters.information_per_energy,
    "synaptic energy": lambda net, x, y, **o: meters.energy(net),
    "activity": lambda net, x, y, **o: meters.energy(net, "activity", x=x, samples=2, **o),
    "atp": lambda net, x, y, **o: meters.energy(net, "atp", x=x.abs(), samples=2, **o),
    "views": views,
    "broken": broken,
}
LESIONS = {
    "lesions": lambda net, x, y, **o: lesion_curves(net, x, y, fractions=[0.0, 0.5], samples=2, **o),
    "clamped": lambda net, x, y, **o: clamp_p(net, 0.5, keep="strength"),
    "shuffled": lambda net, x, y, **o: shuffle_p(net),
    "important": lambda net, x, y, **o: meters.important(net),
}


def left_alone(name: str, measures: dict[str, Any], *, may_fail: bool = True) -> set[str]:
    """Measure one network again and again, and compare each time; which measures had a result."""
    net, x, y, options = ZOO[name]()
    if name == "frozen batch norm in a training net":
        assert net.training
    with torch.enable_grad():
        for number, parameter in enumerate(net.parameters()):
            if number % 2 == 0 and parameter.requires_grad:
                parameter.grad = torch.full_like(parameter, 0.5)
    if KIND[name] != "plain":
        net(x, **options)
    before, done = fingerprint(net), set()
    for key, measure in measures.items():
        failing = contextlib.suppress(ValueError, TypeError) if may_fail else contextlib.nullcontext()
        with warnings.catch_warnings(), failing:
            warnings.simplefilter("ignore")
            measure(net, x, y, **options)
            done.add(key)
        after = fingerprint(net)
        changed = [at for at in before.keys() | after.keys() if before.get(at, "none") != after.get(at, "none")]
        assert not changed, (key, changed)
    return done


@pytest.mark.parametrize("name", ZOO)
def test_meters(name):
    done = left_alone(name, METERS)
    assert {"accuracy", "information", "synaptic energy", "views"} <= done
    # The one does not call its last module, the other no hook that came after compiling.
    assert "broken" not in done or name in ("cosine classifier", "compiled")


@pytest.mark.parametrize("name", [name for name in ZOO if KIND[name] != "plain"])
def test_lesions(name):
    done = left_alone(name, LESIONS)
    assert {"lesions", "clamped", "shuffled"} <= done


@pytest.mark.parametrize("name", ZOO)
def test_importances(name):
    kinds = [key for key in importance.available() if not importance.make(key).accumulated]
    if "slow path" in TRAITS[name]:
        kinds = ["fisher", "mas"]

    def estimate(key: str) -> Any:
        return lambda net, x, y, **o: importance.make(key).estimate(net, x, y, **o)

    done = left_alone(name, {key: estimate(key) for key in kinds})
    assert bool(done) == (name != "checkpointed, reentrant")


@pytest.mark.parametrize("name", ["mlp", "replicas", "synapses, wired by hand"])
def test_consolidation(name):
    def protect(net: nn.Module, x: Tensor, y: Tensor) -> None:
        kinds = {"penalty": {"strength": 1.0}, "modulation": {}, "freeze": {"share": 0.5}, "mask": {"share": 0.5}}
        assert kinds.keys() == set(synsim.consolidation.available(owns=False))
        for kind, options in kinds.items():
            held = synsim.consolidation.make(kind, **options)
            held.remember(net, {at: p.detach().square() for at, p in net.named_parameters()})
            for ask in (held.gradient, held.value, held.rate):
                with contextlib.suppress(NotImplementedError):
                    ask(net)

    assert left_alone(name, {"protect": protect}, may_fail=False)
