"""Masks that change while a network learns: the cubic schedule and TopKAST, held against loops written out."""

import copy
import math
import warnings
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import synsim
from synsim.sparse import Gradual, TopKast

SIZES = [12, 16, 8, 5]


def batch(step):
    made = torch.Generator().manual_seed(step)
    x = torch.randn(20, 12, generator=made, dtype=torch.float64)
    return x, x[:, :5].argmax(1)


def network(replicas=None, p=1.0, **options):
    return synsim.mlp(SIZES, p=p, seed=3, replicas=replicas, dtype=torch.float64, **options)


def weights(net):
    return [layer.weight.detach().clone() for layer in synsim.synapses(net).values()]


def sgd(net, alpha=1.0, momentum=0.9, **options):
    rule = torch.optim.SGD(net.parameters(), lr=0.02, momentum=momentum)
    return synsim.Powerpropagation(rule, alpha, net=net, **options) if alpha is not None else rule


def train(net, rule, steps, first=0):
    for step in range(first, first + steps):
        x, y = batch(step)
        rule.zero_grad()
        loss = synsim.cross_entropy(net(x), y)
        (loss.sum() if loss.ndim else loss).backward()
        rule.step()


def largest(size, share):
    """Mask of the floor(share · n) largest entries, by sorting."""
    flat = size.reshape(-1)
    chosen = sorted(range(len(flat)), key=lambda index: float(flat[index]))[len(flat) - math.floor(share * len(flat)) :]
    mask = torch.zeros(len(flat), dtype=torch.bool)
    mask[chosen] = True
    return mask.reshape(size.shape)


class ByHand:
    """Dense values, masks and momentum of all layers, and a step of SGD on φ written out."""

    def __init__(self, net, alpha):
        self.alpha, self.dense = alpha, weights(net)
        self.velocity = [torch.zeros_like(weight) for weight in self.dense]
        self.there = [torch.ones_like(weight, dtype=torch.bool) for weight in self.dense]
        self.moving = self.there

    def shown(self):
        return [weight * mask for weight, mask in zip(self.dense, self.there, strict=True)]

    def step(self, x, y, penalty):
        leaves = [weight.requires_grad_() for weight in self.shown()]
        value = x
        for index, leaf in enumerate(leaves):
            value = value @ leaf.T
            value = torch.relu(value) if index < len(leaves) - 1 else value
        for k, gradient in enumerate(torch.autograd.grad(F.cross_entropy(value, y), leaves)):
            theta, there, moving = self.dense[k], self.there[k], self.moving[k]
            whole = gradient * moving + penalty(theta, there) * moving
            self.velocity[k] = 0.9 * self.velocity[k] + whole
            phi = theta.sign() * theta.abs() ** (1 / self.alpha)
            phi = phi - 0.02 * self.velocity[k] * self.alpha * phi.abs() ** (self.alpha - 1)
            self.dense[k] = torch.where(moving, phi.sign() * phi.abs() ** self.alpha, theta)


def close(net, naive):
    for found, expected in zip(weights(net), naive.shown(), strict=True):
        assert found.ne(0).equal(expected.ne(0))
        assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()


@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0])
def test_gradual_pruning_is_that_written_out(alpha):
    net = network()
    naive = ByHand(net, alpha)
    rule, pruning = sgd(net, alpha), Gradual(0.2, 10, 70, 20, output=2.0)
    pruning.attach(net, rule)
    for step in range(100):
        train(net, rule, 1, step)
        naive.step(*batch(step), lambda theta, there: 0.0)
        made = step + 1
        if made in (10, 30, 50, 70):
            share = 0.2 + 0.8 * (1 - (made - 10) / 60) ** 3
            shares = [share, share, min(1.0, 2 * share)]
            sizes = [theta.abs().masked_fill(~mask, -1) for theta, mask in zip(naive.dense, naive.there, strict=True)]
            naive.there = naive.moving = [largest(size, one) for size, one in zip(sizes, shares, strict=True)]
        close(net, naive)
    assert pruning.steps == 100
    assert [int(mask.sum()) for mask in pruning.stays.values()] == [38, 25, 16]


