"""What is refused, and with which words; and that measuring leaves no trace."""

import copy
import gc
import random
import resource

import naive
import numpy as np
import pytest
import torch
from torch import nn

from synsim import BernoulliLinear, MultiHead, Step, expected, frozen, importance, mlp, synapses
from synsim.importance import selection

MEASURED = ("fisher", "fisher-batched", "sqrt-fisher", "absolute-fisher", "mas", "mas-max", "sliced-cramer")
READ = ("release-probability", "magnitude", "uniform")
ACCUMULATED = ("si", "si-unbiased", "si-bias", "path-integral", "online-absolute-fisher", "sos")

X = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
Y = torch.arange(12) % 4


def plain():
    generator = torch.Generator().manual_seed(2)
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(True), nn.Linear(6, 4))
    with torch.no_grad():
        for w in net.parameters():
            w.copy_(torch.randn(w.shape, generator=generator) / 2)
    return net


def broken(value=float("nan")):
    net = plain()
    with torch.no_grad():
        net[2].bias[1] = value
    return net


def test_every_importance_is_here():
    assert set(importance.available()) == {*MEASURED, *READ, *ACCUMULATED}
    assert [name for name in importance.available() if importance.make(name).accumulated] == list(ACCUMULATED)


@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[:0], "at least one image, got none"),
        ((X * 10).long(), "must hold floats, got torch.int64"),
        (
            X.masked_fill(torch.arange(60).reshape(12, 5) % 29 == 1, float("nan")),
            "must be finite, got 3 values that are NaN or infinite, the first in image 0",
        ),
        (X.masked_fill(torch.arange(60).reshape(12, 5) == 58, float("inf")), "got 1 values .*, the first in image 11"),
    ],
)
def test_bad_images(name, x, message):
    with pytest.raises(ValueError, match=message):
        importance.make(name).estimate(plain(), x, Y[: len(x)])


@pytest.mark.parametrize(("name", "options"), [("fisher", {"labels": "empirical"}), ("fisher-batched", {}),
                                               ("absolute-fisher", {"labels": "empirical"})])  # fmt: skip
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "needs the true labels"),
        (Y + 1, "labels from 0 to 3, one per output of the network, got labels from 1 to 4"),
        (Y - 1, "got labels from -1 to 2"),
        (Y.float(), "must hold integer class labels"),
        (Y[:7], r"one label per image, shape \[12\], got \[7\]"),
        (Y.reshape(1, 12), r"shape \[12\], got \[1, 12\]"),
    ],
)
def test_bad_labels(name, options, y, message):
    with pytest.raises(ValueError, match=message):
        importance.make(name, **options).estimate(plain(), X, y)


@pytest.mark.parametrize("name", MEASURED)
def test_more_images_than_there_are(name):
    with pytest.raises(ValueError, match="images=13 were asked for, got a data set of 12"):
        importance.make(name, images=13).estimate(plain(), X, Y)
    whole = importance.make(name).estimate(plain(), X, Y)
    naive.close(importance.make(name, images=12).estimate(plain(), X, Y), whole, 0)


@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize("options", [{}, {"track_running_stats": False}])
def test_batch_norm_in_training_mode(name, options):
    net = plain()
    net.insert(1, nn.BatchNorm1d(6, **options))
    with pytest.raises(ValueError, match=r"module '1' .BatchNorm1d. normalises with the statistics of the batch"):
        importance.make(name).estimate(net.eval() if options else net, X, Y)
    if not options:
        assert importance.make(name).estimate(net.eval(), X, Y).keys() == dict(net.named_parameters()).keys()


@pytest.mark.parametrize("name", MEASURED)
def test_diverged_weights(name):
    with pytest.raises(ValueError, match=r"parameter '(0|2)\.(weight|bias)' (are|is) not finite"):
        importance.make(name).estimate(broken() if name != "sliced-cramer" else diverged(), X, Y)


