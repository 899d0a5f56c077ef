"""FOOF and KFAC against slow doubles and an independent library, in float64."""

import pytest
import torch
from naive_descent import Naive, as_published, outer, preconditioned, seen
from torch import nn

import synsim
from synsim.curvature.labels import sampled_labels
from synsim.descent import factors as equations
from synsim.descent.gradient import Gradient

SIZES, EXAMPLES = (5, 4, 3), 6
FREE = {"lr": 0.05, "damping": 0.3}


def network(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    drawn = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).to(dtype)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=drawn, dtype=torch.float64) * 0.7)
    return net


def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    drawn = torch.Generator().manual_seed(7)
    return [
        (torch.randn(EXAMPLES, 5, generator=drawn, dtype=torch.float64), torch.randint(3, (EXAMPLES,), generator=drawn))
        for _ in range(count)
    ]


def joined(net: nn.Sequential) -> list[torch.Tensor]:
    return [torch.cat([layer.weight, layer.bias[:, None]], 1).detach() for layer in (net[0], net[2])]


def watched(net: nn.Module, rule: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor, **options: bool) -> None:
    rule.zero_grad()
    with rule.watch():
        logits = net(x)
    rule.backward(synsim.losses.replica_cross_entropy(logits, y), logits, **options)


def output(weights: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    ones = x.new_ones(len(x), 1)
    hidden = (torch.cat([x, ones], 1) @ weights[0].T).relu()
    return torch.cat([hidden, ones], 1) @ weights[1].T


def drawn_labels(weights, x, y, step):
    name, number = ("descent/warm-up", -step - 1) if step < 0 else ("descent/labels", step)
    return sampled_labels(output(weights, x).softmax(-1), (0,), name, slice(0, len(x)), len(x), number)


def true_labels(weights, x, y, step):
    return y


RULES = {
    "foof": (synsim.FOOF, {}, true_labels),
    "heuristic": (synsim.KFAC, {"damp": "heuristic", "labels": "sampled"}, drawn_labels),
    "standard": (synsim.KFAC, {"damp": "standard", "labels": "empirical"}, true_labels),
    "left": (synsim.KFAC, {"damp": "left", "labels": "empirical"}, true_labels),
}
COURSES = {
    "every step": {"average": 0.95, "period": 1, "collect": 1, "momentum": 0.0, "weight_decay": 0.0},
    "latest pass alone": {"average": 0.0, "period": 1, "collect": 1, "momentum": 0.0, "weight_decay": 0.0},
    "now and then": {"average": 0.7, "period": 4, "collect": 2, "momentum": 0.9, "weight_decay": 0.1},
}


@pytest.mark.parametrize("course", COURSES)
@pytest.mark.parametrize("damp", RULES)
def test_steps_are_those_of_the_slow_double(damp, course) -> None:
    kind, options, labels = RULES[damp]
    net, constants = network(), {**FREE, **COURSES[course]}
    slow = Naive(joined(net), damp, labels, **constants)
    rule = kind(net, warmup=3, **constants, **options)
    data = batches(14)
    rule.warm_up(data)
    for index, (x, y) in enumerate(data[:3]):
        slow.absorb(x, y, -index - 1)
    slow.invert()
    for number, (x, y) in enumerate(data[3:]):
        watched(net, rule, x, y, gradients=number % 2 == 0)
        rule.step()
        slow.step(x, y)
    for one, other in zip(joined(net), slow.weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("damp", ["heuristic", "standard"])
def test_exact_labels_are_the_mean_over_all_labels(damp) -> None:
    (x, y), net = batches(1)[0], network()
    rule = synsim.KFAC(net, *FREE.values(), labels="exact", damp=damp, warmup=0)
    watched(net, rule, x, y)
    moves = rule.moves()
    weights = joined(net)
    chances = output(weights, x).softmax(-1)
    for index, name in enumerate(("0", "2")):
        each = [seen(weights, x, torch.full_like(y, label))[index] for label in range(3)]
        e = sum(
            chances[b, label] * torch.outer(each[label][b][1], each[label][b][1]) / len(x)
            for label in range(3)
            for b in range(len(x))
        )
        a = sum(torch.outer(one, one) for one, _ in each[0])
        wanted = preconditioned(damp, outer(seen(weights, x, y)[index]), (a, e), FREE["damping"])
        found = torch.cat([moves[f"{name}.weight"], moves[f"{name}.bias"][:, None]], 1)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)


def test_the_published_code_has_another_standard_damping() -> None:
    drawn = torch.Generator().manual_seed(0)
    gradient = torch.randn(4, 5, generator=drawn, dtype=torch.float64)
    rows = [torch.randn(9, size, generator=drawn, dtype=torch.float64) for size in (5, 4)]
    both = rows[0].T @ rows[0], rows[1].T @ rows[1]
    right, published = preconditioned("standard", gradient, both, 0.3), as_published(gradient, both, 0.3)
    (s_a, u_a), (s_e, u_e) = equations.eigen(both[0]), equations.eigen(both[1])
    ours = u_e @ ((u_e.T @ gradient @ u_a) / (torch.outer(s_e, s_a) + 0.3)) @ u_a.T
    torch.testing.assert_close(ours, right, rtol=1e-12, atol=1e-13)
    cosine = float((right * published).sum() / (right.norm() * published.norm()))
    assert cosine < 0.95, "with U_E in the place of its transpose the move points elsewhere"


def test_the_left_factor_alone_can_be_matched_to_both() -> None:
    (x, y), net = batches(1)[0], network()
    found = {}
    for name, options in {
        "both": {}, "left": {"damp": "left"}, "norm": {"damp": "left", "match": "norm"},
        "rate": {"damp": "left", "match": "rate"},
    }.items():  # fmt: skip
        rule = synsim.KFAC(net, *FREE.values(), labels="empirical", warmup=0, **options)
        watched(net, rule, x, y)
        moves = rule.moves()
        found[name] = torch.cat([moves["0.weight"], moves["0.bias"][:, None]], 1)
        a, e = rule.averages()["0"]
    assert torch.linalg.norm(found["norm"]) == pytest.approx(float(torch.linalg.norm(found["both"])), rel=1e-12)
    scale = torch.linalg.norm(found["norm"]) / torch.linalg.norm(found["left"])
    torch.testing.assert_close(found["norm"], found["left"] * scale, rtol=1e-12, atol=0)
    left, _ = equations.split(a, e, FREE["damping"])
    torch.testing.assert_close(found["rate"], found["left"] * left / FREE["damping"], rtol=1e-12, atol=0)


CURVLINOPS = {
    "foof": ("forward-only", synsim.FOOF, {}, {"damping": (0.3, 0.0)}),
    "empirical, heuristic": ("empirical", synsim.KFAC, {"labels": "empirical"}, {"use_heuristic_damping": True}),
    "empirical, standard": (
        "empirical", synsim.KFAC, {"labels": "empirical", "damp": "standard"}, {"use_exact_damping": True}
    ),
    "exact, heuristic": ("type-2", synsim.KFAC, {"labels": "exact"}, {"use_heuristic_damping": True}),
    "exact, standard": ("type-2", synsim.KFAC, {"labels": "exact", "damp": "standard"}, {"use_exact_damping": True}),
    "sampled, heuristic": ("given", synsim.KFAC, {"labels": "sampled"}, {"use_heuristic_damping": True}),
    "sampled, standard": (
        "given", synsim.KFAC, {"labels": "sampled", "damp": "standard"}, {"use_exact_damping": True}
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CURVLINOPS)
@pytest.mark.parametrize("stochastic", [False, True])
def test_moves_are_those_of_curvlinops(case, stochastic) -> None:
    curvlinops = pytest.importorskip("curvlinops")
    fisher, kind, options, damping = CURVLINOPS[case]
    (x, y), net = batches(1)[0], network()
    model = net
    if stochastic:
        model = synsim.mlp(SIZES, p=1.0, bias=True, dtype=torch.float64)
        model.load_state_dict({**model.state_dict(), **net.state_dict()})
        synsim.seed(model, 0)
    rule = kind(model, *FREE.values(), scale="mean", warmup=0, **options)
    watched(model, rule, x, y)
    moves = rule.moves()
    labels = drawn_labels(joined(net), x, y, 0) if fisher == "given" else y
    parameters = list(net.parameters())
    theirs = curvlinops.KFACLinearOperator(
        net, nn.CrossEntropyLoss(), parameters, [(x, labels)], separate_weight_and_bias=False,
        fisher_type="empirical" if fisher == "given" else fisher,
    )  # fmt: skip
    inverse = curvlinops.KFACInverseLinearOperator(theirs, **{"damping": FREE["damping"], **damping})
    gradient = list(torch.autograd.grad(nn.functional.cross_entropy(net(x), y), parameters))
    for name, wanted in zip(("0.weight", "0.bias", "2.weight", "2.bias"), inverse @ gradient, strict=True):
        torch.testing.assert_close(moves[name], wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("labels", ["empirical", "exact"])
def test_kronecker_factors_with_plain_damping_are_those_of_curvlinops(labels) -> None:
    curvlinops = pytest.importorskip("curvlinops")
    (x, y), net = batches(1)[0], network()
    parameters = list(net.parameters())
    theirs = curvlinops.KFACLinearOperator(
        net, nn.CrossEntropyLoss(), parameters, [(x, y)], separate_weight_and_bias=False,
        fisher_type={"empirical": "empirical", "exact": "type-2"}[labels],
    )  # fmt: skip
    inverse = curvlinops.KFACInverseLinearOperator(theirs, damping=0.3)
    vectors = [torch.randn_like(parameter) for parameter in parameters]
    found = inverse @ vectors
    for index, (a, e) in enumerate(synsim.descent.kronecker(net, x, y, labels=labels).values()):
        whole = torch.cat([vectors[2 * index], vectors[2 * index + 1][:, None]], 1)
        wanted = torch.cat([found[2 * index], found[2 * index + 1][:, None]], 1)
        ours = equations.inverse(e, 0.3) @ whole @ equations.inverse(a, 0.3)
        torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-13)


def test_kronecker_factors_of_convolutions_are_those_of_curvlinops_summed_over_positions() -> None:
    curvlinops = pytest.importorskip("curvlinops")
    drawn = torch.Generator().manual_seed(8)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, stride=2), nn.ReLU(), nn.Conv2d(4, 5, 2), nn.Flatten(), nn.Linear(45, 3)
    ).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=drawn, dtype=torch.float64) * 0.3)
    x, y = torch.randn(6, 2, 7, 7, generator=drawn, dtype=torch.float64), torch.arange(6) % 3
    parameters = list(net.parameters())
    theirs = curvlinops.KFACLinearOperator(
        net, nn.CrossEntropyLoss(), parameters, [(x, y)], separate_weight_and_bias=False, fisher_type="type-2"
    )
    vectors = [torch.randn(p.shape, generator=drawn, dtype=torch.float64) for p in parameters]
    found = curvlinops.KFACInverseLinearOperator(theirs, damping=0.3) @ vectors
    positions = {"0": 16, "2": 9, "4": 1}
    for index, (name, (a, e)) in enumerate(synsim.descent.kronecker(net, x, labels="exact").items()):
        whole, wanted = (
            torch.cat([each[2 * index].flatten(1), each[2 * index + 1][:, None]], 1) for each in (vectors, found)
        )
        ours = equations.inverse(e, 0.3) @ whole @ equations.inverse(a / positions[name], 0.3)
        torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-13)