@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0])
def test_topkast_is_that_written_out(alpha):
    net = network()
    naive = ByHand(net, alpha)

    def choose():
        naive.there = [largest(theta.abs(), 0.2) for theta in naive.dense]
        naive.moving = [largest(theta.abs(), 0.45) for theta in naive.dense]

    def penalty(theta, there):
        return 0.01 * torch.where(there, theta, theta / 0.2)

    choose()
    rule, sparse = sgd(net, alpha), TopKast(0.2, 0.45, 7, 0.01)
    sparse.attach(net, rule)
    first = sparse.stays
    for step in range(100):
        close(net, naive)
        train(net, rule, 1, step)
        naive.step(*batch(step), penalty)
        if (step + 1) % 7 == 0:
            choose()
    close(net, naive)
    for name, there in sparse.stays.items():
        assert not (there & ~sparse.moves[name]).any()
    assert any(not mask.equal(first[name]) for name, mask in sparse.stays.items())


@pytest.mark.parametrize("steps", [0, 5])
def test_the_schedule_is_cubic_and_ends_at_the_share(steps):
    pruning = Gradual([0.1, 0.5], 100, 300, 50)
    for made in (0, 99, 100):
        assert pruning.share(made).tolist() == [1.0, 1.0]
    torch.testing.assert_close(pruning.share(200).tolist(), [0.1 + 0.9 / 8, 0.5 + 0.5 / 8])
    for made in (300, 10_000):
        assert pruning.share(made).tolist() == [0.1, 0.5]
    assert Gradual(0.1, 7, 7, 1).share(6) == 1.0
    assert Gradual(0.1, 7, 7, 1).share(7) == 0.1
    net = network()
    once = Gradual(0.25, steps, steps, 3, scope="network")
    rule = sgd(net)
    once.attach(net, rule)
    train(net, rule, 6)
    total = sum(weight.numel() for weight in weights(net))
    assert sum(int((weight != 0).sum()) for weight in weights(net)) == total // 4
    assert float(once.density()) == (total // 4) / total


@pytest.mark.parametrize("kind", ["gradual", "topkast"])
@pytest.mark.parametrize("inner", ["sgd", "adam", "presynaptic"])
@pytest.mark.parametrize("alpha", [None, 2.0])
def test_all_of_them_is_training_as_ever_to_the_bit(kind, inner, alpha):
    net = network(p=0.5, bias=True)
    twin = copy.deepcopy(net)

    def rule_of(model):
        made = {
            "sgd": lambda: sgd(model, None),
            "adam": lambda: torch.optim.Adam(model.parameters(), lr=0.01),
            "presynaptic": lambda: synsim.PresynapticSGD(model, 0.05, p_up=0.07, p_down=0.07, g_lim=1e-3),
        }[inner]()
        return made if alpha is None else synsim.Powerpropagation(made, alpha, net=model, weight_decay=0.01)

    sparse = Gradual(1.0, 2, 8, 3) if kind == "gradual" else TopKast(1.0, 1.0, 3, 0.0)
    rule = rule_of(net)
    sparse.attach(net, rule)
    train(net, rule, 12)
    train(twin, rule_of(twin), 12)
    for a, b in zip(net.state_dict().values(), twin.state_dict().values(), strict=True):
        assert a.equal(b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_what_is_not_there_neither_moves_nor_learns_when_to_fail(alpha):
    net = network(p=0.5)
    rule = synsim.PresynapticSGD(net, 0.05, p_up=0.07, p_down=0.07, g_lim=1e-3, weight_decay=0.01)
    rule = synsim.Powerpropagation(rule, alpha, net=net)
    sparse = TopKast(0.2, 0.4, 1000, 0.01)
    before = weights(net)
    sparse.attach(net, rule)
    train(net, rule, 20)
    layers = synsim.synapses(net)
    for (name, layer), start in zip(layers.items(), before, strict=True):
        there, moves = sparse.stays[name], sparse.moves[name]
        assert not layer.weight[~there].any()
        assert layer.p[~moves].unique().tolist() == [0.5]
        assert layer.p[moves].ne(0.5).all()
        rest = sparse.state_dict()[f"rest//{name}"]
        assert rest.shape == start[~there].shape
        assert rest[~moves[~there]].equal(start[~moves])
        assert rest[moves[~there]].ne(start[moves & ~there]).all()


def test_the_step_of_release_probabilities_does_not_see_the_penalty():
    def found(penalty):
        net = network(p=0.5)
        rule = synsim.PresynapticSGD(net, 0.05, p_up=0.07, p_down=0.07, g_lim=1e-3)
        sparse = TopKast(0.3, 0.6, 100, penalty)
        sparse.attach(net, rule)
        train(net, rule, 1)
        return net

    plain, pulled = found(0.0), found(0.5)
    for a, b in zip(synsim.synapses(plain).values(), synsim.synapses(pulled).values(), strict=True):
        assert a.p.equal(b.p)
        assert not a.weight.equal(b.weight)


def test_a_step_leaves_the_gradient_of_the_task():
    net, twin = network(), network()
    TopKast(0.3, 0.6, 100, 0.5).attach(net, rule := sgd(net))
    with torch.no_grad():
        for layer, weight in zip(synsim.synapses(twin).values(), weights(net), strict=True):
            layer.weight.copy_(weight)
    train(net, rule, 1)
    train(twin, sgd(twin), 1)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        assert a.grad.equal(b.grad)


@pytest.mark.parametrize("kind", ["gradual", "topkast"])
def test_replicas_are_those_alone(kind):
    keep, alphas = [0.1, 0.4, 1.0], [1.0, 2.0, 2.5]

    def sparse(share):
        return Gradual(share, 5, 25, 5) if kind == "gradual" else TopKast(share, share, 5, 0.01)

    net = network(replicas=3, bias=True)
    together, rule = sparse(keep), sgd(net, alphas)
    together.attach(net, rule)
    train(net, rule, 40)
    for row, (share, alpha) in enumerate(zip(keep, alphas, strict=True)):
        alone = synsim.mlp(SIZES, p=1.0, bias=True, seed=3 + row, dtype=torch.float64)
        single, rule = sparse(share), sgd(alone, alpha)
        single.attach(alone, rule)
        train(alone, rule, 40)
        for name, layer in synsim.synapses(alone).items():
            assert together.stays[name][row].equal(single.stays[name])
            torch.testing.assert_close(synsim.synapses(net)[name].weight[row], layer.weight, rtol=1e-9, atol=1e-12)
        assert float(together.density()[row]) == float(single.density())


class Store:
    """Keeps the state after some steps."""

    def __init__(self, at=()):
        self.saved, self.at, self.asked = None, set(at), 0

    def load(self):
        return self.saved

    def save(self, tensors, meta):
        self.saved = ({name: value.clone() for name, value in tensors.items()}, copy.deepcopy(meta))

    def due(self):
        self.asked += 1
        return self.asked in self.at


def fitted(kind, alpha=None, store=None, stop=None, replicas=2, **options):
    (task,) = synsim.tasks.single(synsim.data.load("digits"))
    net = synsim.mlp([64, 20, 10], seed=1, replicas=replicas)
    rule = synsim.PresynapticSGD(net, 0.05, p_up=0.07, p_down=0.07, g_lim=1e-3)
    rule = rule if alpha is None else synsim.Powerpropagation(rule, alpha, net=net)
    sparse = {"gradual": lambda: Gradual(0.2, 3, 60, 7), "topkast": lambda: TopKast(0.2, 0.4, 7), None: lambda: None}[
        kind
    ]()
    history = synsim.training.fit(
        net, rule, [task], sparsity=sparse, steps=90, batch=20, samples=1, store=store, stop=stop, **options
    )
    return net, sparse, history


@pytest.mark.parametrize("kind", ["gradual", "topkast"])
@pytest.mark.parametrize("alpha", [None, 2.0])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(kind, alpha):
    whole, sparse, history = fitted(kind, alpha)
    store = Store(at=[10, 38])
    for limit in (20, 45):
        stops = iter([False] * limit + [True] * 100)
        with pytest.raises(synsim.training.TrainingStoppedError):
            fitted(kind, alpha, store, partial(next, stops))
    resumed, again, later = fitted(kind, alpha, store)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert a.equal(b) if isinstance(a, torch.Tensor) else a == b
    assert history.accuracy.equal(later.accuracy)
    assert again.steps == sparse.steps == 90
    for name, value in sparse.state_dict().items():
        assert again.state_dict()[name].equal(value)
    tensors, _ = store.saved
    assert tensors["sparsity//stays//0"].dtype == torch.uint8
    assert tensors["sparsity//stays//0"].numel() == 2 * 64 * 20 // 8


def test_a_run_goes_on_with_the_masks_that_it_was_begun_with():
    store = Store()
    fitted("gradual", store=store)
    for other in (None, "topkast"):
        with pytest.raises(ValueError, match="begun with sparsity=Gradual"):
            fitted(other, store=store)
    plain = Store()
    fitted(None, store=plain)
    with pytest.raises(ValueError, match="begun with sparsity=None"):
        fitted("gradual", store=plain)


@pytest.mark.parametrize("kind", ["gradual", "topkast"])
def test_in_any_other_loop_it_is_what_it_is_in_fit(kind):
    (task,) = synsim.tasks.single(synsim.data.load("digits"))
    there, sparse, _ = fitted(kind, 2.0)
    net = synsim.mlp([64, 20, 10], seed=1, replicas=2)
    rule = synsim.PresynapticSGD(net, 0.05, p_up=0.07, p_down=0.07, g_lim=1e-3)
    rule = synsim.Powerpropagation(rule, 2.0, net=net)
    own = type(sparse)(*((0.2, 3, 60, 7) if kind == "gradual" else (0.2, 0.4, 7)))
    own.attach(net, rule)
    made = 0
    for epoch in range(10):
        order = task.order((1, 2), 0, epoch)
        for rows in synsim.tasks.batches(order, 20):
            if made == 90:
                break
            x, y = task.batch(rows)
            rule.zero_grad()
            synsim.cross_entropy(net(x), y).sum().backward()
            rule.step()
            made += 1
    for a, b in zip(there.parameters(), net.parameters(), strict=True):
        assert a.equal(b)
    before = own.state_dict()
    own.detach()
    own.detach()
    own.attach(net, rule)
    assert own.steps == 90
    assert all(value.equal(before[name]) for name, value in own.state_dict().items())


@pytest.mark.parametrize("kind", ["gradual", "topkast"])
def test_tests_and_probes_see_the_sparse_network(kind):
    seen = []

    def share(net, task):
        shares = [float((layer.weight != 0).double().mean()) for layer in synsim.synapses(net).values()]
        seen.append(shares)
        return torch.tensor(shares[0])

    _, sparse, history = fitted(kind, probes={"share": share}, replicas=None)
    assert seen[-1] == pytest.approx([0.2, 0.2], abs=0.01)
    assert float(sparse.density()) == pytest.approx(0.2, abs=0.001)
    assert float(history.per_epoch["share"].reshape(-1)[-1]) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("kind", ["gradual", "topkast"])
def test_a_replica_that_diverges_leaves_the_others_alone(kind):
    (task,) = synsim.tasks.single(synsim.data.load("digits"))

    def run(rates):
        net = synsim.mlp([64, 20, 10], p=1.0, seed=1, replicas=len(rates))
        rule = synsim.PresynapticSGD(net, rates, p_up=0.07, p_down=0.07, g_lim=1e-3)
        sparse = Gradual(0.2, 3, 60, 7) if kind == "gradual" else TopKast(0.2, 0.4, 7)
        history = synsim.training.fit(net, rule, [task], sparsity=sparse, steps=90, batch=20, samples=1)
        return net, history

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net, history = run([0.05, 1e30])
        alone, _ = run([0.05])
    assert [failure.replica for failure in history.failures] == [1]
    for a, b in zip(net.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(a[0], b[0], rtol=1e-4, atol=1e-5)
        assert a[1].isfinite().all()


def test_what_makes_no_sense_is_refused():
    net = network()
    for options, message in (
        ((0.0, 0, 10, 1), "keep must lie in"),
        ((1.5, 0, 10, 1), "keep must be finite and between 0 and 1"),
        ((float("nan"), 0, 10, 1), "keep must be finite"),
        ((0.1, 10, 5, 1), "stop must be at least start, 10, got 5"),
        ((0.1, -1, 5, 1), "start must be a whole number"),
        ((0.1, 0, 5, 0), "every must be a whole number"),
    ):
        with pytest.raises(ValueError, match=message):
            Gradual(*options)
    for options, message in (
        ((0.5, 0.2), "backward must be at least forward"),
        (([0.5, 0.1], [0.5, 0.05]), "backward must be at least forward"),
        (([0.5, 0.1], [0.5, 0.1, 0.1]), "as many"),
        ((0.2, 0.5, 10, -1.0), "penalty must be"),
    ):
        with pytest.raises(ValueError, match=message):
            TopKast(*options)
    with pytest.raises(ValueError, match="scope must be one of"):
        Gradual(0.1, 0, 5, 1, scope="neuron")
    with pytest.raises(ValueError, match="over the whole network there are no shares"):
        Gradual(0.1, 0, 5, 1, scope="network", output=2.0)
    with pytest.raises(ValueError, match="keep must be a number"):
        Gradual([0.1, 0.2], 0, 5, 1).attach(net, sgd(net))
    with pytest.raises(ValueError, match="p = 1"):
        Gradual(0.1, 0, 5, 1).attach(plain := nn.Linear(3, 2), torch.optim.SGD(plain.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="several weights of one step"):
        Gradual(0.1, 0, 5, 1).attach(net, torch.optim.LBFGS(net.parameters()))
    with pytest.warns(UserWarning, match="keep=0.01 leaves no synapse of 4"):
        Gradual(0.01, 0, 5, 1).attach(net, sgd(net))
    sparse, rule = TopKast(0.2, 0.4), sgd(net)
    with pytest.raises(ValueError, match="no network yet"):
        sparse.density()
    with pytest.raises(ValueError, match="no network yet"):
        sparse.load_state_dict({})
    sparse.attach(net, rule)
    with pytest.raises(ValueError, match="attached already"):
        sparse.attach(net, rule)
    sparse.detach()
    other = synsim.mlp([12, 5], p=1.0)
    with pytest.raises(ValueError, match="masks of another network"):
        sparse.attach(other, sgd(other))
    saved = sparse.state_dict()
    for change in ({"steps": torch.tensor(1)}, {**saved, "more": torch.ones(1)}, {**saved, "rest//0": torch.ones(3)}):
        with pytest.raises(ValueError, match="expected"):
            sparse.load_state_dict(change)


def test_in_fit_it_goes_with_no_protection_and_says_if_the_end_is_not_reached():
    (task,) = synsim.tasks.single(synsim.data.load("digits"))
    net = synsim.mlp([64, 10], p=1.0)
    guard = synsim.training.Protection("fisher", "penalty")
    with pytest.raises(ValueError, match="give one of them"):
        synsim.training.fit(net, sgd(net), [task], epochs=1, protection=guard, sparsity=TopKast(0.1, 0.2))
    pruning = Gradual(0.2, 3, 60, 7)
    with pytest.warns(UserWarning, match="pruning ends after 60 steps, the run after 5"):
        synsim.training.fit(net, sgd(net), [task], steps=5, batch=20, sparsity=pruning)
    assert pruning.steps == 5
    synsim.training.fit(net, sgd(net), [task], steps=60, batch=20, sparsity=pruning)
    assert float(pruning.density()) == pytest.approx(0.2)