@pytest.mark.parametrize("name", MEASURED)
def test_a_network_of_heads_that_is_given_none(name):
    net = MultiHead(nn.Linear(5, 6), [nn.Linear(6, 4), nn.Linear(6, 4)])
    with pytest.raises(ValueError, match=r"this network has 2 heads, got none: give head, .* \(0 to 1\)"):
        importance.make(name).estimate(net, X, Y)
    with pytest.raises(ValueError, match="head must lie between 0 and 1, got 2"):
        importance.make(name).estimate(net, X, Y, head=2)


def test_the_first_bad_image_of_replicas_is_named():
    x = torch.zeros(2, 12, 5)
    x[1, 7, 2] = x[0, 9, 1] = float("nan")
    with pytest.raises(ValueError, match=r"got 2 values .*, the first in image 7"):
        importance.make("fisher").estimate(mlp([5, 4], replicas=2), x)


def diverged():
    # The gradient of a mean response does not see the last bias.
    net = plain()
    with torch.no_grad():
        net[2].weight[0, 0] = float("inf")
    return net


def test_labels_cannot_be_drawn_from_nothing():
    x, net = X.clone(), plain()
    x[7] = 1e38
    with torch.no_grad():
        net[0].weight *= 1e4
    for memory in (64, 1e-6):
        with pytest.raises(ValueError, match="the output for image 7 is not finite"):
            importance.make("fisher", labels="sampled", memory=memory).estimate(net, x)


