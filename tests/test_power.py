"""Powerpropagation: the functions, the rule around a rule, and what they are held against."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from memory import Memory
from torch import nn

import synsim
from synsim.kernels import power as kernel
from synsim.sparse import in_phi, power, root, slope
from synsim.sparse.power import advanced

ALPHAS = (1.5, 2.0, 2.5, 3.0, 4.0)
quietly = pytest.mark.filterwarnings("ignore:alpha = 4")


def numbers(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("alpha", [1.0, *ALPHAS])
def test_power_root_and_slope_are_those_of_their_formulas(alpha):
    phi = torch.cat([numbers(50), torch.zeros(2, dtype=torch.float64)]).requires_grad_()
    theta = power(phi, alpha)
    by_hand = phi.detach().numpy()
    np.testing.assert_allclose(theta.detach().numpy(), by_hand * np.abs(by_hand) ** (alpha - 1), rtol=1e-14)
    np.testing.assert_allclose(root(theta.detach(), alpha).numpy(), by_hand, rtol=1e-13)
    theta.sum().backward()
    np.testing.assert_allclose(phi.grad.numpy(), alpha * np.abs(by_hand) ** (alpha - 1), rtol=1e-13)
    assert phi.grad.equal(slope(phi.detach(), alpha))
    assert torch.autograd.gradcheck(lambda given: power(given, alpha), (numbers(20).requires_grad_(),))


def test_every_replica_has_its_own_power():
    phi = numbers(3, 4, 5)
    for function in (power, root, slope):
        together = function(phi, [1.0, 2.0, 2.5])
        for row, alpha in enumerate((1.0, 2.0, 2.5)):
            torch.testing.assert_close(together[row], function(phi[row], alpha), rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("alpha", sorted(kernel.LOOPS))
@pytest.mark.parametrize("shrink", [1.0, 0.99])
def test_the_loops_are_the_plain_formula(alpha, shrink, dtype):
    before = numbers(3, 5000, dtype=dtype) * torch.logspace(-6, 3, 5000, dtype=dtype)
    before[:, :3] = torch.tensor([0.0, 1e-30, -1e-20], dtype=dtype)
    now = before + 0.01 * numbers(3, 5000, seed=1, dtype=dtype) * before.abs()
    now[:, 10:20] = before[:, 10:20]
    expected = advanced(now, before, alpha, shrink)
    assert kernel.serves(now, before, [alpha])
    fused = now.clone()
    version = fused._version
    kernel.advance(fused, before, [alpha], [shrink])
    size = torch.maximum(before.abs(), expected.abs())
    assert bool(((fused - expected).abs() <= 30 * torch.finfo(dtype).eps * size).all())
    if shrink == 1:
        assert fused[:, 10:20].equal(before[:, 10:20])
    assert fused._version > version


class Powered(nn.Module):
    """Torch's own parametrisation, which stores φ."""

    def __init__(self, alpha):
        super().__init__()
        self.alpha = alpha

    def forward(self, phi):
        return phi.sign() * phi.abs() ** self.alpha

    def right_inverse(self, theta):
        return theta.sign() * theta.abs() ** (1 / self.alpha)


def plain(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 5)).double()


def loss_of(net, step):
    x = numbers(20, 12, seed=1000 + step)
    y = torch.randint(5, (20,), generator=torch.Generator().manual_seed(step))
    return F.cross_entropy(net(x), y)


def train(net, rule, steps):
    for step in range(steps):
        rule.zero_grad()
        loss_of(net, step).backward()
        rule.step()


def difference(found, expected):
    found, expected = found.detach(), expected.detach()
    return float((found - expected).abs().max() / expected.abs().max())