def test_kronecker_factors_are_those_of_one_example_at_a_time() -> None:
    (x, y), net = batches(1)[0], network()
    before = [parameter.clone() for parameter in net.parameters()]
    found = synsim.descent.kronecker(net, x, y, labels="empirical")
    summed = synsim.descent.kronecker(net, x, y, labels="empirical", scale="sum")
    slow = Naive(joined(net), "foof", true_labels, average=0.0)
    slow.absorb(x, y, 0)
    for (a, e), (total, same), (sum_a, mean_e) in zip(found.values(), summed.values(), slow.sums, strict=True):
        torch.testing.assert_close(a, sum_a / len(x), rtol=1e-12, atol=0)
        torch.testing.assert_close(total, sum_a, rtol=1e-12, atol=0)
        torch.testing.assert_close(e, mean_e, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(same, e, rtol=0, atol=0)
    assert all(torch.equal(one, two) for one, two in zip(before, net.parameters(), strict=True))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


def test_sampled_labels_are_exact_ones_on_average() -> None:
    x = batches(1)[0][0][:1].expand(4000, 5)
    exact = synsim.descent.kronecker(network(), x, labels="exact")
    sampled = synsim.descent.kronecker(network(), x, labels="sampled")
    for (_, one), (_, other) in zip(exact.values(), sampled.values(), strict=True):
        # Three labels, 4000 draws: entries scatter by less than |e|² / √4000.
        assert float((one - other).abs().max()) < 4 * float(one.abs().max()) / 4000**0.5


def test_a_gaussian_likelihood_has_the_unit_matrix_as_information_of_its_outputs() -> None:
    net = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    x = torch.randn(2000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ((a, e),) = synsim.descent.kronecker(net, x, labels="exact", likelihood="gaussian").values()
    torch.testing.assert_close(e, torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(a, x.T @ x / 2000)
    ((_, drawn),) = synsim.descent.kronecker(net, x, labels="sampled", likelihood="gaussian").values()
    assert float((drawn - e).abs().max()) < 4 * (2 / 2000) ** 0.5


@pytest.mark.parametrize("count", [2, 300])
def test_products_in_either_order_are_the_same(count) -> None:
    drawn = torch.Generator().manual_seed(3)
    shapes = ((count, 7), (count, 4), (4, 4), (7, 7))
    inputs, errors, left, right = (torch.randn(s, generator=drawn, dtype=torch.float64) for s in shapes)
    rows, whole = Gradient((inputs, errors)), Gradient(matrix=errors.T @ inputs)
    for a, b in ((left, right), (None, right), (left, None)):
        found = rows.times(a, b)
        assert (found.rows is not None) == (count == 2), "few rows stay rows, many become a matrix"
        torch.testing.assert_close(found.matrix, whole.times(a, b).matrix, rtol=1e-12, atol=1e-11)


def test_the_block_wise_average_is_that_of_whole_matrices(monkeypatch) -> None:
    monkeypatch.setattr(equations, "BLOCK", 3)
    drawn = torch.Generator().manual_seed(4)
    total, whole = torch.zeros(8, 8, dtype=torch.float64), torch.zeros(8, 8, dtype=torch.float64)
    for _ in range(3):
        rows = torch.randn(5, 8, generator=drawn, dtype=torch.float64)
        equations.take_in(total, rows, 0.7, 2.0)
        whole = 0.7 * whole + 0.3 * 2 * rows.T @ rows
    torch.testing.assert_close(equations.symmetric(total), whole, rtol=1e-12, atol=1e-12)


def test_of_a_factor_the_lower_triangle_is_read() -> None:
    rows = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    whole = rows.mT @ rows
    lower = whole.tril() + torch.full_like(whole, torch.nan).triu(1)
    assert torch.equal(equations.inverse(lower, 0.1), equations.inverse(whole, 0.1))
    for one, other in zip(equations.eigen(lower), equations.eigen(whole), strict=True):
        assert torch.equal(one, other)


def test_a_factor_of_few_examples_is_taken_in_float64_where_float32_does_not_do() -> None:
    # Whole numbers, so that the factor itself is exact.
    rows = torch.randint(-300, 300, (3, 40), generator=torch.Generator().manual_seed(5)).float()
    factor = rows.T @ rows
    assert int(torch.linalg.cholesky_ex(factor + 1e-3 * torch.eye(40))[1]) > 0
    found = equations.inverse(factor, 1e-3)
    wanted = torch.linalg.inv(factor.double() + 1e-3 * torch.eye(40, dtype=torch.float64))
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-3)
    values, vectors = equations.eigen(factor)
    assert bool((values >= 0).all())
    torch.testing.assert_close(
        vectors @ torch.diag(values) @ vectors.T, factor, rtol=1e-4, atol=float(values.max()) * 1e-5
    )
