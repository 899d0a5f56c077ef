"""Meters, lesions and tasks against closed forms and naive doubles."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

import synsim
from synsim import meters, tasks
from synsim.lesions import lesion_masks, lesion_scores
from synsim.meters.information import information, joint_distribution, miller_madow
from synsim.meters.passes import passes


class Fixed(torch.nn.Module):
    """A network that answers with what it is shown: its input are its logits."""

    def forward(self, x):
        return x


def certain(labels, classes=4):
    return 200.0 * torch.nn.functional.one_hot(labels, classes).double()


class Writing(torch.nn.Module):
    """A network that overwrites what it is shown, and its last output."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.out = inner, None

    def forward(self, x):
        y = self.inner(x.sub_(1.0))
        self.out = y if self.out is None or self.out.shape != y.shape else self.out.copy_(y)
        return self.out


@pytest.mark.parametrize("limit", [1, 30, 10**6])
@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_passes_may_follow_each_other_block_by_block(scope, limit, monkeypatch):
    task = tasks.permuted(synsim.data.load("digits"), tasks=1, seeds=(1, 2))[0]
    net, seen = synsim.mlp([64, 8, 10], replicas=2, scope=scope), {}
    monkeypatch.setattr("synsim.meters.passes.AT_ONCE", limit)
    for sample, part, logits in passes(net, task.test, samples=3, block=100, seed=0):
        seen[sample, part.start] = logits.softmax(-1)
    starts = sorted({start for _, start in seen})
    means = [(seen[0, start] + seen[1, start] + seen[2, start]) / 3 for start in starts]
    expected = torch.cat(means, 1)
    assert torch.equal(meters.class_probabilities(net, task.test, samples=3), expected)
    shifted = replace(task.test, offset=task.test.offset - task.test.scale)  # one more, which the network takes away
    found = meters.class_probabilities(Writing(net), shifted, samples=3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_perfect_predictor_knows_the_entropy_of_the_classes():
    y = torch.tensor([0] * 10 + [1] * 20 + [2] * 30 + [3] * 40)
    shares = np.array([0.1, 0.2, 0.3, 0.4])
    for kind in ("soft", "argmax"):
        bits = meters.mutual_information(Fixed(), certain(y), y, kind=kind)
        correction = 0 if kind == "soft" else 3 / (2 * 100 * math.log(2))
        assert float(bits) == pytest.approx(-(shares * np.log2(shares)).sum() + correction, rel=1e-12)


def test_a_blind_predictor_knows_nothing():
    y = torch.arange(40) % 4
    assert float(meters.mutual_information(Fixed(), torch.zeros(40, 4).double(), y)) == pytest.approx(0, abs=1e-14)


def test_the_published_estimator_against_a_naive_double():
    generator = torch.Generator().manual_seed(0)
    logits, y = torch.randn(300, 5, generator=generator).double(), torch.randint(4, (300,), generator=generator)
    soft, labels = torch.softmax(logits, 1).numpy(), y.numpy()
    bits = 0.0
    for x in range(4):
        share, q = (labels == x).mean(), soft[labels == x].mean(0)
        bits += (share * q * np.log2(q / soft.mean(0))).sum()
    assert float(meters.mutual_information(Fixed(), logits, y)) == pytest.approx(bits, rel=1e-12)


def test_absent_classes_and_empty_cells_are_allowed():
    y = torch.tensor([0, 0, 2, 2])
    assert float(meters.mutual_information(Fixed(), certain(y), y)) == pytest.approx(1.0, rel=1e-12)
    table = torch.tensor([[0.5, 0.0], [0.25, 0.25]], dtype=torch.float64)
    expected = 0.5 * math.log2(0.5 / 0.375) + 0.25 * math.log2(0.25 / 0.375) + 0.25 * math.log2(0.25 / 0.125)
    assert float(information(table)) == pytest.approx(expected, rel=1e-12)


def test_miller_madow_removes_most_of_the_bias_of_independent_labels():
    generator = torch.Generator().manual_seed(1)
    plain, corrected = [], []
    for _ in range(400):
        z, y = torch.randint(3, (2, 60), generator=generator)
        joint = joint_distribution(torch.nn.functional.one_hot(z, 3).double()[None], y[None], 3)
        plain.append(float(information(joint)))
        corrected.append(plain[-1] + float(miller_madow(joint, 60)))
    bias = 4 / (2 * 60 * math.log(2))
    assert stats.ttest_1samp(plain, bias).pvalue > 1e-4
    assert stats.ttest_1samp(plain, 0).pvalue < 1e-10
    assert abs(np.mean(corrected)) < 0.15 * np.mean(plain)


def network(**options):
    return synsim.mlp([20, 15, 4], **{"seed": 3, "dtype": torch.float64, **options})


def images(count=230, lead=()):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(*lead, count, 20, generator=generator, dtype=torch.float64)
    return x, torch.randint(4, (*lead, count), generator=generator)


@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_the_measure_does_not_depend_on_chunks(scope, monkeypatch):
    net, (x, _) = network(scope=scope), images()
    whole = meters.class_probabilities(net, x, samples=3, block=100)
    monkeypatch.setattr("synsim.meters.passes.CHUNK", 37)
    assert torch.allclose(meters.class_probabilities(net, x, samples=3, block=100), whole, rtol=1e-12)
    assert torch.allclose(meters.class_probabilities(net, x[:200], samples=3), whole[:200], rtol=1e-12)


def test_masks_change_by_block_pass_and_seed():
    net, (x, _) = network(), images(2)
    x = x[:1].expand(300, -1)
    found = meters.class_probabilities(net, x, samples=1, block=100)
    assert torch.equal(found[0], found[99])
    assert not torch.equal(found[99], found[100])
    assert not torch.equal(found, meters.class_probabilities(net, x, samples=1, block=100, seed=1))
    whole = meters.class_probabilities(net, x, samples=1, block=None)
    assert torch.equal(whole[0], whole[299])


def test_a_replica_measures_what_it_measures_alone():
    batched, (x, y) = network(replicas=3), images()
    alone = synsim.mlp([20, 15, 4], seed=4, dtype=torch.float64)
    for meter in (meters.accuracy, meters.mutual_information, meters.information_per_energy):
        assert torch.allclose(meter(batched, x, y)[1], meter(alone, x, y), rtol=1e-12)
    for kind in ("synaptic", "activity"):
        found = meters.energy(batched, kind, x=x)[1]
        assert torch.allclose(found, meters.energy(alone, kind, x=x), rtol=1e-12)
    _, curve = synsim.lesion_curve(batched, x, y, "random", (0.3, 0.6), 2)
    assert torch.equal(curve[1], synsim.lesion_curve(alone, x, y, "random", (0.3, 0.6), 2)[1])


def loader(x, y):
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=64, shuffle=True)


