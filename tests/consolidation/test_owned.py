"""Owned synapses: what a task claims, that it never moves again, and what a run of tasks does with it."""

import math
import warnings

import numpy as np
import pytest
import torch
from memory import Memory
from torch import nn

import synsim
from synsim import consolidation, records, tasks
from synsim.consolidation.packnet import EfficientPackNet
from synsim.training import Protection, Session, fit

pytestmark = pytest.mark.usefixtures("one_thread")

SEEDS = (3, 4)
TASKS = 3


@pytest.fixture(scope="module")
def digits():
    return synsim.data.load("digits")


def permuted(digits, seeds=SEEDS, count=TASKS, validation=150):
    return tasks.permuted(digits, tasks=count, seeds=list(seeds), validation=validation)


def network(seeds=SEEDS, **options):
    return synsim.mlp([64, 20, 10], **{"p": 1.0, "bias": True, "replicas": len(seeds), "seed": list(seeds), **options})


RULES = {
    "momentum": lambda net: torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-3),
    "adam": lambda net: torch.optim.Adam(net.parameters(), lr=3e-3, weight_decay=1e-3),
    "power": lambda net: synsim.Powerpropagation(torch.optim.Adam(net.parameters(), lr=0.01), 2.0, net=net),
    "plastic": lambda net: synsim.PresynapticSGD(net, 0.05, p_up=0.07, p_down=0.07, g_lim=1e-3, weight_decay=1e-3),
}
KINDS = {
    "packnet": {"tasks": TASKS},
    "efficient-packnet": {"gamma": 0.8},
}


def learned(digits, how, rule="adam", net=None, seeds=SEEDS, count=TASKS, **options):
    """A network that has learned, the consolidation, and its history; the optimiser's state lives through all tasks."""
    net = network(seeds) if net is None else net
    how = consolidation.make(how, **KINDS[how]) if isinstance(how, str) else how
    options = {"epochs": 1, "batch": 32, "samples": 2, "protection": Protection(consolidation=how), **options}
    return net, how, fit(net, RULES[rule](net), permuted(digits, seeds, count), **options)


def values(net):
    """Parameters and release probabilities."""
    return {name: each.detach().clone() for name, each in (*net.named_parameters(), *net.named_buffers())}


@pytest.mark.parametrize("retrain", [0, 1])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_owned_is_the_same_to_the_last_bit_whatever_moves_the_others(digits, kind, rule, retrain):
    net = network(p=0.5 if rule == "plastic" else 1.0)
    how, seen = consolidation.make(kind, **KINDS[kind], retrain=retrain), []

    def look(row):
        seen.append((how.claims, how.settled, how.owned(net), values(net)))

    _, _, history = learned(digits, how, rule, net, on_epoch=look)
    ends = [each for each in seen if each[1] and each[0]]
    assert [each[0] for each in ends] == list(range(1, TASKS + 1))
    for _, _, owned, then in ends:
        assert sum(int(mask.sum()) for mask in owned.values()) > 0
        for name, layer in synsim.synapses(net).items():
            assert torch.equal(layer.weight[owned[name]], then[f"{name}.weight"][owned[name]])
            assert torch.equal(layer.p[owned[name]], then[f"{name}.p"][owned[name]])
            assert torch.equal(layer.bias, then[f"{name}.bias"])
    # Not for want of anything that moves.
    first, last = ends[0], ends[-1]
    for name in synsim.synapses(net):
        free = ~first[2][name]
        assert (last[3][f"{name}.weight"][free] != first[3][f"{name}.weight"][free]).double().mean() > 0.5
        if rule == "plastic":
            assert (last[3][f"{name}.p"][free] != first[3][f"{name}.p"][free]).any()
    for task in range(TASKS):
        then = history.accuracy[:, task:, task]
        assert torch.equal(then, then[:, :1].expand_as(then)), "the accuracy of an old task never changes"
        assert history.accuracy[:, :task, task].isnan().all(), "and there is none before it owns something"


