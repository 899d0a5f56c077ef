"""Bits per unit of energy of plastic, deterministic and fixed release (Fig. 4.1, 4.2a and 4.6 of the paper).

Weight decays and seeds are replicas of one program per model: the 54 runs of Fig. 4.1 are three programs. The parts
"fixed" (Fig. 4.6c), "start" (4.6d) and "robust" (steps of the release probability changed by a quarter) are one
program each.
"""

from itertools import product
from typing import Any

import xarray
from common import NetworkConfig, flat_p, histograms, nested, prefixed, probes, single, some_of
from lines import BITS, Line, differences, told
from torch import Tensor, nn

import synsim
from synsim import Sweep, outcomes, streams, tables, tasks
from synsim.experiment import Experiment, Session, by_preset, option
from synsim.papers.schug2021 import DECAY, DECAYS, ENERGY_CONSTANTS, ENERGY_INITIAL, ENERGY_RATES, P_INITIAL

PARTS = ("main", "fixed", "start", "robust")
STARTS = ("p = 0.25", "U(0.25, 1)")
MAIN, FIXED, OTHERS = ("parts", PARTS[:1]), ("parts", PARTS[1:2]), ("parts", PARTS[1:])


class Config(NetworkConfig):
    epochs: int = by_preset("passes over each task", quick=10, paper=50)
    parts: tuple[str, ...] = some_of(
        PARTS, "main: Fig. 4.1; fixed: 4.6c; start: 4.6d; robust: p_up, p_down ± 25 %", quick=("main",)
    )
    methods: tuple[str, ...] = some_of(("plastic", "deterministic", "fixed"), "models of the main part")
    decays: tuple[float, ...] = by_preset("weight decays", of=MAIN, quick=(0.005, 0.01, 0.05, 0.1), paper=DECAYS)
    decay: float = option(DECAY, "weight decay of the other parts", neutral=True, of=OTHERS)
    probabilities: tuple[float, ...] = option((0.25, 0.4, 0.6, 0.8, 1.0), "of releases in the part fixed", of=FIXED)
    rates: tuple[float, ...] = option((0.02, 0.05, 0.08), "learning rates of the part fixed", of=FIXED)
    probe_every: int = by_preset("epochs between measurements", neutral=True, least=1, quick=1, paper=10)
    passes: int = by_preset("stochastic passes of the activity energy", least=1, quick=1, paper=10)


def network(config: Config, task: tasks.Task, model: str, sweep: Sweep) -> nn.Module:
    """One replica per setting and seed, whose release probabilities start where the sweep says, or the model."""
    initial: Any = ENERGY_INITIAL[model] if "probability" not in sweep.names else sweep.column("probability")
    net = synsim.mlp([task.inputs, *config.hidden, task.classes], p=initial, replicas=sweep, device=config.device)
    spread = [start == STARTS[1] for start in sweep.each("start")] if "start" in sweep.names else []
    for name, layer in synsim.synapses(net).items() if spread else ():
        drawn = streams.uniform(streams.keys("init", sweep.seeds, f"{name}.p"), layer.p[0].numel())
        layer.p[spread] = (P_INITIAL + (1 - P_INITIAL) * drawn).reshape(layer.p.shape)[spread].to(layer.p)
    return net


def train(config: Config, session: Session, name: str, model: str, sweep: Sweep, **changed: Tensor) -> xarray.Dataset:
    """Train a model under every setting of a sweep, with the usual constants but for those that are changed, [R]."""
    task = single(config)
    net = network(config, task, model, sweep)
    usual = {"lr": ENERGY_RATES[model], "weight_decay": config.decay, **ENERGY_CONSTANTS}
    rule = synsim.PresynapticSGD(net, plastic=model == "plastic", **{**usual, **changed})

    def activity(net: nn.Module, task: tasks.Task) -> Tensor:
        return synsim.meters.energy(net, "activity", x=task.test, samples=config.passes)

    before = flat_p(net)
    phase = session.fit(
        name,
        net,
        rule,
        [task],
        sweep=sweep,
        # Some of the rates at fixed release may be too fast: that such a replica diverges is its result.
        tolerant="rate" in sweep.names,
        epochs=config.epochs,
        batch=config.batch,
        test_every_epoch=False,
        probe_every=config.probe_every,
        probes=probes("energy", "information", "mean_p", "important_share", activity=activity),
    )
    spread = histograms(before, flat_p(net)).to_dataset(name="p_histogram")
    return phase.dataset.assign(sweep.unfold(spread))


