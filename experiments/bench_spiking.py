"""Time of the spiking parts: stochastic synapses against plain ones, release per spike against one mask, and neurons.

All variants of a comparison run in turn in one process; medians are reported. A busy machine gets no verdict. The
neurons are compared with snnTorch and norse where these can be imported (they are no dependency).
"""

import argparse
import importlib
import itertools
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from bench_importance import clocked
from bench_step import BUSY, written
from torch import Tensor, nn

import synsim
from synsim.spiking import LIF, FastSigmoid, leaky, lif, poisson_spikes, spiking_mlp
from synsim.spiking.network import SpikingMLP

SIZES, BATCH, STEPS, DT = (784, 200, 10), 100, 50, 1.0
RATE, ACTIVE = 50.0, 0.2
"""Rate of an active pixel, Hz (5 % per step), and the share of pixels that are active."""
THRESHOLD, SLOPE = 0.3, 10.0
# Bounds that the package promises: ratios of time, and of peak memory.
BOUNDS = {"batch": ("plain", 1.3), "event": ("batch", 6.0)}
MEMORY = 2.0


class Plain(nn.Module):
    """The same network without stochastic synapses."""

    def __init__(self, net: SpikingMLP) -> None:
        super().__init__()
        self.net = [net]
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(SIZES))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images."""
        net = self.net[0]
        assert net.encoder is not None
        assert net.output is not None
        spikes = net.encoder(x)
        for index, layer in enumerate(self.layers):
            current = layer(spikes.flatten(0, 1)).unflatten(0, (STEPS, -1))
            if index == len(self.layers) - 1:
                return leaky(current, net.output, DT).mean(0)
            spikes, _, _ = lif(current, net.neurons, DT, surrogate=net.surrogate, membrane=False)
        raise AssertionError


def network(scope: str) -> SpikingMLP:
    """The network of the benchmark."""
    return spiking_mlp(
        SIZES, window=STEPS * DT, dt=DT, rate=RATE, scope=scope, threshold=THRESHOLD, surrogate=FastSigmoid(SLOPE)
    )


def images() -> tuple[Tensor, Tensor]:
    """White pixels on black, and labels."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(BATCH, SIZES[0], generator=generator) < ACTIVE).float()
    return x, torch.randint(SIZES[-1], (BATCH,), generator=generator)


def stepper(kind: str) -> Callable[[], None]:
    """A training step: "plain" layers and SGD, or plastic synapses of a scope."""
    x, y = images()
    net: nn.Module
    rule: torch.optim.Optimizer
    if kind == "plain":
        net = Plain(network("batch"))
        rule = torch.optim.SGD(net.parameters(), lr=0.05)
    else:
        net = network(kind)
        rule = synsim.PresynapticSGD(net, lr=0.05, p_up=0.07, p_down=0.07, g_lim=0.001)

    def step() -> None:
        rule.zero_grad()
        synsim.cross_entropy(net(x), y).backward()
        rule.step()

    return step


def ours(current: Tensor) -> Callable[[], Tensor]:
    """Forward and backward of our neurons."""
    parameters = LIF(tau=10.0, threshold=1.0, reset="subtract")

    def run() -> Tensor:
        spikes, _, _ = lif(current, parameters, DT, surrogate=FastSigmoid(25.0), membrane=False)
        spikes.backward(torch.ones_like(spikes))
        return spikes

    return run


def snntorch(current: Tensor) -> Callable[[], Tensor] | None:
    """The same with snnTorch's Leaky neuron, reset by subtraction."""
    try:
        snn = importlib.import_module("snntorch")
        neuron = snn.Leaky(
            beta=LIF(tau=10.0).decay(DT),
            spike_grad=importlib.import_module("snntorch.surrogate").fast_sigmoid(slope=25),
        )
    except ImportError:
        return None

    def run() -> Tensor:
        membrane, found = neuron.init_leaky(), []
        for one in current:
            spikes, membrane = neuron(one, membrane)
            found.append(spikes)
        spikes = torch.stack(found)
        spikes.backward(torch.ones_like(spikes))
        return spikes

    return run


