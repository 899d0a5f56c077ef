"""This package beside others: the same work in one process and one thread, its time, memory, and how far they agree.

Libraries take turns; the median of the times counts, each at the faster of its chunk sizes. What is not installed says
so: pip install "synsim[compare]" brings all of them.
"""

import argparse
import copy
import ctypes
import gc
import itertools
import json
import statistics
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import synsim
from synsim import importance, tasks
from synsim.spiking import spiking_mlp
from synsim.training import Protection, fit

Run = Callable[[], Any]
SIZES, SPIKING = (784, 200, 200, 10), (784, 100, 10)
STEPS, BATCH, STRENGTH = 25, 100, 100.0
CHUNKS, VECTORS = (100, 500), 20


@dataclass(frozen=True)
class Row:
    """One library at one piece of work.

    Attributes:
        work: what is done.
        library: by whom.
        package: its name in the registry.
        make: prepares the work (imports included) and returns what does it.
        what: what it computes, if that is not the same.
        compare: (ours, theirs) -> how far they agree, in words; None: nothing to compare.
    """

    work: str
    library: str
    package: str
    make: Callable[[], Run]
    what: str = ""
    compare: Callable[[Any, Any], str] | None = None


@dataclass
class Found:
    """What was measured; None where the library is not installed or failed."""

    work: str
    library: str
    version: str
    seconds: float | None
    mib: float | None
    times_ours: float | None
    agreement: str
    what: str


def plain() -> nn.Sequential:
    """The multilayer network of the paper, plain."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(SIZES):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convolutional() -> nn.Sequential:
    """A small convolutional network."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
    pools = nn.MaxPool2d(2), nn.MaxPool2d(2)
    head = nn.Flatten(), nn.Linear(32 * 49, 10)
    return nn.Sequential(first, nn.ReLU(), pools[0], second, nn.ReLU(), pools[1], *head)


def relative(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> str:
    """The largest difference of any entry, relative to the largest of its tensor."""
    gaps = [float((ours[name] - value).abs().max() / ours[name].abs().max()) for name, value in theirs.items()]
    return f"differs by at most {max(gaps):.1g} of the largest"


def fisher_backpack(net: nn.Module, x: Tensor, chunk: int) -> Run:
    """Its exact diagonal of the Gauss-Newton matrix, which is the Fisher information of a softmax."""
    from backpack import backpack, extend, extensions

    model, loss = extend(copy.deepcopy(net)), extend(nn.CrossEntropyLoss(reduction="sum"))

    def run() -> dict[str, Tensor]:
        total: dict[str, Tensor] = {}
        for rows in x.split(chunk):
            output = model(rows)
            with backpack(extensions.DiagGGNExact()):
                loss(output, output.argmax(1)).backward()
            for name, parameter in model.named_parameters():
                total[name] = total.get(name, 0) + parameter.diag_ggn_exact / len(x)
        return total

    return run


def fisher_nngeometry(net: nn.Module, x: Tensor, chunk: int) -> Run:
    """Its Fisher information as a diagonal."""
    from nngeometry.metrics import FIM
    from nngeometry.object import PMatDiag
    from torch.utils.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(x, torch.zeros(len(x), dtype=torch.int64)), batch_size=chunk)

    def run() -> dict[str, Tensor]:
        flat = FIM(net, loader, PMatDiag, variant="classif_logits").get_diag()
        named = dict(net.named_parameters())
        parts = flat.split([parameter.numel() for parameter in named.values()])
        return {name: part.reshape(named[name].shape) for name, part in zip(named, parts, strict=True)}

    return run


def fisher_curvlinops(net: nn.Module, x: Tensor, chunk: int) -> Run:
    """Its estimate of the same diagonal from products with random vectors."""
    from curvlinops import GGNLinearOperator, hutchinson_diag

    named = dict(net.named_parameters())
    data = [(rows, torch.zeros(len(rows), dtype=torch.int64)) for rows in x.split(chunk)]

    def run() -> dict[str, Tensor]:
        operator = GGNLinearOperator(net, nn.CrossEntropyLoss(), list(named.values()), data, check_deterministic=False)
        flat = torch.as_tensor(hutchinson_diag(operator, VECTORS))
        parts = flat.split([parameter.numel() for parameter in named.values()])
        return {name: part.reshape(named[name].shape) for name, part in zip(named, parts, strict=True)}

    return run


