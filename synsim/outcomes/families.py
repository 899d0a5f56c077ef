"""Which tests an experiment makes, and which of them are corrected together (Holm): declared here, once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import xarray

from synsim import statistics
from synsim._doors import check_fields, typed
from synsim.outcomes.memories import NOTHING
from synsim.outcomes.readers import of
from synsim.outcomes.sample import Array, Key, Pair, Samples
from synsim.statistics import Test

Pairs = Callable[[Samples], Sequence[Pair]]


@dataclass(frozen=True)
class Family:
    """Tests that answer one question.

    Attributes:
        name: the question, as tables and records call it.
        pairs: samples of a run -> the pairs that are tested.
        paired: replicas share their seeds, and their differences are tested; else samples are independent.
    """

    name: str
    pairs: Pairs
    paired: bool = False

    def __post_init__(self) -> None:
        check_fields(self)


def among(*pairs: Pair) -> Pairs:
    """The pairs given, as far as a run has them.

    Args:
        pairs: the pairs.

    Returns:
        The pairs of a family.
    """
    return lambda samples: [pair for pair in pairs if pair[0] in samples and pair[1] in samples]


def against(lead: str, one: str, *, minus: bool = False) -> Pairs:
    """One model against each other one in the same measurement.

    Args:
        lead: the measurement.
        one: the model.
        minus: signs are those of the others minus this one.

    Returns:
        The pairs of a family.
    """

    def pairs(samples: Samples) -> list[Pair]:
        own: Key = (lead, one)
        others = [key for key in samples if key[0] == lead and len(key) == 2 and key != own]
        made: list[Pair] = [(other, own) if minus else (own, other) for other in others]
        return made if own in samples else []

    return pairs


def within(first: str, second: str) -> Pairs:
    """Two of the last names, for all measurements that have both.

    Args:
        first: such as "true".
        second: what it is compared with, such as "shuffled".

    Returns:
        The pairs of a family.
    """

    def pairs(samples: Samples) -> list[Pair]:
        both = [(key, (*key[:-1], second)) for key in samples if key[-1] == first]
        return [pair for pair in both if pair[1] in samples]

    return pairs


def _ablation(samples: Samples) -> list[Pair]:
    # The ghost against the network without consolidation is a claim of the paper too.
    published = among((("final", "ghost (code)"), ("final", "neither")))
    return [*against("final", "full", minus=True)(samples), *published(samples)]


def _first_network(samples: Samples) -> list[Pair]:
    firsts: dict[str, Key] = {}
    for key in samples:
        firsts.setdefault(key[1], key)
    return [(key, firsts[key[1]]) for key in samples if key != firsts[key[1]]]


def _plastic(samples: Samples) -> list[Pair]:
    # Models are "network method" and, of another rule, "network method, rule".
    found = []
    for key in samples:
        network, _, rest = key[1].partition(" ")
        method, comma, rule = rest.partition(",")
        plastic: Key = (key[0], f"{network} plastic{comma}{rule}")
        if method != "plastic" and plastic in samples:
            found.append((plastic, key))
    return found


def _differences(samples: Samples) -> list[Pair]:
    return [(key, NOTHING) for key in samples if key[0] in ("difference", "fall") and key != NOTHING]


def _others(samples: Samples) -> list[Pair]:
    # Searches of settings, and importances that the paper does not have.
    return [pair for pair in against("final", "presynaptic")(samples) if pair[1][1] not in METHODS]


METHODS = ("none", "bgd", "ewc", "joint")
"""With which the paper compares presynaptic consolidation."""
_SIDE = "hidden 2 inputs"

FAMILIES: Mapping[str, tuple[Family, ...]] = {
    "lifelong": (
        Family("accuracy over all tasks: presynaptic consolidation against the published methods",
               among(*((("final", "presynaptic"), ("final", name)) for name in METHODS))),
        Family("accuracy over all tasks: presynaptic consolidation against further methods", _others),
        Family("accuracy on the first task: presynaptic consolidation against none",
               among((("first", "presynaptic"), ("first", "none")))),
        Family("share of frozen synapses: after ten tasks against after one",
               among((("frozen_share", "10", "presynaptic"), ("frozen_share", "1", "presynaptic")))),
    ),
    "spiking_lifelong": (Family("accuracy over all tasks: presynaptic consolidation against each other method",
                                against("final", "presynaptic")),),
    "ablation": (Family("accuracy over all tasks: variants against the full model", _ablation),),
    "energy": (
        Family("bits per energy: the published order",
               among((("best", "plastic"), ("best", "deterministic")), (("best", "deterministic"), ("best", "fixed")))),
        Family("energy: fixed release against deterministic synapses",
               among((("cost", "fixed"), ("cost", "deterministic")))),
        Family("bits per energy: changed steps against deterministic synapses",
               against("robust", "deterministic", minus=True)),
    ),
    "importance_of_release": (
        Family("synapses with high against synapses with low release probability",
               among(*(((name, "high"), (name, "low")) for name in ("energy", "fisher")))),
    ),
    "lesions": tuple(
        Family(f"accuracy of lesioned networks, {place}: orders against random", against(lead, "random", minus=True))
        for lead, place in (("50 %", "50 % silenced"), ("90 %", "90 % silenced"), ("mean", "mean over all fractions"))
    ),
    "neurons": tuple(
        Family(f"{name} important neurons: true against shuffled",
               among(((name, _SIDE, "true"), (name, _SIDE, "shuffled"))))
        for name in ("highly", "lowly")
    ),
    "perceptron": (
        Family("accuracy over five tasks: standard against presynaptic",
               among((("average", "standard"), ("average", "presynaptic")))),
        Family("gap at a quarter of the capacity against that at all of it", among((("gap", "25%"), ("gap", "100%")))),
    ),
    "sites": (Family("bits per energy against the first network of the model", _first_network, paired=True),),
    "spiking_energy": (Family("bits per energy: plastic release against the others of its network", _plastic),),
    "bounds": (Family("soft against hard bounds", within("soft", "hard"), paired=True),),
    "search": (Family("best found against published constants", within("best found", "published constants")),),
    "importances": (Family("differences between importances", _differences, paired=True),),
}  # fmt: skip
"""Experiment -> its families of tests."""


class Tests(Mapping[Pair, Test]):
    """The tests of a run, in either direction.

    Args:
        made: pair -> test.
    """

    def __init__(self, made: Mapping[Pair, Test]) -> None:
        self._made = dict(made)

    def __getitem__(self, pair: Pair) -> Test:
        if pair in self._made:
            return self._made[pair]
        test = self._made[pair[1], pair[0]]
        return replace(test, t=-test.t, hedges_g=-test.hedges_g, difference=-test.difference)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)

    @typed
    def between(self, measurement: str, first: str | Key, second: str | Key) -> Test | None:
        """The test of one measurement between two models.

        Args:
            measurement: the first name of both keys, such as "final".
            first: the other names of the first; a text is one name.
            second: those of the second.

        Returns:
            The test, with the signs of the first minus the second; None if it could not be made, or none was asked for.
        """
        keys = [(measurement, *((name,) if isinstance(name, str) else name)) for name in (first, second)]
        return self.get((keys[0], keys[1]))


@typed
def tests(experiment: str, samples: Samples) -> Tests:
    """All tests that an experiment asks for, each with its p value corrected within its family.

    Args:
        experiment: name of its script, without suffix.
        samples: of a run, or of several together; see `of`.

    Returns:
        Pair -> test; empty if the experiment asks for none. A pair with fewer than two replicas on a side is left out.
    """
    made: dict[Pair, Test] = {}
    for family in FAMILIES.get(experiment, ()):
        pairs = {pair: (samples[pair[0]].values, samples[pair[1]].values) for pair in family.pairs(samples)}
        made |= statistics.family(family.name, pairs, paired=family.paired)
    return Tests(made)


class Difference(NamedTuple):
    """A pair of one run that is tested.

    Attributes:
        first: what it is.
        second: what is subtracted.
        values: first minus second, [R], the same seed in both.
        test: with the signs of the difference; None with fewer than two replicas.
    """

    first: Key
    second: Key
    values: Array
    test: Test | None


@typed
def differences(experiment: str, dataset: xarray.Dataset, measurement: str | None = None) -> list[Difference]:
    """All pairs that an experiment tests, as rows of its table.

    Args:
        experiment: name of its script, without suffix.
        dataset: record of one run.
        measurement: only pairs of this one, such as "final"; None: all.

    Returns:
        The differences, in the order in which they are declared.

    Raises:
        ValueError: if nothing is known of the experiment.
    """
    samples = of(experiment, dataset)
    made, found = tests(experiment, samples), []
    for family in FAMILIES.get(experiment, ()):
        for first, second in family.pairs(samples):
            if measurement in (None, first[0]):
                values = samples[first].values - samples[second].values
                found.append(Difference(first, second, values, made.get((first, second))))
    return found
