"""Every measured importance as its formula reads: one example at a time, one backward pass per number."""

import torch
from torch import nn

from synsim.importance.selection import sampled_labels
from synsim.importance.sliced import directions
from synsim.synapses import synapses

MEASURES = {
    "exact": ("fisher", {}),
    "sampled": ("fisher", {"labels": "sampled", "draws": 3, "seed": 4}),
    "predicted": ("fisher", {"labels": "predicted"}),
    "empirical": ("fisher", {"labels": "empirical"}),
    "root": ("sqrt-fisher", {}),
    "absolute": ("absolute-fisher", {}),
    "absolute of drawn labels": ("absolute-fisher", {"labels": "sampled", "draws": 2}),
    "mas": ("mas", {}),
    "mas of logits": ("mas", {"of": "logits"}),
    "mas squared": ("mas", {"of": "logits", "squared": True}),
    "mas of the largest": ("mas-max", {}),
    "mas of the largest logit": ("mas-max", {"of": "logits", "squared": True}),
    "batched mean": ("fisher-batched", {"batch": 3}),
    "batched sum": ("fisher-batched", {"batch": 3, "convention": "sum"}),
    "batched scaled": ("fisher-batched", {"batch": 3, "convention": "scaled"}),
    "few slices": ("sliced-cramer", {"slices": 2, "seed": 5}),
    "many slices": ("sliced-cramer", {"slices": 9, "seed": 5}),
    "all slices": ("sliced-cramer", {"slices": None}),
}
"""What is compared: title -> name of the importance, its options."""


def close(found, expected, bound=1e-10):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        error = float((found[name] - value).abs().max())
        assert error <= bound * float(value.abs().max()), f"{name}: {error:.3g} of {float(value.abs().max()):.3g}"


def importance(name, net, x, y=None, *, axis=0, head=None, at=None, passes=1, **options):
    """axis: of x that counts the images; at: sets the masks for (pass, image); passes: how many."""
    images = [x.narrow(axis, i, 1) for i in range(x.shape[axis])]

    def outputs(number, i):
        if at is not None:
            at(number, i)
        return net(images[i]) if head is None else net(images[i], head=head)

    places = [(number, i) for number in range(passes) for i in range(len(images))]
    if name == "sliced-cramer":
        return _sliced(net, outputs, places, **options)
    if name == "fisher-batched":
        return _batched(net, outputs, y, passes, len(images), **options)
    power = torch.abs if name in ("absolute-fisher", "mas", "mas-max") else torch.square
    if options.pop("squared", False):
        power = torch.square
    total = zeros(net)
    for number, i in places:
        out = outputs(number, i)
        if name.startswith("mas"):
            f = out.softmax(-1) if options.get("of", "probabilities") == "probabilities" else out
            score = f.square().sum(-1) if name == "mas" else f.max(-1).values.square()
            found = [(score, torch.ones(score.shape[:-1], dtype=score.dtype))]
        else:
            found = _labelled(net, out, None if y is None else y[..., i], i, len(images), number, **options)
        for score, weight in found:
            for key, value in gradient(net, score.sum()).items():
                total[key] += weight.reshape(-1, *[1] * (value.ndim - 1)).squeeze(0) * power(value)
    mean = {key: value / len(places) for key, value in total.items()}
    return {key: value.sqrt() for key, value in mean.items()} if name == "sqrt-fisher" else mean


def _labelled(net, out, y, i, count, number, labels="exact", draws=1, seed=0):
    # Pairs of score [..., 1] and weight [...].
    logs = out.log_softmax(-1)
    chances = logs.detach().exp()[..., 0, :]
    one = torch.ones(chances.shape[:-1], dtype=chances.dtype)
    if labels == "exact":
        return [(-logs[..., c], chances[..., c]) for c in range(out.shape[-1])]
    if labels == "predicted":
        chosen = [chances.max(-1).indices]
    elif labels == "empirical":
        chosen = [y.expand(chances.shape[:-1])]
    else:
        layer = next(iter(synapses(net).values()), None)
        seeds = [seed] if layer is None else layer.seeds
        place = (seeds, f"importance/{seed}", slice(i, i + 1), count)
        drawn = [sampled_labels(chances.unsqueeze(-2), *place, number * draws + d) for d in range(draws)]
        chosen = [label[..., 0] for label in drawn]
    return [(-logs[..., 0, :].gather(-1, label.unsqueeze(-1)), one / len(chosen)) for label in chosen]