LABELLED = {
    "accuracy": meters.accuracy,
    "information": meters.mutual_information,
    "per energy": meters.information_per_energy,
    "interval": lambda *given: meters.information_interval(*given, resamples=2).bits,
}
SEEN = {
    "probabilities": lambda net, x: meters.class_probabilities(net, x).sum(-2),
    "activity": lambda net, x: meters.energy(net, "activity", x=x),
    "release": lambda net, x: meters.energy(net, "release", x=x),
    "budget": lambda net, x: meters.atp_budget(net, x)["release"],
    "transmission": lambda net, x: meters.transmission(net, x).spikes,
}


@pytest.mark.parametrize("replicas", [None, 2])
@pytest.mark.parametrize("measure", LABELLED.values(), ids=LABELLED.keys())
def test_examples_and_labels_come_in_any_form(measure, replicas):
    net, (x, y) = network(p=1.0, replicas=replicas), images()
    wanted = measure(net, x, y)
    forms = [(x, y.numpy()), (x.numpy(), y.tolist()), (x.tolist(), y.to(torch.uint8)), (loader(x, y),)]
    for given in forms:
        torch.testing.assert_close(measure(net, *given), wanted, rtol=1e-10, atol=0)
    with pytest.raises(ValueError, match=r"y must hold integer class labels, got torch\.float64"):
        measure(net, x, y.double().tolist())


@pytest.mark.parametrize("measure", SEEN.values(), ids=SEEN.keys())
def test_examples_without_labels_come_in_any_form(measure):
    net, (x, y) = network(p=1.0), images()
    x = x.abs()
    wanted = measure(net, x)
    for given in (x.numpy(), x.tolist(), list(x), loader(x, y), torch.utils.data.TensorDataset(x, y)):
        torch.testing.assert_close(measure(net, given), wanted, rtol=1e-10, atol=1e-12)


def test_every_replica_may_have_images_of_its_own():
    net, (x, y) = network(replicas=3), images(lead=(3,))
    found = meters.accuracy(net, x, y)
    for r in range(3):
        assert torch.equal(found[r], meters.accuracy(net, x[r], y[r])[r])


def test_measuring_leaves_the_network_as_it_was():
    net, (x, y) = network().train(), images()
    net(x).sum().backward()
    draws, mask, gradient = net[0].draws, net[0].mask.clone(), net[0].weight.grad.clone()
    before = torch.get_rng_state()
    meters.information_per_energy(net, x, y)
    meters.accuracy(net, x, y)
    synsim.lesion_curve(net, x, y, "p", (0.5,), 1)
    assert net[0].draws == draws
    assert torch.equal(net[0].mask, mask)
    assert torch.equal(net[0].weight.grad, gradient)
    assert net.training
    assert torch.equal(before, torch.get_rng_state())


