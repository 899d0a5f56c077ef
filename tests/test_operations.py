"""Operations at synapses against loops, drawn masks, and the counters of NeuroBench and SpikingJelly."""

import itertools
import math
import warnings

import pytest
import torch
from torch import nn

import synsim
from synsim import meters
from synsim.meters import HOROWITZ_45NM, OpCosts, op_budget, operations
from synsim.spiking import ShortTerm, spiking_mlp
from synsim.synapses import evaluation

DOUBLE = torch.float64


def other(name):
    """Another library, which may warn of what it likes when it is imported; skip where it isn't installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, exc_type=ImportError)


def network(**options):
    return synsim.mlp([6, 5, 4, 3], **{"seed": 3, "dtype": DOUBLE, **options})


def images(count=7, lead=()):
    x = torch.rand(*lead, count, 6, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    return x * (x > 0.3)  # some inputs are 0


def spiking(**options):
    options = {"p": 1.0, "seed": 1, "window": 8.0, "rate": 300.0, "threshold": 0.3, "dtype": DOUBLE, **options}
    net = spiking_mlp([6, 9, 3], **options)
    with torch.no_grad():
        net.layers[0].weight.abs_()
        net.layers[0].weight[..., 0, 1] = 0.0  # no synapse
    return net


def rows_of(net, x):
    """What each layer of a network without failures is called with."""
    heard = {}

    def listen(name):
        return lambda module, inputs, options: heard.update({name: inputs[0].clone()})

    handles = [
        layer.register_forward_pre_hook(listen(name), with_kwargs=True) for name, layer in synsim.synapses(net).items()
    ]
    with torch.no_grad(), evaluation(net, 0) as passes:
        passes.at(0, 0, 0)
        net(x)
    for handle in handles:
        handle.remove()
    return heard


def naive(weight, rows):
    """Effective operations, one by one."""
    weight = weight.tolist()
    pairs = itertools.product(rows.tolist(), range(len(weight[0])), range(len(weight)))
    return sum(row[i] != 0 and weight[o][i] != 0 for row, i, o in pairs)


def test_rates_in_the_mean_field_against_loops():
    net, x = network(bias=True, sites=3), images()
    with torch.no_grad():
        net[2].weight[1, :2] = 0.0
    with synsim.expected(net):
        rows = rows_of(net, x)
        expected = sum(naive(layer.weight, rows[name]) for name, layer in synsim.synapses(net).items())
        found = operations(net, x)
        assert meters.energy(net, "synops", x=x) == found.multiply_accumulates
    assert float(found.multiply_accumulates) == pytest.approx(expected / 7, rel=1e-12)
    assert 0 < expected / 7 < float(found.dense) == 6 * 5 + 5 * 4 + 4 * 3 == float(meters.energy(net, "macs", x=x))
    assert float(found.accumulates) == 0


@pytest.mark.parametrize("sites", [1, 3])
def test_expected_operations_are_the_mean_of_those_at_drawn_masks(sites):
    layer = synsim.mlp([6, 4], sites=sites, seed=0, dtype=DOUBLE)[0]
    layer.p.copy_(torch.linspace(0.1, 1, 24, dtype=DOUBLE).reshape(4, 6))
    a = images(1)
    drawn = []
    for _ in range(2000):
        layer(a)
        drawn.append(float((layer.mask.double().clamp(max=1) * (a != 0)).sum()))
    drawn = torch.tensor(drawn, dtype=DOUBLE)
    z = (drawn.mean() - operations(nn.Sequential(layer), a).multiply_accumulates) / (drawn.std() / math.sqrt(2000))
    assert drawn.std() > 0
    assert abs(float(z)) < 3


def test_convolutions_skip_zeros_and_their_padding():
    layer = synsim.BernoulliConv2d(2, 4, 3, stride=2, padding=1, groups=2, p=1.0, dtype=DOUBLE)
    x = torch.rand(3, 2, 5, 5, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    x[x < 0.4] = 0
    patches = torch.nn.functional.unfold(x, 3, padding=1, stride=2).reshape(3, 2, 9, -1)
    entries = torch.nn.functional.unfold(torch.ones_like(x), 3, padding=1, stride=2)
    found = operations(nn.Sequential(layer, nn.Flatten()), x)
    assert float(found.multiply_accumulates) == pytest.approx(2 * float((patches != 0).sum()) / 3, rel=1e-12)
    assert float(found.dense) == pytest.approx(2 * float(entries.sum()) / 3, rel=1e-12)


@pytest.mark.parametrize("lead", [(), (2,)])
def test_replicas_are_those_alone(lead):
    x = images(lead=lead)
    together = operations(network(replicas=2, p=[0.3, 0.8]), x, samples=2)
    for r, p in enumerate((0.3, 0.8)):
        alone = operations(network(seed=3 + r, p=p), x[r] if lead else x, samples=2)
        for whole, single in zip(together, alone, strict=True):
            assert whole.shape == (2,)
            assert float(whole[r]) == pytest.approx(float(single), rel=1e-12)


@pytest.mark.parametrize("readout", ["mean", "count"])
def test_spikes_are_added_and_every_step_counts(readout):
    net, x = spiking(readout=readout), images().clamp(max=1)
    rows = rows_of(net, x)
    expected = sum(naive(layer.weight, rows[name]) for name, layer in synsim.synapses(net).items())
    found = operations(net, x, samples=1)
    assert rows["layers.1"].any()
    assert float(found.accumulates) == pytest.approx(expected / 7, rel=1e-12)
    assert (float(found.multiply_accumulates), float(found.dense)) == (0, 8 * (6 * 9 + 9 * 3))
    assert float(meters.energy(net, "pj", x=x, samples=1)) == pytest.approx(0.9 * expected / 7, rel=1e-12)
    events = synsim.spiking.events(net, x)  # where every synapse releases a site at every spike
    assert float(events.vesicles) == pytest.approx(float(found.accumulates), rel=1e-12)


def test_inputs_of_plus_and_minus_one_are_added_and_graded_ones_multiplied():
    layer = nn.Linear(4, 2, dtype=DOUBLE)
    signs = torch.tensor([[1.0, -1.0, 0.0, 1.0]], dtype=DOUBLE)
    assert [float(one) for one in operations(layer, signs)] == [6, 0, 8]
    assert [float(one) for one in operations(layer, signs / 2)] == [0, 6, 8]
    mixed = torch.stack([signs, signs / 2])
    both = operations(synsim.mlp([4, 2], p=1.0, replicas=2, dtype=DOUBLE), mixed)
    assert torch.stack(both).tolist() == [[6, 0], [0, 6], [8, 8]]


def test_short_term_plasticity_scales_the_releases():
    short, x = ShortTerm(0.5, 0.0, 50.0), images().clamp(max=1)
    net = spiking(short_term=short, scope="event", p=0.5, readout="mean")
    plain = spiking(scope="event", p=0.5, readout="mean")
    with torch.no_grad(), evaluation(net, 0) as passes:
        passes.at(0, 0, 0)
        spikes = net.encode(x)
    factors = short.factors(spikes, 1.0)
    synapses = (net.layers[0].weight != 0).sum(0)
    expected = float((0.5 * spikes * factors * synapses).sum()) / 7
    first = nn.ModuleList([net.layers[1]])
    with torch.no_grad():
        first[0].weight.zero_()  # nothing to count behind the first layer
    assert float(operations(net, x, samples=1).accumulates) == pytest.approx(expected, rel=1e-12)
    assert expected < float(operations(plain, x, samples=1).accumulates)
    # In the other scopes the input is scaled: multiplied.
    batch = operations(spiking(short_term=short, p=0.5), x, samples=1)
    assert float(batch.multiply_accumulates) > 0
    with pytest.raises(ValueError, match="each of the sites"):
        operations(spiking(short_term=short, scope="event", p=0.5, sites=2), x)


def test_picojoules_by_the_table():
    net, x = network(), images()
    counted = operations(net, x)
    budget = op_budget(net, x)
    assert budget["accumulates"] == 0
    assert float(budget["multiply_accumulates"]) == pytest.approx(4.6 * float(counted.multiply_accumulates), rel=1e-12)
    own = OpCosts(accumulate=0.03, multiply_accumulate=0.23)
    assert float(meters.energy(net, "pj", x=x, costs=own)) == pytest.approx(
        0.23 * float(counted.multiply_accumulates), rel=1e-12
    )
    assert HOROWITZ_45NM.accumulate == 0.9
    assert HOROWITZ_45NM.multiply_accumulate == pytest.approx(3.7 + 0.9, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: meters.energy(network(), "pj", x=-images()),
            "stand for spike rates here and must be at least 0, got -",
        ),
        (
            lambda: meters.energy(nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 2)).double(), "pj", x=images()),
            "layer '1'",
        ),
        (lambda: meters.energy(network(), "synops"), "needs images"),
        (lambda: meters.energy(network(), "joules", x=images()), "kind must be one of synaptic, .*, synops, macs, pj"),
        (lambda: operations(nn.ReLU(), images()), "network with synapses, got none"),
        (lambda: OpCosts(accumulate=-1.0), "accumulate must be finite and at least 0"),
        (lambda: OpCosts(accumulate="1"), "accumulate must be"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_negative_inputs_are_operations_like_others():
    assert operations(network(), -images(), samples=1).multiply_accumulates == pytest.approx(
        float(operations(network(), images(), samples=1).multiply_accumulates), rel=0.5
    )
    layer = nn.Linear(6, 3).double()
    assert operations(layer, -images()) == operations(layer, images())


@pytest.mark.filterwarnings("ignore")
def test_counts_are_those_of_neurobench():
    workload = other("neurobench.metrics.workload")
    models, hooks = other("neurobench.models"), other("neurobench.hooks.layer")
    convolutions = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 3, 2, stride=2, groups=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(27, 5),
    )
    linear = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    with torch.no_grad():
        linear[0].weight[2] = 0.0
    pixels = torch.rand(3, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    binary = torch.tensor([[1.0, 0, 0, 1, 0, 1], [0.0, 0, 1, 0, 0, 1]])
    for net, x in ((convolutions, pixels * (pixels > 0.5)), (linear, images().float()), (linear, binary)):
        wrapped = models.TorchModel(net)
        layers = [layer for layer in net if isinstance(layer, nn.Linear | nn.Conv2d)]
        wrapped.connection_hooks = [hooks.LayerHook(layer) for layer in layers]
        counter = workload.SynapticOperations()
        theirs = counter(wrapped, wrapped(x), (x, None))
        for hook in wrapped.connection_hooks:
            hook.close()
        ours = operations(net, x)
        assert theirs["Effective_MACs"] == pytest.approx(float(ours.multiply_accumulates))
        assert theirs["Effective_ACs"] == pytest.approx(float(ours.accumulates))
        assert theirs["Dense"] == pytest.approx(float(ours.dense))
        assert theirs["Dense"] > theirs["Effective_MACs"] + theirs["Effective_ACs"] > 0


@pytest.mark.filterwarnings("ignore")
def test_counts_of_spikes_are_those_of_neurobench_and_spikingjelly():
    net, x = spiking(), images().clamp(max=1)
    ours = operations(net, x, samples=1)
    rows = rows_of(net, x)
    layers = other("neurobench.metrics.utils.layers")
    twins = {}
    for name, layer in synsim.synapses(net).items():
        twins[name] = nn.Linear(layer.in_features, layer.out_features, bias=False, dtype=DOUBLE)
        twins[name].load_state_dict({"weight": layer.weight.detach()})
    counts = [layers.single_layer_MACs(rows[name], twin) for name, twin in twins.items()]
    assert all(spiking for _, spiking in counts)
    assert sum(count for count, _ in counts) / 7 == pytest.approx(float(ours.accumulates))
    counters = other("spikingjelly.activation_based.op_counter")
    # It counts strengths of 0 as well.
    with torch.no_grad():
        net.layers[0].weight[0, 1] = 0.1
        twins["layers.0"].weight[0, 1] = 0.1
    rows, counter = rows_of(net, x), counters.SynOpCounter()
    with torch.no_grad(), counters.DispatchCounterMode([counter]):
        for name, twin in twins.items():
            twin(rows[name])
    assert counter.get_total() / 7 == pytest.approx(float(operations(net, x, samples=1).accumulates))