@pytest.mark.parametrize("kind", KINDS)
def test_retraining_moves_what_the_task_has_just_claimed_and_nothing_else(digits, kind):
    net, how, seen = network(), consolidation.make(kind, **KINDS[kind], retrain=1), []
    learned(digits, how, "momentum", net, on_epoch=lambda row: seen.append((how.owned(net), values(net))))
    assert len(seen) == 2 * TASKS
    for task in range(TASKS):
        before = seen[2 * task - 1][0] if task else {name: torch.zeros_like(each) for name, each in seen[0][0].items()}
        (owned, claimed), (_, relearned) = seen[2 * task], seen[2 * task + 1]
        for name in owned:
            new = owned[name] & ~before[name]
            moved = claimed[f"{name}.weight"] != relearned[f"{name}.weight"]
            assert not (moved & ~new).any()
            assert moved[new].double().mean() > 0.3 or not new.any()
            assert torch.equal(claimed[f"{name}.bias"], relearned[f"{name}.bias"]) == (task > 0)


def forward(weights, biases, mask, x):
    """The network in float64, replica by replica."""
    h = x
    for k, name in enumerate(weights):
        h = h @ (weights[name] * mask[name]).T + biases[name]
        h = np.maximum(h, 0) if k == 0 else h
    return h


@pytest.mark.parametrize("scope", ["network", "layer"])
def test_the_smallest_mask_that_keeps_enough_against_a_naive_double(digits, scope):
    gamma, densities = (0.5, 0.95), (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
    how = consolidation.make("efficient-packnet", gamma=list(gamma), densities=densities, scope=scope)
    net, _, _ = learned(digits, how, count=1)
    # One more task, learned by all weights: some are owned, some new.
    task, earlier = permuted(digits)[1], how.owned(net)
    fit(net, RULES["adam"](net), [task], epochs=2, batch=32, samples=1)
    found = how.claim(net, task.validation, task.validation.y)
    images, labels = task.validation[:].double().numpy(), task.validation.y.numpy()
    for r in range(len(SEEDS)):
        weights = {name: layer.weight[r].detach().double().numpy() for name, layer in synsim.synapses(net).items()}
        biases = {name: layer.bias[r].detach().double().numpy() for name, layer in synsim.synapses(net).items()}

        def score(mask, r=r, weights=weights, biases=biases):
            return (forward(weights, biases, mask, images[r]).argmax(1) == labels).mean()

        dense = score(dict.fromkeys(weights, 1.0))
        for share in (*densities, 1.0):
            sizes = {name: np.abs(each) for name, each in weights.items()}
            if scope == "network":
                everything = np.sort(np.concatenate([each.ravel() for each in sizes.values()]))
                limit = dict.fromkeys(sizes, everything[len(everything) - math.floor(share * len(everything))])
            else:
                limit = {n: np.sort(e.ravel())[e.size - math.floor(share * e.size)] for n, e in sizes.items()}
            mask = {name: each >= limit[name] for name, each in sizes.items()}
            if score(mask) > gamma[r] * dense:
                break
        ours = how.mask(net, 1)
        assert all(np.array_equal(mask[name], ours[name][r].numpy()) for name in mask)
        count = sum(each.size for each in mask.values())
        taken = sum(each.sum() for each in mask.values())
        new = sum((mask[name] & ~earlier[name][r].numpy()).sum() for name in mask)
        both = sum((mask[name] | earlier[name][r].numpy()).sum() for name in mask)
        for name, value in (("density", taken), ("claimed", new), ("used", both)):
            assert float(found[name][r]) == pytest.approx(value / count, abs=1e-15)
        assert float(found["dense_accuracy"][r]) == pytest.approx(dense, abs=1e-12)
        assert float(found["sparse_accuracy"][r]) == pytest.approx(score(mask), abs=1e-12)
        assert 0 < new < taken <= count
    assert float(found["density"][0]) < float(found["density"][1]), "a larger gamma keeps more"


@pytest.mark.parametrize("share", ["of-all", "of-free"])
def test_packnet_takes_the_largest_of_what_is_free_by_layer(digits, share):
    count, net = 7, network(bias=False)
    how = consolidation.make("packnet", tasks=count, share=share)
    before = {name: np.zeros(layer.weight.shape, bool) for name, layer in synsim.synapses(net).items()}
    for task in range(count):
        how.begin(net)
        found = how.claim(net)
        for name, layer in synsim.synapses(net).items():
            size = layer.weight[0].numel()
            free = size - int(before[name][0].sum())
            due = free // count if share == "of-free" else (task + 1) * size // count - task * size // count
            for r in range(len(SEEDS)):
                sizes = np.where(before[name][r], -1.0, np.abs(layer.weight[r].detach().numpy()))
                limit = np.sort(sizes.ravel())[size - due]
                before[name][r] |= sizes >= limit
            assert np.array_equal(how.mask(net, task)[name].numpy(), before[name])
        assert found["dense_accuracy"].isnan().all()
    assert (found["used"] == 1).all() == (share == "of-all")
    with pytest.raises(ValueError, match="packnet divides the network among tasks=7, and all of them have claimed"):
        how.claim(net)


def test_free_synapses_are_drawn_anew_from_their_named_streams_and_others_stay(digits):
    net, how = network(), consolidation.make("packnet", tasks=4)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.125)
    before = values(net)
    how.claim(net)
    how.begin(net)
    fresh, owned = synsim.networks.redraw(network(), draw=1), how.owned(net)
    for name, layer in synsim.synapses(net).items():
        wanted = torch.where(owned[name], before[f"{name}.weight"], fresh.get_submodule(name).weight)
        assert torch.equal(layer.weight, wanted)
        assert torch.equal(layer.bias, before[f"{name}.bias"])
    kept = consolidation.make("packnet", tasks=4, fresh="keep")
    kept.claim(net)
    before = values(net)
    kept.begin(net)
    assert all(torch.equal(each, before[name]) for name, each in values(net).items())


