"""Kinds of arguments of single callables, where those by name do not fit."""

from pathlib import Path
from typing import Any

import scene as things
import torch
from by_name import (
    ANY,
    ANY_NETWORK,
    CONSTANT,
    DTYPE,
    ELEMENTS,
    HUGE,
    IMAGES,
    IMPORTANCE,
    LABELS,
    LINES,
    LIST,
    NETWORK,
    NOTHING,
    PATH,
    SEED,
    SEEDS,
    SHOWN,
    SPIKING,
    UNIT,
    P,
    numeric,
)
from kinds import (
    Kind,
    Scene,
    call,
    choice,
    constant,
    either,
    flag,
    mapping,
    number,
    of_class,
    optional,
    rows,
    tensor,
    text,
    whole,
)
from torch import nn

import synsim
from synsim import spiking, tasks
from synsim.spiking import Encoder, Leaky, State, Surrogate, surrogate
from synsim.training.moment import Moment


def stays(scene: Scene) -> dict[str, torch.Tensor]:
    return {name: layer.p > 0 for name, layer in synsim.synapses(things.net(scene)).items()}


def inside(value: Any) -> bool:
    array = things.np.asarray(value, dtype=float)
    return array.ndim == 1 and not bool(((array < 0) | (array > 1)).any())


def score() -> Any:
    return synsim.curvature.Score(
        lambda out: out.log_softmax(-1), lambda ready, y: ready.gather(-1, y[..., None])[..., 0]
    )


def step_of(scene: Scene) -> synsim.Step:
    value = things.importance(scene)
    return synsim.Step(0, value, value, value)


def consolidated(scene: Scene) -> Any:
    def build() -> Any:
        made = synsim.consolidation.make(scene.rng.choice(("penalty", "modulation")))
        made.remember(things.net(scene), things.importance(scene))
        return made

    return scene.once("consolidation", build)


def penalty(scene: Scene) -> Any:
    made = synsim.consolidation.make("penalty")
    made.remember(things.net(scene), things.importance(scene))
    return made


def started(scene: Scene) -> Any:
    def build() -> Any:
        made = synsim.importance.make(scene.rng.choice(("si", "path-integral")))
        made.start(things.net(scene))
        return made

    return scene.once("started", build)


def ready(scene: Scene) -> Any:
    made = things.protection(scene)
    things.rule(scene)
    made.start(things.net(scene), things.rule(scene), 0)
    return made


def used(scene: Scene) -> Any:
    # A protection that holds something, of an importance that is accumulated.
    made = ready(scene)
    made.consolidation.remember(things.net(scene), things.importance(scene))
    return made


def estimator(scene: Scene) -> Any:
    # Of those that need labels: the others take any, as a loader may bring the targets of a regression.
    return synsim.importance.make(scene.rng.choice(("fisher", "absolute-fisher")), labels="empirical")


PATTERNS = tensor(things.signs, ("rank", "flat", "size", "empty"))
SIGNED = tensor(things.signed_labels, ("rank", "flat", "size", "count", "large"))
CONVOLVED = tensor(lambda s: things.numbers(3, 2, 4, 4), ("flat", "bool"))
PASSED_ON = ("complex", "text", "sparse")
"""Types that a module without weights refuses; on the meta device it has no values to be wrong about."""
NO_ROW_EITHER = Kind(
    LIST.make, lambda v: numeric(v) or (isinstance(v, list | tuple | things.np.ndarray) and len(v) == 0)
)
"""Values of replicas, of which there may be none: their mean is NaN, and their number 0."""
OF_ANY_WIDTH = tensor(things.x, ("rank", "flat", "empty", "nan", "inf", "bool", "negative"))
SPIKES_OF_ANY_WIDTH = tensor(things.spikes, ("rank", "flat", "empty", "nan", "negative", "large"))
CURRENT_OF_ANY_WIDTH = tensor(things.spikes, ("rank", "flat", "empty", "bool"))
"""For encoders, neurons and read-outs, which are of no layer yet."""
INDEX = whole(0, 0, 1)
ROOTED = tensor(lambda s: things.numbers(3, 4), ("bool",))
COUNTS = tensor(lambda s: torch.arange(6), ("flat", "bool", "size"))
SHUFFLED = tensor(lambda s: torch.arange(18).reshape(3, 6), ("flat", "bool", "size"))
FACTOR = optional(number(1.5, 1.0, above=True))
TENSORS = mapping(things.importance)
DATA = of_class(things.data, synsim.data.Dataset)
TUPLE = Kind(
    lambda s: (0.5,), lambda v: False, (lambda v: (float("inf"),), lambda v: (float("nan"),), lambda v: (-1.0,))
)
PIXELS = tensor(lambda s: things.data(s).x_test, ("flat", "bool"))
CLASSES = tensor(lambda s: things.data(s).y_test, ("rank", "flat", "count", "float", "large"))
ROW_OF_LABELS = Kind(lambda s: things.data(s).y_test, lambda v: isinstance(v, list | things.np.ndarray | torch.Tensor))
EXAMPLES = of_class(lambda s: things.task(s).train, tasks.Examples)
CONFIG = Kind(lambda s: {"experiment": "fuzz"}, lambda v: isinstance(v, dict) and all(isinstance(k, str) for k in v))
WORD = text("a")
LAYER = call(lambda s: synsim.BernoulliLinear)
PUBLISHED = of_class(lambda s: synsim.report.Published(0.5, 0.1), synsim.report.Published)
SAMPLES = Kind(lambda s: {("final", "a"): synsim.outcomes.Sample(things.np.array([0.5, 0.6]))}, lambda v: v == {})
SEQUENCE = of_class(things.sequence, things.xarray.Dataset)
LABELLED = of_class(
    lambda s: things.xarray.DataArray([[0.1, 0.2], [0.2, 0.3]], dims=("decay", "seed")), things.xarray.DataArray
)
ROWS = Kind(lambda s: [synsim.tables.row("a", "b", [0.5, 0.6])], lambda v: v in ([], ()))
SEVERAL = Kind(lambda s: things.np.array([0.5, 0.6, 0.8]), lambda v: False)
NOWHERE = Kind(constant(["http://127.0.0.1:9/"]), lambda v: v is None or v in ([], ()))
"""Mirrors that nobody serves: a test asks no server of others."""
PART = number(0.5, 0.0, 1.0)
EVENTS = tensor(things.x, ("size", "nan", "inf", "bool", "negative"))
PROBABILITY = tensor(things.probability, ("rank", "size", "negative", "large", "nan", "bool"))
TINY = Path(__file__).resolve().parent.parent / "sweeps" / "tiny.py"
OLD = Kind(things.finished, lambda v: False)

