"""Natural gradients by low rank, against the dense inverse: every gradient made one by one, every matrix whole."""

import math

import pytest
import torch
import torch.nn.functional as F

from synsim.curvature.roots import fisher_roots
from synsim.descent.columns import Columns, bytes_of, natural, solved
from synsim.descent.gradient import Gradient

N, WIDTHS, CLASSES, POSITIONS = 7, (5, 6), 4, 3


def problem(seed, masked=False, positions=False):
    """Two layers in float64: their strengths, masks, images and labels."""
    numbers = torch.Generator().manual_seed(seed)
    shapes = [(WIDTHS[1], WIDTHS[0]), (CLASSES, WIDTHS[1])]
    weights = [torch.randn(shape, generator=numbers, dtype=torch.float64, requires_grad=True) for shape in shapes]
    masks = [2.0 * torch.randint(0, 2, shape, generator=numbers).double() if masked else None for shape in shapes]
    count = POSITIONS if positions else 1
    x = torch.randn(N, count, WIDTHS[0], generator=numbers, dtype=torch.float64)
    y = torch.randint(0, CLASSES, (N,), generator=numbers)
    return weights, masks, x, y


def forward(weights, masks, x):
    strengths = [w if m is None else w * m for w, m in zip(weights, masks, strict=True)]
    below = x @ strengths[0].t()
    hidden = torch.tanh(below).sum(1, keepdim=True)
    return [x, hidden], [below, hidden @ strengths[1].t()]


def columns_of(weights, masks, x, labels):
    inputs, outputs = forward(weights, masks, x)
    logits = outputs[-1][:, 0]
    roots = fisher_roots(logits.detach()) if labels is None else (logits.softmax(1) - F.one_hot(labels, CLASSES))[None]
    each = [torch.autograd.grad(logits, outputs, root, retain_graph=True) for root in roots.detach()]
    deltas = [torch.stack(part)[None] / math.sqrt(N) for part in zip(*each, strict=True)]
    return [
        Columns(a.detach()[None], e, None if m is None else m[None])
        for a, e, m in zip(inputs, deltas, masks, strict=True)
    ]


def dense_fisher(weights, masks, x, labels):
    """[n, n], one example and one label after another."""
    size = sum(w.numel() for w in weights)
    total = torch.zeros(size, size, dtype=torch.float64)
    for i in range(N):
        logits = forward(weights, masks, x[i : i + 1])[1][-1][0, 0]
        for label in range(CLASSES) if labels is None else [int(labels[i])]:
            loss = F.cross_entropy(logits[None], torch.tensor([label]))
            flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights, retain_graph=True)])
            share = logits.softmax(0)[label].detach() if labels is None else 1.0
            total += share / N * torch.outer(flat, flat)
    return total


def gradient_of(weights, masks, x, y):
    loss = F.cross_entropy(forward(weights, masks, x)[1][-1][:, 0], y)
    return torch.autograd.grad(loss, weights)


