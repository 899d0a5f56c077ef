"""Every measured importance against a loop over single examples, in float64."""

import naive
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from synsim import BernoulliConv2d, BernoulliLinear, MultiHead, expected, frozen, importance, mlp, synapses
from synsim.networks import initialised
from synsim.synapses import evaluation

# torch's own remark on the first even kernel, which pads one side more than the other: that is what is tested.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
N = 7


@pytest.fixture(autouse=True)
def doubles():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def numbers(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fixed(net, seed=2):
    """A plain net whose parameters do not depend on the state of torch's generator."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for w in net.parameters():
            w.copy_(torch.randn(w.shape, generator=generator) / max(1, w[0].numel()) ** 0.5)
    return net


def plain():
    return nn.Sequential(nn.Linear(7, 6), nn.ReLU(True), nn.Linear(6, 5), nn.ReLU(True), nn.Linear(5, 4))


def convolutions():
    return nn.Sequential(
        nn.Conv2d(4, 6, (2, 3), padding="same"),
        nn.ReLU(True),
        nn.Conv2d(6, 4, 3, stride=(2, 1), padding=(1, 0), groups=2),
        nn.Tanh(),
        nn.Conv2d(4, 4, 2, dilation=(1, 2), padding="valid", bias=False),
        nn.ReLU(True),
        nn.Conv2d(4, 4, (1, 2), padding="same", dilation=3, groups=4),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 4),
    )


def shared():
    layer = nn.Linear(7, 7)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(7, 4))


def borrowed():
    net = nn.Sequential(nn.Linear(7, 7), nn.Tanh(), nn.Linear(7, 7), nn.Tanh(), nn.Linear(7, 4))
    net[2].weight = net[0].weight
    return net


def pruned():
    net = fixed(plain())
    prune.random_unstructured(net[2], "weight", 0)
    with torch.no_grad():
        net[2].weight_mask[:, ::2] = 0
    return net


def image_net(conv):
    return nn.Sequential(conv, nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 4))


def heads(trunk):
    return MultiHead(trunk, [nn.Linear(6, 3), nn.Linear(6, 4)])


PLAIN = {
    "linear": (plain, (7,), {}),
    "conv": (convolutions, (4, 6, 7), {}),
    "heads": (lambda: heads(nn.Sequential(nn.Linear(7, 6), nn.ReLU(True))), (7,), {"head": 1}),
    "norm": (lambda: nn.Sequential(nn.Linear(7, 6), nn.LayerNorm(6), nn.ReLU(True), nn.Linear(6, 4)), (7,), {}),
    "batch norm": (
        lambda: nn.Sequential(nn.Linear(7, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4)).eval(),
        (7,),
        {},
    ),
    "norm, heads": (lambda: heads(nn.Sequential(nn.Linear(7, 6), nn.LayerNorm(6))), (7,), {"head": 1}),
    "custom": (lambda: nn.Sequential(nn.Linear(7, 6), naive.Scaled(6), nn.Linear(6, 4)), (7,), {}),
    "shared": (shared, (7,), {}),
    "borrowed": (borrowed, (7,), {}),
    "tied": (naive.Tied, (7,), {}),
    "pruned": (pruned, (7,), {}),
    "tokens": (lambda: naive.Tokens(folded=False), (12,), {}),
    "folded": (lambda: naive.Tokens(folded=True), (12,), {}),
    "two times": (lambda: naive.TimeFirst(2), (6,), {}),
    "three times": (lambda: naive.TimeFirst(3), (9,), {}),
    "context": (naive.Context, (7,), {}),
    "circular": (lambda: image_net(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")), (3, 5, 4), {}),
    "transposed": (lambda: image_net(nn.ConvTranspose2d(3, 4, 3)), (3, 5, 4), {}),
}
CLASSES = {"tied": 7}
FEW = ("exact", "absolute of drawn labels", "mas", "batched mean", "many slices")
MANY = ("linear", "conv", "heads", "norm")


@pytest.mark.parametrize(
    ("kind", "title"), [(kind, title) for kind in PLAIN for title in (naive.MEASURES if kind in MANY else FEW)]
)
def test_plain_networks(kind, title):
    build, shape, inputs = PLAIN[kind]
    name, options = naive.MEASURES[title]
    net, x = fixed(build()), numbers(N, *shape)
    y = torch.arange(N) % CLASSES.get(kind, 4)
    found = importance.make(name, memory=0.01, **options).estimate(net, x, y, **inputs)
    naive.close(found, naive.importance(name, net, x, y, **inputs, **options))
    if "head" in inputs:
        assert not any(value.any() for key, value in found.items() if key.startswith("heads.0"))
        assert all(value.any() for key, value in found.items() if not key.startswith("heads.0"))


def spread(net, seed=3):
    """Release probabilities that differ between synapses."""
    generator = torch.Generator().manual_seed(seed)
    for layer in synapses(net).values():
        layer.p.uniform_(0.3, 0.9, generator=generator)
    return net


def stochastic(kind, **options):
    settings = {"bias": True, "sites": 1, **options}
    if kind == "mlp":
        return spread(mlp([7, 6, 4], seed=settings.pop("seed", 5), **settings))
    seed = settings.pop("seed", 5)
    net = nn.Sequential(
        BernoulliConv2d(4, 4, 3, stride=2, padding=1, groups=2, **settings),
        nn.ReLU(True),
        BernoulliConv2d(4, 3, (1, 2), padding="same", dilation=2, **settings),
        nn.Flatten(-3),
        BernoulliLinear(18, 4, **settings),
    )
    return spread(initialised(net, seed))


SHAPES = {"mlp": (7,), "conv": (4, 5, 4)}


@pytest.mark.parametrize("title", naive.MEASURES)
@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("sites", [1, 3])
def test_the_mean_field_and_a_frozen_mask(kind, title, sites):
    name, options = naive.MEASURES[title]
    net, x, y = stochastic(kind, sites=sites), numbers(N, *SHAPES[kind]), torch.arange(N) % 4
    measure = importance.make(name, memory=0.01, **options)
    with expected(net):
        mean = naive.importance(name, net, x, y, **options)
    naive.close(measure.estimate(net, x, y), mean)
    with frozen(net, 3):
        found = measure.estimate(net, x, y)
        naive.close(found, naive.importance(name, net, x, y, **options))
    with frozen(net, 4):
        other = measure.estimate(net, x, y)
    for key in (key for key in found if "weight" in key):
        assert not torch.allclose(found[key], mean[key])
        assert not torch.allclose(found[key], other[key])


@pytest.mark.parametrize("title", naive.MEASURES)
@pytest.mark.parametrize(("kind", "scope", "replicas"), [
    ("mlp", "batch", None), ("conv", "batch", 2), ("mlp", "sample", 2), ("conv", "sample", None),
])  # fmt: skip
def test_the_sampled_view_is_the_mean_over_its_passes(kind, scope, replicas, title):
    name, options = naive.MEASURES[title]
    net = stochastic(kind, scope=scope, replicas=replicas, sites=2)
    x, y = numbers(N, *SHAPES[kind]), torch.arange(N) % 4
    block = options.get("batch", 4)
    measure = importance.make(name, view="sampled", samples=2, block=block, memory=0.02, **options)
    found = measure.estimate(net, x, y)
    with evaluation(net, options.get("seed", 0)) as passes:
        at = lambda number, i: passes.at(number, i // block, i)  # noqa: E731
        naive.close(found, naive.importance(name, net, x, y, at=at, passes=2, **options))


@pytest.mark.parametrize("title", naive.MEASURES)
@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("own", [True, False])
def test_replicas_with_images_and_labels_of_their_own(kind, title, own):
    name, options = naive.MEASURES[title]
    net = stochastic(kind, replicas=3)
    x = numbers(*([3] if own else []), N, *SHAPES[kind])
    y = torch.randint(4, (3, N), generator=torch.Generator().manual_seed(6))
    found = importance.make(name, memory=0.01, **options).estimate(net, x, y)
    with expected(net):
        naive.close(found, naive.importance(name, net, x, y, axis=int(own), **options))


class Normed(nn.Module):
    """Bernoulli synapses around something that has no closed form: the same layer used twice."""

    def __init__(self, **options):
        super().__init__()
        self.first, self.last = BernoulliLinear(7, 7, bias=True, **options), BernoulliLinear(7, 4, **options)

    def forward(self, x):
        return self.last(self.first(self.first(x).tanh()).tanh())


@pytest.mark.parametrize("title", naive.MEASURES)
@pytest.mark.parametrize("replicas", [None, 2])
def test_the_general_path_with_stochastic_layers(title, replicas):
    name, options = naive.MEASURES[title]
    net = spread(initialised(Normed(replicas=replicas, sites=2), 5))
    x = numbers(*([2] if replicas else []), N, 7)
    y = torch.arange(N) % 4 if replicas is None else torch.arange(2 * N).reshape(2, N) % 4
    axis, block = x.ndim - 2, options.get("batch", 4)
    measure = importance.make(name, memory=0.01, view="sampled", samples=2, block=block, **options)
    with evaluation(net, options.get("seed", 0)) as passes:
        at = lambda number, i: passes.at(number, i // block, i)  # noqa: E731
        expectation = naive.importance(name, net, x, y, axis=axis, at=at, passes=2, **options)
    naive.close(measure.estimate(net, x, y), expectation)


@pytest.mark.parametrize("title", naive.MEASURES)
@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_a_replica_is_the_same_alone(kind, scope, title):
    name, options = naive.MEASURES[title]
    together = stochastic(kind, replicas=2, scope=scope, seed=[8, 3])
    x, y = numbers(2, 9, *SHAPES[kind]), torch.arange(18).reshape(2, 9) % 4
    measure = importance.make(name, images=N, view="sampled", samples=2, block=4, **options)
    found = measure.estimate(together, x, y)
    for r, seed in enumerate([8, 3]):
        alone = stochastic(kind, scope=scope, seed=seed)
        for mine, theirs in zip(synapses(alone).values(), synapses(together).values(), strict=True):
            mine.p.copy_(theirs.p[r])
        naive.close(measure.estimate(alone, x[r], y[r]), {key: value[r] for key, value in found.items()})


@pytest.mark.parametrize("title", naive.MEASURES)
@pytest.mark.parametrize("kind", ["linear", "conv", "norm"])
def test_the_size_of_the_chunks_does_not_matter(kind, title):
    build, shape, _ = PLAIN[kind]
    name, options = naive.MEASURES[title]
    net, x, y = fixed(build()), numbers(40, *shape), torch.arange(40) % 4
    one = importance.make(name, memory=1e-6, **options).estimate(net, x, y)
    naive.close(importance.make(name, memory=64, **options).estimate(net, x, y), one, 1e-12)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("view", ["sampled", "frozen", "evaluation"])
def test_masks_per_example_do_not_depend_on_the_chunks(kind, view):
    net, x = stochastic(kind, scope="sample"), numbers(N, *SHAPES[kind])

    def measure(memory):
        fisher = importance.make("fisher", memory=memory, view="sampled", samples=2)
        if view == "sampled":
            return fisher.estimate(net, x)
        with frozen(net, 3) if view == "frozen" else evaluation(net):
            return fisher.estimate(net, x)

    naive.close(measure(1e-6), measure(64), 1e-12)


@pytest.mark.parametrize("title", naive.MEASURES)
@pytest.mark.parametrize(("replicas", "own"), [(None, False), (3, False), (3, True)])
def test_a_part_of_the_images(title, replicas, own):
    name, options = naive.MEASURES[title]
    net = stochastic("mlp", replicas=replicas)
    lead = [3] if own else []
    x, y = numbers(*lead, 30, 7), torch.randint(4, (*lead, 30), generator=torch.Generator().manual_seed(6))
    seen = []
    with net.register_forward_pre_hook(lambda module, given: seen.append(given[0])):
        found = importance.make(name, images=N, **options).estimate(net, x, y)
    count = N - N % options.get("batch", 1)  # a last, incomplete batch is left out
    chosen = torch.cat(seen, -2)[..., -count:, :]  # the first passes look at the first image alone
    assert chosen.shape == (*([replicas] if replicas else []), count, 7)
    # Where each image stood tells its label.
    every = x.expand(replicas, 30, 7) if replicas else x
    where = (chosen.unsqueeze(-2) == every.unsqueeze(-3)).all(-1).double().argmax(-1)
    sets = [sorted(row) for row in where.reshape(-1, count).tolist()]
    assert all(len(set(row)) == count for row in sets)
    assert len(sets) == 1 or len({tuple(row) for row in sets}) == 3, "replicas choose their own"
    label = y.expand(*where.shape[:-1], 30).gather(-1, where)
    axis = int(replicas is not None)
    assert torch.equal(every.gather(axis, where.unsqueeze(-1).expand(chosen.shape)), chosen)
    with expected(net):
        naive.close(found, naive.importance(name, net, chosen, label, axis=axis, **options))


def test_another_seed_chooses_other_images_labels_and_directions():
    net, x = fixed(plain()), numbers(40, 7)
    for name, options in (
        ("fisher", {"images": N}), ("fisher", {"labels": "sampled"}), ("sliced-cramer", {"slices": 3}),
        ("sliced-cramer", {"slices": 9}),
    ):  # fmt: skip
        first, again, other = (importance.make(name, seed=s, **options).estimate(net, x) for s in (0, 0, 1))
        naive.close(first, again, 0)
        assert all(not torch.allclose(first[key], other[key]) for key in first)