DESCENT = {
    "lr": number(0.1),
    "damping": number(1.0, above=True),
    "average": number(0.9, 0.0, 1.0),
    "period": whole(3, 1, HUGE),
    "collect": optional(whole(2, 1, 3)),
    "warmup": whole(2, 0, HUGE),
    "momentum": number(0.5, 0.0, 1.0),
    "scale": choice("sum", "mean"),
    "lr_rest": optional(number(0.1)),
    "release": choice("pass", "mean"),
    "seed": whole(0, 0, HUGE),
}

BY_CALL: dict[str, dict[str, Kind]] = {
    "rules.bgd.BGD": {"net": Kind(lambda s: nn.Linear(6, 4)), "seed": whole(1, 0, HUGE), "samples": whole(2, 1, 10**6)},
    "rules.bgd.BGD.step": {"closure": call(lambda s: things.closure_of_bgd(s))},
    "rules.bgd.BGD.add_param_group": {"param_group": Kind(lambda s: {"params": [nn.Parameter(torch.zeros(3))]})},
    "consolidation.accumulate.Accumulation": {"rule": optional(choice("sum", "last")), "decay": NOTHING},
    "consolidation.accumulate.Accumulation.add": {"total": TENSORS, "new": TENSORS},
    "consolidation.accumulate.Accumulation.prefer": {"rule": choice("sum", "last")},
    "consolidation.available": {"owns": optional(flag(True))},
    "consolidation.base.Consolidation.accumulate_by": {"rule": choice("sum", "last")},
    "consolidation.base.Consolidation.load_state_dict": {"state": mapping(lambda s: consolidated(s).state_dict())},
    "consolidation.base.Consolidation.remember": {"importance": IMPORTANCE},
    "consolidation.make": {"name": choice("penalty"), "strength": CONSTANT, "factor": number(0.5, above=True)},
    "consolidation.register": {"kind": Kind(things.kind_of_consolidation)},
    "conversion.plain_state": {"net": NETWORK, "replica": NOTHING},
    "conversion.load_plain_state": {
        "net": NETWORK,
        "replica": NOTHING,
        "state": mapping(lambda s: synsim.conversion.plain_state(things.net(s))),
    },
    "conversion.convert": {
        "model": of_class(things.plain_net, nn.Linear),
        "only": optional(call(lambda s: lambda name, module: True)),
        "inplace": flag(True),
    },
    "controls.Control": {"ghost": optional(P)},
    "curvature.examples.sum_over_examples": {
        "score": of_class(lambda s: score(), synsim.curvature.Score),
        "terms": call(lambda s: lambda out, rows, first: [synsim.curvature.Term(torch.zeros(out.shape[-2]).long())]),
        "measurement": Kind(things.measurement),
        "power": choice("square", "absolute"),
    },
    "curvature.layers.register": {
        "kind": Kind(things.kind_of_layer),
        "handler": Kind(constant(synsim.curvature.Linear())),
    },
    "curvature.means.batch_gradients": {"measurement": Kind(things.measurement), "batch": whole(4, 1, HUGE)},
    "curvature.means.mean_response_gradients": {"measurement": Kind(things.measurement), "directions": NOTHING},
    "curvature.case.case_of": {"measurement": Kind(things.measurement), "net": ANY_NETWORK, "images": SHOWN},
    "inputs.logits.output_replicas": {"net": ANY_NETWORK},
    "curvature.meeting.refuse_meeting": {
        "size": whole(5, 1, HUGE),
        "case": Kind(lambda s: synsim.curvature.case_of(things.net(s), things.x(s), things.measurement(s), None)),
    },
    "report.assess.assess": {"page": Kind(constant(()), lambda v: v in ((), []))},
    "curvature.measuring.measured": {"net": ANY_NETWORK},
    "data.dataset.Dataset": {
        "name": WORD,
        "x_train": PIXELS,
        "x_test": PIXELS,
        "y_train": CLASSES,
        "y_test": CLASSES,
        "classes": whole(4, 4, 256),
        "levels": whole(255, 1, 255),
        "mean": TUPLE,
        "sd": TUPLE,
        "bounds": NOTHING,
        "names": Kind(lambda s: ("a", "b", "c", "d")),
        "dt": NOTHING,
    },
    "data.dataset.Dataset.from_arrays": {
        "x": PIXELS,
        "y": ROW_OF_LABELS,
        "x_test": NOTHING,
        "y_test": NOTHING,
        "test": optional(number(0.25, 0.1, 0.7)),
        "bounds": optional(Kind(lambda s: (0.0, 255.0))),
        "dt": NOTHING,
        "name": WORD,
    },
    "data.spikes.binned": {
        "time": Kind(lambda s: [0.5, 1.5, 3.0], numeric),
        "neuron": Kind(lambda s: [0, 1, 0], numeric),
        "example": Kind(lambda s: [0, 0, 1], numeric),
        "examples": whole(2, 2, 100),
        "neurons": optional(whole(2, 2, 100)),
        "window": optional(number(4.0, 4.0, 1e3)),
        "dt": number(1.0, 0.1, 1e3),
    },
    "data.download.fetch": {"name": choice("mnist"), "root": PATH, "progress": flag(False), "mirrors": NOWHERE},
    "data.load.load": {"name": choice("digits"), "root": optional(PATH)},
    "dropout.StreamDropout": {"p": PART},
    "dropout.StreamDropout.forward": {
        "x": tensor(
            things.x,
            ("bool",),
            lambda v: isinstance(v, torch.Tensor) and v.is_floating_point() and v.layout is torch.strided,
            PASSED_ON,
        )
    },
    "figures.file_name": {"most": whole(40, 1, 2**70)},
    "figures.command": {
        "description": optional(WORD),
        "experiment": WORD,
        "draw": call(lambda s: lambda record, out: []),
        "arguments": Kind(lambda s: [str(things.finished(s))]),
    },
    "importance.base.Importance.estimate": {"y": LABELS},
    "importance.base.Importance.load_state_dict": {"state": mapping(lambda s: started(s).state_dict())},
    "importance.base.Importance.observe": {"step": of_class(lambda s: step_of(s), synsim.Step)},
    "importance.base.Importance.wants": {"index": whole(0, 0, HUGE)},
    "importance.register": {"kind": Kind(things.kind_of_importance)},
    "importance.make": {"name": choice("fisher"), "samples": whole(2, 1, 10**6), "view": choice("expected", "sampled")},
    "importance.second_order.unbiased_alpha": {"batch": whole(10, 2, HUGE)},
    "inputs.images.rows_of": {
        "net": ANY_NETWORK,
        "y": tensor(things.y, ("flat",), lambda v: isinstance(v, torch.Tensor) and v.ndim > 0, types=("text",)),
        "rows": Kind(constant(slice(0, 3)), lambda v: isinstance(v, slice)),
    },
    "inputs.images.labelled": {
        "net": ANY_NETWORK,
        "x": SHOWN,
        "y": tensor(things.y, ("flat",), lambda v: isinstance(v, torch.Tensor) and v.ndim > 0 and not v.is_meta),
    },
    # NaN in, NaN out: whoever makes many passes has looked at the examples once, in `as_images`.
    "inputs.logits.logits_of": {"x": tensor(things.x, ("rank", "flat", "size", "empty", "bool"))},
    "inputs.logits.tensor_of": {
        "output": tensor(
            things.x,
            ("bool",),
            lambda v: isinstance(v, torch.Tensor) and v.is_floating_point(),
            types=("complex", "text"),
        )
    },
    "meters.passes.accuracy": {"y": LABELS},
    "inputs.images.as_images": {"net": ANY_NETWORK, "x": SHOWN},
    "inputs.images.has_replicas": {"net": ANY_NETWORK, "x": Kind(things.x, lambda v: isinstance(v, torch.Tensor))},
    "losses.class_logits": {"logits": Kind(things.x, lambda v: isinstance(v, torch.Tensor) and v.ndim > 0)},
    "curvature.products.wide": {"x": ELEMENTS},
    "synapses.base.StochasticLayer.draw": {"weight": optional(tensor(things.weight, ("rank", "size", "bool")))},
    "lesions.orders.lesion_masks": {
        "replicas": NOTHING,
        "scope": choice("layer"),
        "output": number(1.0, 0.0, above=True),
    },
    "lesions.orders.lesion_ranks": {"replicas": NOTHING, "scope": choice("layer", "network")},
    "lesions.orders.lesion_scores": {"order": choice("p", "weight", "random"), "seed": whole(0, 0, HUGE)},
    "lesions.curves.lesion_curve": {
        "order": choice("p", "weight", "random"),
        "memory": whole(2**28, 1, 2**70),
        "scope": choice("layer"),
        "output": number(1.0, 0.0, above=True),
    },
    "lesions.curves.lesion_curves": {
        "memory": whole(2**28, 1, 2**70),
        "scope": choice("layer"),
        "output": number(1.0, 0.0, above=True),
    },
    "lesions.probabilities.clamp_p": {"low": P},
    "meters.energy.energy": {"kind": choice("release")},
    "meters.information.information_per_energy": {"kind": choice("synaptic")},
    "meters.operations.OpCosts": {},
    "meters.physiology.AtpConstants": {},
    "meters.physiology.atp_of_events": {"spikes": EVENTS, "vesicles": EVENTS, "strength": EVENTS},
    "meters.sparsity.correlation": {"a": ANY, "b": ANY},
    "meters.sparsity.importance_class": {"counts": COUNTS, "baseline": SHUFFLED},
    "meters.sparsity.shuffle_test": {"counts": COUNTS, "baseline": SHUFFLED},
    "networks.MaxPool.forward": {"x": tensor(lambda s: things.numbers(3, 2, 4, 4), ("flat", "bool"), types=PASSED_ON)},
    "networks.MultiHead": {
        "trunk": ANY_NETWORK,
        "heads": rows(of_class(lambda s: nn.Linear(4, 2), nn.Module), 2, 1),
    },
    "networks.MultiHead.forward": {"head": INDEX, "x": ANY},
    "networks.example_ndim": {"net": ANY_NETWORK},
    "networks.replicas_of": {"net": ANY_NETWORK},
    "networks.initialised": {"seeds": SEED},
    "networks.redraw": {"bias": number(0.0, -1e300)},
    "networks.cnn": {
        "replicas": optional(whole(1, 1, 2)),
        "layer": LAYER,
        "convolution": call(lambda s: synsim.BernoulliConv2d),
    },
    "networks.mlp": {"layer": LAYER},
    "perceptron.model.Perceptron": {
        "model": choice("standard", "presynaptic"),
        "p_freeze": number(0.9, 0.3, 1.0),
        "p_min": number(0.25, 1e-6, 0.9),
        "g_lim": number(0.1),
    },
    "perceptron.model.Perceptron.correct": {"x": PATTERNS, "y": SIGNED},
    "perceptron.model.Perceptron.learn": {"x": PATTERNS, "y": SIGNED},
    "perceptron.steps.activation": {"x": PATTERNS},
    "perceptron.steps.direction": {
        "x": tensor(lambda s: things.signs(s).float(), ("rank", "flat", "size")),
        "y": SIGNED,
    },
    "perceptron.steps.majority": {"y": tensor(things.signed_labels, ("size",))},
    "perceptron.steps.patterns": {"count": whole(4, 1, 10**6)},
    "perceptron.steps.presynaptic_step": {
        "p": tensor(lambda s: torch.full((1, 6), 0.5), ("size", "rank", "negative", "large", "nan")),
        "p_min": number(0.25, 0.0, 0.9),
        "p_freeze": number(0.9, 0.25, 1.0),
    },
    "perceptron.steps.released": {
        "x": tensor(lambda s: things.signs(s).float(), ("rank", "flat", "size")),
        "p": tensor(lambda s: torch.full((1, 6), 0.5), ("size", "rank", "negative", "large", "nan")),
    },
    "rules.base.traits": {"rule": Kind(things.rule)},
    "rules.plasticity.Plasticity.load_state_dict": {"state": mapping(lambda s: things.plasticity(s).state_dict())},
    "rules.plasticity.plastic": {
        "optimiser": Kind(things.descent),
        "p_min": P,
        "p_max": Kind(constant(1.0), P.sensible),
    },
    "rules.presynaptic.PresynapticSGD": {
        "lr": CONSTANT,
        "p_min": number(0.25, 0.0, 1.0, above=True),
        "bias": flag(True),
        "train_bias": flag(True),
    },
    "rules.network.Rule.add_param_group": {"param_group": Kind(lambda s: {"params": [nn.Parameter(torch.zeros(3))]})},
    "rules.presynaptic.PresynapticSGD.step": {"closure": NOTHING},
    "rules.steps.probability_step": {
        "p": PROBABILITY,
        "p_min": number(0.25, 0.0, 1.0),
        "p_max": number(1.0, 0.25, 1.0),
    },
    "plots.samples.bars": {"samples": rows(LIST, 2), "labels": LINES},
    "plots.samples.dots": {"samples": rows(LIST, 2), "labels": LINES},
    "plots.annotations.bracket": {
        "left": number(0.0, -1e9),
        "right": number(1.0, -1e9),
        "height": number(1.0, -1e9),
        "text": WORD,
    },
    "plots.curves.curve": {"x": LIST, "replicas": Kind(lambda s: [[0.5, 0.4, 0.3], [0.2, 0.1, 0.0]])},
    "plots.canvas.figure": {"width": optional(number(2.0, 0.1, 100))},
    "plots.matrix.heatmap": {"values": Kind(lambda s: [[0.5, 0.4], [0.2, 0.1]]), "rows": LINES, "columns": LINES},
    "plots.curves.histogram": {"centres": Kind(lambda s: [0.25, 0.75])},
    "plots.annotations.letter": {"name": WORD},
    "plots.canvas.panels": {"rows": whole(2, 1, 20)},
    "plots.spikes.membranes": {
        "v": Kind(lambda s: [[0.1, 0.2], [0.3, 0.0]]),
        "spikes": optional(Kind(lambda s: [[0, 1], [0, 0]])),
        "threshold": optional(number(0.3, -1e300)),
        "neurons": optional(rows(whole(0, 0, 1), 2, 1)),
        "dt": number(1.0, 0, 1e9, above=True),
    },
    "plots.spikes.raster": {"spikes": Kind(lambda s: [[0, 1], [1, 0]]), "dt": number(1.0, 0, 1e9, above=True)},
    "plots.spikes.release": {
        "spikes": Kind(lambda s: [[0, 1], [1, 0]]),
        "released": Kind(lambda s: [[0, 1], [0, 0]]),
        "sites": whole(1, 1, 255),
        "dt": number(1.0, 0, 1e9, above=True),
    },
    "plots.canvas.save": {"data": optional(Kind(lambda s: {"a": [1]}, lambda v: isinstance(v, dict)))},
    "records.collecting.collect": {
        "runs": Kind(lambda s: [things.finished(s)]),
        "of": optional(choice("rows", "measurements")),
    },
    "records.dataset.sha256": {"dataset": Kind(things.dataset)},
    "records.folder.RunFolder.finish": {"status": choice("finished", "interrupted"), "extra": NOTHING},
    "records.folder.RunFolder.save_record": {"data": Kind(things.dataset)},
    "records.folder.create": {
        "folder": PATH,
        "config": CONFIG,
        "resume": flag(False),
        "overwrite": flag(False),
        "choices": rows(WORD, 0),
    },
    "records.reading.open": {"folder": OLD},
    "outcomes.costs.part": {"dataset": SEQUENCE, "name": WORD},
    "outcomes.families.Family": {
        "name": WORD,
        "pairs": call(lambda s: lambda samples: []),
        "paired": flag(False),
    },
    "outcomes.families.Tests.between": {"measurement": WORD, "first": WORD, "second": WORD},
    "outcomes.families.differences": {
        "experiment": choice("lifelong"),
        "dataset": SEQUENCE,
        "measurement": optional(WORD),
    },
    "outcomes.families.tests": {"experiment": choice("lifelong"), "samples": SAMPLES},
    "outcomes.measures.accuracies": {"dataset": SEQUENCE},
    "outcomes.measures.at_end": {"dataset": SEQUENCE},
    "outcomes.measures.best": {"values": LABELLED, "over": choice("decay")},
    "outcomes.measures.bits_per": {"dataset": SEQUENCE, "cost": choice("energy")},
    "outcomes.measures.final": {"dataset": SEQUENCE},
    "outcomes.measures.first": {"dataset": SEQUENCE},
    "outcomes.measures.last": {"dataset": SEQUENCE},
    "outcomes.measures.learned": {"dataset": SEQUENCE},
    "outcomes.readers.of": {"experiment": choice("lifelong"), "dataset": SEQUENCE},
    "outcomes.rows.as_made": {"rows": ROWS, "first": SEVERAL, "second": SEVERAL},
    "outcomes.rows.from_rows": {"rows": ROWS},
    "report.claims.Value": {"published": PUBLISHED, "factor": FACTOR},
    "report.claims.Difference": {"published": PUBLISHED, "first": LINES, "second": LINES},
    "report.claims.Apart": {"first": LINES, "second": LINES, "published": WORD},
    "report.claims.Limit": {"published": WORD, "limit": number(0.5, -1e308)},
    "report.claims.Order": {"larger": LINES, "smaller": LINES, "published": WORD},
    "report.claims.Grid": {"columns": LINES},
    "report.claims.Note": {"about": LINES, "always": flag(False), "text": WORD},
    "report.claims.Item": {
        "data": WORD,
        "config": CONFIG,
        "prefer": CONFIG,
        "notes": rows(of_class(lambda s: synsim.report.claims.Note("a"), synsim.report.claims.Note), 1),
        "remarks": rows(call(lambda s: lambda runs: []), 1),
        "figure": LINES,
        "models": LINES,
    },
    "report.blocks.Heading": {"level": whole(1, 1, 6), "text": WORD},
    "report.blocks.Table": {"head": LINES, "rows": rows(LINES, 2)},
    "report.page.page": {
        "parts": rows(of_class(things.part, synsim.report.Part), 1),
        "skipped": Kind(constant([]), lambda v: v in ([], ())),
        "picture": call(lambda s: lambda *given: None),
        "study_pictures": call(lambda s: lambda *given: []),
    },
    "report.page.Part": {
        "title": WORD,
        "introduction": WORD,
        "findings": rows(Kind(lambda s: synsim.report.assess(things.item(s), [])), 1),
        "studies": Kind(lambda s: tuple(synsim.report.studies([], things.studies(s))), lambda v: v in ([], ())),
    },
    "report.runs.collect": {"folders": rows(OLD, 1)},
    "report.runs.merged": {"runs": Kind(lambda s: {"a": synsim.report.collect([things.finished(s)])[0][0]})},
    "report.studies.Study": {"config": Kind(constant(()), lambda v: v in ((), []))},
    "report.studies.studies": {"known": Kind(things.studies, lambda v: v in ((), []))},
    "report.verdict.of_limit": {
        "low": number(0.1, -1e300, odd=True),
        "high": number(0.2, -1e300, odd=True),
        "limit": number(0.9, -1e300),
    },
    "report.verdict.of_order": {"larger": number(0.1, -1e300, odd=True), "smaller": number(0.2, -1e300, odd=True)},
    "report.verdict.of_pair": {"p": number(0.04, 0.0, 1.0, odd=True), "published": WORD},
    "report.verdict.of_value": {
        "n": whole(3, 2, HUGE),
        "mean": number(0.1, -1e300, odd=True),
        "sem": number(0.1, odd=True),
        "published": PUBLISHED,
        "factor": FACTOR,
    },
    "spiking.encoding": {"x": OF_ANY_WIDTH},
    "spiking.readout.first_spike": {"spikes": SPIKES_OF_ANY_WIDTH},
    "spiking.readout.spike_count": {"spikes": SPIKES_OF_ANY_WIDTH},
    "spiking.short_term.ShortTerm.factors": {"spikes": SPIKES_OF_ANY_WIDTH, "p": NOTHING},
    "spiking.short_term.ShortTerm.steady": {"p": NOTHING},
    "spiking.poisson.poisson_spikes": {"name": WORD},
    "spiking.local.LocalMLP": {"net": SPIKING},
    "spiking.local.local_gradients": {"net": SPIKING, "x": UNIT},
    "spiking.local.random_feedback": {"net": SPIKING},
    "spiking.local.symmetric_feedback": {"net": SPIKING},
    "spiking.meters.events": {"net": SPIKING, "x": UNIT},
    "spiking.meters.spikes_per_neuron": {"net": SPIKING, "x": UNIT},
    "spiking.network.SpikingMLP": {
        "layers": rows(of_class(things.layer, synsim.BernoulliLinear), 1, 1),
        "neurons": of_class(lambda s: spiking.LIF(), spiking.LIF),
        "surrogate": of_class(lambda s: surrogate.FastSigmoid(), Surrogate),
        "encoder": optional(of_class(lambda s: things.encoder(s), Encoder)),
        "recurrent": rows(of_class(things.layer, synsim.BernoulliLinear), 0, 0),
    },
    "spiking.network.SpikingMLP.encode": {"x": UNIT},
    "spiking.network.SpikingMLP.forward": {"x": UNIT},
    "spiking.network.spiking_mlp": {
        "layer": LAYER,
        "threshold": number(1.0, above=True),
        "encoder": NOTHING,
        "replicas": optional(whole(1, 1, 2)),
    },
    "spiking.neurons.parameters.LIF": {
        "detach_reset": flag(True),
        "tau": number(10.0, above=True),
        "threshold": number(1.0, above=True),
    },
    "spiking.neurons.parameters.LIF.rest": {"shape": rows(whole(6, 0, 10**4), 2, 2)},
    "spiking.neurons.parameters.Leaky": {"tau": number(10.0, above=True)},
    "spiking.short_term.ShortTerm": {"tau_depression": number(200.0), "tau_facilitation": number(0.0)},
    "spiking.neurons.course.leaky": {
        "current": CURRENT_OF_ANY_WIDTH,
        "parameters": of_class(lambda s: Leaky(), Leaky),
        "start": NOTHING,
    },
    "spiking.neurons.course.lif": {
        "current": CURRENT_OF_ANY_WIDTH,
        "parameters": of_class(lambda s: spiking.LIF(), spiking.LIF),
        "state": NOTHING,
        "membrane": flag(True),
        "surrogate": optional(of_class(lambda s: surrogate.Arctan(), Surrogate)),
    },
    "spiking.neurons.step.lif_step": {
        "current": tensor(lambda s: things.spikes(s)[0], ("rank", "size", "bool")),
        "parameters": of_class(lambda s: spiking.LIF(), spiking.LIF),
        "state": Kind(
            lambda s: State(torch.zeros(3, 6), torch.zeros(3, 6, dtype=torch.int32)),
            spoils=(
                lambda v: v._replace(v=None),
                lambda v: v._replace(left=v.left + 0.5),
                lambda v: (v.v[:1, :2], v.left),
            ),
        ),
        "surrogate": optional(of_class(lambda s: surrogate.Arctan(), Surrogate)),
    },
    "spiking.surrogate": {"x": ELEMENTS},
    "spiking.surrogate.Triangle": {"width": number(1.0, above=True)},
    "experiment.frame.Experiment": {
        "config": Kind(lambda s: synsim.experiment.RunConfig),
        "measure": call(lambda s: lambda config, session: things.dataset(s)),
        "rows": call(lambda s: lambda config, dataset: []),
        "remarks": call(lambda s: lambda config, dataset: []),
        "description": optional(WORD),
    },
    "experiment.presets.by_preset": {"text": WORD, "choices": NOTHING, "of": NOTHING, "quick": ANY},
    "training.options.option": {"default": ANY, "text": WORD, "choices": NOTHING, "of": NOTHING},
    "training.options.RunConfig": {
        "data": WORD,
        "data_dir": NOTHING,
        "seeds": Kind(lambda s: (1, 2)),
        "device": choice("cpu"),
        "threads": optional(whole(1, 1, 1024)),
        "epochs": optional(whole(1)),
        "out": WORD,
        "checkpoint_every": number(60.0, 0.0),
    },
    "lesions.orders.kept": {
        "ranks": Kind(
            lambda s: synsim.lesions.lesion_ranks(synsim.lesions.lesion_scores(things.net(s), "weight"), None)
        ),
        "keep": number(0.5, 0.0, 1.0, above=True),
        "replicas": NOTHING,
        "scope": choice("layer"),
        "output": number(1.0, 0.0, above=True),
    },
    "lesions.pruning.pruning_curve": {
        "keep": Kind(lambda s: [0.5, 1.0]),
        "order": choice("p", "weight", "random"),
        "memory": whole(2**28, 1, 2**70),
        "scope": choice("layer"),
        "output": number(2.0, 0.0, above=True),
    },
    "sparse.gradual.Gradual": {
        "keep": number(0.5, 0.0, 1.0, above=True),
        "start": whole(0, 0, 5),
        "stop": whole(5, 0, HUGE),
        "every": whole(1, 1, 100),
        "scope": choice("layer"),
        "output": number(1.0, 0.0, above=True),
    },
    "sparse.gradual.Gradual.share": {"steps": whole(2, 0, HUGE)},
    "sparse.topkast.TopKast": {
        "forward": number(0.2, 0.0, 0.4, above=True),
        "backward": number(0.4, 0.2, 1.0),
        "every": whole(10, 1, 100),
        "penalty": number(1e-4),
        "scope": choice("layer"),
        "output": number(1.0, 0.0, above=True),
    },
    "sparse.sparsity.Sparsity.load_state_dict": {"state": mapping(lambda s: things.sparsity(s).state_dict())},
    "sparse.masks.masked": {"stays": mapping(stays, empty=True)},
    "sparse.masks.masks": {
        "keep": number(0.5, 0.0, 1.0, above=True),
        "order": choice("p", "weight", "random"),
        "scope": choice("layer"),
        "output": number(1.0, 0.0, above=True),
        "seed": whole(0, 0, HUGE),
    },
    "descent.watching.Watching.backward": {
        "losses": tensor(things.losses, ("rank", "nan", "inf", "bool")),
        "logits": tensor(things.watched, ("flat", "bool")),
        "gradients": flag(True),
        "tolerant": flag(False),
    },
    "descent.base.Descent.step": {"closure": NOTHING},
    "descent.averages.Averaging.warm_up": {"batches": Kind(lambda s: [things.x(s)])},
    "descent.foof.FOOF": DESCENT,
    "descent.kfac.KFAC": {
        **DESCENT,
        "damp": choice("heuristic", "standard", "left"),
        "labels": choice("sampled", "empirical", "exact"),
        "likelihood": choice("categorical", "gaussian"),
        "match": NOTHING,
    },
    "descent.natural.NaturalGradient": {
        "lr": DESCENT["lr"],
        "damping": DESCENT["damping"],
        "labels": choice("sampled", "exact"),
        "blocks": flag(False),
        "batch": choice("independent", "previous", "same"),
        "images": optional(whole(3, 1, HUGE)),
        "momentum": DESCENT["momentum"],
        "likelihood": choice("categorical", "gaussian"),
        "lr_rest": DESCENT["lr_rest"],
        "memory": number(64.0, above=True),
        "tolerance": optional(number(1e-4, above=True)),
        "seed": DESCENT["seed"],
    },
    "descent.kronecker.kronecker": {
        "labels": choice("sampled", "empirical", "exact"),
        "likelihood": choice("categorical"),
        "scale": choice("sum", "mean"),
        "seed": whole(0, 0, HUGE),
    },
    "sparse.masks.packed": {"mask": tensor(lambda s: torch.tensor([True, False, True]), ("float",))},
    "sparse.masks.unpacked": {
        "bits": tensor(lambda s: torch.tensor([160], dtype=torch.uint8), ("size", "empty", "float")),
        "shape": Kind(lambda s: (3,)),
    },
    "sparse.power.power": {"phi": ROOTED, "alpha": number(2.0, 1.0)},
    "sparse.power.root": {"theta": ROOTED, "alpha": number(2.0, 1.0)},
    "sparse.power.slope": {"phi": ROOTED, "alpha": number(2.0, 1.0)},
    "sparse.rule.Powerpropagation": {
        "inner": Kind(lambda s: torch.optim.SGD(things.net(s).parameters(), lr=0.1)),
        "alpha": number(2.0, 1.0),
        "weight_decay": number(0.01),
        "decay": choice("phi", "theta"),
    },
    "sparse.rule.Powerpropagation.add_param_group": {
        "param_group": Kind(lambda s: {"params": [nn.Parameter(torch.zeros(3))]})
    },
    "sparse.rule.Powerpropagation.load_state_dict": {"state_dict": Kind(lambda s: things.powered(s).state_dict())},
    "sparse.rule.Powerpropagation.settings": {"replica": whole(0, 0, 0)},
    "sparse.rule.Powerpropagation.step": {"closure": NOTHING},
    "sparse.space.in_phi": {"importance": TENSORS, "alpha": number(2.0, 1.0), "power": choice("square", "absolute")},
    "statistics.families.family": {"pairs": Kind(lambda s: {"one": ([1.0, 2.0], [2.0, 4.0])})},
    "statistics.comparing.compare": {"a": LIST, "b": LIST},
    "statistics.means.interval": {"values": NO_ROW_EITHER},
    "statistics.means.summary": {"values": NO_ROW_EITHER},
    "statistics.words.format_mean": {"mean": number(0.5, -1e308, odd=True)},
    "statistics.comparing.from_summary": {"mean_a": number(0.5, -1e308), "mean_b": number(0.6, -1e308)},
    "statistics.families.holm": {"p_values": Kind(lambda s: [0.04, 0.5], lambda v: numeric(v) and inside(v))},
    "statistics.words.stars": {"p": number(0.04, 0.0, 1.0, odd=True)},
    "streams": {"count": whole(6, 0, 10**6)},
    "streams.key": {"purpose": WORD, "name": WORD, "seed": whole(1, 0, HUGE)},
    "streams.keys": {"purpose": WORD, "name": WORD},
    "streams.philox": {"words": Kind(lambda s: (1, 2), spoils=(lambda v: (1,), lambda v: (1.5, 2), lambda v: (-1, 2)))},
    "streams.release_bits": {"example": tensor(lambda s: torch.arange(2), ("float", "negative", "bool"))},
    "synapses.addressed.Addressed.seed": {"name": WORD},
    "synapses.addressed.Addressed.set_extra_state": {
        "state": tensor(lambda s: things.layer(s).get_extra_state(), ("float", "empty"))
    },
    "synapses.addressed.addressed": {"net": ANY_NETWORK},
    "synapses.base.StochasticLayer": {"args": NOTHING, "options": NOTHING},
    "synapses.base.StochasticLayer.check_input": {"width": whole(6, 6, 6)},
    "synapses.finding.synapses": {"net": ANY_NETWORK},
    "synapses.conv.BernoulliConv2d": {
        "groups": whole(1, 1, 2),
        "padding": either(whole(0, 0, 10), choice("same", "valid")),
        "kernel_size": whole(2, 1, 100),
        "stride": whole(1, 1, 100),
        "dilation": whole(1, 1, 100),
    },
    "synapses.conv.BernoulliConv2d.forward": {"x": CONVOLVED},
    "synapses.linear.BernoulliLinear.forward": {"factor": NOTHING},
    "synapses.views.evaluation": {"net": ANY_NETWORK, "seed": whole(0, 0, HUGE)},
    "synapses.views.expected": {"net": ANY_NETWORK},
    "synapses.views.frozen": {"net": ANY_NETWORK, "draw": optional(whole(0, 0, 2**32 - 1))},
    "synapses.views.held": {"net": ANY_NETWORK},
    "tables.row": {
        "method": WORD,
        "metric": WORD,
        "values": NO_ROW_EITHER,
        "setting": optional(Kind(lambda s: {"decay": 0.01})),
        "test": NOTHING,
    },
    "tasks.continuous.Transition": {
        "phase": whole(0, 0, 1),
        "tasks": whole(2, 1, HUGE),
        "images": whole(12, 1, HUGE),
        "count": whole(12, 1, HUGE),
        "epochs": whole(1, 1, HUGE),
        "ramp": whole(4, 0, 12),
    },
    "tasks.continuous.Transition.shares": {"at": tensor(lambda s: torch.arange(12), ("complex", "bool", "negative"))},
    "tasks.continuous.continuous": {
        "data": DATA,
        "tasks": whole(2, 1, 50),
        "transition": number(0.25, 0.0, 0.5),
        "seeds": SEED,
        "epochs": whole(1, 1, HUGE),
    },
    "tasks.examples.Examples": {
        "images": tensor(lambda s: things.data(s).x_test, ("flat", "bool", "count")),
        "labels": tensor(lambda s: things.data(s).y_test, ("flat", "bool", "count", "float")),
        "offset": tensor(lambda s: torch.full((1, 1), 0.5), ("nan", "inf")),
        "scale": tensor(lambda s: torch.full((1, 1), 0.5), ("nan", "inf")),
        "orders": NOTHING,
        "flat": flag(True),
        "dtype": DTYPE,
    },
    "tasks.order.batches": {
        "order": tensor(lambda s: torch.arange(12).reshape(1, 12), ("flat", "float", "bool", "negative", "rank"))
    },
    "tasks.task.Task": {
        "validation": NOTHING,
        "name": WORD,
        "train": EXAMPLES,
        "test": EXAMPLES,
        "classes": whole(4, 1, 10**6),
        "stream": NOTHING,
        "head": optional(whole(0, 0, 100)),
    },
    "tasks.task.Task.order": {"index": whole(0, 0, HUGE)},
    "tasks.scenarios.by_class": {
        "validation": whole(0, 0, 3),
        "data": DATA,
        "order": Kind(constant(None), lambda v: v is None),
        "flat": flag(True),
    },
    "tasks.scenarios.permuted": {"validation": whole(0, 0, 3), "data": DATA, "tasks": whole(2, 1, 50), "seeds": SEED},
    "tasks.scenarios.single": {"validation": whole(0, 0, 3), "data": DATA, "flat": flag(True)},
    "tasks.scenarios.split": {
        "validation": whole(0, 0, 3),
        "data": DATA,
        "flat": flag(True),
        "heads": choice("shared", "separate", "incremental"),
        "pairs": optional(
            Kind(
                constant(((0, 1), (2, 3))),
                spoils=(lambda v: ((0, 9), (1, 2)), lambda v: ((0,),), lambda v: ((0, 1.9), (1, 2))),
            )
        ),
    },
    "spiking.encoding.GivenSpikes.encode": {
        "x": tensor(lambda s: (things.numbers(3, 20) > 0.5).float(), ("size", "empty", "nan", "negative", "large"))
    },
    "spiking.encoding.GivenSpikes.pixels": {"neurons": whole(2, 1, 2**32)},
    "sweep.Sweep": {
        "settings": Kind(lambda s: {"lr": (0.1, 0.2)}, spoils=(lambda v: {"lr": ()}, lambda v: {"seed": (1,)}))
    },
    "sweep.Sweep.best": {
        "by": Kind(lambda s: [1.0, 2.0, 3.0, 4.0], lambda v: numeric(v)),
        "chosen_on": optional(rows(whole(1, 1, 2), 1, 1)),
    },
    "sweep.Sweep.column": {"constant": choice("lr")},
    "sweep.Sweep.each": {"constant": choice("lr")},
    "sweep.Sweep.programs": {"memory": optional(NOTHING), "each": optional(NOTHING)},
    "sweep.Sweep.replicas_of": {"setting": whole(0, 0, 1)},
    "sweep.Sweep.unfold": {"dataset": Kind(lambda s: things.xarray.Dataset({"loss": ("replica", [1.0] * 4)}))},
    "sweeps.cluster.Cluster": {
        "scheduler": Kind(constant("tcp://host:8786")),
        "start": NOTHING,
        "jobs": optional(whole(2, 1)),
        "memory": optional(text("4GB")),
        "patience": optional(number(60.0, above=True)),
    },
    "sweeps.local.Local": {"jobs": optional(whole(2, 1, 1024))},
    "sweeps.results.folders": {"folder": Kind(things.swept)},
    "sweeps.results.settings": {"folder": Kind(things.swept)},
    "sweeps.results.table": {"folder": Kind(things.swept)},
    "sweeps.running.run": {
        "experiment": Kind(constant(str(TINY)), spoils=(lambda v: f"{v}x", lambda v: "no.such:EXPERIMENT")),
        "grid": Kind(
            constant({"rate": (0.5,)}),
            spoils=(
                lambda v: {"rat": (0.5,)},
                lambda v: {"rate": ()},
                lambda v: {"rate": ("x",)},
                lambda v: {"out": ("a",)},
            ),
        ),
        "executor": NOTHING,
        "seeds": optional(Kind(constant(("1:3",)), spoils=(lambda v: ("3:1",), lambda v: (1, 1), lambda v: ()))),
        "out": PATH,
        "options": optional(Kind(constant({"steps": 1}), spoils=(lambda v: {"step": 1},))),
        "seeds_per_cell": either(choice("auto"), whole(2, 1, 2**70)),
        "quiet": flag(True),
    },
    "training.guard.Guard.finish": {"data": SHOWN, "y": LABELS},
    "training.guard.Guard.load_state_dict": {"state": mapping(lambda s: things.guard(s).state_dict())},
    "training.guard.Guard.second": {"x": IMAGES, "y": LABELS},
    "training.guard.Guard.start": {
        "head": optional(whole(0, 0, HUGE)),
        "data": Kind(lambda s: (things.x(s), things.y(s))),
    },
    "training.guard.Guard.task": {"data": SHOWN, "y": LABELS, "head": NOTHING},
    "training.guard.attach": {
        "optimiser": Kind(things.descent),
        "importance": either(of_class(lambda s: synsim.importance.make("si"), synsim.importance.Importance), NOTHING),
        "strength": NOTHING,
        "objective": optional(call(lambda s: lambda output, x, y: output.sum())),
    },
    "training.history.History": {
        "seeds": SEEDS,
        "trained": rows(WORD, 1),
        "tested": rows(WORD, 1),
        "epochs": whole(1, 1, 100),
        "per_epoch": mapping(lambda s: things.history(s).per_epoch, empty=True),
        "accuracy": tensor(lambda s: torch.zeros(1, 1, 1, dtype=torch.float64)),
        "after_task": mapping(lambda s: {"loss": torch.zeros(1, 1, dtype=torch.float64)}, empty=True),
    },
    "training.history.History.empty": {
        "trained": rows(WORD, 1),
        "tested": rows(WORD, 1),
        "probes": rows(WORD, 0),
        "epochs": whole(1, 1, 100),
    },
    "training.history.History.load": {"tensors": mapping(lambda s: things.history(s).tensors())},
    "training.history.History.record": {"task": whole(0, 0, 0)},
    "training.history.History.restored": {"tensors": mapping(lambda s: things.history(s).tensors())},
    "training.loop.fit": {
        "seeds": optional(SEEDS),
        "on_epoch": optional(call(lambda s: lambda row: None)),
        "batch": whole(4, 1, 24),
        "objective": NOTHING,
        "tested_by": NOTHING,
        "protection": NOTHING,
        "penalty": NOTHING,
        "progress": NOTHING,
        "scheduler": NOTHING,
        "steps": NOTHING,
        "epochs": whole(1, 1, 100),
        "test_every_epoch": flag(True),
        "test_ahead": flag(True),
        "probe_every": whole(1, 1, HUGE),
    },
    "training.protection.Protection": {
        "strength": NOTHING,
        "watch": NOTHING,
        "after_task": NOTHING,
        "reset_optimiser": flag(False),
        "reinitialise": optional(call(lambda s: lambda *given: None)),
    },
    "training.protection.Protection.check": {"batch": optional(whole(4, 1, HUGE))},
    "training.protection.Protection.finish": {
        "task": of_class(things.task, tasks.Task),
        "failed": rows(whole(0, 0, 0), 0),
        "fail": optional(call(lambda s: lambda replicas: None)),
    },
    "training.protection.Protection.claim": {
        "task": of_class(things.task, tasks.Task),
        "failed": rows(whole(0, 0, 0), 0),
        "fail": optional(call(lambda s: lambda replicas: None)),
    },
    "training.protection.Protection.load": {"tensors": mapping(lambda s: used(s).tensors(), empty=True)},
    "training.protection.Protection.start": {"index": whole(0, 0, HUGE)},
    "training.protection.Protection.step": {
        "moment": of_class(things.moment, Moment),
        "failed": rows(whole(0, 0, 0), 0),
    },
    "training.session.Session": {"stop": call(lambda s: lambda: False)},
    "training.session.Session.finish": {"dataset": Kind(things.dataset)},
    "training.session.Session.open": {"name": WORD},
    "training.session.Session.phase": {
        "name": WORD,
        "train": call(lambda s: lambda store: things.fitted(s, store)),
        "keep": flag(True),
    },
    "training.session.Session.fit": {
        "name": WORD,
        "tasks": Kind(things.all_tasks),
        "sweep": NOTHING,
        "keep": flag(True),
        "tolerant": optional(flag(False)),
        "seeds": Kind(lambda s: [1]),
        "epochs": whole(1, 1, 3),
        "batch": whole(6, 1, 12),
        "samples": whole(1, 1, 3),
    },
    "training.session.Session.store": {"name": WORD},
    "training.session.Session.stored": {"name": WORD},
    "training.step.train_step": {"penalty": NOTHING},
    "rules.suggest.suggest_g_lim": {
        "share": number(0.1, 0.0, 0.3, above=True),
        "batch": whole(6, 1, HUGE),
        "batches": whole(2, 1, HUGE),
        "objective": NOTHING,
    },
}