@pytest.mark.parametrize("name", [*MEASURED, *READ, *ACCUMULATED])
def test_unknown_options_and_names(name):
    with pytest.raises(ValueError, match=f"'{name}': .*{'takes no arguments' if name in READ else 'wavelength'}"):
        importance.make(name, wavelength=3)
    with pytest.raises(ValueError, match=r"importance must be one of fisher, .*, got 'fischer'"):
        importance.make("fischer")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        *[(name, {"view": "both"}, "view must be expected or sampled, got 'both'") for name in MEASURED],
        *[(name, {"images": 0}, "images must be a whole number of at least 1") for name in MEASURED],
        *[(name, {"samples": 0}, "samples must be a whole number") for name in MEASURED],
        *[(name, {"block": 2.5}, "block must be a whole number") for name in MEASURED],
        *[(name, {"seed": -1}, "seed must be a whole number of at least 0") for name in MEASURED],
        *[
            (name, {"memory": memory}, "memory must be positive and finite .MiB., got")
            for name in MEASURED
            for memory in (0, "a", float("inf"), float("nan"), True)
        ],
        ("fisher", {"labels": "true"}, "labels must be one of exact, sampled, predicted, empirical, got 'true'"),
        ("fisher", {"draws": 0}, "draws must be a whole number"),
        ("fisher-batched", {"batch": 0}, "batch must be a whole number"),
        ("fisher-batched", {"convention": "median"}, "convention must be one of mean, sum, scaled"),
        ("mas", {"of": "features"}, "of must be one of probabilities, logits"),
        ("sliced-cramer", {"slices": 0}, "slices must be a whole number"),
        ("sliced-cramer", {"chunk": 0}, "chunk must be a whole number"),
        *[(name, {"window": (4, 4)}, "window must be") for name in ACCUMULATED],
        *[(name, {"window": (-1, None)}, "must be a whole number of at least 0") for name in ACCUMULATED],
        *[(name, {"xi": 0.0}, "xi must be positive") for name in ACCUMULATED],
        *[(name, {"cap": 0.0}, "cap must be positive") for name in ACCUMULATED],
        ("si", {"decay": 1.0}, "decay must lie in"),
        ("path-integral", {"decay": 0.5}, "'path-integral': an option must be one of every, .*got 'decay'"),
        ("path-integral", {"every": 0}, "every must be a whole number"),
        ("sos", {"decay": 0.5}, "'sos': an option must be one of .*beta.*got 'decay'"),
        ("sos", {"beta": 1.0}, "beta must lie in"),
        ("sos", {"alpha": "best"}, "alpha must be a number or 'unbiased'"),
        ("sos", {"alpha": "unbiased"}, "needs batch"),
        ("sos", {"alpha": "unbiased", "batch": 8, "root": "both"}, "root must be one of"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        importance.make(name, **options)


def test_measured_and_accumulated_are_not_mixed_up():
    net = plain()
    for name in ACCUMULATED:
        with pytest.raises(TypeError, match=f"'{name}' is accumulated during training: call start"):
            importance.make(name).estimate(net, X, Y)
    for name in (*MEASURED, *READ):
        measure = importance.make(name)
        for call in (lambda m: m.start(net), lambda m: m.observe(net, step_of(net)), lambda m: m.value()):
            with pytest.raises(TypeError, match=f"'{name}' is measured after a task: call estimate"):
                call(measure)


def step_of(net, index=0):
    ones = {name: torch.ones_like(w, requires_grad=False) for name, w in net.named_parameters()}
    return Step(index, ones, ones, ones, {"independent": ones, "full": ones})


@pytest.mark.parametrize("name", ACCUMULATED)
def test_steps_of_another_network(name):
    net, measure = plain(), importance.make(name)
    with pytest.raises(ValueError, match=f"{name}: call start before observe"):
        measure.observe(net, step_of(net))
    with pytest.raises(ValueError, match=f"{name}: call start before value"):
        measure.value()
    measure.start(net)
    with pytest.raises(ValueError, match=r"gradient of '0.weight' of shape \[3, 5\], .* has \[6, 5\]"):
        measure.observe(net, step_of(nn.Sequential(nn.Linear(5, 3))))
    with pytest.raises(ValueError, match=r"'weight' of shape \[6, 5\], .* has no such parameter"):
        measure.observe(net, step_of(nn.Linear(5, 6)))


@pytest.mark.parametrize("name", [name for name in ACCUMULATED if name not in ("online-absolute-fisher", "sos")])
@pytest.mark.parametrize("part", ["delta", "extra"])
def test_other_parts_of_a_step_are_not_stretched_to_fit(name, part):
    """A shape that broadcasts is wrong all the same."""
    if part == "extra" and name == "si":
        return
    net, measure = plain(), importance.make(name)
    measure.start(net)
    good = step_of(net)
    narrow = {key: value[:1] for key, value in good.delta.items()}
    bad = {"delta": narrow} if part == "delta" else {"extra": {"independent": narrow, "full": narrow}}
    with pytest.raises(ValueError, match=r"\[1, 5\]"):
        measure.observe(net, Step(**{**vars(good), **bad}))


@pytest.mark.parametrize("name", ["si-unbiased", "si-bias", "path-integral"])
def test_a_step_without_the_gradient_it_needs(name):
    net, measure = plain(), importance.make(name)
    measure.start(net)
    good = step_of(net)
    (kind,) = measure.needs
    with pytest.raises(ValueError, match=f"{name} needs the {kind} gradient"):
        measure.observe(net, Step(0, good.gradient, good.delta, good.before))


@pytest.mark.parametrize("name", ACCUMULATED)
def test_gradients_that_were_not_finite(name):
    net, measure = plain(), importance.make(name)
    measure.start(net)
    bad = step_of(net)
    for values in (bad.gradient, bad.extra["full"], bad.extra["independent"]):
        values["2.bias"][1] = float("nan")
    measure.observe(net, bad)
    with pytest.raises(ValueError, match=f"{name}: gradients .*parameter '2.bias' are not finite"):
        measure.value()


@pytest.mark.parametrize("name", ACCUMULATED)
def test_states_of_another_network(name):
    net, measure = plain(), importance.make(name)
    with pytest.raises(ValueError, match="call start before load_state_dict"):
        measure.load_state_dict({})
    measure.start(net)
    before = copy.deepcopy(measure.state_dict())
    for other in (nn.Linear(5, 4), nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 4))):
        alien = importance.make(name)
        alien.start(other)
        with pytest.raises(ValueError, match=f"{name}: "):
            measure.load_state_dict(alien.state_dict())
    with pytest.raises(ValueError, match="of another network or importance"):
        measure.load_state_dict({})
    assert all(torch.equal(value, before[key]) for key, value in measure.state_dict().items())


