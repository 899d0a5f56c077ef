"""Kinds of arguments by the name of the parameter."""

from typing import Any

import scene as things
import torch
from kinds import (
    Kind,
    call,
    choice,
    constant,
    either,
    flag,
    is_number,
    mapping,
    number,
    of_class,
    optional,
    rows,
    tensor,
    text,
    whole,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

import synsim
from synsim import records, tasks
from synsim.spiking import Encoder, Leaky, ShortTerm, Surrogate, surrogate

HUGE = 2**62
DEVICE = Kind(constant("cpu"), lambda v: v is None or v == "cpu" or isinstance(v, torch.device))
DTYPE = Kind(constant(torch.float32), lambda v: v is None or v in (torch.float32, torch.float64))
SEEDS = rows(whole(lambda s: s.rng.randrange(100), 0, HUGE), 1, 1)
SEED = either(whole(lambda s: s.rng.randrange(100), 0, HUGE), SEEDS)
PATH = Kind(things.new_path, lambda v: isinstance(v, str | things.Path))
P = Kind(constant(0.5), lambda v: is_number(v) and 0 < float(v) <= 1)
TIME = number(50.0, 1.0, 1e3)
STEP = Kind(constant(1.0), lambda v: is_number(v) and 0 < float(v) <= 5)
NETWORK = Kind(things.net)
ANY_NETWORK = Kind(things.net, lambda v: isinstance(v, nn.Module))
SPIKING = Kind(things.spiking_net)
LIST = Kind(lambda s: [0.1, 0.5, 0.25], lambda v: numeric(v))


def numeric(value: Any) -> bool:
    # What a row of values of replicas may look like; failed replicas are NaN.
    try:
        array = things.np.asarray(value.detach() if isinstance(value, Tensor) else value, dtype=float)
    except (TypeError, ValueError, RuntimeError, NotImplementedError):
        return False
    return array.ndim > 0 and not isinstance(value, str | bytes) and array.size > 0


def shown(value: Any) -> bool:
    """Examples, of whatever type and rank: only the network knows what it takes, and the door does not run it."""
    if isinstance(value, Tensor):
        finite = value.is_meta or value.layout is not torch.strided or bool(value.isfinite().all())
        return value.ndim > 0 and value.numel() > 0 and finite and not value.is_meta and value.layout is torch.strided
    return numeric(value) and not isinstance(value, range) and bool(things.np.isfinite(value).all())


IMAGES = tensor(things.x, ("rank", "flat", "size", "empty", "nan", "inf", "bool"))
UNIT = tensor(things.x, ("rank", "flat", "size", "empty", "nan", "inf", "bool", "negative"))
LABELS = tensor(things.y, ("rank", "flat", "count", "empty", "float", "negative", "large", "bool"))
ANY = tensor(things.x, ("bool",))
ELEMENTS = Kind(things.x, lambda v: isinstance(v, Tensor))
"""For what is one expression of torch, element by element: it takes what torch takes."""
SHOWN = tensor(things.x, ("flat", "empty", "nan", "inf"), shown, types=("meta", "text", "sparse"))
TIMED = tensor(things.spikes, ("rank", "flat", "empty", "bool"))
SPIKES = tensor(things.spikes, ("rank", "flat", "size", "empty", "nan", "negative", "large"))
KEYS = tensor(things.keys, ("rank", "flat", "size", "negative", "float", "bool"))
IMPORTANCE = mapping(things.importance)
ACCURACY = tensor(things.accuracy, ("flat", "size", "empty", "bool"))
"""[..., T, T], in any unit: losses and scores below 0 or above 1 have differences, too."""
OPTIONAL_ROW = tensor(things.baseline, ("rank", "flat", "size", "empty", "bool"))
STATE = mapping(things.state)
RULE = of_class(things.rule, torch.optim.Optimizer)
TASKS = rows(of_class(things.task, tasks.Task), 2, 1)
ROWS = Kind(
    things.rows,
    lambda v: isinstance(v, list | tuple) and not v,
    spoils=(lambda v: [{}], lambda v: [{"method": 1}], lambda v: [None]),
)
CONSTANT = number(0.1)
LINES = rows(text("a"), 2)
NOTHING = Kind(constant(None), lambda v: v is None)

BY_NAME: dict[str, Kind] = {
    "U": either(number(0.5, 0.0, 1.0, above=True), choice("p")),
    "about": Kind(things.about, spoils=(lambda v: {}, lambda v: {**v, "seeds": None})),
    "accuracy": ACCURACY,
    "again": call(lambda s: lambda: torch.zeros(1)),
    "alpha": number(2.0, above=True),
    "antithetic": flag(False),
    "ax": of_class(things.axes, Axes),
    "axis": whole(0, -1, 0),
    "baseline": OPTIONAL_ROW,
    "batch": whole(4, 1, 12),
    "bias": flag(False),
    "block": optional(whole(5, 1, 2**70)),
    "blocks": Kind(
        lambda s: [synsim.report.Heading(1, "a"), synsim.report.Paragraph("b")], lambda v: v == [] or v == ()
    ),
    "bounds": choice("soft", "hard"),
    "choices": rows(text("a"), 0),
    "chunk": whole(4, 1, 2**70),
    "claims": rows(
        Kind(
            lambda s: synsim.report.Shown("a", ("b", "c")),
        ),
        1,
    ),
    "classes": optional(whole(4, 4, 100)),
    "closure": call(lambda s: things.closure(s)),
    "colours": choice("cividis", "PuOr"),
    "columns": whole(2, 1, 20),
    "consolidation": optional(
        of_class(lambda s: synsim.consolidation.make("penalty", strength=1.0), synsim.consolidation.Consolidation)
    ),
    "constants": of_class(lambda s: synsim.meters.RODENT_CORTEX, synsim.meters.AtpConstants),
    "control": choice("ghost-code", "unnormalised"),
    "correction": choice("published", "none", "jackknife"),
    "costs": of_class(lambda s: synsim.meters.HOROWITZ_45NM, synsim.meters.OpCosts),
    "count": whole(6, 1, 10**6),
    "counter": rows(tensor(lambda s: torch.arange(3), ("float", "negative", "bool")), 4, 4),
    "current": tensor(things.spikes, ("rank", "flat", "empty", "bool", "size")),
    "curve": choice("linear", "logarithmic"),
    "decay": optional(number(0.5, 0.0, 1.0)),
    "device": DEVICE,
    "digits": whole(2, 0, 20),
    "dilation": whole(1, 1, 3),
    "distance": number(2.0),
    "divide": choice("p", "ghost"),
    "draw": whole(0, 0, 2**32 - 1),
    "dropout": flag(False),
    "dt": STEP,
    "dtype": DTYPE,
    "encoder": optional(of_class(things.encoder, Encoder)),
    "epoch": whole(0, 0, 2**32 - 1),
    "epochs": optional(whole(1, 1, 100)),
    "eta": number(1.0),
    "every": number(60.0),
    "example": whole(0, 0, 2**32 - 1),
    "examples": whole(2, 1, 10**6),
    "experiment": text("split"),
    "factor": optional(tensor(things.x, ("rank", "size", "nan"))),
    "failures": Kind(constant([]), lambda v: isinstance(v, list | tuple | things.np.ndarray) and len(v) == 0),
    "feedback": optional(mapping(lambda s: synsim.spiking.local.random_feedback(things.spiking_net(s)))),
    "folder": of_class(things.run_folder, records.RunFolder),
    "folders": rows(PATH, 1),
    "fontsize": number(6.0, above=True),
    "found": mapping(lambda s: {"loss": torch.zeros(1, dtype=torch.float64)}),
    "fraction": number(0.5, 0.0, 1.0),
    "fractions": rows(number(0.5, 0.0, 1.0), 2, 1),
    "free": rows(text("out"), 1),
    "frozen": tensor(lambda s: torch.zeros(1, 6, dtype=torch.bool), ("size", "rank", "float")),
    "g_lim": number(1e-3),
    "gain": number(1.0, -1e30),
    "gamma": number(0.3, above=True),
    "ghost": optional(P),
    "gradient": tensor(things.weight, ("rank", "size", "bool")),
    "groups": whole(1, 1, 2),
    "grids": rows(
        Kind(
            lambda s: synsim.report.Grid("a", "b", ("c",), "d"),
        ),
        1,
    ),
    "head": optional(Kind(constant(None), lambda v: False)),
    "heads": optional(whole(2, 1, 10)),
    "height": number(2.4, 0.1, 100),
    "high": optional(P),
    "images": IMAGES,
    "importance": optional(of_class(lambda s: synsim.importance.make("fisher"), synsim.importance.Importance)),
    "in_channels": whole(2, 1, 100),
    "in_features": whole(6, 1, 10**4),
    "independent": flag(False),
    "index": tensor(things.index, ("rank", "float", "negative", "large", "bool")),
    "inputs": whole(6, 1, 10**6),
    "interval": number(10.0, above=True),
    "item": of_class(things.item, synsim.report.Item),
    "joint": OPTIONAL_ROW,
    "keep": choice("expected", "strength"),
    "kernel_size": whole(2, 1, 2),
    "key": Kind(constant(("final", "x")), lambda v: isinstance(v, tuple | list) and all(isinstance(e, str) for e in v)),
    "keys": KEYS,
    "kind": choice("soft", "argmax"),
    "label": text("a"),
    "labels": LABELS,
    "last": flag(True),
    "latest": optional(number(20.0, above=True)),
    "least": whole(1, 1),
    "level": number(0.9, 0.001, 0.999),
    "limit": number(0.9, 0.0, 1.0),
    "limits": Kind(
        constant([0.0, 1.0]), rows(number(0.0, -1e300), 2, 2).sensible, (lambda v: v[::-1], lambda v: [0.0, 0.0])
    ),
    "link": call(lambda s: lambda name: name),
    "links": rows(
        Kind(
            lambda s: synsim.report.Heading(1, "a"),
        ),
        0,
    ),
    "logits": tensor(lambda s: things.net(s)(things.x(s)).detach(), ("rank", "flat", "bool")),
    "low": optional(P),
    "made": of_class(things.figure, Figure),
    "masks": mapping(lambda s: {name: value > value.mean() for name, value in things.importance(s).items()}),
    "memory": number(16.0, above=True),
    "meta": Kind(lambda s: {"task": 1}, lambda v: isinstance(v, dict) and all(isinstance(k, str) for k in v)),
    "mirrors": optional(rows(text("http://127.0.0.1:9/"), 1, 1)),
    "modulate_lr": flag(False),
    "n": whole(3, 2),
    "n_a": whole(5, 2, HUGE),
    "n_b": whole(5, 2, HUGE),
    "net": NETWORK,
    "number": whole(1, 0, 2**70),
    "numbers": optional(rows(whole(1, 0, 2**70), 2, 2)),
    "offset": tensor(lambda s: torch.zeros(1), ("rank", "nan", "inf")),
    "optimiser": RULE,
    "options": Kind(lambda s: {}, lambda v: v == {}),
    "orders": either(rows(choice("p", "weight"), 2, 1)),
    "out_channels": whole(2, 1, 100),
    "out_features": whole(4, 1, 10**4),
    "output": of_class(lambda s: Leaky(), Leaky),
    "overwrite": flag(True),
    "p": P,
    "p_down": number(0.07, 0.0, 1.0),
    "p_freeze": optional(number(0.9, 0.0, 1e308, above=True)),
    "p_max": P,
    "p_min": P,
    "p_up": number(0.07, 0.0, 1.0),
    "padding": either(whole(0, 0, 1), choice("same", "valid")),
    "paired": flag(False),
    "equal_variance": flag(True),
    "path": PATH,
    "sparsity": optional(of_class(lambda s: synsim.sparse.Gradual(0.5, 0, 1, 1), synsim.sparse.Sparsity)),
    "penalty": optional(mapping(things.importance, empty=True)),
    "picture": call(lambda s: lambda name: b""),
    "pixels": choice("standard", "unit"),
    "plastic": flag(True),
    "probes": optional(Kind(lambda s: {}, lambda v: isinstance(v, dict) and not v)),
    "progress": optional(flag(False)),
    "published": optional(either(text("0.5"), number(0.5, -1e308))),
    "ramp": whole(4, 0, 12),
    "ranks": flag(False),
    "rate": number(100.0, 0.0, 1000.0),
    "rates": tensor(lambda s: torch.full((3, 4), 50.0), ("rank", "flat", "nan", "inf", "negative")),
    "ratios": optional(rows(number(1.0, above=True), 2, 2)),
    "readout": choice("mean", "max"),
    "refractory": either(number(5.0, 1.0), whole(0, 0, 0)),
    "replicas": optional(whole(2, 1, 1000)),
    "resamples": whole(20, 2, 10**6),
    "reset": choice("rest", "subtract"),
    "root": choice("minus", "plus"),
    "rows": ROWS,
    "rule": optional(choice("sum", "last")),
    "runs": Kind(constant([]), lambda v: isinstance(v, list | tuple) and not v),
    "samples": whole(2, 1, 10**6),
    "scale": number(1.0, above=True),
    "scheme": choice("fan_in", "glorot"),
    "scope": choice("batch", "sample"),
    "scores": IMPORTANCE,
    "seed": SEED,
    "seeds": SEEDS,
    "sem": number(0.1, odd=True),
    "sem_a": number(0.1),
    "sem_b": number(0.1),
    "shares": Kind(
        lambda s: [[0.25, 0.5], [0.25, 0.0]],
    ),
    "short_term": optional(of_class(lambda s: ShortTerm(), ShortTerm)),
    "shuffles": whole(2, 1, 10**6),
    "sigma": number(0.02, above=True),
    "sign": choice("<", ">"),
    "site": whole(0, 0, 254),
    "sites": whole(1, 1, 255),
    "size": whole(2, 1, 3),
    "sizes": rows(whole(6, 1, 10**4), 3, 2),
    "slope": number(25.0, above=True),
    "spikes": SPIKES,
    "start": whole(0, 0),
    "state": STATE,
    "step": whole(0, 0),
    "steps": whole(1, 1, 12),
    "stop": NOTHING,
    "store": optional(Kind(constant(None), lambda v: False)),
    "strength": tensor(lambda s: torch.rand(1, 6), ("rank", "flat", "size")),
    "stride": whole(1, 1, 2),
    "surrogate": optional(either(of_class(lambda s: surrogate.FastSigmoid(), Surrogate), choice("arctan"))),
    "sweep": flag(False),
    "task": whole(0, 0, HUGE),
    "tasks": TASKS,
    "tau": number(10.0, 5.0),
    "tau_depression": number(200.0, 5.0),
    "tau_facilitation": either(number(0.0, 5.0), whole(0, 0, 0)),
    "tau_readout": optional(number(10.0, 5.0)),
    "tensors": mapping(lambda s: {"a": torch.zeros(2)}, empty=True, of_any=True),
    "test": optional(TASKS),
    "texts": optional(rows(LINES, 2)),
    "threshold": number(0.5, 0.0, 1.0, above=True),
    "title": optional(text("t")),
    "train": call(lambda s: None),
    "u": tensor(lambda s: torch.rand(1, 6), ("rank", "size", "bool")),
    "up": number(14.0, -1e3, 1e3),
    "v": TIMED,
    "value": tensor(things.weight, ("rank", "size", "nan")),
    "values": LIST,
    "view": choice("expected", "sampled"),
    "votes": tensor(lambda s: torch.ones(3, 1, 4), ("size", "rank", "flat")),
    "weight": tensor(lambda s: torch.rand(1, 6), ("rank", "flat", "size")),
    "weight_decay": number(0.0),
    "width": number(2.0, 0.1, 100),
    "window": TIME,
    "words": Kind(things.words, spoils=(lambda v: v.astype(float), lambda v: v[:, :1], lambda v: -v.astype(int))),
    "x": IMAGES,
    "y": LABELS,
}
