"""Recipes of valid arguments: kinds by callable, by the name of a parameter, and by annotation.

A callable whose parameters are neither named in those tables nor annotated as a plain type has no recipe, which is an
error.
"""

import inspect
import typing
from typing import Any

import scene as things
from by_call import BY_CALL, WORD, consolidated, estimator, penalty, ready, started
from by_name import BY_NAME, LINES
from kinds import (
    Kind,
    Scene,
    flag,
    number,
    whole,
)
from public import Public

import synsim
from synsim import spiking, tasks
from synsim.spiking import ShortTerm, surrogate

RECEIVERS = {
    "rules.bgd.BGD": things.bgd,
    "descent.averages.Averaging": things.descending,
    "descent.base.Descent": things.descending,
    "descent.foof.FOOF": things.descending,
    "descent.kfac.KFAC": things.descending,
    "descent.watching.Watching": things.descending,
    "descent.watching.Watching.backward": things.watching,
    "descent.natural.NaturalGradient": things.natural,
    "consolidation.accumulate.Accumulation": lambda s: synsim.consolidation.accumulate.Accumulation(),
    "consolidation.base.Consolidation": consolidated,
    "consolidation.base.Consolidation.gradient": penalty,
    "consolidation.base.Consolidation.value": penalty,
    "synapses.control.ControlLinear": things.control,
    "dropout.StreamDropout": lambda s: synsim.dropout.StreamDropout(0.5),
    "importance.base.Importance": started,
    "importance.base.Importance.estimate": estimator,
    "networks.MaxPool": lambda s: synsim.networks.MaxPool(2),
    "networks.MultiHead": things.multi_head,
    "perceptron.model.Perceptron": things.perceptrons,
    "rules.plasticity.Plasticity": things.plasticity,
    "rules.network.Rule": things.rule,
    "sparse.gradual.Gradual": things.sparsity,
    "sparse.rule.Powerpropagation": things.powered,
    "sparse.sparsity.Sparsity": things.sparsity,
    "sparse.sparsity.Sparsity.attach": lambda s: synsim.sparse.Gradual(0.5, 0, 5, 1),
    "rules.presynaptic.PresynapticSGD": things.rule,
    "data.dataset.Dataset": things.data,
    "outcomes.families.Tests": lambda s: synsim.outcomes.Tests({}),
    "papers.published.Published": lambda s: synsim.papers.Published(82.9, 0.01, 3, "Table 4.1"),
    "records.folder.RunFolder": things.run_folder,
    "spiking.encoding.Encoder": things.encoder,
    "spiking.encoding.GivenSpikes": lambda s: spiking.GivenSpikes(window=10.0, dt=1.0),
    "spiking.encoding.Latency": lambda s: spiking.Latency(window=10.0, dt=1.0),
    "spiking.encoding.PoissonRates": things.encoder,
    "spiking.encoding.RegularRates": lambda s: spiking.RegularRates(window=10.0, dt=1.0),
    "spiking.local.LocalMLP": things.local_net,
    "spiking.network.SpikingMLP": things.spiking_net,
    "spiking.neurons.parameters.LIF": lambda s: spiking.LIF(),
    "spiking.short_term.ShortTerm": lambda s: ShortTerm(),
    "spiking.surrogate.Arctan": lambda s: surrogate.Arctan(),
    "spiking.surrogate.FastSigmoid": lambda s: surrogate.FastSigmoid(),
    "spiking.surrogate.Surrogate": lambda s: surrogate.FastSigmoid(),
    "spiking.surrogate.Triangle": lambda s: surrogate.Triangle(),
    "sweep.Sweep": lambda s: synsim.Sweep({"lr": (0.1, 0.2)}, (1, 2)),
    "synapses.addressed.Addressed": things.layer,
    "synapses.base.StochasticLayer": things.layer,
    "synapses.conv.BernoulliConv2d": things.convolution,
    "synapses.linear.BernoulliLinear": things.layer,
    "tasks.continuous.Transition": lambda s: tasks.Transition(0, 2, 12, 12, 1, 4),
    "tasks.examples.Examples": lambda s: things.task(s).train,
    "tasks.task.Task": things.task,
    "training.guard.Guard": things.guard,
    "training.guard.Guard.finish": things.open_guard,
    "training.guard.Guard.second": things.open_guard,
    "training.guard.Guard.start": things.guard_of_all_data,
    "training.history.History": things.history,
    "training.protection.Protection": things.protection,
    "training.protection.Protection.claim": things.owning,
    "training.protection.Protection.step": ready,
    "training.session.Session": things.session,
}
ABSTRACT = {
    "experiment.presets.PresetConfig",
    "experiment.presets.PresetConfig.protocol",
    "experiment.presets.PresetConfig.reduced",
    "spiking.encoding.Encoder.encode",
    "spiking.surrogate.Surrogate.derivative",
    "spiking.surrogate.Surrogate.primitive",
    "consolidation.base.Consolidation",
    "importance.base.Importance",
    "sparse.sparsity.Sparsity",
    "spiking.surrogate.Surrogate",
    "synapses.base.StochasticLayer",
}
"""Bases that have nothing to build, or that only a subclass can build."""

PLAIN: dict[Any, Kind] = {bool: flag(False), str: WORD, int: whole(1), float: number(0.5), tuple[str, ...]: LINES}


def recipe(public: Public) -> dict[str, Kind]:
    """The kind of every parameter, in order; the names after those are options of `**options`.

    Args:
        public: the callable.

    Returns:
        Name -> kind.

    Raises:
        LookupError: if a parameter has none.
    """
    special = {**BY_CALL.get(public.name.rsplit(".", 2)[0], {}), **BY_CALL.get(public.name, {})}
    found, open_ended = {}, False
    for name, parameter in inspect.signature(public.call).parameters.items():
        if name in ("self", "cls"):
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            open_ended = True
            continue
        kind = special.get(name) or BY_NAME.get(name) or _plain(public, name)
        if kind is None:
            raise LookupError(f"{public.name}: no kind for its argument {name!r}; add one to BY_NAME or BY_CALL.")
        found[name] = kind
    if open_ended:
        found |= {
            name: kind
            for name, kind in special.items()
            if name not in found and name not in ("args", "options", "extra")
        }
    return found


def _plain(public: Public, name: str) -> Kind | None:
    hints = typing.get_type_hints(public.call.__init__ if inspect.isclass(public.call) else public.call)
    return PLAIN.get(hints.get(name))


def receiver(public: Public, scene: Scene) -> Any:
    """The object whose method it is, or the callable itself."""
    if public.of is None:
        return public.call
    name = public.name.rsplit(".", 1)[0]
    make = RECEIVERS.get(public.name) or RECEIVERS.get(name)
    if make is None:
        raise LookupError(f"{public.name}: no receiver for methods of {name}; add one to RECEIVERS.")
    return getattr(make(scene), public.name.rsplit(".", 1)[1])
