"""What people hand over as examples, which axis counts them, and what a loss makes of labels."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import synsim
from synsim import BernoulliLinear, importance, meters, mlp
from synsim.inputs import as_images, has_replicas, labelled
from synsim.losses import replica_cross_entropy

N = 12
X = torch.randn(N, 5, generator=torch.Generator().manual_seed(1))
Y = torch.arange(N) % 3
NET = mlp([5, 4, 3], p=0.5, seed=3)


class Pairs(Dataset):
    """A data set that can only be asked for single examples."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        return X[i].numpy(), int(Y[i])


class Alone(Pairs):
    def __getitem__(self, i):
        return X[i]


class Lazy:
    """Not a torch data set, and without slices."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        if not isinstance(i, int):
            raise TypeError("single examples only")
        return X[i], Y[i]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(X)


FORMS = {
    "tensor": lambda: X,
    "NumPy float64": lambda: X.double().numpy(),
    "list of tensors": lambda: list(X),
    "list of arrays": lambda: [row.numpy() for row in X],
    "nested lists": lambda: X.tolist(),
    "TensorDataset": lambda: TensorDataset(X, Y),
    "TensorDataset without labels": lambda: TensorDataset(X),
    "data set": Pairs,
    "data set without labels": Alone,
    "items": Lazy,
    "Subset": lambda: Subset(TensorDataset(X, Y), range(N)),
    "loader": lambda: DataLoader(TensorDataset(X, Y), batch_size=5),
    "loader of arrays": lambda: DataLoader(Pairs(), batch_size=5),
    "loader that shuffles": lambda: DataLoader(TensorDataset(X, Y), batch_size=5, shuffle=True),
    "loader without batches": lambda: DataLoader(TensorDataset(X, Y), batch_size=None),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_tensor(form):
    images = as_images(NET, FORMS[form]())
    assert len(images) == N
    assert torch.equal(images[2:7], X[2:7])
    assert images[0:1].dtype == torch.float32
    if (
        not any(word in form for word in ("without labels", "tensor", "NumPy", "lists", "arrays"))
        or form == "loader of arrays"
    ):
        found = labelled(NET, FORMS[form]())[1]
        assert torch.equal(found, Y)
    for name, options in (("fisher", {}), ("fisher", {"images": 5}), ("mas", {}), ("sliced-cramer", {})):
        measure = importance.make(name, **options)
        found, wanted = measure.estimate(NET, FORMS[form]()), measure.estimate(NET, X)
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    assert meters.accuracy(NET, FORMS[form](), Y) == meters.accuracy(NET, X, Y)


def test_labels_come_with_the_loader():
    loader = DataLoader(TensorDataset(X, Y), batch_size=5, shuffle=True)
    empirical = importance.make("fisher", labels="empirical")
    assert torch.equal(empirical.estimate(NET, loader)["0.weight"], empirical.estimate(NET, X, Y)["0.weight"])
    batched = importance.make("fisher-batched", batch=4)
    assert torch.equal(batched.estimate(NET, loader)["0.weight"], batched.estimate(NET, X, Y)["0.weight"])
    assert meters.accuracy(NET, loader) == meters.accuracy(NET, X, Y.tolist()) == meters.accuracy(NET, X, Y.numpy())
    with pytest.raises(ValueError, match="labels are needed"):
        meters.accuracy(NET, X)


def test_reading_a_loader_moves_no_generator():
    generator = torch.Generator().manual_seed(5)
    loader = DataLoader(Pairs(), batch_size=5, sampler=SubsetRandomSampler(range(N), generator), generator=generator)
    before = torch.get_rng_state(), generator.get_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
    as_images(NET, loader)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(generator.get_state(), before[1])
    assert (np.random.get_state()[1] == before[2]).all()  # noqa: NPY002
    assert random.getstate() == before[3]


def test_labels_beside_a_loader_that_draws_its_examples():
    loader = DataLoader(TensorDataset(X, Y), sampler=WeightedRandomSampler(torch.ones(N), N))
    assert len(importance.make("fisher", labels="empirical").estimate(NET, loader)) == 2
    with pytest.raises(ValueError, match="draws its examples in an order of its own"):
        meters.accuracy(NET, loader, Y)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ((X, Y), TypeError, "got a tuple of 2. Give examples and labels apart"),
        (Stream(), TypeError, "a stream without length"),
        (DataLoader(Stream()), TypeError, "a stream without length"),
        ("mnist", TypeError, "x must be a tensor, an array, .* got str"),
        ({"x": X}, TypeError, "got dict"),
        (3, TypeError, "got int"),
        (TensorDataset(X, Y, Y), TypeError, "pairs .*, got 3 parts"),
        ([X[0], X[0, :2]], ValueError, "differ in shape"),
        ([], ValueError, "at least one image"),
        (torch.tensor(1.0), ValueError, "first axis, got a single number"),
        (X.long(), ValueError, "must hold floats, got torch.int64"),
        (X.to(torch.uint8).numpy(), ValueError, "must hold floats, got torch.uint8. Scale the images first"),
    ],
)
def test_what_is_refused(x, error, message):
    with pytest.raises(error, match=message):
        importance.make("fisher").estimate(NET, x)


def test_tokens_are_an_input_where_the_network_takes_them():
    net = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 3))
    tokens = torch.arange(15).reshape(5, 3) % 9
    assert len(importance.make("fisher").estimate(net, tokens)) == 3
    assert 0 <= float(meters.accuracy(net, tokens.numpy(), [0, 1, 2, 0, 1])) <= 1
    with pytest.raises(ValueError, match=r"token indices must be int64 or int32, got torch.uint8. .* x.long\(\)"):
        importance.make("fisher").estimate(net, tokens.to(torch.uint8))
    with pytest.raises(ValueError, match=r"does not take x, torch.int64 from 0 to 14: index out of range"):
        importance.make("fisher").estimate(net, torch.arange(15).reshape(5, 3))


class Frames(nn.Module):
    """Synapses behind something that takes axes of its own: [B, T, I], or [R, B, T, I]."""

    def __init__(self, replicas):
        super().__init__()
        self.layer = BernoulliLinear(4, 3, replicas=replicas)

    def forward(self, x):
        return self.layer(x.mean(-2))


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_the_axis_of_replicas_is_found_behind_other_layers(replicas):
    net = Frames(replicas)
    for batch in (1, 2, 3, 5):
        if batch == replicas == 1:
            with pytest.raises(ValueError, match="this network takes both"):
                has_replicas(net, torch.randn(1, 6, 4))
            continue
        assert not has_replicas(net, torch.randn(batch, 6, 4))
        assert not has_replicas(net, torch.randn(batch, replicas, 4))
        assert has_replicas(net, torch.randn(replicas, batch, 6, 4))
    flat = nn.Sequential(nn.Flatten(-2), BernoulliLinear(8, 3, replicas=replicas))
    assert has_replicas(flat, torch.randn(replicas, 5, 2, 4))
    assert not has_replicas(flat, torch.randn(replicas, 2, 4))
    assert not has_replicas(nn.Linear(4, 3), torch.randn(replicas, 5, 4))


def test_an_output_that_belongs_to_nobody_is_refused():
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 3)

        def forward(self, x):
            return self.layer(x.flatten(0, 1))

    with pytest.raises(ValueError, match=r"must return logits \[B, C\] or \[B, T, C\] with B = 1 .* \[7, 3\]"):
        importance.make("fisher").estimate(Flat(), torch.randn(4, 7, 5))
    for output, what in (((1, 2), "a tuple of 2"), ({"out": 1}, r"a dict with \['out'\]"), (None, "a NoneType")):
        net = nn.Linear(5, 3)
        net.forward = lambda x, output=output: output
        with pytest.raises(TypeError, match=rf"must return a tensor of logits, .* got {what}"):
            meters.accuracy(net, X, Y)


@pytest.mark.parametrize("net", [nn.Linear(5, 3), nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)).eval(), NET])
def test_examples_of_another_type_are_refused_with_what_to_do(net):
    for measure in (meters.accuracy, importance.make("fisher").estimate, importance.make("sliced-cramer").estimate):
        with pytest.raises(ValueError, match=r"float32.*got.* torch.float64.* Convert .*x\.to\("):
            measure(net, X.double(), Y)


LOGITS = torch.randn(2, N, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def test_ignored_labels_count_alike_with_and_without_replicas():
    y = Y.clone()
    y[[1, 4, 5]] = -100
    alone = [F.cross_entropy(one, y) for one in LOGITS]
    assert torch.allclose(replica_cross_entropy(LOGITS, y), torch.stack(alone), rtol=1e-14)
    assert torch.allclose(synsim.cross_entropy(LOGITS, y), sum(alone), rtol=1e-14)
    assert synsim.cross_entropy(LOGITS[0], y) == alone[0]
    both = torch.stack([y, Y])
    expected = torch.stack([alone[0], F.cross_entropy(LOGITS[1], Y)])
    assert torch.allclose(replica_cross_entropy(LOGITS, both), expected, rtol=1e-14)
    assert replica_cross_entropy(LOGITS, torch.full((N,), -100)).isnan().all()
    leaf = LOGITS.clone().requires_grad_()
    synsim.cross_entropy(leaf, y).backward()
    assert not leaf.grad[:, [1, 4, 5]].any()


def test_tokens_are_averaged_as_torch_does():
    y = (torch.arange(2 * N) % 3).reshape(2, N)
    y[0, 3] = -100
    assert synsim.cross_entropy(LOGITS, y, tokens=True) == F.cross_entropy(LOGITS.flatten(0, 1), y.flatten())
    with pytest.raises(ValueError, match=r"y must be \[2, 12\] for"):
        synsim.cross_entropy(LOGITS, Y, tokens=True)


def test_one_output_is_that_of_a_binary_classifier():
    z, y = LOGITS[..., :1], Y % 2
    assert torch.allclose(synsim.cross_entropy(z[0], y), F.binary_cross_entropy_with_logits(z[0, :, 0], y.double()))
    each = torch.stack([F.binary_cross_entropy_with_logits(one[:, 0], y.double()) for one in z])
    assert torch.allclose(replica_cross_entropy(z, y), each)
    net = nn.Linear(5, 1)
    assert meters.accuracy(net, X, y) == ((net(X)[:, 0] > 0) == y).double().mean()
    s, found = net(X).sigmoid(), importance.make("fisher").estimate(net, X)
    assert torch.allclose(found["weight"], ((s * (1 - s)).t() @ X.square()).detach() / N)
    assert torch.allclose(found["bias"], (s * (1 - s)).mean().detach())


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y.double(), "integer class labels, got torch.float64. .* y.long"),
        (Y + 0.5, "integer class labels, got torch.float32. They are no whole numbers"),
        (Y.bool(), "integer class labels, got torch.bool"),
        ((Y + 1).tolist(), "labels from 0 to 2.* got labels from 1 to 3"),
        (F.one_hot(Y), r"y must be \[12\]"),
    ],
)
@pytest.mark.parametrize("replicas", [False, True])
def test_labels_that_a_loss_refuses(y, message, replicas):
    with pytest.raises(ValueError, match=message):
        synsim.cross_entropy(LOGITS if replicas else LOGITS[0], y)


@pytest.mark.parametrize("form", ["tolist", "numpy", "int", "short"])
def test_labels_that_a_loss_takes(form):
    assert synsim.cross_entropy(LOGITS[0], getattr(Y, form)()) == F.cross_entropy(LOGITS[0], Y)
    assert torch.equal(replica_cross_entropy(LOGITS, getattr(Y, form)()), replica_cross_entropy(LOGITS, Y))