class LeftAtZero(EfficientPackNet):
    """As a pruned network is: what is free is 0."""

    def begin(self, net):
        super().begin(net)
        if self.claims:
            with torch.no_grad():
                for name, layer in synsim.synapses(net).items():
                    layer.weight.mul_(self.owned(net)[name])


@pytest.mark.filterwarnings(
    "ignore:weights that are exactly 0 never move",
    "ignore:no synapse of '0' stays",
    "ignore:efficient-packnet. the mask of task",
)
def test_free_weights_left_at_zero_are_dead_from_the_second_task_on(digits):
    late = {}
    for kind in (EfficientPackNet, LeftAtZero):
        net = network(bias=False)
        how, seen = kind(gamma=0.9), []
        _, _, history = learned(digits, how, "power", net, epochs=3, on_epoch=lambda row, s=seen: s.append(values(net)))  # noqa: B023
        late[kind] = history.accuracy[:, -1]
    assert (late[EfficientPackNet] > 0.7).all()
    assert (late[LeftAtZero][:, 0] > 0.7).all(), "the first task is not concerned"
    assert (late[LeftAtZero][:, 1:] < 0.35).all(), "and the others are dead"


def test_a_full_network_is_said_and_marked_and_the_run_goes_on(digits):
    net, how = network(), consolidation.make("efficient-packnet", gamma=1.0, densities=[1.0])
    with pytest.warns(UserWarning, match=r"all synapses were owned when task 2 \(counted from 1\) began in replicas"):
        _, _, history = learned(digits, how, net=net)
    found = history.after_task
    assert found["full"].tolist() == [[0, 1, 1]] * 2
    assert (found["used"] == 1).all()
    assert (found["claimed"][:, 1:] == 0).all()
    assert history.accuracy[:, -1].isfinite().all()
    assert torch.equal(found["density"][:, 0], torch.ones(2, dtype=torch.float64))


def test_a_mask_that_leaves_a_layer_without_synapses_is_said_once():
    net, how = synsim.mlp([9, 4, 2], p=1.0, replicas=2), consolidation.make("packnet", tasks=10)
    words = r"the mask of task 1 \(counted from 1\) leaves no synapse of layer 2, which transmits nothing but its bias"
    with pytest.warns(UserWarning, match=words):
        how.claim(net)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        how.claim(net)
    assert [int(how.mask(net, task)["2"].sum()) for task in range(2)] == [0, 2]


