"""Tasks at their doors: nothing is left out unsaid, and no index, label, scale or number of an order is guessed."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import synsim
from synsim import tasks
from synsim.data import Dataset
from synsim.tasks import Examples, Task
from synsim.tasks.examples import Data

N = 40


def made(classes, present=None, shape=(4, 4), mean=(0.5,), sd=(0.3,), **changes):
    """Images of as many classes as wanted, in turn."""
    y = torch.tensor(present or list(range(classes)))[torch.arange(N) % len(present or range(classes))]
    x = torch.randint(0, 256, (N, *shape), generator=torch.Generator().manual_seed(0)).byte()
    parts = {"x_train": x, "y_train": y, "x_test": x, "y_test": y} | changes
    return Dataset("toy", **parts, classes=classes, levels=255, mean=mean, sd=sd)


@pytest.fixture
def permuted():
    return tasks.permuted(made(4), tasks=3, seeds=(1, 2))


@pytest.mark.parametrize("classes", range(2, 12))
@pytest.mark.parametrize("heads", ["shared", "separate", "incremental"])
def test_split_leaves_no_class_out_unsaid(classes, heads):
    if classes % 2:
        with pytest.raises(ValueError, match=rf"class {classes - 1} would be left out.*\d, {classes - 1}\]\]"):
            tasks.split(made(classes), heads=heads)
    else:
        assert sum(len(task.train) for task in tasks.split(made(classes), heads=heads)) == N


def test_what_the_refusal_of_an_odd_number_proposes_works():
    with pytest.raises(ValueError, match="would be left out") as caught:
        tasks.split(made(7))
    proposed = str(caught.value).split("pairs=")[1].rstrip(".")
    assert proposed == "[[0, 1], [2, 3], [4, 5, 6]]"
    parts = tasks.split(made(7), pairs=[[0, 1], [2, 3], [4, 5, 6]])
    assert [task.classes for task in parts] == [2, 2, 3]
    assert sum(len(task.train) for task in parts) == N


PAIRS = [
    np.arange(4).reshape(2, 2),
    torch.arange(4).reshape(2, 2),
    [np.array([0, 1]), torch.tensor([2, 3])],
    ((np.int64(0), np.uint8(1)), [torch.tensor(2), 3]),
]


@pytest.mark.parametrize("pairs", PAIRS, ids=["NumPy", "torch", "rows", "mixed"])
def test_pairs_come_in_any_form(pairs):
    wanted = tasks.split(made(4), pairs=[(0, 1), (2, 3)])
    for task, other in zip(tasks.split(made(4), pairs=pairs), wanted, strict=True):
        assert task.name == other.name
        assert torch.equal(task.train[:], other.train[:])
        assert torch.equal(task.train.y, other.train.y)


@pytest.mark.parametrize("seed", [np.int64(12), np.uint8(12), torch.tensor(12)])
def test_seeds_of_pixel_orders_come_in_any_form(seed):
    (wanted,) = tasks.permuted(made(4), tasks=np.int64(1), seeds=12)
    (single,) = tasks.permuted(made(4), tasks=torch.tensor(1), seeds=seed)
    (rows,) = tasks.permuted(made(4), tasks=1, seeds=np.array([11, 12]))
    assert torch.equal(single.train.orders, wanted.train.orders)
    assert torch.equal(rows.train.orders[1], wanted.train.orders)


def made_task():
    return tasks.single(made(4))[0]


DRIFT = tasks.Transition(0, 2, 12, 12, 1, 4)

REFUSED = {
    "one class": (lambda: tasks.split(made(1)), "1 classes do not make pairs.*two at least"),
    "no pairs": (lambda: tasks.split(made(4), pairs=[]), "pairs must name the classes of at least one task"),
    "pairs of text": (lambda: tasks.split(made(4), pairs=["01", "23"]), "pairs must be"),
    "pairs of floats": (
        lambda: tasks.split(made(4), pairs=np.array([[0.0, 1.0]])),
        "pairs must be a sequence of .* whole number",
    ),
    "pairs of bools": (lambda: tasks.split(made(4), pairs=[[False, True]]), "pairs must be"),
    "a class below 0": (lambda: tasks.split(made(4), pairs=[[0, -1]]), r"classes must lie between 0 and 3, got \[-1\]"),
    "a class twice": (lambda: tasks.split(made(4), pairs=torch.tensor([[0, 1], [1, 2]])), "in one group only"),
    "an absent class": (lambda: tasks.split(made(4, [0, 1, 2])), r"no training images of the classes \[3\].*pairs="),
    "heads": (lambda: tasks.split(made(4), heads="Separate"), "heads must be one of .*Did you mean 'separate'"),
    "pixels": (lambda: tasks.single(made(4), pixels="units"), "pixels must be one of .*Did you mean 'unit'"),
    "dtype": (lambda: tasks.single(made(4), dtype=torch.int64), r"dtype must be a type of floats, got torch\.int64"),
    "no data": (
        lambda: tasks.single(torch.rand(3, 4)),
        r"data must be an object with .*got .*\[3, 4\].* has no classes.*synsim.data.load",
    ),
    "half a data set": (lambda: tasks.split(SimpleNamespace(name="a", classes=2)), "no .*x_train, y_test, y_train"),
    "no seeds": (lambda: tasks.permuted(made(4), seeds=[]), "seeds must be .*got none"),
    "seeds of floats": (lambda: tasks.permuted(made(4), seeds=[1.5]), "seeds must be"),
    "no tasks": (lambda: tasks.permuted(made(4), tasks=0), "tasks must be a whole number from 1 to 10000"),
    "tasks of a float": (lambda: tasks.continuous(made(4), tasks=2.5), "tasks must be a whole number"),
    "an order": (lambda: tasks.by_class(made(4), order=[0, 4]), r"classes must lie between 0 and 3, got \[4\]"),
    "an order of floats": (lambda: tasks.by_class(made(4), order=[0.5]), "order must be"),
    "a transition": (lambda: tasks.continuous(made(4), transition=float("nan")), "a share between 0 and 1"),
    "a phase": (lambda: tasks.Transition(3, 3, 5, 5, 1, 0), "phase must be a whole number from 0 to 2, got 3"),
    "a ramp": (lambda: tasks.Transition(0, 3, 5, 6, 1, 4), "ramp must be a whole number from 0 to 3, got 4"),
    "an epoch": (lambda: tasks.epoch_order([0], 0, 1.9, 5), "epoch must be a whole number, got 1.9"),
    "a bool for a task": (lambda: tasks.epoch_order([0], True, 0, 5), "task must be a whole number, got True"),
    "a task below 0": (lambda: tasks.epoch_order([0], -1, 0, 5), "task must be a whole number of at least 0, got -1"),
    "an epoch below 0": (
        lambda: tasks.independent_order([0], 0, -1, 5),
        "epoch must be .*from 0 to 4294967295, got -1",
    ),
    "a start": (lambda: next(tasks.batches(torch.zeros(1, 6).long(), 2, -1)), "start must be .* from 0 to 3, got -1"),
    "a start behind the last": (
        lambda: next(tasks.batches(torch.zeros(1, 6).long(), 2, 4)),
        "start must be .*0 to 3, got 4",
    ),
    "an order of fractions": (lambda: next(tasks.batches(torch.rand(1, 6), 2)), "the order must hold whole numbers"),
    "an order below 0": (lambda: next(tasks.batches(torch.full((1, 6), -1), 2)), "counted from 0, got -1"),
    "an order of nothing": (lambda: tasks.epoch_order([0], 0, 0, 0), "count must be a whole number from 1 to"),
    "an order without end": (
        lambda: tasks.epoch_order([0], 0, 0, 2**31),
        "count must be .* to 268435456, got 2147483648",
    ),
    "tasks without end": (lambda: tasks.permuted(made(4), tasks=2**31), "tasks must be .* to 10000, got 2147483648"),
    "epochs without end": (lambda: tasks.continuous(made(4), epochs=10**30), "epochs must be a whole number from 1 to"),
    "more draws than floats": (lambda: tasks.continuous(made(4), epochs=2**60), "count · epochs must not exceed 2⁵³"),
    "a head": (lambda: replace(made_task(), head=2**63), "head must be a whole number from 0 to 2147483647"),
    "a stream": (
        lambda: replace(made_task(), stream=[-1, -2]),
        r"stream must be an object with __call__, count or None, got list \[-1",
    ),
    "a stream without count": (
        lambda: replace(made_task(), stream=print),
        "stream must be .*It has no count. Which examples are shown",
    ),
    "an epoch behind the last": (lambda: DRIFT([0], 1), "epoch must be a whole number from 0 to 0, got 1"),
    "a draw below 0": (lambda: DRIFT.shares(torch.tensor([-1])), "at must hold draws from 0 to 12, got"),
    "a draw behind the last": (lambda: DRIFT.shares(torch.tensor([13])), "at must hold draws from 0 to 12, got"),
    "complex draws": (
        lambda: DRIFT.shares(torch.ones(2, dtype=torch.complex64)),
        "at must hold draws from 0 to 12, got",
    ),
    "an order without rows": (lambda: next(tasks.batches(torch.arange(6), 2)), r"must be \[R, N\].*got \[6\]"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


ORDERS = [np.int64, torch.tensor]


@pytest.mark.parametrize("kind", ORDERS)
def test_orders_take_whole_numbers_of_any_kind(kind):
    for draw in (tasks.epoch_order, tasks.independent_order):
        assert torch.equal(draw([kind(3)], kind(1), kind(2), kind(9)), draw([3], 1, 2, 9))


INDICES = {
    "below 0": (torch.tensor([3, -1]), "index must lie from 0 to {last}.*got -1 to 3"),
    "all below 0": (torch.tensor([-1]), "index must lie from 0 to {last}"),
    "above": (lambda last: torch.tensor([0, last + 1]), "index must lie from 0 to {last}"),
    "a mask": (torch.arange(N) < 3, r"index must hold whole numbers .*mask\.nonzero\(\)\.flatten\(\)"),
    "floats": (torch.tensor([0.0, 1.0]), r"index must hold whole numbers .*index\.long\(\)"),
    "bytes": (torch.tensor([0, 1]).byte(), "index must hold whole numbers"),
    "text": ("0", "index must be a tensor, a NumPy array or a list"),
    "nothing": (None, "index must be a tensor, a NumPy array or a list"),
    "one example": (3, r"index must be \[B\] or \[.*B\], got a torch.int64 tensor of shape \[\]"),
    "three axes": (torch.zeros(1, 2, 2).long(), r"index must be \[B\] or \[.*B\], got"),
    "sparse": (torch.eye(3).long().to_sparse(), r"index must be a dense tensor, got .*to_dense\(\)"),
    "without values": (torch.empty(3, dtype=torch.int64, device="meta"), "index must be a dense tensor, got"),
}


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(("index", "message"), INDICES.values(), ids=INDICES.keys())
def test_an_index_outside_or_of_another_kind_is_refused(index, message, flat, permuted):
    split = tasks.split(made(4, shape=(3, 4, 4), mean=(0.5,) * 3, sd=(0.3,) * 3), flat=flat)[0]
    joined = tasks.joint(permuted)[0]
    shared = tasks.joint(tasks.permuted(made(4), tasks=2, seeds=3))[0]
    for task in (split, permuted[1], joined, shared):
        last = len(task.train) - 1
        with pytest.raises(ValueError, match=message.format(last=last)):
            task.batch(index(last) if callable(index) else index)


def test_an_index_of_other_rows_than_replicas_is_refused(permuted):
    with pytest.raises(ValueError, match=r"index must be \[B\] or \[2, B\], got .*\[3, 4\]"):
        permuted[0].batch(torch.zeros(3, 4).long())


@pytest.mark.parametrize("form", [np.asarray, list, lambda index: torch.tensor(index).int()])
def test_an_index_may_be_an_array_or_a_list(form, permuted):
    for task in (permuted[1], tasks.joint(permuted)[0], tasks.single(made(4))[0]):
        places = [0, 3, len(task.train) - 1]
        for got, wanted in zip(task.batch(form(places)), task.batch(torch.tensor(places)), strict=True):
            assert torch.equal(got, wanted)


X, Y = torch.rand(6, 3, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 0, 1, 2])
PARTS = {"images": X, "labels": Y, "offset": torch.tensor(0.0), "scale": torch.tensor(1.0)}


def test_features_are_examples_as_they_are():
    plain = Examples(**PARTS)
    assert torch.equal(plain[0:6], X)
    assert torch.equal(plain.batch(torch.tensor([4]))[1], Y[4:5])
    scaled = Examples(X.numpy(), Y.tolist(), offset=[1.0, 2.0, 3.0], scale=np.float32(2.0))
    np.testing.assert_allclose(scaled[0:6].numpy(), (X.numpy() - np.array([1, 2, 3])) / 2, rtol=1e-6)
    assert scaled.labels.tolist() == Y.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": Y + 0.9}, r"labels must hold integer class labels, got torch\.float32"),
        ({"labels": list("abcabc")}, "names such as 'a'"),
        ({"labels": Y[:5]}, r"labels \[N\], got \[6, 3\] and \[5\]"),
        ({"images": X[0]}, r"images must be \[N, ...\]"),
        ({"images": "x"}, "images must be a tensor"),
        ({"scale": torch.tensor(0.0)}, "scale must not be 0"),
        ({"scale": torch.tensor(float("inf"))}, "scale must hold 1 or 3 finite numbers"),
        ({"offset": torch.tensor(float("nan"))}, "offset must hold 1 or 3 finite numbers"),
        ({"offset": torch.zeros(2)}, "offset must hold 1 or 3 finite numbers"),
        ({"orders": torch.arange(2).reshape(1, 2)}, r"orders must be .* \[T, 3\] or \[R, T, 3\]"),
        ({"orders": torch.arange(3).reshape(1, 3) + 1}, "orders must hold the places of pixels, from 0 to 2"),
        ({"orders": torch.arange(3).reshape(1, 3) * 1.0}, "orders must be whole numbers"),
        ({"offset": torch.zeros(1, device="meta")}, "offset must be a tensor with values"),
        ({"orders": torch.arange(3).reshape(1, 3), "scale": torch.ones(3)}, "scale must hold 1 finite numbers"),
    ],
)
def test_examples_check_their_parts(change, message):
    with pytest.raises(ValueError, match=message):
        Examples(**(PARTS | change))


def test_a_task_checks_its_labels():
    examples = Examples(**PARTS)
    with pytest.raises(ValueError, match=r"task 'mine': the train part must hold labels from 0 to 1.*from 0 to 2"):
        Task("mine", examples, examples, 2)
    with pytest.raises(ValueError, match=r"the test part must hold labels from 0 to 2.*from -1 to 2"):
        Task("mine", examples, Examples(**(PARTS | {"labels": Y.where(Y != 1, -1)})), 3)
    with pytest.raises(ValueError, match="classes must be a whole number from 1 to 2147483647, got 0"):
        Task("mine", examples, examples, 0)


def test_labels_of_a_users_own_data_set_are_no_floats():
    mine = SimpleNamespace(**{name: getattr(made(4), name) for name in vars(Data) if not name.startswith("_")})
    mine.y_train = mine.y_train + 0.9
    with pytest.raises(ValueError, match=r"toy: the labels must hold integer class labels, got torch\.float32"):
        tasks.single(mine)


def test_only_tasks_of_one_scale_are_joined():
    one, other = made(4), made(4, mean=(0.1,))
    with pytest.raises(ValueError, match="only if their images are alike"):
        tasks.joint([*tasks.single(one), *tasks.single(other)])
    with pytest.raises(ValueError, match="only if their images are alike"):
        tasks.joint([*tasks.single(one), *tasks.single(one, flat=False)])
    with pytest.raises(ValueError, match="only if their images are alike"):
        tasks.joint([*tasks.single(one), *tasks.single(made(4, shape=(5, 5)))])
    assert len(tasks.joint([*tasks.single(one), *tasks.single(one)])[0].train) == 2 * N


def test_streams_are_not_joined_and_end_with_their_epochs():
    drifting = tasks.continuous(made(4), tasks=2, epochs=2)
    with pytest.raises(ValueError, match="these tasks have streams of their own"):
        tasks.joint(drifting)
    assert drifting[0].order([0], 0, 1).shape == (1, N)
    with pytest.raises(ValueError, match=r"has 2 epochs.* got epoch 2.*fit\(..., epochs=2\)"):
        drifting[0].order([0], 0, 2)


def test_a_thousand_classes_are_learned_and_measured_by_their_own_labels():
    y = torch.arange(1000)
    x = torch.stack([y % 256, y // 256, torch.zeros_like(y)], dim=1).reshape(1000, 1, 3)
    data = made(1000, x_train=x, y_train=y, x_test=x, y_test=y)
    (task,) = tasks.single(data)
    wanted = task.test[:].unsqueeze(1)

    class Nearest(torch.nn.Module):
        def forward(self, batch):
            return -(batch - wanted).square().sum(-1).T

    assert float(synsim.meters.accuracy(Nearest(), task.test, task.test.y)) == 1.0
    last = tasks.by_class(data, order=[999])[0]
    assert last.train[:].tolist() == tasks.single(data, pixels="unit")[0].train[999:].tolist()


@pytest.mark.parametrize("heads", ["shared", "separate", "incremental"])
def test_every_image_is_in_the_one_task_whose_group_names_it(heads):
    # 300 classes in groups of unequal size, against one look at each image; labels above 255 must not wrap.
    y = torch.arange(900) * 7 % 300
    x = torch.stack([y % 256, y // 256, torch.arange(900) % 251], dim=1).reshape(900, 1, 3)
    data = made(300, x_train=x, y_train=y, x_test=x.flip(0), y_test=y.flip(0))
    groups = [tuple(range(start, min(300, start + 7))) for start in range(0, 298, 7)]
    found = tasks.split(data, pairs=groups, heads=heads, pixels="unit")
    for part, images, labels in (("train", x, y), ("test", x.flip(0), y.flip(0))):
        for index, (task, group) in enumerate(zip(found, groups, strict=True)):
            kept = [place for place in range(900) if int(labels[place]) in group]
            examples = getattr(task, part)
            np.testing.assert_allclose(examples[:].numpy(), images[kept].reshape(-1, 3).numpy() / 255, rtol=1e-6)
            own = [int(labels[place]) for place in kept]
            assert examples.y.tolist() == (own if heads == "incremental" else [group.index(label) for label in own])
            assert (task.classes, task.head) == (
                (300, None) if heads == "incremental" else (len(group), index if heads == "separate" else None)
            )
    assert sum(len(task.train) for task in found) == 900


@pytest.mark.parametrize("make", ["single", "split", "by_class", "permuted"])
def test_the_last_training_images_are_held_out_for_validation(make):
    data = synsim.data.load("digits")
    apart = getattr(synsim.tasks, make)(data, validation=300)
    whole = getattr(synsim.tasks, make)(data)
    for task, other in zip(apart, whole, strict=True):
        assert other.validation is None
        assert torch.cat([task.train[:], task.validation[:]]).equal(other.train[:])
        assert torch.cat([task.train.labels, task.validation.labels]).equal(other.train.labels)
        assert task.test[:].equal(other.test[:])
    assert sum(len(task.validation) for task in apart) == 300 * (len(apart) if make == "permuted" else 1)
    if make != "split":
        (joint,) = synsim.tasks.joint(apart)
        assert len(joint.validation) == sum(len(task.validation) for task in apart)
    for wrong in (-1, len(data.x_train), 10**6, 2.5):
        with pytest.raises((ValueError, TypeError), match="validation"):
            getattr(synsim.tasks, make)(data, validation=wrong)