def error(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("blocks", [False, True], ids=["whole", "blocks"])
@pytest.mark.parametrize("labels", ["exact", "sampled"])
@pytest.mark.parametrize("kind", ["plain", "masked", "positions"])
def test_the_low_rank_form_is_the_dense_inverse(kind, labels, blocks):
    for seed, damping in enumerate((1e-4, 1e-2, 1.0)):
        weights, masks, x, y = problem(seed, kind == "masked", kind == "positions")
        drawn = None if labels == "exact" else y.roll(1)
        fisher, gradient = dense_fisher(weights, masks, x, drawn), gradient_of(weights, masks, x, y)
        if blocks:
            cut = weights[0].numel()
            fisher[:cut, cut:] = fisher[cut:, :cut] = 0
        flat = torch.cat([g.flatten() for g in gradient])
        expected = torch.linalg.solve(fisher + damping * torch.eye(len(flat), dtype=torch.float64), flat)
        columns, strength = columns_of(weights, masks, x, drawn), torch.tensor([damping], dtype=torch.float64)
        given = [Gradient(matrix=g[None]) for g in gradient]
        if blocks:
            found = [natural([c], [g], strength)[0] for c, g in zip(columns, given, strict=True)]
        else:
            found = natural(columns, given, strength)
        assert error(torch.cat([g.matrix.flatten() for g in found]), expected) <= 1e-10


def test_replicas_are_what_they_are_alone_with_inputs_of_their_own_or_shared():
    numbers = torch.Generator().manual_seed(0)
    deltas = torch.randn(3, 2, N, 1, 4, generator=numbers, dtype=torch.float64)
    gradients = torch.randn(3, 4, 5, generator=numbers, dtype=torch.float64)
    size = bytes_of(2 * N)
    damping = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    for lead in (1, 3):
        inputs = torch.randn(lead, N, 1, 5, generator=numbers, dtype=torch.float64)
        (together,) = natural([Columns(inputs, deltas)], [Gradient(matrix=gradients)], damping)
        (few,) = natural([Columns(inputs, deltas)], [Gradient(matrix=gradients)], damping, 2 * size)
        assert torch.equal(together.matrix, few.matrix)
        for r in range(3):
            own = Columns(inputs[r if lead == 3 else 0][None], deltas[r][None])
            (alone,) = natural([own], [Gradient(matrix=gradients[r][None])], damping[r][None])
            assert error(together.matrix[r], alone.matrix[0]) <= 1e-13


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_a_gradient_that_is_not_carried_out_gives_the_same(masked):
    numbers = torch.Generator().manual_seed(4)
    mask = torch.randint(0, 2, (2, 4, 5), generator=numbers).double() if masked else None
    columns = Columns(
        torch.randn(2, N, 1, 5, generator=numbers, dtype=torch.float64),
        torch.randn(2, 3, N, 1, 4, generator=numbers, dtype=torch.float64),
        mask,
    )
    rows = (
        torch.randn(2, 6, 5, generator=numbers, dtype=torch.float64),
        torch.randn(2, 6, 4, generator=numbers, dtype=torch.float64),
    )
    damping = torch.tensor([0.1, 1.0], dtype=torch.float64)
    (by_rows,) = natural([columns], [Gradient(rows)], damping)
    (by_matrix,) = natural([columns], [Gradient(matrix=rows[1].mT @ rows[0])], damping)
    assert by_rows.ready == masked
    assert error(by_rows.matrix, by_matrix.matrix) <= 1e-13


def test_the_roots_of_the_fisher_of_a_softmax():
    numbers = torch.Generator().manual_seed(1)
    for classes in (2, 3, 10):
        logits = 3 * torch.randn(2, N, classes, generator=numbers, dtype=torch.float64)
        p, roots = logits.softmax(-1), fisher_roots(logits)
        assert roots.shape == (classes - 1, 2, N, classes)
        expected = torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)
        assert float((torch.einsum("krnc,krnd->rncd", roots, roots) - expected).abs().max()) <= 1e-15


def test_the_roots_hold_for_outputs_that_are_sure():
    logits = torch.tensor([[80.0, -80.0, 0.0], [-90.0, 0.0, 90.0]])
    assert bool(fisher_roots(logits).isfinite().all())


def test_parts_of_any_size_make_the_same_gram_matrix(monkeypatch):
    numbers = torch.Generator().manual_seed(3)
    deltas = torch.randn(2, 1, N, POSITIONS, 4, generator=numbers, dtype=torch.float64)
    inputs = torch.randn(2, N, POSITIONS, 5, generator=numbers, dtype=torch.float64)
    whole = Columns(inputs, deltas).gram()
    monkeypatch.setattr("synsim.descent.columns.PART", 1)
    assert error(Columns(inputs, deltas).gram(), whole) <= 1e-15


def test_a_damping_lost_beside_the_gram_matrix_is_refused():
    gram = 1e20 * torch.ones(1, 3, 3, dtype=torch.float64)
    with pytest.raises(
        ValueError, match=r"replicas \[2\] is not positive definite in float64 with the damping \[1e-06\]"
    ):
        solved(gram, torch.tensor([1e-6], dtype=torch.float64), torch.ones(1, 3, dtype=torch.float64), 2)


def test_a_replica_without_a_solution_is_let_go_on_request():
    gram = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    gram[0] = 1e20
    damping, right = torch.full((2,), 1e-6, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    found = solved(gram, damping, right, tolerant=True)
    assert bool(found[0].isnan().all())
    assert float((found[1] - 1 / (1 + 1e-6)).abs().max()) <= 1e-15


def test_a_large_damping_is_plain_descent():
    weights, masks, x, y = problem(5)
    gradient = gradient_of(weights, masks, x, y)
    strength = torch.tensor([1e12], dtype=torch.float64)
    found = natural(columns_of(weights, masks, x, None), [Gradient(matrix=g[None]) for g in gradient], strength)
    for move, g in zip(found, gradient, strict=True):
        assert error(move.matrix[0] * 1e12, g) <= 1e-9