@pytest.mark.parametrize("scope", ["network", "layer"])
def test_a_reserve_is_kept_free(digits, scope):
    how = consolidation.make("efficient-packnet", gamma=1.0, densities=[1.0], reserve=0.25, scope=scope)
    net, _, history = learned(digits, how)
    free = 1 - history.after_task["used"]
    count = sum(layer.weight[0].numel() for layer in synsim.synapses(net).values())
    for task in range(TASKS):
        assert torch.allclose(free[:, task], torch.full((2,), 0.25 ** (task + 1), dtype=torch.float64), atol=5 / count)
    assert (history.after_task["full"] == 0).all()
    # Of what it would have claimed, a task has the largest weights.
    first = how.mask(net, 0)
    for r in range(2):
        pooled = [(layer.weight[r].detach().abs(), first[name][r]) for name, layer in synsim.synapses(net).items()]
        for sizes, mask in pooled if scope == "layer" else ():
            assert int(mask.sum()) == math.floor(0.75 * mask.numel())
            assert sizes[mask].min() > 0


def test_replicas_claim_alone_what_they_claim_among_others(digits):
    _, together, history = learned(digits, consolidation.make("efficient-packnet", gamma=[0.7, 0.95], retrain=1))
    for r, (seed, gamma) in enumerate(zip(SEEDS, (0.7, 0.95), strict=True)):
        net, alone, single = learned(
            digits, consolidation.make("efficient-packnet", gamma=gamma, retrain=1), seeds=(seed,)
        )
        for task in range(TASKS):
            ours = together.mask(network(), task)
            assert all(torch.equal(ours[name][r], each[0]) for name, each in alone.mask(net, task).items())
        for name, value in single.after_task.items():
            assert torch.equal(value[0], history.after_task[name][r])
        assert torch.equal(single.accuracy[0].nan_to_num(), history.accuracy[r].nan_to_num())


def test_a_network_without_replicas_owns_synapses_too(digits):
    net = synsim.mlp([64, 12, 10], p=1.0, seed=3)
    how = consolidation.make("efficient-packnet", gamma=0.8, retrain=1)
    sequence = tasks.permuted(digits, tasks=2, seeds=3, validation=100)
    history = fit(
        net, RULES["adam"](net), sequence, epochs=1, batch=32, protection=Protection(consolidation=how)
    )  # fmt: skip
    assert history.after_task["used"].shape == (1, 2)
    assert 0 < float(history.after_task["used"][0, 0]) < float(history.after_task["used"][0, 1]) < 1
    assert history.accuracy[0, 0, 0] == history.accuracy[0, 1, 0]