def norse(current: Tensor) -> Callable[[], Tensor] | None:
    """The same with norse's LIF box neuron (no synaptic current), reset to rest, SuperSpike."""
    try:
        box = importlib.import_module("norse.torch.functional.lif_box")
    except ImportError:
        return None
    parameters = box.LIFBoxParameters(
        tau_mem_inv=torch.tensor(100.0), v_th=torch.tensor(1.0), method="super", alpha=torch.tensor(25.0)
    )

    def run() -> Tensor:
        state, found = box.LIFBoxFeedForwardState(v=torch.zeros(current.shape[1:])), []
        for one in current:
            spikes, state = box.lif_box_feed_forward_step(10 * one, state, parameters, dt=1e-3)
            found.append(spikes)
        spikes = torch.stack(found)
        spikes.backward(torch.ones_like(spikes))
        return spikes

    return run


def often(run: Callable[[], object], count: int) -> None:
    """The same so many times."""
    for _ in range(count):
        run()


def compare(variants: dict[str, Callable[[], object]], turns: int, count: int) -> tuple[dict[str, float], float]:
    """Median seconds of every variant, and how far wall time ran ahead of processor time."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    waits = []
    for turn in range(turns + 1):
        for name, run in variants.items():
            one, wait = clocked(partial(often, run, count))
            if turn:
                seconds[name].append(one / count)
                waits.append(wait)
    return {name: statistics.median(values) for name, values in seconds.items()}, statistics.median(waits)


def peak_memory(scope: str) -> float:
    """Largest resident memory of a process during training steps, beyond what it held before, in MiB (Linux)."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import torch, bench_spiking as b;"
        "mark = lambda key: int(next(l for l in open('/proc/self/status') if l.startswith(key)).split()[1]) / 1024;"
        "torch.set_num_threads(1); b.stepper(sys.argv[2])();"
        "import gc, ctypes; gc.collect(); ctypes.CDLL('libc.so.6').malloc_trim(0);"
        "open('/proc/self/clear_refs', 'w').write('5'); before = mark('VmRSS'); step = b.stepper(sys.argv[2]);"
        "[step() for _ in range(3)]; print(mark('VmHWM') - before)"
    )
    folder = str(Path(__file__).resolve().parent)
    found = subprocess.run([sys.executable, "-c", code, folder, scope], capture_output=True, text=True, check=True)
    return float(found.stdout)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7, help="turns of every comparison")
    parser.add_argument("--threads", type=int, default=None, help="threads of torch (default: all cores)")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    scopes = ("plain", "batch", "sample", "event", "event-gaussian")
    seconds, wait = compare({name: stepper(name) for name in scopes}, given.turns, 1)
    shape = "-".join(map(str, SIZES))
    print(f"one training step of {shape}, batch {BATCH}, {STEPS} steps, {torch.get_num_threads()} threads")
    ratios = {}
    for name, value in seconds.items():
        base, bound = BOUNDS.get(name, ("plain", None))
        ratios[name] = value / seconds[base]
        aim = "" if bound is None else f"  (at most {bound:g})"
        print(f"  {name:<28}{1e3 * value:8.1f} ms   {ratios[name]:.2f} × {base}{aim}")
    memory = {scope: peak_memory(scope) for scope in ("batch", "event")} if sys.platform == "linux" else {}
    for scope, value in memory.items():
        print(
            f"  peak memory, {scope:<15}{value:8.1f} MiB"
            + (f"  (at most {MEMORY:g} × batch)" if scope == "event" else "")
        )
    current = poisson_spikes(torch.full((BATCH, SIZES[1]), 300.0), window=STEPS * DT, dt=DT).mul_(0.5).requires_grad_()
    made = {"ours": ours(current), "snntorch": snntorch(current), "norse": norse(current)}
    neurons, _ = compare({name: run for name, run in made.items() if run is not None}, given.turns, 2)
    print(f"neurons alone, [{STEPS}, {BATCH}, {SIZES[1]}], forward and backward")
    for name, value in neurons.items():
        print(f"  {name:<28}{1e3 * value:8.2f} ms   {value / neurons['ours']:.1f} × ours  (at least 1)")
    good = (
        all(ratios[name] <= bound for name, (_, bound) in BOUNDS.items())
        and (not memory or memory["event"] <= MEMORY * memory["batch"])
        and min(neurons.values()) >= neurons["ours"]
    )
    if len(neurons) == 1:
        print("  not compared: neither snnTorch nor norse can be imported")
    busy = wait > BUSY
    if busy:
        print(f"no verdict: wall time is {wait:.1f} × processor time; something else runs.")
    result = {
        "seconds": seconds, "memory, MiB": memory, "neurons, s": neurons, "threads": torch.get_num_threads(),
        "verdict": None if busy else good,
    }  # fmt: skip
    written(result, given.out)


if __name__ == "__main__":
    main()
