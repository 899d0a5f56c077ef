"""Every measured importance of every animal of the zoo against a loop over single examples, or refused in words."""

import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import naive
import pytest
import torch

import synsim
from synsim import expected, importance
from synsim.importance.selection import sampled_labels
from synsim.importance.sliced import directions
from synsim.synapses import evaluation, synapses

sys.path.append(str(Path(__file__).resolve().parent.parent))
import zoo

SLOW = "gradients are taken one example at a time, which is slow"
MEASURES = {
    "exact": ("fisher", {}),
    "sampled": ("fisher", {"labels": "sampled", "draws": 2, "seed": 4}),
    "predicted": ("fisher", {"labels": "predicted"}),
    "empirical": ("fisher", {"labels": "empirical"}),
    "root": ("sqrt-fisher", {}),
    "absolute": ("absolute-fisher", {}),
    "absolute of true labels": ("absolute-fisher", {"labels": "empirical"}),
    "mas": ("mas", {}),
    "mas of logits": ("mas", {"of": "logits", "squared": True}),
    "largest": ("mas-max", {}),
    "batched": ("fisher-batched", {"batch": 2, "convention": "scaled"}),
    "slices": ("sliced-cramer", {"slices": 4, "seed": 5}),
    "all slices": ("sliced-cramer", {"slices": None}),
}
IN_BATCHES = ("batched", "slices", "all slices")
HIDDEN = "use_reentrant=True, behind which no gradient"
REFUSED = {("checkpointed, reentrant", title): HIDDEN for title in MEASURES} | {
    (name, "absolute"): "absolute values do not add up over tokens. Use labels='sampled'"
    for name in zoo.ZOO
    if "per token" in zoo.TRAITS[name]
}
"""(animal, measure) -> the words with which it is refused; everything else must be right."""


def scores(title, net, out, y, i):
    """Pairs (score of one example, its weight), and whether absolute values are meant."""
    name, options = MEASURES[title]
    tokens = out.ndim == 3 and synsim.networks.replicas_of(net) is None
    two = torch.cat([torch.zeros_like(out), out], -1) if out.shape[-1] == 1 else out
    if name.startswith("mas"):
        f = two.softmax(-1) if options.get("of") != "logits" else out
        each = f.square().sum(-1) if name == "mas" else f.max(-1).values.square()
        return [(each.sum(), None)]
    logs = two.log_softmax(-1)
    chances, kind = logs.exp().detach(), options.get("labels", "exact")
    if kind == "exact":
        if not tokens:
            return [(-logs[..., 0, c].sum(), chances[..., 0, c]) for c in range(two.shape[-1])]
        places = [(t, c) for t in range(two.shape[1]) for c in range(two.shape[-1])]
        return [(-logs[0, t, c], chances[0, t, c]) for t, c in places]
    if kind == "sampled":
        seeds = next(iter(synapses(net).values())).seeds if synapses(net) else [4]
        at = (seeds, "importance/4", slice(i, i + 1), zoo.N)
        drawn = [sampled_labels(chances, *at, d, tokens=tokens) for d in range(2)]
        return [(-logs.gather(-1, one.unsqueeze(-1)).sum(), torch.tensor(0.5)) for one in drawn]
    label = chances.argmax(-1) if kind == "predicted" else y.expand(logs.shape[:-1])
    return [(-logs.gather(-1, label.unsqueeze(-1)).sum(), None)]


def loop(title, animal, at=None, passes=1):
    """The importance, example by example."""
    net, x, y, inputs = animal
    name, options = MEASURES[title]
    replicas = synsim.networks.replicas_of(net)
    lead = replicas is not None and x.ndim == 3

    def output(number, i):
        if at is not None:
            at(number, i)
        out = net(x[:, i : i + 1] if lead else x[i : i + 1], **inputs)
        return out["logits"] if isinstance(out, dict) else out

    own = lambda i: y[:, i : i + 1] if replicas and y.ndim == 2 else y[i : i + 1]  # noqa: E731
    total, places = naive.zeros(net), [(number, i) for number in range(passes) for i in range(zoo.N)]
    if name == "sliced-cramer":
        return slices(net, [output(*place) for place in places], replicas, options)
    if name == "fisher-batched":
        # Batches of two; the last example is left out. Scaled: times the size of a batch.
        for first in range(0, zoo.N - 1, 2):
            summed = naive.zeros(net)
            for i in (first, first + 1):
                for key, value in naive.gradient(net, scores("empirical", net, output(0, i), own(i), i)[0][0]).items():
                    summed[key] += value / 2
            for key, value in summed.items():
                total[key] += value.square()
        return total
    for number, i in places:
        for score, weight in scores(title, net, output(number, i), own(i), i):
            for key, value in naive.gradient(net, score).items():
                size = value.abs() if name in ("absolute-fisher", "mas-max") or title == "mas" else value.square()
                factor = (
                    1.0 if weight is None else weight.reshape(-1, *[1] * (value.ndim - 1)) if weight.ndim else weight
                )
                total[key] += (factor * size).reshape(value.shape) / len(places)
    return {key: value.sqrt() for key, value in total.items()} if name == "sqrt-fisher" else total