@pytest.mark.parametrize(("kind", "amount"), [("efficient-packnet", {"epochs": 1}), ("packnet", {"steps": 30})])
def test_a_run_that_is_cut_off_goes_on_to_the_same_bits(digits, kind, amount):
    def run(store):
        net = network(p=0.6)
        guard = Protection(
            consolidation=consolidation.make(kind, **KINDS[kind], retrain=1, samples=2), reset_optimiser=True
        )
        options = {"batch": 64, "samples": 1, "protection": guard, "store": store, **amount}
        rule = synsim.PresynapticSGD(net, 0.05, p_up=0.07, p_down=0.07, g_lim=1e-3)
        history = fit(net, rule, permuted(digits, count=2), **options)
        return net, history, guard.consolidation

    whole = Memory()
    net, history, how = run(whole)
    count = len(whole.all)
    at = [tensors["protection/consolidation//at"] for tensors, _ in whole.all]
    relearning = [place for place, (_, settled) in enumerate(at) if not settled]
    assert len(relearning) > 10
    for place in (relearning[2], relearning[-3], count // 2):
        again, other, kept = run(Memory(whole.all[place]))
        assert all(torch.equal(each, values(net)[name]) for name, each in values(again).items())
        assert torch.equal(other.accuracy.nan_to_num(), history.accuracy.nan_to_num())
        for name, value in history.after_task.items():
            assert torch.equal(other.after_task[name], value)
        for name, value in how.state_dict().items():
            assert torch.equal(value, kept.state_dict()[name])


def test_who_goes_on_within_retraining_hears_nothing_of_dead_weights(digits):
    def run(store):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            learned(digits, consolidation.make("packnet", tasks=2, retrain=1), "power", store=store, count=1)
        return [str(one.message) for one in said if "never move again" in str(one.message)]

    whole = Memory()
    assert run(whole) == []
    relearning = [saved for saved in whole.all if not saved[0]["protection/consolidation//at"][1]]
    assert len(relearning) > 10
    assert run(Memory(relearning[3])) == []


def test_three_hundred_masks_of_two_million_weights_are_eighty_megabytes():
    net = synsim.mlp([1024, 1000, 1000, 10], p=1.0)
    how = consolidation.make("packnet", tasks=300)
    how.claim(net)
    bits = sum(value.nbytes for name, value in how.state_dict().items() if name.startswith("mask/"))
    assert 300 * bits <= 80e6
    other = consolidation.make("packnet", tasks=300)
    other.load_state_dict(how.state_dict())
    assert all(torch.equal(each, other.mask(net, 0)[name]) for name, each in how.mask(net, 0).items())


def test_measurements_of_a_task_see_its_mask(digits):
    how, seen = consolidation.make("efficient-packnet", gamma=0.8, retrain=1), []

    def look(net, task, found=None):
        seen.append(torch.stack([(layer.weight != 0).double().mean() for layer in synsim.synapses(net).values()]))
        return torch.zeros(len(SEEDS))

    guard = Protection(consolidation=how, after_task={"looked": look})
    net, _, _ = learned(digits, how, count=1, protection=guard, probes={"seen": look}, test_every_epoch=False)
    whole, relearned, end = seen
    assert (whole == 1).all()
    shares = torch.stack([mask.double().mean() for mask in how.mask(net, 0).values()])
    assert torch.allclose(relearned, shares)
    assert torch.allclose(end, shares)
    assert all((layer.weight != 0).all() for layer in synsim.synapses(net).values())


def test_a_replica_that_diverges_is_held_and_the_others_go_on(digits):
    net = network()

    class Breaks(torch.optim.SGD):
        steps = 0

        def step(self, closure=None):
            super().step()
            self.steps += 1
            if self.steps == 60:
                with torch.no_grad():
                    net[0].weight[0].fill_(torch.inf)

    # With the last step of the first task, which no loss sees.
    rule, how = Breaks(net.parameters(), lr=0.1), consolidation.make("efficient-packnet", gamma=0.8)
    history = fit(
        net, rule, permuted(digits), steps=60, batch=32, samples=1, protection=Protection(consolidation=how)
    )  # fmt: skip
    assert [failure.replica for failure in history.failures] == [0]
    assert (history.after_task["used"][1].diff() >= 0).all()
    assert float(history.accuracy[1, -1].min()) > 0.3


def refused(message, **options):
    return pytest.param(options, message, id=message[:30])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        refused(r"gamma must lie in \(0, 1\]", gamma=0),
        refused("gamma must be finite and between 0 and 1", gamma=1.5),
        refused("gamma must be finite", gamma=float("nan")),
        refused(r"every density must lie in \(0, 1\]", densities=[0.0, 0.5]),
        refused(r"every density must lie in \(0, 1\], got 1.5", densities=[0.5, 1.5]),
        refused("densities must be ascending", densities=[0.5, 0.1]),
        refused("densities must be ascending, each", densities=[0.5, 0.5]),
        refused("expected at least one density", densities=[]),
        refused("retrain must be a whole number", retrain=-1),
        refused("fresh must be one of redraw, keep", fresh="zero"),
        refused("scope must be one of network, layer", scope="unit"),
        refused(r"reserve must lie in \[0, 1\)", reserve=1.0),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        consolidation.make("efficient-packnet", **options)


def test_packnet_needs_the_number_of_tasks(digits):
    with pytest.raises(ValueError, match="give tasks=T"):
        consolidation.make("packnet")
    with pytest.raises(ValueError, match="share must be one of of-all, of-free"):
        consolidation.make("packnet", tasks=3, share="of-some")
    with pytest.raises(ValueError, match="packnet divides the network among tasks=2, got 3 tasks"):
        learned(digits, consolidation.make("packnet", tasks=2))


def test_networks_and_tasks_that_do_not_fit(digits):
    guard = Protection(consolidation=consolidation.make("efficient-packnet"))

    def run(net, sequence, protection=guard, **options):
        return fit(net, RULES["adam"](net), sequence, epochs=1, batch=32, protection=protection, **options)

    held = permuted(digits)
    with pytest.raises(ValueError, match=r"Hold some out: tasks.permuted\(..., validation=5000\)"):
        run(network(), permuted(digits, validation=0))
    with pytest.raises(ValueError, match=r"this network has none.*p=1\.0"):
        run(nn.Sequential(nn.Linear(64, 10)), tasks.permuted(digits, tasks=2, validation=100))
    normalised = nn.Sequential(synsim.BernoulliLinear(64, 8, p=1.0), nn.BatchNorm1d(8), synsim.BernoulliLinear(8, 10))
    with pytest.raises(ValueError, match=r"module '1' \(BatchNorm1d\) keeps running means"):
        run(normalised, tasks.permuted(digits, tasks=2, validation=100))
    tied = synsim.mlp([64, 64, 64, 10], p=1.0, bias=False)
    tied[2].weight = tied[0].weight
    with pytest.raises(ValueError, match="layers share a weight"):
        run(tied, tasks.permuted(digits, tasks=2, validation=100))
    heads = synsim.networks.MultiHead(synsim.mlp([64, 8], p=1.0), [synsim.BernoulliLinear(8, 2) for _ in range(5)])
    with pytest.raises(ValueError, match="tasks with heads of their own"):
        run(heads, tasks.split(digits, heads="separate", validation=100))
    with pytest.raises(ValueError, match=r"\['permutation 3'\] are not among the tasks"):
        run(network(), held[:2], test=held)
    with pytest.raises(ValueError, match=r"probe 'used' has the name|'used'"):
        run(network(), held, probes={"used": lambda net, task: 0.0})
    with pytest.raises(ValueError, match="reinitialise goes with a penalty"):
        run(network(), held, Protection(consolidation=guard.consolidation, reinitialise=lambda net, k: None))
    with pytest.raises(ValueError, match="efficient-packnet takes no importance"):
        Protection("fisher", "efficient-packnet")
    net = network()
    with pytest.raises(ValueError, match="efficient-packnet needs to know when a task claims"):
        synsim.attach(net, RULES["adam"](net), None, guard.consolidation)


def test_masks_that_are_not_there_or_of_another_network():
    net, how = network(), consolidation.make("packnet", tasks=3, retrain=1)
    with pytest.raises(ValueError, match=r"task 0 \(from 0\) owns nothing yet, 0 tasks have claimed"), how.view(net, 0):
        pass
    how.claim(net)
    with pytest.raises(ValueError, match=r"relearns still: settle\(\) first"):
        how.claim(net)
    other = synsim.mlp([64, 21, 10], p=1.0, replicas=2)
    with pytest.raises(ValueError, match="these masks are those of another network"):
        how.mask(other, 0)
    with pytest.raises(ValueError, match="takes no importance"):
        how.remember(net, {"0.weight": torch.ones(2, 20, 64)})
    with pytest.raises(ValueError, match="layers keep their size"):
        how.grow(net)
    broken = network()
    with torch.no_grad():
        broken[0].weight[1, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"weights of parameter '0\.weight' are not finite"):
        consolidation.make("packnet", tasks=3).claim(broken)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("at"), "expected the state of 'packnet'"),
        (lambda state: state.update(at=torch.tensor([2, 1])), "expected the bits of a mask .* for task 1"),
        (lambda state: state.update(at=torch.tensor([-1, 1])), "the number of claims in the state"),
        (lambda state: state.update({"mask/0/0": torch.zeros(3, dtype=torch.uint8)}), "expected the bits of a mask"),
        (lambda state: [state.pop(f"shape/{name}") for name in "02"], "says nothing of the masks"),
    ],
)
def test_states_that_are_damaged(change, message):
    how = consolidation.make("packnet", tasks=3)
    how.claim(network())
    state, other = how.state_dict(), consolidation.make("packnet", tasks=3)
    change(state)
    with pytest.raises(ValueError, match=message):
        other.load_state_dict(state)
    assert other.claims == 0


def test_a_session_keeps_what_was_claimed(digits, tmp_path):
    net = network()
    guard = Protection(consolidation=consolidation.make("efficient-packnet", gamma=0.8))
    folder = records.create(tmp_path / "run", {})
    phase = Session(folder, quiet=True).fit(
        "tasks", net, RULES["adam"](net), permuted(digits), epochs=1, batch=32, protection=guard
    )
    for name in ("density", "claimed", "used", "dense_accuracy", "sparse_accuracy", "full"):
        assert phase.dataset[name].dims == ("replica", "task")
        assert phase.dataset[name].notnull().all()
