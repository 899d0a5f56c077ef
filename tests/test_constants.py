"""One table of constants: every kernel reads each of them under its name."""

import ast
from pathlib import Path

import pytest
import torch

from synsim import kernels
from synsim.kernels import constants, reference
from synsim.kernels.constants import NAMES, RANGES, SETTINGS, Constants
from synsim.rules import PresynapticSGD, probability_step

ROOT = Path(kernels.__file__).parent
# All differ, so that no two can be taken for each other.
ONE = {"lr": 0.1, "weight_decay": 0.02, "p_up": 0.08, "p_down": 0.05, "g_lim": 0.5, "p_min": 0.35, "p_max": 0.9,
       "p_freeze": 0.8, "modulate_lr": 0.0}  # fmt: skip
OTHER = {"lr": 0.3, "weight_decay": 0.4, "p_up": 0.06, "p_down": 0.07, "g_lim": 1.1, "p_min": 0.45, "p_max": 0.85,
         "p_freeze": 0.6, "modulate_lr": 1.0}  # fmt: skip


def by_equation(weight, p, gradient, k, hard):
    # In the words of the rule, one replica.
    pull = gradient * (k["p_max"] - p) if k["modulate_lr"] else gradient
    moved = {name: k[name] for name in ("p_up", "p_down", "g_lim", "p_min", "p_max", "p_freeze")}
    step = probability_step(p, gradient, **moved, bounds="hard" if hard else "soft")
    return weight - k["lr"] * (pull + k["weight_decay"] * weight), step


def by_reference(weight, p, gradient, table):
    reference.learn(weight, p, gradient, None, table)


def by_numba(weight, p, gradient, table):
    assert kernels.path(weight) == "numba"
    kernels.learn(weight, p, gradient, None, table)


@pytest.mark.parametrize("kernel", [by_reference, by_numba])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_each_constant_is_read_under_its_name(name, hard, kernel) -> None:
    generator = torch.Generator().manual_seed(3)
    weight, gradient = (torch.randn(2, 400, generator=generator, dtype=torch.float64) for _ in range(2))
    p = 0.3 + 0.65 * torch.rand(2, 400, generator=generator, dtype=torch.float64)
    weight[1], gradient[1], p[1] = weight[0], gradient[0], p[0]
    replicas = [ONE, {**ONE, name: OTHER[name]}]
    rows = torch.tensor([[k[row] for k in replicas] for row in NAMES], dtype=torch.float64)
    expected = [by_equation(weight[r], p[r], gradient[r], k, hard) for r, k in enumerate(replicas)]
    kernel(weight, p, gradient, Constants(rows, plastic=True, hard=hard))
    for r, (strengths, probabilities) in enumerate(expected):
        assert torch.allclose(weight[r], strengths, rtol=1e-13, atol=0)
        assert torch.allclose(p[r], probabilities, rtol=1e-13, atol=0)
    assert not (torch.equal(weight[0], weight[1]) and torch.equal(p[0], p[1])), f"{name} changes nothing"


def test_the_rule_hands_its_settings_on_by_name() -> None:
    settings = {**ONE, "modulate_lr": True, "plastic": False, "bounds": "hard", "p_up": torch.tensor([0.1, 0.2])}
    made = Constants.of(settings, 2, torch.device("cpu"))
    columns = made.columns(torch.zeros(1, dtype=torch.float64))
    assert (made.plastic, made.hard) == (False, True)
    for name in NAMES:
        assert torch.equal(columns[name], torch.as_tensor(settings[name], dtype=torch.float64).expand(2)[:, None]), name
    never = Constants.of({**settings, "p_freeze": None}, 2, torch.device("cpu"))
    assert (never.columns(torch.zeros(1))["p_freeze"] > 1).all()
    arguments = PresynapticSGD.__init__.__annotations__
    assert set(SETTINGS) <= set(arguments)
    assert set(RANGES) < set(NAMES) < set(SETTINGS)


def test_positions_bear_the_names_of_rows() -> None:
    for row, name in enumerate(NAMES):
        assert getattr(constants, name.upper()) == row


@pytest.mark.parametrize(("file", "kernel"), [("cpu.py", "learn"), ("gpu.py", "_learn")])
def test_a_kernel_calls_what_it_reads_by_the_name_of_its_row(file, kernel) -> None:
    # Holds for the kernels on a GPU where there is none, too.
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    learn = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == kernel)
    read = {}
    for node in (n for n in ast.walk(learn) if isinstance(n, ast.Assign) and "table" in ast.unparse(n.value)):
        targets, values = node.targets[0], node.value
        pairs = zip(targets.elts, values.elts, strict=True) if isinstance(targets, ast.Tuple) else [(targets, values)]
        for target, value in pairs:
            upper = {n.id for n in ast.walk(value) if isinstance(n, ast.Name) and n.id.isupper()}
            assert upper == {target.id.upper()}, ast.unparse(node)
            read[target.id] = True
    assert set(read) == set(NAMES)


def test_the_names_on_a_gpu_stand_in_the_order_of_the_table() -> None:
    tree = ast.parse((ROOT / "gpu.py").read_text(encoding="utf-8"))
    names = [n.targets[0] for n in tree.body if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Tuple)]
    assert [element.id.lower() for element in names[0].elts] == list(NAMES)
