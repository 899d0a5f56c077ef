"""Networks that others wrap: compiled (whole, in part, in place), distributed over one process, averaged.

The same bits as the network itself, the same draws consumed, and the same names: what was seeded, measured or saved on
one of the two holds for the other.
"""

import copy
import logging
import shutil

import pytest
import torch
import torch.distributed as dist
from layer_kinds import KINDS, build, draws, inputs, passed, same
from packaging.version import Version
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

import synsim
from synsim import consolidation, importance
from synsim.tasks import Examples, Task
from synsim.training import Protection, fit
from synsim.training.step import apply_step

# The compiler asks for the gradient of every tensor that enters a graph, and leaves its graphs where processes meet.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
    pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace the builtin .*_broadcast:UserWarning"),
]
EACH = pytest.mark.parametrize("kind", KINDS)
SOME = ["batch", "sample", "event", "convolution", "dropout", "ghost-code", "spiking"]
"""One kind for every way that a pass can take."""
COMPILED = [(kind, "eager") for kind in KINDS if not kind.startswith("spiking,")]
COMPILED += [(kind, "aot_eager") for kind in ("batch", "sample", "convolution", "dropout", "spiking")]
Y = torch.tensor([0, 1, 2, 1])


@pytest.fixture(autouse=True)
def fresh():
    logging.disable()
    torch.compiler.reset()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A group of one process."""
    place = tmp_path_factory.mktemp("group") / "file"
    dist.init_process_group("gloo", init_method=f"file://{place}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def in_part(net):
    net[0] = torch.compile(net[0], backend="eager")
    return net


WRAPPERS = {
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "compiled in part": in_part,
    "distributed": DistributedDataParallel,
    "compiled and distributed": lambda net: DistributedDataParallel(torch.compile(net, backend="eager")),
    "distributed and compiled": lambda net: torch.compile(DistributedDataParallel(net), backend="eager"),
    "averaged": AveragedModel,
}
WRAPPED = pytest.mark.parametrize("how", WRAPPERS)


# ---- passes


@pytest.mark.parametrize(("kind", "backend"), COMPILED)
def test_compiled_passes_are_those_of_the_network(kind, backend):
    plain, net, x = build(kind), build(kind), inputs(kind)
    compiled = torch.compile(net, backend=backend)
    seen = set()
    for _ in range(10):
        expected = passed(plain, plain, x)
        found = passed(compiled, compiled, x)
        assert same(found, expected)
        seen.add(str(found[0].tolist()))
    assert draws(net) == draws(compiled) == draws(plain) == [10] * len(draws(net))
    assert len(seen) == (1 if kind == "always released" else 10)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="inductor needs a C++ compiler")
def test_passes_compiled_by_inductor():
    plain, net, x = build("batch"), build("batch"), inputs("batch")
    compiled = torch.compile(net)
    for _ in range(10):
        for one, other in zip(passed(compiled, compiled, x), passed(plain, plain, x), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
        assert torch.equal(net[0].mask, plain[0].mask)
    assert draws(net) == [10, 10]


def checkpointed(net, reentrant):
    return lambda x: checkpoint(net, x, use_reentrant=reentrant)


COMPILATIONS = {
    "in place": lambda net: (net.compile(backend="eager"), net)[1],
    "function": lambda net: torch.compile(lambda x: torch.tanh(net(x)) + net(x), backend="eager"),
    "in part": in_part,
    "checkpoint inside": lambda net: torch.compile(
        lambda x: checkpoint(net, x, use_reentrant=False) * 2, backend="eager"
    ),
    "checkpoint outside": lambda net: checkpointed(torch.compile(net, backend="eager"), False),
    "reentrant checkpoint outside": lambda net: checkpointed(torch.compile(net, backend="eager"), True),
}
UNCOMPILED = {
    "function": lambda net: lambda x: torch.tanh(net(x)) + net(x),
    "checkpoint inside": lambda net: lambda x: net(x) * 2,
}


@pytest.mark.parametrize("how", COMPILATIONS)
@pytest.mark.parametrize("kind", ["sample", "dropout"])
def test_compiled_in_other_ways(kind, how):
    plain, net, x = build(kind), build(kind), inputs(kind)
    run, expected = COMPILATIONS[how](net), UNCOMPILED.get(how, lambda net: net)(plain)
    for _ in range(3):
        assert same(passed(net, run, x), passed(plain, expected, x))
    assert draws(net) == draws(plain)


@pytest.mark.skipif(Version(torch.__version__) < Version("2.12"), reason="its compiler sees no view of a thread")
@pytest.mark.parametrize("kind", [*SOME[:-1], "ghost-expected", "unnormalised", "batch, replicas"])
def test_the_mean_field_is_one_graph(kind):
    plain, net, x = build(kind), build(kind), inputs(kind)
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    with synsim.expected(net), synsim.expected(plain):
        assert same(passed(net, compiled, x), passed(plain, plain, x))
    assert set(draws(net)) == {0}


TRACERS = {
    "fullgraph": lambda net, x: torch.compile(net, backend="eager", fullgraph=True)(x),
    "torch.export": lambda net, x: torch.export.export(net, (x,)),
    "make_fx": lambda net, x: torch.fx.experimental.proxy_tensor.make_fx(net)(x),
    "torch.jit.trace": lambda net, x: torch.jit.trace(net, x),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize("tracer", TRACERS)
@pytest.mark.parametrize("kind", SOME)
def test_tracers_that_would_keep_one_mask_are_refused(kind, tracer):
    net, x = build(kind), inputs(kind)
    with pytest.raises(RuntimeError, match=r"synsim\.expected\(net\)|outside of the compiled graph"):
        TRACERS[tracer](net, x)
    assert torch.equal(net(x), build(kind)(x)), "the refusal consumed a draw"


@EACH
def test_one_process_of_a_distributed_network(kind, alone):
    plain, net, x = build(kind), build(kind), inputs(kind)
    parallel = DistributedDataParallel(net)
    for _ in range(3):
        assert same(passed(net, parallel, x), passed(plain, plain, x))
    assert draws(parallel) == draws(plain)


# ---- names


def names(net):
    return [name for name, _ in net.named_parameters()]


@WRAPPED
def test_names_and_seeds(how, alone):
    net = WRAPPERS[how](build("dropout"))
    plain, x = build("dropout"), inputs("dropout")
    assert list(synsim.synapses(net)) == list(synsim.synapses(plain)) == ["0", "3"]
    for one in (net, plain):
        synsim.seed(one, 21)
    assert torch.equal(net(x), plain(x))


def numbered(net):
    """An importance that differs from entry to entry."""
    values = {name: torch.rand(p.shape, dtype=p.dtype) for name, p in net.named_parameters()}
    return {name: value + 0.1 for name, value in values.items()}


@WRAPPED
@pytest.mark.parametrize("name", ["fisher", "mas", "uniform", "magnitude", "release-probability"])
def test_importances(name, how, alone):
    plain, net, x = build("batch"), WRAPPERS[how](build("batch")), inputs("batch")
    found, expected = (importance.make(name).estimate(one, x) for one in (net, plain))
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert torch.allclose(found[key], value, rtol=1e-12), key


@WRAPPED
@pytest.mark.parametrize("kind", ["penalty", "modulation", "freeze", "mask"])
def test_what_is_remembered_of_one_protects_the_other(kind, how, alone):
    plain, net = build("batch"), build("batch")
    values = numbered(plain)
    wrapped = WRAPPERS[how](net)
    options = {"share": 0.3} if kind == "freeze" else {}
    found = []
    renamed = dict(zip(names(wrapped), values.values(), strict=True))
    for learner, measured in ((plain, values), (wrapped, values), (wrapped, renamed)):
        rule = consolidation.make(kind, **options)
        rule.remember(learner, measured)
        with torch.no_grad():
            for p in learner.parameters():
                p.add_(1)
        found.append({**rule.gradient(learner), **rule.rate(learner)})
        with torch.no_grad():
            for p in learner.parameters():
                p.sub_(1)
    assert found[0]
    for other in found[1:]:
        assert list(other) == list(found[0])
        assert all(torch.allclose(other[key], value) for key, value in found[0].items())


@pytest.mark.parametrize(("rule", "how"), [("SGD", "compiled"), *(("PresynapticSGD", how) for how in WRAPPERS)])
def test_penalties_under_either_name(rule, how, alone):
    moved = []
    own = names(build("batch"))
    for wrap, given in ((lambda net: net, names), (WRAPPERS[how], names), (WRAPPERS[how], lambda net: own)):
        net = wrap(build("batch"))
        if rule == "SGD":
            optimiser = torch.optim.SGD(net.parameters(), 0.1)
        else:
            optimiser = synsim.PresynapticSGD(net, lr=0.1, p_up=0.07, p_down=0.05, g_lim=0.01)
        net(inputs("batch")).square().sum().backward()
        penalty = {name: p.detach().sin() for name, p in zip(given(net), net.parameters(), strict=True)}
        apply_step(net, optimiser, lambda penalty=penalty: penalty)
        moved.append([p.detach() for p in net.parameters()] + [layer.p for layer in synsim.synapses(net).values()])
    assert same(moved[1], moved[0])
    assert same(moved[2], moved[0])
    start = build("batch")
    assert not torch.equal(moved[0][0], start[0].weight)


@WRAPPED
def test_lesions(how, alone):
    plain, net, x = build("batch"), build("batch"), inputs("batch")
    values = numbered(plain)
    wrapped = WRAPPERS[how](net)
    for order in ("random", values):
        curves = [synsim.lesion_curve(one, x, Y, order, [0.4])[1] for one in (plain, wrapped)]
        assert torch.equal(*curves)


class StoppedError(Exception):
    pass


class Store:
    """Keeps one state in memory, and may interrupt the run that gives it."""

    def __init__(self, stop):
        self.state, self.stop = None, stop

    def load(self):
        return self.state

    def due(self):
        return True

    def save(self, tensors, meta):
        self.state = {name: value.detach().clone() for name, value in tensors.items()}, copy.deepcopy(meta)
        self.stop -= 1
        if self.stop == 0:
            raise StoppedError


@pytest.mark.parametrize("ways", [("plain", "compiled"), ("compiled", "plain"), ("distributed", "plain")], ids=str)
def test_a_run_goes_on_with_the_other(ways, alone):
    examples = Examples(inputs("batch", rows=40).float(), torch.arange(40) % 3, 0.0, 1.0)
    tasks = [Task(name, examples, examples, 3) for name in ("one", "two")]

    def run(way, store):
        net = build("batch").float()
        net = WRAPPERS[way](net) if way in WRAPPERS else net
        rule = synsim.PresynapticSGD(net, lr=0.1, p_up=0.07, p_down=0.05, g_lim=0.01)
        protection = Protection(importance.make("si"), consolidation.make("penalty"))
        fit(net, rule, tasks, seeds=[0], epochs=1, batch=10, protection=protection, store=store)
        return [p.detach() for p in net.parameters()] + [layer.p for layer in synsim.synapses(net).values()]

    store = Store(6)
    with pytest.raises(StoppedError):
        run(ways[0], store)
    assert same(run(ways[1], store), run(ways[1], Store(-1)))