def fishers(images: int) -> list[Row]:
    """The exact Fisher diagonal of two networks."""
    found = []
    works: tuple[tuple[str, nn.Module, Tensor], ...] = (
        (f"exact Fisher, MLP, {images} images", plain(), torch.rand(images, SIZES[0])),
        (f"exact Fisher, CNN, {images // 8} images", convolutional(), torch.rand(images // 8, 1, 28, 28)),
    )
    estimate = f"an estimate from {VECTORS} random vectors"
    others = (
        ("BackPACK", "backpack-for-pytorch", fisher_backpack, ""),
        ("nngeometry", "nngeometry", fisher_nngeometry, ""),
        ("curvlinops", "curvlinops-for-pytorch", fisher_curvlinops, estimate),
    )
    for work, net, x in works:
        exact = importance.make("fisher")
        found.append(Row(work, "synsim", "synsim", lambda net=net, x=x, exact=exact: lambda: exact.estimate(net, x)))  # type: ignore[misc]
        for library, package, make, what in others:
            for chunk in CHUNKS:
                made = lambda make=make, net=net, x=x, chunk=chunk: make(net, x, chunk)  # noqa: E731
                found.append(Row(work, library, package, made, what, relative))
    return found


def protected(method: str, count: int) -> Run:
    """Two permuted tasks under a protection, by `fit`."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randint(256, (count, 784), generator=generator), torch.randint(10, (count,), generator=generator)
    data = synsim.data.Dataset.from_arrays(x.to(torch.uint8).numpy(), y.numpy(), name="noise")
    two = tasks.permuted(data, tasks=2)

    def run() -> None:
        net = plain()
        how = Protection(importance.make(method), synsim.consolidation.make("penalty", strength=STRENGTH))
        fit(net, torch.optim.SGD(net.parameters(), 0.05), two, seeds=[0], epochs=1, batch=BATCH, protection=how)

    return run


def avalanche(method: str, count: int) -> Run:
    """The same by a strategy of Avalanche."""
    from avalanche.benchmarks import tensors_benchmark
    from avalanche.training import supervised
    from avalanche.training.plugins import EvaluationPlugin

    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(784, generator=generator) for _ in range(2)]
    x, y = torch.rand(count, 784, generator=generator), torch.randint(10, (count,), generator=generator)
    cut = count * 3 // 4
    parts = [[(x[rows][:, order], y[rows]) for order in orders] for rows in (slice(0, cut), slice(cut, None))]
    benchmark = tensors_benchmark(*parts, task_labels=[0, 0], complete_test_set_only=False)
    kinds: dict[str, tuple[Any, dict[str, float]]] = {
        "fisher": (supervised.EWC, {"ewc_lambda": STRENGTH}),
        "si": (supervised.SynapticIntelligence, {"si_lambda": STRENGTH}),
        "mas": (supervised.MAS, {"lambda_reg": STRENGTH}),
    }
    kind, options = kinds[method]

    def run() -> None:
        net = plain()
        strategy = kind(
            net, torch.optim.SGD(net.parameters(), 0.05), criterion=nn.CrossEntropyLoss(), train_mb_size=BATCH,
            train_epochs=1, eval_mb_size=1000, evaluator=EvaluationPlugin(), **options,
        )  # fmt: skip
        for experience in benchmark.train_stream:
            strategy.train(experience)
            strategy.eval(benchmark.test_stream)

    return run


def protections(count: int) -> list[Row]:
    """Two tasks under EWC, SI and MAS."""
    notes = {"fisher": "the squared gradient of batches, not of examples", "si": "", "mas": ""}
    found = []
    for (method, what), name in zip(notes.items(), ("EWC", "SI", "MAS"), strict=True):
        work = f"{name}, two tasks of {count * 3 // 4} images"
        found.append(Row(work, "synsim", "synsim", lambda method=method: protected(method, count)))  # type: ignore[misc]
        found.append(
            Row(work, "Avalanche", "avalanche-lib", lambda method=method: avalanche(method, count), what)  # type: ignore[misc]
        )
    return found


def spikes() -> tuple[Tensor, Tensor]:
    """Spikes [T, B, I] and labels."""
    generator = torch.Generator().manual_seed(0)
    fired = torch.rand(STEPS, BATCH, SPIKING[0], generator=generator) < 0.05
    return fired.float(), torch.randint(10, (BATCH,), generator=generator)


def trained(net: nn.Module, count: Callable[[Tensor], Tensor]) -> Run:
    """A step of SGD on the spike counts of the output."""
    x, y = spikes()
    optimiser = torch.optim.SGD(net.parameters(), 0.05)

    def run() -> None:
        optimiser.zero_grad()
        F.cross_entropy(count(x), y).backward()
        optimiser.step()

    return run


def step_synsim(p: float) -> Run:
    """A step of a network of `spiking_mlp`."""
    net = spiking_mlp(SPIKING, p=p, readout="count", window=float(STEPS), threshold=0.5)
    return trained(net, lambda x: net.run(x).logits)


def by_steps(
    layers: list[nn.Module], neurons: list[Any], start: Callable[[Any], Any] = lambda neuron: None
) -> Callable[[Tensor], Tensor]:
    """Spike counts of a network whose neurons take a step at a time and hand out their state."""

    def count(x: Tensor) -> Tensor:
        states = [start(neuron) for neuron in neurons]
        total = torch.zeros(BATCH, SPIKING[-1])
        for now in x:
            for index, (layer, neuron) in enumerate(zip(layers, neurons, strict=True)):
                now, states[index] = neuron(layer(now), states[index])
            total = total + now
        return total

    return count


def linear() -> list[nn.Module]:
    """The synapses of the spiking networks of others."""
    return [nn.Linear(inputs, outputs, bias=False) for inputs, outputs in itertools.pairwise(SPIKING)]


def step_snntorch() -> Run:
    """A step by snnTorch."""
    import snntorch

    layers, neurons = linear(), [snntorch.Leaky(0.9, threshold=0.5, reset_mechanism="zero") for _ in SPIKING[1:]]
    # Without a state they would go on where the pass before ended, in its graph.
    return trained(nn.ModuleList(layers), by_steps(layers, neurons, lambda neuron: neuron.reset_mem()))


def step_norse() -> Run:
    """A step by norse."""
    from norse.torch import LIFBoxCell, LIFBoxParameters

    layers = linear()
    neurons = [LIFBoxCell(LIFBoxParameters(tau_mem_inv=torch.tensor(100.0), v_th=torch.tensor(0.05))) for _ in layers]
    return trained(nn.ModuleList(layers), by_steps(layers, neurons))


def step_spikingjelly() -> Run:
    """A step by SpikingJelly, with all steps of a layer at once."""
    from spikingjelly.activation_based import functional, neuron

    layers: list[nn.Module] = []
    for one in linear():
        layers += [one, neuron.LIFNode(10.0, decay_input=False, v_threshold=0.5, step_mode="m")]
    net = nn.Sequential(*layers)

    def count(x: Tensor) -> Tensor:
        functional.reset_net(net)
        total: Tensor = net(x).sum(0)
        return total

    return trained(net, count)


def training_steps() -> list[Row]:
    """A training step of the same spiking network, through time."""
    work = f"step through time, {'-'.join(map(str, SPIKING))}, {STEPS} steps, batch {BATCH}"
    return [
        Row(work, "synsim", "synsim", lambda: step_synsim(1.0), "p = 1"),
        Row(work, "synsim, p = 0.5", "synsim", lambda: step_synsim(0.5), "synapses fail"),
        Row(work, "snnTorch", "snntorch", step_snntorch, "plain synapses; the reset keeps the next input"),
        Row(work, "norse", "norse", step_norse, "plain synapses; the reset keeps the next input"),
        Row(work, "SpikingJelly", "spikingjelly", step_spikingjelly, "plain synapses; the reset keeps the next input"),
    ]


def releasing(simulator: str) -> Run:
    """A run of stochastic synapses that are released spike by spike; the mean releases at each synapse."""
    net = spiking_mlp((100, 100, 10), p=0.3, scope="event", window=float(STEPS), threshold=0.2)
    generator = torch.Generator().manual_seed(0)
    fired = (torch.rand(STEPS, 10, 100, generator=generator) < 0.1).float()
    if simulator == "synsim":
        return lambda: net.run(fired)
    from synsim.spiking import brian

    there = brian.to_brian2(net, target="numpy")
    return lambda: brian.run(there, fired, seed=1, progress=False)


def alike(ours: Any, theirs: Any) -> str:
    """Spikes of the hidden population in both, which share no random numbers."""
    counts = [float(one.spikes["hidden 1"].sum()) for one in (ours, theirs)]
    return f"{counts[0]:.0f} and {counts[1]:.0f} hidden spikes"


def simulations() -> list[Row]:
    """Stochastic synapses, run."""
    work = f"run of stochastic synapses, 100-100-10, {STEPS} steps, 10 examples"
    return [
        Row(work, "synsim", "synsim", lambda: releasing("synsim")),
        Row(work, "Brian2 (NumPy)", "brian2", lambda: releasing("brian2"), "each example in turn", alike),
    ]


def resident() -> float:
    """MiB that this process holds."""
    with Path("/proc/self/statm").open(encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def memory(run: Run) -> float:
    """MiB that a run takes at most beyond what was held before, looked at every millisecond."""
    # What earlier runs gave back to the allocator alone would be taken again without a trace.
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = most = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.001):
            most = max(most, resident())

    watching = threading.Thread(target=watch)
    watching.start()
    run()
    done.set()
    watching.join()
    return most - before


def clocked(runs: dict[str, Run], turns: int) -> dict[str, float]:
    """Seconds of processor time, the median of some turns in which all take part."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _, (name, run) in itertools.product(range(turns), runs.items()):
        start = time.process_time()
        run()
        seconds[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def installed(package: str) -> str | None:
    """The version of a package, or None."""
    try:
        return synsim.__version__ if package == "synsim" else version(package)
    except PackageNotFoundError:
        return None


def measured(rows: list[Row], turns: int) -> list[Found]:
    """All libraries at one piece of work; ours comes first."""
    runs: dict[str, Run] = {}
    results: dict[str, Any] = {}
    problems: dict[str, str] = {}
    held: dict[str, float] = {}
    keys = [f"{index}" for index in range(len(rows))]
    for key, row in zip(keys, rows, strict=True):
        if installed(row.package) is None:
            continue
        try:
            runs[key] = row.make()
            results[key] = runs[key]()
            held[key] = memory(runs[key])
        except Exception as error:
            # A library that fails is a row like another, and ends no table.
            runs.pop(key, None)
            problems[key] = f"failed: {type(error).__name__}: {str(error).splitlines()[0][:80] if str(error) else ''}"
    seconds = clocked(runs, turns)
    found: dict[str, Found] = {}
    for key, row in zip(keys, rows, strict=True):
        known, took = installed(row.package), seconds.get(key)
        agreement = problems.get(key, "not installed" if known is None else "")
        if took is not None and row.compare is not None and "0" in results:
            agreement = row.compare(results["0"], results[key])
        times = None if took is None else took / seconds["0"]
        one = Found(row.work, row.library, known or "–", took, held.get(key), times, agreement, row.what)
        before = found.get(row.library)
        if before is None or (took is not None and (before.seconds is None or took < before.seconds)):
            found[row.library] = one
    return list(found.values())


HEAD = "| work | library | version | seconds | MiB | × ours | agreement, and what is not the same |"


def line(one: Found) -> str:
    """A row of the table, as Markdown."""
    numbers = (
        "–" if one.seconds is None else f"{one.seconds:.3g}",
        "–" if one.mib is None else f"{one.mib:.0f}",
        "–" if one.times_ours is None else f"{one.times_ours:.2f}",
    )
    notes = "; ".join(part for part in (one.agreement, one.what) if part)
    return f"| {one.work} | {one.library} | {one.version} | {' | '.join(numbers)} | {notes} |"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="turns of every comparison")
    parser.add_argument("--images", type=int, default=4000, help="images of the MLP; the CNN has an eighth")
    parser.add_argument("--works", nargs="+", default=[""], help="words of the works to compare, such as Fisher EWC")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    groups: dict[str, list[Row]] = {}
    for row in (*fishers(given.images), *protections(given.images), *training_steps(), *simulations()):
        if any(word in row.work for word in given.works):
            groups.setdefault(row.work, []).append(row)
    found: list[Found] = []
    print(HEAD, "|" + "---|" * 7, sep="\n")
    for rows in groups.values():
        group = measured(rows, given.turns)
        print("\n".join(map(line, group)), flush=True)
        found += group
    day = datetime.now(UTC).date().isoformat()
    print(f"\n{day}, torch {torch.__version__}, one thread; processor time, and memory beyond what was held before.")
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        numbers = {"date": day, "torch": torch.__version__, "rows": [asdict(one) for one in found]}
        given.out.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