@pytest.mark.parametrize("name", [*MEASURED, *READ])
def test_measured_ones_have_no_state(name):
    measure = importance.make(name)
    measure.load_state_dict(measure.state_dict())
    with pytest.raises(ValueError, match=r"has no state, got .'sum'"):
        measure.load_state_dict({"sum": torch.ones(1)})


@pytest.mark.parametrize("name", MEASURED)
def test_a_plain_layer_that_replicas_share(name):
    net = nn.Sequential(nn.Linear(5, 6), BernoulliLinear(6, 4, replicas=2))
    with pytest.raises(ValueError, match=r"parameter .'0.bias'. belongs to a plain layer that all replicas share"):
        importance.make(name).estimate(net, X, Y)
    for w in net[0].parameters():
        w.requires_grad_(False)
    assert importance.make(name).estimate(net, X, Y).keys() == {"1.weight"}


@pytest.mark.parametrize("name", MEASURED)
def test_networks_without_anything_to_train(name):
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        importance.make(name).estimate(plain().requires_grad_(False), X, Y)


def test_networks_without_synapses():
    with pytest.raises(ValueError, match="release-probability needs a network with stochastic layers"):
        importance.make("release-probability").estimate(plain())


class Mixed(nn.Module):
    """Dropout, a frozen bias and synapses; `used` makes one of the layers work twice, which has no closed form."""

    def __init__(self, used):
        super().__init__()
        self.first, self.drop = BernoulliLinear(5, 5, bias=True), nn.Dropout(0.5)
        self.last, self.used = BernoulliLinear(5, 4, bias=True), used
        self.first.bias.requires_grad_(False)
        self.twin = self.first if used == "two names" else nn.Identity()

    def forward(self, x):
        for _ in range(2 if self.used == "twice" else 1):
            x = self.drop(self.first(x)).relu()
        return self.last(self.twin(x))


def trace_of(net):
    layers = synapses(net).values()
    return {
        "values": {key: value.clone() for key, value in net.state_dict().items()},
        "objects": [id(w) for w in (*net.parameters(), *net.buffers())],
        "kinds": [type(w) for w in net.parameters()],
        "wanted": [w.requires_grad for w in net.parameters()],
        "gradients": [None if w.grad is None else w.grad.clone() for w in net.parameters()],
        "modes": [module.training for module in net.modules()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in net.modules()],
        "draws": [layer.draws for layer in layers],
        "addresses": [layer.address for layer in layers],
        "masks": [layer.mask.clone() for layer in layers],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1],  # noqa: NPY002
        "random": np.array(hash(random.getstate())),
        "grad": torch.is_grad_enabled(),
    }