def models(config: Config, session: Session) -> xarray.Dataset:
    """Three models over the decays (Fig. 4.1, 4.6a, b)."""
    sweep = Sweep({"decay": config.decays}, config.seeds)
    decays = sweep.column("decay")
    return nested(lambda model: train(config, session, model, model, sweep, weight_decay=decays), model=config.methods)


def fixed_release(config: Config, session: Session) -> xarray.Dataset:
    """Fixed release over probabilities and learning rates; at each probability the best rate counts (Fig. 4.6c)."""
    sweep = Sweep({"probability": config.probabilities, "rate": config.rates}, config.seeds)
    return train(config, session, "fixed release", "fixed", sweep, lr=sweep.column("rate"))


def starts(config: Config, session: Session) -> xarray.Dataset:
    """Plastic release from p = 0.25 and from U(0.25, 1) (Fig. 4.6d)."""
    return train(config, session, "starts", "plastic", Sweep({"start": STARTS}, config.seeds))


def robustness(config: Config, session: Session) -> xarray.Dataset:
    """Plastic release with p_up and p_down changed by a quarter, beside deterministic synapses at the same decay."""
    pairs = product((0.75, 1.0, 1.25), repeat=2)
    steps = {f"p_up {100 * up - 100:+.0f} %, p_down {100 * down - 100:+.0f} %": (up, down) for up, down in pairs}
    sweep, beside = (Sweep({"steps": names}, config.seeds) for names in (tuple(steps), ("deterministic",)))
    p_up = sweep.column(lambda one: ENERGY_CONSTANTS["p_up"] * steps[one["steps"]][0])
    p_down = sweep.column(lambda one: ENERGY_CONSTANTS["p_down"] * steps[one["steps"]][1])
    plastic = train(config, session, "robust", "plastic", sweep, p_up=p_up, p_down=p_down)
    reliable = train(config, session, "robust, deterministic", "deterministic", beside)
    return xarray.concat([plastic, reliable], "steps", data_vars="all", coords="minimal", compat="equals")


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Train all parts; names of all but the main one begin with theirs."""
    work = {"main": models, "fixed": fixed_release, "start": starts, "robust": robustness}
    parts = {part: work[part](config, session) for part in config.parts}
    shared = ("seed", "bin", "when")
    named = [one if part == "main" else prefixed(one, part, but=shared) for part, one in parts.items()]
    return xarray.merge(named, combine_attrs="drop_conflicts")


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Bits per energy of every model and decay, the accuracy at each model's best decay, and what the parts show."""
    samples = outcomes.of("energy", dataset)
    start = "plastic, start {start}"
    lines = {
        "per energy": Line(("decay", "model"), "{model}", "10⁻³ bits per energy, decay {decay}"),
        "best": Line(("model",), "{model}", "10⁻³ bits per energy, decay {decay} (best)"),
        "best per activity": Line(("model",), "{model}", "10⁻³ bits per activity, decay {decay}"),
        "best accuracy": Line(("model",), "{model}", "accuracy at decay {decay}, %"),
        "fixed release": Line(("p",), "fixed release {p}", "10⁻³ bits per energy, best rate {rate}"),
        "start mean p": Line(("start",), start, "mean release probability at the end"),
        "start share": Line(("start",), start, "synapses with p ≥ 0.9 at the end, %"),
        "start bits": Line(("start",), start, BITS),
        "robust": Line(("steps",), "{steps}", BITS),
    }
    both = ("one", "other")
    compared = {
        "best": Line(both, "{one} − {other}", "10⁻³ bits per energy at the best decays, difference"),
        "cost": Line(both, "{one} − {other}", "synaptic energy Σ|w̄| at decay {decay}, difference"),
        "robust": Line(both, "{one} − {other}", "10⁻³ bits per energy, difference"),
    }
    return [*told(samples, lines), *differences("energy", dataset, compared)]


EXPERIMENT = Experiment(Config, measure, rows, __doc__)

if __name__ == "__main__":
    EXPERIMENT.main()