def _batched(net, outputs, y, passes, count, batch, convention="mean"):
    total, batches = zeros(net), 0
    for number in range(passes):
        for start in range(0, count - batch + 1, batch):
            summed = zeros(net)
            for i in range(start, start + batch):
                logs = outputs(number, i).log_softmax(-1)[..., 0, :]
                label = y[..., i].expand(logs.shape[:-1])
                for key, value in gradient(net, -logs.gather(-1, label.unsqueeze(-1)).sum()).items():
                    summed[key] += value
            for key, value in summed.items():
                total[key] += value**2
            batches += 1
    factor = {"mean": 1 / batch**2, "sum": 1, "scaled": 1 / batch}[convention]
    return {key: value * factor / batches for key, value in total.items()}


def _sliced(net, outputs, places, slices=100, seed=0):
    mean = None
    for number, i in places:
        out = outputs(number, i)[..., 0, :]
        each = [gradient(net, out[..., k].sum()) for k in range(out.shape[-1])]
        mean = mean or [zeros(net) for _ in each]
        for to, found in zip(mean, each, strict=True):
            for key, value in found.items():
                to[key] += value / len(places)
    along = torch.eye(len(mean), dtype=torch.float64) if slices is None else directions(slices, len(mean), seed)
    total = zeros(net)
    for direction in along:
        for key in total:
            total[key] += sum(float(c) * part[key] for c, part in zip(direction, mean, strict=True)) ** 2
    return {key: value / len(along) for key, value in total.items()}


def trained(net):
    """Parameters by the names that they have in the network itself, compiled or not."""
    return {name.removeprefix("_orig_mod."): w for name, w in net.named_parameters() if w.requires_grad}


def zeros(net):
    return {name: torch.zeros_like(w, requires_grad=False) for name, w in trained(net).items()}


def gradient(net, number):
    wanted = trained(net)
    found = torch.autograd.grad(number, list(wanted.values()), retain_graph=True, allow_unused=True)
    dense = (g if g is None or not g.is_sparse else g.to_dense() for g in found)
    return {n: torch.zeros_like(w) if g is None else g for (n, w), g in zip(wanted.items(), dense, strict=True)}


class Tied(nn.Module):
    """An auto-encoder whose decoder is the transposed encoder, as usual without a layer of its own."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(7, 3)

    def forward(self, x):
        return nn.functional.linear(self.encoder(x).tanh(), self.encoder.weight.t())


class Scaled(nn.Module):
    """A module with a parameter of its own."""

    def __init__(self, width):
        super().__init__()
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, width))

    def forward(self, x):
        return (x * self.gain).tanh()


class Tokens(nn.Module):
    """Positions, over which the output is a mean: in an axis of their own, or folded into the batch."""

    def __init__(self, folded):
        super().__init__()
        self.folded, self.first, self.last = folded, nn.Linear(4, 5), nn.Linear(5, 4)

    def forward(self, x):
        tokens = x.reshape(-1, 4) if self.folded else x.reshape(len(x), 3, 4)
        hidden = self.first(tokens).relu().reshape(len(x), 3, 5)
        return self.last(hidden.mean(1))


class TimeFirst(nn.Module):
    """Time steps, over which the hidden layer is a mean, in an axis before that of the examples."""

    def __init__(self, times):
        super().__init__()
        self.times, self.first, self.last = times, nn.Linear(3, 5), nn.Linear(5, 4)

    def forward(self, x):
        steps = x.reshape(len(x), self.times, 3).transpose(0, 1)
        return self.last(self.first(steps).tanh().mean(0))


class Context(nn.Module):
    """A layer that sees the same input for every example."""

    def __init__(self):
        super().__init__()
        self.context, self.last = nn.Linear(2, 7), nn.Linear(7, 4)

    def forward(self, x):
        return self.last((x + self.context(torch.ones(1, 2, dtype=x.dtype))).tanh())