def same(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool((a == b).all()) if isinstance(a, torch.Tensor | np.ndarray) else a == b


@pytest.mark.parametrize("used", ["once", "twice", "two names"])
@pytest.mark.parametrize("view", ["expected", "sampled", "inside expected", "inside frozen"])
@pytest.mark.parametrize("name", [*MEASURED, *READ])
def test_the_network_is_left_as_it_was(name, view, used):
    net = Mixed(used)
    net.last.eval()
    options = {} if name in READ else {"view": "sampled" if view == "sampled" else "expected", "samples": 2}
    net(X).square().sum().backward()
    measure = importance.make(name, **options)

    def measured():
        if view == "inside frozen":
            with frozen(net):
                return measure.estimate(net, X, Y)
        if view == "inside expected":
            with expected(net):
                return measure.estimate(net, X, Y)
        return measure.estimate(net, X, Y)

    before = trace_of(net)
    found = measured()
    after = trace_of(net)
    changed = [key for key in before if not same(before[key], after[key])]
    assert not changed
    assert not any(value.requires_grad for value in found.values())
    own = {w.data_ptr() for w in (*net.parameters(), *net.buffers())}
    assert not own & {value.data_ptr() for value in found.values()}, "a result must not be the network's own memory"
    if name in MEASURED:
        assert found.keys() == {"first.weight", "last.weight", "last.bias"}, "frozen parameters are left out"


@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize("used", ["once", "twice"])
def test_the_network_is_left_as_it_was_after_an_error(name, used):
    net = Mixed(used)
    net(X)
    with torch.no_grad():
        net.last.weight[0] = float("inf")
    before = trace_of(net)
    with pytest.raises(ValueError, match="not finite"):
        importance.make(name).estimate(net, X, Y)
    after = trace_of(net)
    assert not [key for key in before if not same(before[key], after[key])]


@pytest.mark.parametrize("name", ACCUMULATED)
def test_accumulating_leaves_the_network_and_the_step_alone(name):
    net, measure = plain(), importance.make(name)
    before, step = copy.deepcopy(net.state_dict()), step_of(net)
    kept = copy.deepcopy(step)
    measure.start(net)
    measure.observe(net, step)
    measure.value()["0.weight"].fill_(7)
    assert same(dict(before), dict(net.state_dict()))
    assert same(vars(step), vars(kept))
    assert float(measure.value()["0.weight"].max()) != 7


@pytest.mark.parametrize(("name", "used"), [*[(name, "once") for name in MEASURED], ("fisher", "twice")])
def test_nothing_piles_up(name, used):
    net, measure = Mixed(used), importance.make(name, images=8)

    def tensors():
        gc.collect()
        return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())

    for _ in range(3):
        measure.estimate(net, X, Y)
    before, most = tensors(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(40):
        measure.estimate(net, X, Y)
    assert tensors() == before
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < 8_000, "KiB"


class Asked:
    """Images that remember how many of them were asked for at once."""

    def __init__(self, x):
        self.x, self.most = x, 0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, rows):
        found = self.x[rows]
        self.most = max(self.most, len(found))
        return found


@pytest.mark.parametrize("name", ["fisher", "mas"])
@pytest.mark.parametrize("wide", [
    lambda: nn.Sequential(nn.Linear(5, 2000), nn.ReLU(), nn.Linear(2000, 4)),
    lambda: nn.Sequential(nn.Linear(5, 2000), nn.LayerNorm(2000), nn.Linear(2000, 4)),
    lambda: mlp([5, 2000, 4]),
])  # fmt: skip
def test_chunks_follow_the_memory_they_are_given(name, wide):
    net, most = wide(), []
    for memory in (0.001, 1, 4, 64):
        x = Asked(torch.zeros(20 if memory < 1 else 500, 5))
        importance.make(name, memory=memory, **({"labels": "predicted"} if name == "fisher" else {})).estimate(net, x)
        most.append(x.most)
    assert most[0] == 1
    assert most == sorted(most)
    assert most[1] < 40 < most[3], "2000 units of four bytes, several tensors of them: tens of images per MiB at most"
    # Chunks grow with the memory, and what is rounded down is less than one image.
    assert most[1] * 4 <= most[2] < (most[1] + 1) * 4
    assert most[3] == 500 or most[1] * 64 <= most[3] < (most[1] + 1) * 64


def test_a_part_of_the_images_is_read_in_chunks_as_well():
    x = Asked(torch.zeros(3500, 5))
    importance.make("fisher", images=20, memory=0.001, labels="predicted").estimate(plain(), x)
    assert x.most == selection.READ < 3500


@pytest.mark.parametrize("images", [None, 4])
def test_images_of_each_replica_from_an_object(images):
    class Own(Asked):
        def __len__(self):
            return self.x.shape[1]

        def __getitem__(self, rows):
            return self.x[:, rows]

    net = mlp([5, 4], replicas=2)
    x = torch.stack([X, X.flip(0) + 1])
    found = importance.make("mas", images=images).estimate(net, Own(x))
    naive.close(found, importance.make("mas", images=images).estimate(net, x), 1e-6)


@pytest.mark.parametrize("name", MEASURED)
def test_integer_images_from_an_object(name):
    with pytest.raises(ValueError, match="must hold floats"):
        importance.make(name).estimate(plain(), Asked((X * 10).long()), Y)