def slices(net, outputs, replicas, options):
    each = sum(outputs) / len(outputs)
    flat = each.reshape(-1) if replicas is None else each[:, 0].sum(0)
    parts = [naive.gradient(net, value) for value in flat]
    along = directions(4, len(parts), 5) if options["slices"] else torch.eye(len(parts), dtype=torch.float64)
    total = naive.zeros(net)
    for direction in along:
        for key in total:
            total[key] += sum(float(c) * part[key] for c, part in zip(direction, parts, strict=True)) ** 2
    return {key: value / len(along) for key, value in total.items()}


def notice(name, title):
    slow = "slow path" in zoo.TRAITS[name] and title not in IN_BATCHES
    return pytest.warns(UserWarning, match=SLOW) if slow else nullcontext()


def wrong(title, name, animal, twin):
    """What is wrong with an importance of an animal; None for nothing."""
    kind, options = MEASURES[title]
    net, x, y, inputs = animal
    measure = importance.make(kind, **options)
    if (name, title) in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name, title]):
            measure.estimate(net, x, y, **inputs)
        return None
    try:
        with notice(name, title):
            found = measure.estimate(net, x, y, **inputs)
        with expected(twin.net):
            naive.close(found, loop(title, twin), 1e-10)
    except Exception as error:  # of any kind: the others are tried all the same
        return f"{title}: {type(error).__name__}: {error}"
    return None


# One network for all of them: the first finds the way of its gradients, the others take it.
@pytest.mark.parametrize("name", zoo.ZOO)
def test_every_importance_of_every_animal(name):
    animal, twin = zoo.ZOO[name](), zoo.ZOO[name]()
    twin.net.eval()
    found = [wrong(title, name, animal, twin) for title in MEASURES]
    assert not any(found), "\n".join(filter(None, found))


@pytest.mark.parametrize("title", ["exact", "empirical", "mas"])
@pytest.mark.parametrize("name", [name for name, kind in zoo.KIND.items() if kind != "plain"])
def test_the_sampled_view_of_stochastic_animals(name, title):
    kind, options = MEASURES[title]
    net, x, y, inputs = zoo.ZOO[name]()
    if "event" in name:
        with pytest.raises(ValueError, match="Measure this network in the expected view"):
            importance.make(kind, view="sampled", **options).estimate(net, x, y)
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=SLOW)
        found = importance.make(kind, view="sampled", samples=2, block=2, **options).estimate(net, x, y, **inputs)
    twin = zoo.ZOO[name]()
    twin.net.eval()
    with evaluation(twin.net, 0) as passes:
        naive.close(found, loop(title, twin, lambda number, i: passes.at(number, i // 2, i), 2), 1e-10)


@pytest.mark.parametrize("title", ["exact", "mas", "batched", "slices"])
@pytest.mark.parametrize("name", zoo.MIXED)
@pytest.mark.parametrize("memory", [1e-6, 16])
def test_networks_in_which_examples_meet_are_refused(name, title, memory):
    kind, options = MEASURES[title]
    net, x, y, inputs = zoo.MIXED[name]()
    if name == "branch on the batch" and title not in IN_BATCHES:
        # Alone, each example takes its own branch: that is what the loop finds.
        with pytest.warns(UserWarning, match=SLOW):
            found = importance.make(kind, memory=memory, **options).estimate(net, x, y, **inputs)
        naive.close(found, loop(title, zoo.MIXED[name]()), 1e-10)
        return
    words = "normalises with the statistics of the batch" if "norm" in name else "examples meet inside this network"
    with pytest.raises(ValueError, match=words):
        importance.make(kind, memory=memory, **options).estimate(net, x, y, **inputs)