def test_views_hold_while_measuring():
    net, (x, _) = network(), images()
    with synsim.expected(net):
        found = meters.class_probabilities(net, x, samples=5)
        assert torch.allclose(found, net(x).softmax(-1), rtol=1e-12)
    with synsim.frozen(net, 3):
        assert torch.allclose(meters.class_probabilities(net, x, samples=2), net(x).softmax(-1), rtol=1e-12)


def test_synaptic_energy_is_the_sum_of_expected_strengths():
    net = network(replicas=2)
    expected = [sum(float(layer.weight[r].detach().abs().sum()) for layer in (net[0], net[2])) for r in range(2)]
    assert meters.energy(net).tolist() == pytest.approx(expected, rel=1e-12)
    plain = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    expected = float(plain[0].weight.detach().double().abs().sum() + plain[2].weight.detach().double().abs().sum())
    assert float(meters.energy(plain)) == pytest.approx(expected, rel=1e-12)


def test_energy_of_activity_is_the_mean_sum_of_hidden_outputs():
    net, (x, _) = network(), images()
    with synsim.expected(net):
        expected = torch.relu(x @ net[0].weight.T).sum(1).mean()
        assert torch.allclose(meters.energy(net, "activity", x=x), expected, rtol=1e-12)


def test_lesions_take_the_lowest_first_and_leave_the_model_alone():
    net, (x, y) = network(), images()
    net[0].p.copy_(torch.linspace(0.25, 1, 300, dtype=torch.float64).reshape(15, 20))
    net[2].p.fill_(1.0)
    stays = lesion_masks(lesion_scores(net, "p"), 0.5, None)
    assert (~stays["0"]).sum() == 180
    assert (~stays["0"]).flatten()[:180].all()
    before = [t.clone() for t in (*net.parameters(), *net.buffers())]
    fractions, curve = synsim.lesion_curve(net, x, y, "p", (0.0, 0.5, 1.0), 3)
    assert fractions.tolist() == [0.0, 0.5, 1.0]
    assert curve[0] == meters.accuracy(net, x, y, samples=3)
    assert curve[2] == (y == 0).double().mean()
    assert all(torch.equal(a, b) for a, b in zip(before, (*net.parameters(), *net.buffers()), strict=True))


def test_lesions_by_any_importance_and_by_chance():
    net = network(replicas=2)
    importance = {name: parameter.detach() ** 2 for name, parameter in net.named_parameters()}
    by_weight, given = (lesion_masks(lesion_scores(net, order), 0.3, 2) for order in ("weight", importance))
    assert all(torch.equal(by_weight[name], given[name]) for name in given)
    chance = lesion_masks(lesion_scores(net, "random"), 0.3, 2)
    assert chance["0"].sum() + chance["2"].sum() == 2 * (360 - 108)
    assert not torch.equal(chance["0"][0], chance["0"][1])
    ties = lesion_masks(lesion_scores(net, "p"), 0.3, 2)
    assert 50 < int((~ties["0"][0]).sum()) < 108, "ties must be spread over the layers"


def no_class(x, y):
    return meters.mutual_information(network(), x, torch.zeros_like(y))


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda x, y: meters.accuracy(network(), (100 * x).to(torch.uint8), y), "must hold floats, got torch.uint8"),
        (lambda x, y: meters.accuracy(network(), x[:0], y[:0]), "at least one image"),
        (lambda x, y: meters.accuracy(network(), x * torch.nan, y), "4600 values that are NaN"),
        (lambda x, y: meters.accuracy(network(), x, y + 1), "labels from 0 to 3, .*got labels from 1 to 4"),
        (lambda x, y: meters.accuracy(network(), x, y[:-1]), r"one label per image, shape \[230\]"),
        (lambda x, y: meters.accuracy(network(), x, y.double()), "integer class labels"),
        (lambda x, y: meters.accuracy(torch.nn.Flatten(0), x, y), r"must return logits \[B, C\]"),
        (no_class, "at least two classes, got one"),
        (lambda x, y: meters.mutual_information(network(), x, y, classes=2), "must lie below classes=2"),
        (lambda x, y: meters.mutual_information(network(), x, y, kind="hard"), "kind must be one of soft, argmax"),
        (lambda x, y: meters.energy(network(), "activity"), "needs images"),
        (lambda x, y: meters.energy(network(), "heat"), "kind must be one of"),
        (lambda x, y: synsim.lesion_curve(network(), x, y, "age"), "order must be one of"),
        (lambda x, y: synsim.lesion_curve(network(), x, y, {}), "the importances lack '0.weight'"),
        (lambda x, y: synsim.lesion_curve(network(), x, y, "p", (1.5,)), "fractions must lie between 0 and 1"),
    ],
)
def test_bad_input_of_meters(measure, message):
    with pytest.raises(ValueError, match=message):
        measure(*images())


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(4)
    x, y = torch.randint(256, (60, 3, 4), generator=generator).byte(), (torch.arange(60) % 6).byte()
    return SimpleNamespace(
        name="mine", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:],
        classes=6, levels=255, mean=(0.4,), sd=(0.3,),
    )  # fmt: skip


