"""Measures of the matrix of accuracies, against hand-made matrices and naive loops."""

import math

import numpy as np
import pytest
import torch

from synsim import forgetting as f

# After task 0: 0.9. Task 1 costs it 0.3; task 2 gives 0.1 back, and costs task 1 0.2.
HAND = [[0.9, 0.5, 0.4], [0.6, 0.8, 0.5], [0.7, 0.6, 1.0]]


def test_a_matrix_by_hand():
    assert f.average_accuracy(HAND) == pytest.approx(2.3 / 3)
    assert f.learning_accuracy(HAND) == pytest.approx(2.7 / 3)
    assert f.backward_transfer(HAND) == pytest.approx((-0.2 - 0.2) / 2)
    assert f.forgetting(HAND) == pytest.approx((0.2 + 0.2) / 2)
    assert f.intransigence(HAND, [0.95, 0.9, 0.9]) == pytest.approx((0.05 + 0.1 - 0.1) / 3)
    assert f.forward_transfer(HAND, [0.1, 0.2, 0.3]) == pytest.approx((0.3 + 0.2) / 2)


def test_forgetting_looks_for_the_best_ever_where_transfer_looks_at_the_first():
    matrix = [[0.5, 0.5, 0.5], [0.9, 0.5, 0.5], [0.7, 0.5, 0.5]]
    assert f.backward_transfer(matrix) == pytest.approx(0.1)
    assert f.forgetting(matrix) == pytest.approx(0.1)
    above = [[0.5, 0.9, 0.5], [0.5, 0.6, 0.5], [0.5, 0.6, 0.5]]  # good at task 1 before it was trained
    assert f.forgetting(above) == pytest.approx(0.15)
    assert f.backward_transfer(above) == 0


def naive(a, joint, start):
    tasks = len(a)
    transfer = forgotten = forward = stubborn = 0.0
    for k in range(tasks - 1):
        transfer += a[tasks - 1][k] - a[k][k]
        forgotten += max(a[task][k] for task in range(tasks - 1)) - a[tasks - 1][k]
        forward += a[k][k + 1] - start[k + 1]
    for k in range(tasks):
        stubborn += joint[k][k] - a[k][k]
    return transfer / (tasks - 1), forgotten / (tasks - 1), forward / (tasks - 1), stubborn / tasks


def test_against_loops_with_replicas():
    generator = np.random.default_rng(0)
    matrix, joint = generator.random((2, 3, 6, 6)), generator.random((2, 3, 6, 6))
    start = generator.random((2, 3, 6))
    found = f.measures(matrix, joint, start)
    for at in np.ndindex(2, 3):
        names = ("backward_transfer", "forgetting", "forward_transfer", "intransigence")
        expected = naive(matrix[at].tolist(), joint[at].tolist(), start[at].tolist())
        for name, value in zip(names, expected, strict=True):
            assert found[name].shape == (2, 3)
            assert found[name][at] == pytest.approx(value, rel=1e-12)
    assert np.all(found["forgetting"] >= -found["backward_transfer"] - 1e-12)


def test_joint_training_as_matrix_per_task_and_shared():
    generator = np.random.default_rng(1)
    matrix, joint = generator.random((4, 5, 5)), generator.random(5)
    own = f.intransigence(matrix, np.broadcast_to(joint, (4, 5)))
    assert np.array_equal(f.intransigence(matrix, joint), own)
    # Four replicas of four tasks: the number of axes decides, never their size.
    square, per_replica = generator.random((4, 4, 4)), generator.random((4, 4))
    diagonal = np.diagonal(square, 0, 1, 2)
    np.testing.assert_allclose(f.intransigence(square, per_replica), (per_replica - diagonal).mean(1), rtol=1e-12)


def test_failed_replicas_stay_failed_and_silent():
    matrix = np.stack([np.array(HAND), np.full((3, 3), np.nan), np.array(HAND)])
    matrix[2, 1, 0] = np.nan  # failed halfway
    found = f.measures(matrix, [1.0, 1.0, 1.0], [0.0, 0.0, 0.0])
    for value in found.values():
        assert np.isfinite(value[0])
        assert np.isnan(value[1])
    assert np.isnan(found["forgetting"][2])
    assert np.isfinite(found["backward_transfer"][2])


def test_tasks_that_were_not_tested_early_are_no_obstacle():
    matrix = np.where(np.tril(np.ones((3, 3))) > 0, HAND, np.nan)
    assert f.forgetting(matrix) == pytest.approx(0.2)
    assert f.backward_transfer(matrix) == pytest.approx(-0.2)
    assert math.isnan(f.forward_transfer(matrix, [0.1, 0.1, 0.1]))


def test_a_single_task_and_tensors():
    assert set(f.measures([[0.5]], [0.75])) == {"average_accuracy", "learning_accuracy", "intransigence"}
    assert f.intransigence([[0.5]], [0.75]) == 0.25
    assert f.backward_transfer(torch.tensor(HAND, dtype=torch.float64)) == pytest.approx(-0.2)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda: f.average_accuracy([0.5, 0.6]), r"got shape \(2,\)"),
        (lambda: f.forgetting(np.zeros((2, 3))), r"as many rows as columns, got shape \(2, 3\)"),
        (lambda: f.backward_transfer([[0.5]]), "at least 2 tasks, got 1"),
        (lambda: f.forgetting([[0.5]]), "at least 2 tasks, got 1"),
        (
            lambda: f.intransigence(HAND, [0.5, 0.5]),
            r"joint must hold an accuracy per task, shape \(3,\), got .*\(2,\)",
        ),
        (lambda: f.intransigence(np.zeros((4, 3, 3)), np.zeros((2, 3))), r"\(3,\) or \(4, 3\), got shape \(2, 3\)"),
        (lambda: f.forward_transfer(HAND, 0.5), r"baseline must hold .* got shape \(\)"),
    ],
)
def test_bad_input(measure, message):
    with pytest.raises(ValueError, match=message):
        measure()


@pytest.mark.parametrize(
    "value",
    [
        "0.5",
        [["0.9", "0.5"], ["0.6", "0.8"]],
        None,
        [[0.9, 0.5], [0.6]],
        torch.eye(3, dtype=torch.complex64),
        torch.eye(3).bool(),
        torch.eye(3).to_sparse(),
        torch.empty(3, 3, device="meta"),
    ],
    ids=["text", "texts", "nothing", "ragged", "complex", "flags", "sparse", "meta"],
)
def test_what_holds_no_numbers_is_refused_by_every_measure(value):
    reference = (
        value[0] if isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_meta else value
    )
    for measure in (f.average_accuracy, f.learning_accuracy, f.backward_transfer, f.forgetting, f.measures):
        with pytest.raises(ValueError, match="accuracy must be real numbers in a tensor, an array or lists"):
            measure(value)
    for measure, name in ((f.intransigence, "joint"), (f.forward_transfer, "baseline")):
        with pytest.raises(ValueError, match=f"{name} must be real numbers"):
            measure(HAND, reference)


def test_tensors_of_any_type_and_device_are_matrices():
    expected = f.measures(HAND, HAND[0], HAND[1])
    for value in (torch.tensor(HAND, requires_grad=True), [torch.tensor(row) for row in HAND]):
        found = f.measures(value, value[0], value[1])
        assert {name: float(one) for name, one in found.items()} == pytest.approx(expected, rel=1e-6)
    coarse = f.average_accuracy(torch.tensor(HAND).bfloat16())
    assert coarse == pytest.approx(expected["average_accuracy"], rel=1e-2)