@quietly
@pytest.mark.parametrize("alpha", [1.5, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_around_sgd_it_is_sgd_on_phi(alpha, decay):
    with torch.random.fork_rng():
        net, twin = plain(), plain()
    for layer in (twin[0], twin[2]):
        torch.nn.utils.parametrize.register_parametrization(layer, "weight", Powered(alpha))
    phi = [parameter for name, parameter in twin.named_parameters() if "weight" in name]
    rest = [parameter for name, parameter in twin.named_parameters() if "weight" not in name]
    naive = torch.optim.SGD([{"params": phi, "weight_decay": decay}, {"params": rest}], lr=0.05)
    rule = synsim.Powerpropagation(
        torch.optim.SGD(net.parameters(), lr=0.05), alpha, net=net, weight_decay=decay, decay="phi"
    )
    train(net, rule, 1000)
    train(twin, naive, 1000)
    for a, b in ((net[0], twin[0]), (net[2], twin[2])):
        assert difference(a.weight, b.weight) <= 1e-10
        assert difference(a.bias, b.bias) <= 1e-10


@pytest.mark.parametrize("alpha", [1.5, 2.0, 3.0])
def test_around_adam_its_state_sees_gradients_of_theta(alpha):
    with torch.random.fork_rng():
        net, twin = plain(), plain()
    rule = synsim.Powerpropagation(torch.optim.Adam(net.parameters(), lr=0.01), alpha, net=net)
    train(net, rule, 300)
    phi = {name: p.detach().sign() * p.detach().abs() ** (1 / alpha) for name, p in twin.named_parameters()}
    m, v = ({name: torch.zeros_like(p) for name, p in twin.named_parameters()} for _ in range(2))
    for step in range(300):
        parameters = {
            name: (value.sign() * value.abs() ** alpha if "weight" in name else p.detach()).requires_grad_()
            for (name, p), value in zip(twin.named_parameters(), phi.values(), strict=True)
        }
        x = numbers(20, 12, seed=1000 + step)
        y = torch.randint(5, (20,), generator=torch.Generator().manual_seed(step))
        loss = F.cross_entropy(torch.func.functional_call(twin, parameters, (x,)), y)
        for (name, p), g in zip(twin.named_parameters(), torch.autograd.grad(loss, parameters.values()), strict=True):
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g * g
            scale = (v[name] / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
            move = -0.01 * m[name] / (1 - 0.9 ** (step + 1)) / scale
            if "weight" in name:
                phi[name] = phi[name] + move * alpha * phi[name].abs() ** (alpha - 1)
            else:
                p.data += move
    for name, parameter in net.named_parameters():
        expected = (
            phi[name].sign() * phi[name].abs() ** alpha if "weight" in name else dict(twin.named_parameters())[name]
        )
        assert difference(parameter, expected) <= 1e-10


def plastic(**options):
    net = synsim.mlp([12, 16, 5], seed=3, dtype=torch.float64, **options)
    rule = synsim.PresynapticSGD(net, 0.05, p_up=0.07, p_down=0.07, g_lim=1e-3, weight_decay=0.001)
    return net, rule


@pytest.mark.parametrize("kind", ["sgd", "adam", "presynaptic"])
def test_power_one_is_the_inner_optimiser_to_the_bit(kind):
    with torch.random.fork_rng():
        if kind == "presynaptic":
            (net, rule), (twin, naive) = plastic(), plastic()
        else:
            net, twin = plain(), plain()
            make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[kind]
            rule, naive = make(net.parameters(), lr=0.01), make(twin.parameters(), lr=0.01)
    train(net, synsim.Powerpropagation(rule, 1.0, net=net), 20)
    train(twin, naive, 20)
    for a, b in zip(net.state_dict().values(), twin.state_dict().values(), strict=True):
        assert a.equal(b) if isinstance(a, torch.Tensor) else a == b


def test_release_probabilities_see_the_gradient_of_theta():
    (net, rule), (twin, naive) = plastic(), plastic()
    powered = synsim.Powerpropagation(rule, 2.0, net=net)
    for model in (net, twin):
        loss_of(model, 0).backward()
    powered.step()
    naive.step()
    for a, b in zip(synsim.synapses(net).values(), synsim.synapses(twin).values(), strict=True):
        assert a.p.equal(b.p)
        assert not a.weight.equal(b.weight)


@quietly
def test_replicas_of_several_powers_are_those_alone():
    alphas = [1.0, 2.0, 4.0]
    net = synsim.mlp([12, 16, 5], p=0.5, seed=3, replicas=3, dtype=torch.float64)
    rule = synsim.PresynapticSGD(net, 0.05, p_up=0.07, p_down=0.07, g_lim=1e-3)
    powered = synsim.Powerpropagation(rule, alphas, net=net, weight_decay=[0.0, 0.01, 0.02])
    x, y = numbers(20, 12), torch.arange(20) % 5
    for _ in range(10):
        powered.zero_grad()
        synsim.cross_entropy(net(x), y).backward()
        powered.step()
    for row, (alpha, decay) in enumerate(zip(alphas, (0.0, 0.01, 0.02), strict=True)):
        alone = synsim.mlp([12, 16, 5], p=0.5, seed=3 + row, dtype=torch.float64)
        rule = synsim.PresynapticSGD(alone, 0.05, p_up=0.07, p_down=0.07, g_lim=1e-3)
        single = synsim.Powerpropagation(rule, alpha, net=alone, weight_decay=decay)
        for _ in range(10):
            single.zero_grad()
            synsim.cross_entropy(alone(x), y).backward()
            single.step()
        for a, b in zip(synsim.synapses(net).values(), synsim.synapses(alone).values(), strict=True):
            torch.testing.assert_close(a.weight[row], b.weight, rtol=1e-12, atol=1e-14)
            torch.testing.assert_close(a.p[row], b.p, rtol=1e-12, atol=0)


@pytest.mark.parametrize("inner", ["sgd", "presynaptic"])
def test_a_penalty_passes_through_beside_the_gradient(inner):
    with torch.random.fork_rng():
        net, rule = plastic() if inner == "presynaptic" else (plain(), None)
    rule = rule or torch.optim.SGD(net.parameters(), lr=0.1)
    twin, naive = copy.deepcopy((net, rule))
    pull = {name: numbers(*p.shape, seed=7) for name, p in net.named_parameters()}
    loss_of(net, 0).backward()
    given = {name: p.grad.clone() for name, p in net.named_parameters()}
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    synsim.Powerpropagation(rule, 2.0, net=net).step(penalty=pull)
    for name, p in net.named_parameters():
        assert p.grad.equal(given[name])
    if inner == "presynaptic":
        loss_of(twin, 0).backward()
        naive.step(penalty=pull)
        for a, b in zip(synsim.synapses(net).values(), synsim.synapses(twin).values(), strict=True):
            assert a.p.equal(b.p)
        moved = dict(twin.named_parameters())
    else:
        moved = {name: before[name] - 0.1 * (given[name] + pull[name]) for name in before}
    for name, p in net.named_parameters():
        if "weight" in name:
            torch.testing.assert_close(
                p.detach(), advanced(moved[name].detach(), before[name], 2.0), rtol=1e-12, atol=1e-14
            )


@pytest.mark.parametrize("how", ["copy", "pickle", "state"])
def test_it_goes_on_after_a_copy_a_pickle_and_a_checkpoint(how):
    with torch.random.fork_rng():
        net = plain()
    rule = synsim.Powerpropagation(torch.optim.Adam(net.parameters(), lr=0.01), 2.0, net=net, weight_decay=0.01)
    train(net, rule, 5)
    if how == "copy":
        other, again = copy.deepcopy((net, rule))
    elif how == "pickle":
        other, again = pickle.loads(pickle.dumps((net, rule)))
    else:
        other = copy.deepcopy(net)
        again = synsim.Powerpropagation(torch.optim.Adam(other.parameters(), lr=0.5), 3.0, net=other)
        again.load_state_dict(copy.deepcopy(rule.state_dict()))
    train(net, rule, 5)
    train(other, again, 5)
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert a.equal(b)
    assert again.param_groups[0]["lr"] == 0.01
    with pytest.raises(ValueError, match="powerpropagated optimiser"):
        again.load_state_dict(torch.optim.Adam(other.parameters()).state_dict())


def test_schedulers_reach_the_constants_of_the_inner_optimiser():
    with torch.random.fork_rng():
        net = plain()
    inner = torch.optim.SGD(net.parameters(), lr=0.1)
    rule = synsim.Powerpropagation(inner, 2.0, net=net)
    schedule = torch.optim.lr_scheduler.StepLR(rule, 1, gamma=0.5)
    train(net, rule, 1)
    schedule.step()
    assert inner.param_groups[0]["lr"] == 0.05


def test_fit_trains_resumes_and_consolidates_with_it(tmp_path):
    data = synsim.data.load("digits")
    tasks = synsim.tasks.split(data)[:2]

    def run(**options):
        net = synsim.mlp([64, 20, 2], seed=1, replicas=2)
        rule = synsim.PresynapticSGD(net, 0.05, p_up=0.07, p_down=0.07, g_lim=1e-3)
        rule = synsim.Powerpropagation(rule, [1.0, 2.0], net=net, weight_decay=1e-3)
        guard = synsim.training.Protection("si", "penalty")
        synsim.training.fit(net, rule, tasks, epochs=2, batch=20, samples=1, protection=guard, **options)
        return net

    whole, kept = run(), Memory()
    count = iter(range(10**6))
    with pytest.raises(synsim.training.TrainingStoppedError):
        run(store=kept, stop=lambda: next(count) > 30)
    resumed = run(store=Memory(kept.all[-1]))
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert a.equal(b)


def test_importances_of_phi_are_scaled_by_the_slope():
    net, _ = plastic(bias=True)
    importance = {name: numbers(*p.shape, seed=5).abs() for name, p in net.named_parameters()}
    for kind, exponent in (("square", 2), ("absolute", 1)):
        found = in_phi(importance, net, 2.5, power=kind)
        for name, p in net.named_parameters():
            factor = (2.5 * p.detach().abs() ** (1.5 / 2.5)) ** exponent if "weight" in name else 1.0
            torch.testing.assert_close(found[name], importance[name] * factor, rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="must have shape"):
        in_phi({"0.weight": torch.ones(3)}, net, 2.0)
    with pytest.raises(ValueError, match="expected names among"):
        in_phi({"other": torch.ones(3)}, net, 2.0)


def test_weights_that_are_dead_are_named_once():
    with torch.random.fork_rng():
        net = plain()
    with torch.no_grad():
        net[0].weight[:8] = 0
    rule = synsim.Powerpropagation(torch.optim.SGD(net.parameters(), lr=0.1), 2.0, net=net)
    with pytest.warns(UserWarning, match=r"exactly 0 never move again .*0\.weight: 50\.0%"):
        train(net, rule, 1)
    train(net, rule, 3)
    assert not net[0].weight[:8].any()
    assert net[0].weight[8:].all()


def test_weights_that_a_view_silences_are_not_taken_for_dead():
    net = synsim.mlp([6, 4, 3], p=1.0, seed=2)
    stays = synsim.sparse.masks(net, 0.5)
    with torch.no_grad():
        net[0].weight[:, 0] = 0
    rule = synsim.Powerpropagation(torch.optim.SGD(net.parameters(), lr=0.1), 2.0, net=net)

    def step():
        synsim.cross_entropy(net(torch.ones(2, 6)), torch.tensor([0, 1])).backward()
        rule.step()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with synsim.sparse.masked(net, {}), synsim.sparse.masked(net, stays):
            step()
        with pytest.raises(ZeroDivisionError), synsim.sparse.masked(net, stays):
            _ = 1 / 0
    # Those that are 0 without a view are named by the first step outside.
    with pytest.warns(UserWarning, match=r"never move again .*\(0\.weight: 16\.7%\)"):
        step()


def test_what_makes_no_sense_is_refused():
    with torch.random.fork_rng():
        net = plain()
        other = plain()
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    for alpha in (0.5, float("nan"), float("inf"), [1.0, 2.0]):
        with pytest.raises(ValueError, match="alpha must be"):
            synsim.Powerpropagation(sgd, alpha, net=net)
    with pytest.warns(UserWarning, match="beyond the powers up to 3"):
        synsim.Powerpropagation(sgd, 3.5, net=net)
    with pytest.raises(ValueError, match="holds no weight of this network"):
        synsim.Powerpropagation(sgd, 2.0, net=other)
    with pytest.raises(ValueError, match="can't be powerpropagated"):
        synsim.Powerpropagation(torch.optim.LBFGS(net.parameters()), 2.0, net=net)
    with pytest.raises(ValueError, match="can't be powerpropagated"):
        synsim.Powerpropagation(synsim.Powerpropagation(sgd, 2.0, net=net), 2.0, net=net)
    with pytest.raises(ValueError, match="decay must be one of"):
        synsim.Powerpropagation(sgd, 2.0, net=net, decay="psi")
    stochastic, rule = plastic()
    torch.nn.utils.parametrize.register_parametrization(stochastic[0], "weight", Powered(2.0))
    with pytest.raises(ValueError, match="re-parametrise"):
        synsim.Powerpropagation(rule, 2.0, net=stochastic)
    with pytest.raises(ValueError, match="re-parametrises the weight"):
        synsim.PresynapticSGD(stochastic, 0.05, p_up=0.07, p_down=0.07, g_lim=1e-3)
    loss_of(net, 0).backward()
    with pytest.raises(ValueError, match="penalty names"):
        synsim.Powerpropagation(sgd, 2.0, net=net).step(penalty={"nobody": torch.ones(1)})


def phi_of(net, alpha):
    return {
        name: root(p, alpha).detach() if "weight" in name else p.detach().clone() for name, p in net.named_parameters()
    }


@pytest.mark.parametrize("alpha", [1.0, 1.5, 2.0, 2.5])
@pytest.mark.parametrize("anchors", ["last", "separate"])
def test_a_penalty_in_phi_is_the_parabola_around_phi(alpha, anchors):
    net, _ = plastic(bias=True)
    penalty = synsim.consolidation.make(
        "penalty", strength=3.0, factor=0.5, space="phi", alpha=alpha, anchors=anchors, accumulate="sum"
    )
    naive = []
    for task in range(2):
        importance = {name: numbers(*p.shape, seed=task).square() for name, p in net.named_parameters()}
        penalty.remember(net, importance)
        naive.append((in_phi(importance, net, alpha), phi_of(net, alpha)))
        with torch.no_grad():
            for p in net.parameters():
                p.mul_(1.3).add_(0.01)
    if anchors == "last":
        naive = [({name: naive[0][0][name] + naive[1][0][name] for name in naive[0][0]}, naive[1][1])]
    now = phi_of(net, alpha)
    expected = sum(1.5 * float((f[name] * (now[name] - at[name]) ** 2).sum()) for f, at in naive for name in now)
    value = penalty.value(net)
    assert float(value.detach()) == pytest.approx(expected, rel=1e-12)
    value.backward()
    for name, gradient in penalty.gradient(net).items():
        of_phi = sum(3.0 * f[name] * (now[name] - at[name]) for f, at in naive)
        by_hand = of_phi / slope(now[name], alpha) if "weight" in name else of_phi
        torch.testing.assert_close(gradient, by_hand, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(dict(net.named_parameters())[name].grad, by_hand, rtol=1e-10, atol=1e-14)


def test_around_sgd_a_penalty_in_phi_is_that_of_descent_on_phi():
    with torch.random.fork_rng():
        net = plain()
    rule = synsim.Powerpropagation(torch.optim.SGD(net.parameters(), lr=0.05), 2.0, net=net)
    penalty = synsim.consolidation.make("penalty", strength=2.0, space="phi", alpha=2.0)
    importance = {name: numbers(*p.shape, seed=3).square() for name, p in net.named_parameters()}
    penalty.remember(net, importance)
    anchor, weights = phi_of(net, 2.0), in_phi(importance, net, 2.0)
    phi = {name: value.clone() for name, value in anchor.items()}
    for step in range(50):
        rule.zero_grad()
        loss_of(net, step).backward()
        for name, p in net.named_parameters():
            # The gradient of the loss at this very θ, so that only the penalty is compared.
            of_phi = p.grad * slope(phi[name], 2.0) if "weight" in name else p.grad.clone()
            phi[name] = phi[name] - 0.05 * (of_phi + 4.0 * weights[name] * (phi[name] - anchor[name]))
        rule.step(penalty=penalty.gradient(net))
        for name, value in phi_of(net, 2.0).items():
            assert difference(value, phi[name]) <= 1e-9


def test_a_penalty_in_phi_leaves_dead_weights_alone():
    with torch.random.fork_rng():
        net = plain()
    with torch.no_grad():
        net[0].weight[0] = 0
    penalty = synsim.consolidation.make("penalty", space="phi", alpha=2.0)
    penalty.remember(net, {name: torch.ones_like(p) for name, p in net.named_parameters()})
    with torch.no_grad():
        net[0].weight[1] += 0.1
    gradient = penalty.gradient(net)["0.weight"]
    assert gradient.isfinite().all()
    assert not gradient[0].any()
    assert gradient[1].any()
    penalty.value(net).backward()
    assert net[0].weight.grad.isfinite().all()


def test_a_space_without_its_power_is_refused():
    for options, message in (
        ({"space": "phi"}, "needs alpha"),
        ({"alpha": 2.0}, "needs alpha"),
        ({"space": "psi"}, "space must be one of"),
        ({"space": "phi", "alpha": 0.5}, "alpha must be finite and at least 1"),
        ({"space": "phi", "alpha": 2.0, "power": "cube"}, "power must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            synsim.consolidation.make("penalty", **options)


def test_a_step_that_is_not_finite_names_the_power_and_the_rate(monkeypatch):
    monkeypatch.setattr(synsim.sparse.rule, "WAIT", 1)
    x, y = numbers(20, 12), torch.arange(20) % 5
    net = synsim.mlp([12, 16, 5], p=1.0, seed=3, replicas=3, dtype=torch.float64)
    rule = synsim.Powerpropagation(torch.optim.SGD(net.parameters(), lr=0.5), [1.0, 2.0, 3.0], net=net)
    with torch.no_grad():
        net[2].weight[2] = 1e200
    synsim.cross_entropy(net(x), y).sum().backward()
    with pytest.warns(UserWarning, match=r"replica 2 is not finite .* alpha = 3 and a learning rate of 0\.5") as said:
        rule.step()
    assert len(said) == 1
    assert net[2].weight[:2].isfinite().all()
    rule.step()  # said once
    with torch.random.fork_rng():
        alone = plain()
    rule = synsim.Powerpropagation(torch.optim.SGD(alone.parameters(), lr=0.25), 2.0, net=alone)
    loss_of(alone, 0).backward()
    alone[0].weight.grad[0, 0] = float("nan")
    with pytest.warns(UserWarning, match=r"0\.weight is not finite after .* alpha = 2 and a learning rate of 0\.25"):
        rule.step()


def test_a_replica_that_fails_in_fit_names_the_power_and_the_rate():
    (task,) = synsim.tasks.single(synsim.data.load("digits"))
    net = synsim.mlp([64, 10], p=1.0, seed=1, replicas=2)
    inner = synsim.PresynapticSGD(net, [0.05, 1e30], p_up=0.07, p_down=0.07, g_lim=1e-3)
    rule = synsim.Powerpropagation(inner, [2.0, 2.5], net=net)
    history = synsim.training.fit(net, rule, [task], steps=20, batch=20, samples=1)
    assert [failure.replica for failure in history.failures] == [1]
    assert "(with alpha = 2.5 and a learning rate of 1e+30) was not finite" in str(history.failures[0])