def standard(x):
    return (x.numpy() / 255 - 0.4) / 0.3


def test_split_has_pairs_and_parity(data):
    found = tasks.split(data, dtype=torch.float64)
    assert [task.name for task in found] == ["0 1", "2 3", "4 5"]
    kept = (data.y_train == 2) | (data.y_train == 3)
    x, y = found[1].batch(torch.arange(len(found[1].train)))
    np.testing.assert_allclose(x.numpy(), standard(data.x_train[kept]).reshape(len(x), 12), rtol=1e-12)
    assert torch.equal(y, data.y_train[kept].long() % 2)
    assert (found[1].classes, found[1].head) == (2, None)
    assert [task.head for task in tasks.split(data, heads="separate")] == [0, 1, 2]
    assert torch.equal(found[1].test[2:5], found[1].test.batch(torch.arange(2, 5))[0])


def test_permuted_tasks_reorder_pixels(data):
    shared = tasks.permuted(data, tasks=2, seeds=7, dtype=torch.float64)
    own = tasks.permuted(data, tasks=2, seeds=(6, 7), dtype=torch.float64)
    x, _ = shared[1].batch(torch.arange(5))
    order = shared[1].train.orders[0]
    np.testing.assert_allclose(x.numpy(), standard(data.x_train[:5]).reshape(5, 12)[:, order.numpy()], rtol=1e-12)
    assert torch.equal(own[1].batch(torch.arange(5))[0][1], x)
    assert torch.equal(own[1].test[3:6][1], shared[1].test[3:6])
    assert not torch.equal(shared[0].train.orders, shared[1].train.orders)
    assert shared[0].train.images is shared[1].train.images


def test_joint_is_the_union(data):
    pairs = tasks.split(data, dtype=torch.float64)
    (mixed,) = tasks.joint(pairs)
    assert len(mixed.train) == sum(len(task.train) for task in pairs)
    first = len(pairs[0].train)
    assert torch.equal(mixed.batch(torch.tensor([first]))[0], pairs[1].batch(torch.tensor([0]))[0])
    for seeds in (7, (6, 7)):
        parts = tasks.permuted(data, tasks=3, seeds=seeds, dtype=torch.float64)
        (mixed,) = tasks.joint(parts)
        x, y = mixed.batch(torch.tensor([2 * 40 + 5, 5]))
        assert len(mixed.train) == 120
        assert torch.equal(x[..., 0, :], parts[2].batch(torch.tensor([5]))[0][..., 0, :])
        assert torch.equal(x[..., 1, :], parts[0].batch(torch.tensor([5]))[0][..., 0, :])
        assert torch.equal(y, data.y_train[5].long().expand(2))


def test_the_order_is_a_function_of_seed_task_and_epoch():
    order = tasks.epoch_order((3, 4), 1, 2, 50)
    assert torch.equal(order.sort(1).values, torch.arange(50).expand(2, 50))
    assert torch.equal(order[1:], tasks.epoch_order((4,), 1, 2, 50))
    others = [tasks.epoch_order((3, 4), *at, 50) for at in ((1, 3), (2, 2))]
    assert not any(torch.equal(order, other) for other in others)
    assert [batch.shape[1] for batch in tasks.batches(order, 20)] == [20, 20]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: tasks.split(d, pairs=[(0, 1), (1, 2)]), "one group only"),
        (lambda d: tasks.split(d, pairs=[(0, 9)]), "classes must lie between 0 and 5"),
        (lambda d: tasks.split(d, pairs=[(0,)]), "at least two classes"),
        (lambda d: tasks.split(d, heads="many"), "heads must be one of"),
        (lambda d: tasks.split(d, pixels="raw"), "pixels must be one of"),
        (lambda d: tasks.joint(tasks.split(d, heads="separate")), "shared head"),
        (lambda d: tasks.joint([]), "at least one task"),
        (lambda d: next(tasks.batches(torch.zeros(1, 3).long(), 5)), "Choose a smaller batch"),
    ],
)
def test_bad_tasks(data, make, message):
    with pytest.raises(ValueError, match=message):
        make(data)
