"""Rows of a result table from the outcomes of a run: which samples a table tells, and how it calls them."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import xarray
from numpy.typing import ArrayLike

from synsim import outcomes, statistics, tables
from synsim.outcomes import Key, Pair, Sample, Samples

# Metrics that several tables have.
FINAL, FIRST = "accuracy over all tasks at the end, %", "accuracy on the first task at the end, %"
OVER_ALL = "accuracy over all tasks, %"
BITS = "10⁻³ bits per energy"


class Line(NamedTuple):
    """How samples are told: what their names are names of, and method and metric, with these in braces.

    What was chosen ("decay 0.05") counts as named; words are for names that a table calls otherwise.
    """

    names: tuple[str, ...]
    method: str
    metric: str
    words: Mapping[str, str] = {}

    def row(self, labels: Sequence[str], sample: Sample, **more: Any) -> tables.Row:
        """The row of one sample."""
        named = dict(zip(self.names, labels, strict=True))
        if sample.note:
            what, _, chosen = sample.note.partition(" ")
            named[what] = chosen
        called = {name: self.words.get(label, label) for name, label in named.items()}
        method, metric = (text.format(**called) for text in (self.method, self.metric))
        setting = {name: plain(label) for name, label in called.items()}
        return tables.row(method, metric, sample.values, setting=setting, **more)


def against(
    values: xarray.DataArray, axis: str, reference: object, family: str
) -> dict[tuple[object, ...], statistics.Test]:
    """Every label of an axis against one of them, paired by seed, at each place of the other axes: (label, *place)."""
    if reference not in values[axis].values:
        return {}
    flat = values.stack(place=[name for name in values.dims if name not in (axis, "seed")])
    plain, pairs = flat.sel({axis: reference}), {}
    for label, place in product(values[axis].values.tolist(), flat.place.values.tolist()):
        if label != reference:
            pairs[label, *place] = flat.sel({axis: label}).sel(place=place).values, plain.sel(place=place).values
    return statistics.family(family, pairs, paired=True)


def plain(label: str) -> float | str:
    """The number that a label is, or the label."""
    try:
        return float(label)
    except ValueError:
        return label


def rows_of(
    method: str,
    values: Mapping[str, ArrayLike],
    *,
    setting: Mapping[str, Any] | None = None,
    published: Mapping[str, Any] | None = None,
    tests: Mapping[str, statistics.Test | None] | None = None,
) -> list[tables.Row]:
    """A row for every metric of one method; what is published and tested is given by the metric."""
    known, made = published or {}, tests or {}
    return [
        tables.row(method, metric, each, known.get(metric), setting=setting, test=made.get(metric))
        for metric, each in values.items()
    ]


def told(samples: Samples, lines: Mapping[str, Line], published: Mapping[Key, Any] | None = None) -> list[tables.Row]:
    """A row for every sample whose first name has a line."""
    given = published or {}
    return [
        line.row(key[1:], sample, published=given.get(key))
        for lead, line in lines.items()
        for key, sample in samples.items()
        if key[0] == lead
    ]


def differences(
    experiment: str, dataset: xarray.Dataset, lines: Mapping[str, Line], published: Mapping[Pair, Any] | None = None
) -> list[tables.Row]:
    """A row for every pair that an experiment tests and whose first name has a line; a line is for the names of both.

    With one seed there is a difference, and no test.
    """
    samples, made, given = outcomes.of(experiment, dataset), [], published or {}
    for first, second, values, test in outcomes.differences(experiment, dataset):
        line, one, other = lines.get(first[0]), samples[first], samples[second]
        if line is None:
            continue
        # What each was chosen for is told only where a line asks for it, and both were chosen alike.
        alike = one.note == other.note and f"{{{one.note.partition(' ')[0]}}}" in line.metric
        labels, claim = [*first[1:], *second[1:]], given.get((first, second))
        difference = Sample(values, one.note if alike else "")
        made.append(line.row(labels, difference, published=claim, test=test))
    return made
