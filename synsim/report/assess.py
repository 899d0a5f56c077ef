"""The claims of an item held against the runs that were given."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from synsim import outcomes, statistics
from synsim._doors import check_fields, typed
from synsim.outcomes import Key, Sample
from synsim.report import verdict, words
from synsim.report.blocks import Table
from synsim.report.claims import Apart, Claim, Difference, Grid, Item, Limit, Order, Shown, Value
from synsim.report.runs import Run
from synsim.report.testing import Found, keys_of, tests_of
from synsim.statistics import Test

NOTHING = "–"
STAND_IN = "digits"


class Line(NamedTuple):
    """A claim and what became of it, as text.

    Attributes:
        label: what it is.
        published: theirs.
        ours: mean ± standard error.
        n: our runs that count.
        difference: ours minus theirs, or the larger minus the smaller one.
        test: t test and effect size of an order or a difference.
        verdict: by the rule.
    """

    label: str
    published: str
    ours: str = NOTHING
    n: str = NOTHING
    difference: str = NOTHING
    test: str = NOTHING
    verdict: str = verdict.NOT_RUN


@dataclass(frozen=True)
class Finding:
    """An item with all of its lines.

    Attributes:
        item: the item.
        lines: of its table.
        grids: further tables.
        sources: the runs that its numbers are from, and which parts are from each.
        notes: reasons for differences, where there are any to explain.
        unread: runs that this version can't read.
        models: model -> the run it is from, for figures of several models, even if no line is about them.
    """

    item: Item
    lines: tuple[Line, ...]
    grids: tuple[Table, ...]
    sources: Mapping[Run, tuple[Key, ...]]
    notes: tuple[str, ...]
    unread: tuple[str, ...]
    models: Mapping[str, Run]

    def __post_init__(self) -> None:
        check_fields(self)

    def drawn(self) -> dict[str, Run]:
        """The models that its figure shows, where it shows several.

        Returns:
            Model -> the run it is from, in the order of the figure; empty if the figure is not of models, or there is
            none.
        """
        if not self.item.figure:
            return {}
        known = self.item.models or tuple(self.models)
        return {name: self.models[name] for name in known if name in self.models}

    def verdict(self) -> str:
        """All verdicts in short.

        Returns:
            Such as "3 × within 2 s.e., 1 × differs".
        """
        if self.item.verdict:
            return self.item.verdict
        counts: dict[str, int] = {}
        for line in self.lines:
            counts[line.verdict] = counts.get(line.verdict, 0) + 1
        if not counts:
            return verdict.IMAGE if self.sources else verdict.NOT_RUN
        if set(counts) == {verdict.NOT_RUN}:
            return verdict.NOT_RUN
        return ", ".join(f"{count} × {name}" for name, count in counts.items())


@typed
def assess(item: Item, runs: Sequence[Run], page: Sequence[Item] = ()) -> Finding:
    """Hold the claims of an item against runs. Of several runs with the same measurement the first counts.

    Args:
        item: the item.
        runs: from `collect`, best first.
        page: all items of the page. Of an experiment that declares no families of tests (`outcomes.FAMILIES`), those
            of one measurement of the same runs are one, in whichever of these items, so that a test has one corrected
            p value wherever it stands.

    Returns:
        What became of every claim.
    """
    found, unread = _gather(item, runs)
    tests = tests_of(item, found, page)
    lines = tuple(_line(claim, found, item, tests.get(index)) for index, claim in enumerate(item.claims))
    keys = {key for claim in item.claims for key in keys_of(claim)}
    keys |= {key for grid in item.grids for key in _cells(grid, found)}
    sources: dict[Run, tuple[Key, ...]] = {}
    for key in (key for key in found if key in keys):
        run = found[key][1]
        sources[run] = (*sources.get(run, ()), key)
    grids = tuple(grid for grid in (_grid(one, found) for one in item.grids) if grid is not None)
    samples = {key: sample for key, (sample, _) in found.items()}
    remarks = (remark(samples) for remark in item.remarks)
    notes = (*_notes(item, lines), *(text for text in remarks if text))
    models = {key[1]: run for key, (_, run) in found.items() if key[0] == "final"}
    return Finding(item, lines, grids, sources, notes, unread, models)


def _gather(item: Item, runs: Sequence[Run]) -> tuple[Found, tuple[str, ...]]:
    fitting = [run for run in runs if run.experiment == item.experiment and _fits(run, item.config)]
    published = [run for run in fitting if run.config.get("data") == item.data]
    # Runs on the bundled digits are better than nothing: they show orders, and say what they are.
    small = [run for run in fitting if run.config.get("data") == STAND_IN]
    ranked = sorted(published or small, key=lambda run: not _fits(run, item.prefer))
    found: Found = {}
    unread = []
    for run in ranked:
        try:
            samples = _samples(run)
            for sample in samples.values():
                statistics.summary(sample.values)
        except Exception as error:  # a stranger's record may fail in any way
            unread.append(f"{run.name}: its record is not what this version expects ({type(error).__name__}: {error})")
            continue
        for key, sample in samples.items():
            found.setdefault(key, (sample, run))
    return found, tuple(unread)


def _samples(run: Run) -> outcomes.Samples:
    if run.experiment in outcomes.READERS:
        return outcomes.of(run.experiment, run.record.dataset)
    return outcomes.from_rows(run.record.summary)


def _fits(run: Run, config: Mapping[str, object]) -> bool:
    return all(name not in run.config or run.config[name] == value for name, value in config.items())


def _line(claim: Claim, found: Found, item: Item, test: Test | None) -> Line:
    keys = keys_of(claim)
    published = _published(claim)
    if any(key not in found for key in keys):
        return Line(claim.label, published)
    samples = [found[key][0] for key in keys]
    runs = [found[key][1] for key in keys]
    sums = [statistics.summary(sample.values) for sample in samples]
    other = item.data != runs[0].config.get("data")
    ours = _gap(sums) if isinstance(claim, Difference) else _ours(sums)
    made = Line(_label(claim, samples), published, ours, " and ".join(dict.fromkeys(str(int(one.n)) for one in sums)))
    judged, difference = _judged(claim, sums, samples, math.nan if test is None else test.p_holm)
    if other and isinstance(claim, Value | Difference):
        return made._replace(verdict=f"{verdict.OTHER_DATA}: {runs[0].config.get('data')}")
    weak = isinstance(claim, Order) and judged == verdict.SAME and test is not None and test.p_holm >= verdict.LEVEL
    if test is not None:
        made = made._replace(test=words.test(test))
    return made._replace(difference=difference, verdict=judged + _qualified(runs, other, weak))


def _label(claim: Claim, samples: Sequence[Sample]) -> str:
    notes = dict.fromkeys(sample.note for sample in samples if sample.note)
    return f"{claim.label} ({', '.join(notes)})" if notes else claim.label


def _judged(claim: Claim, sums: Sequence[statistics.Summary], samples: Sequence[Sample], p: float) -> tuple[str, str]:
    # The verdict, and the difference as text; p is that of the test, corrected.
    one = sums[0]
    match claim:
        case Value():
            judged = verdict.of_value(float(one.mean), float(one.sem), int(one.n), claim.published, claim.factor)
            if claim.factor is not None:
                return judged, words.times(float(one.mean), claim.published)
            return judged, words.distance(one.mean, one.sem, one.n, claim.published)
        case Difference():
            mean, sem = float(one.mean - sums[1].mean), math.hypot(one.sem, sums[1].sem)
            n = min(int(one.n), int(sums[1].n))
            judged = verdict.of_value(mean, sem, n, claim.published)
            return judged, words.distance(mean, sem, n, claim.published)
        case Order():
            return verdict.of_order(float(one.mean), float(sums[1].mean)), _gap(sums)
        case Apart():
            finite = all(math.isfinite(one.mean) for one in sums)
            return verdict.of_pair(p, claim.published) if finite else verdict.FAILED, _gap(sums)
        case Limit():
            values = samples[0].values[np.isfinite(samples[0].values)]
            low, high = (float(values.min()), float(values.max())) if len(values) else (math.nan, math.nan)
            spread = f"from {low:.2g} to {high:.2g}".replace("-", "−")
            return verdict.of_limit(low, high, claim.sign, claim.limit), spread
        case Shown():
            return verdict.IMAGE if one.n else verdict.FAILED, NOTHING


def _published(claim: Claim) -> str:
    match claim:
        case Value() | Difference():
            return claim.published.printed(claim.digits)
        case Order() | Limit():
            return claim.published
        case Apart():
            return claim.published or NOTHING
        case Shown():
            return "image only"


def _ours(sums: Sequence[statistics.Summary]) -> str:
    return " and ".join(words.mean(float(one.mean), float(one.sem)) for one in sums)


def _gap(sums: Sequence[statistics.Summary]) -> str:
    return words.mean(float(sums[0].mean - sums[1].mean), math.hypot(sums[0].sem, sums[1].sem))


def _qualified(runs: Sequence[Run], other: bool, weak: bool) -> str:
    parts = [verdict.NOT_APART] if weak else []
    parts += [f"on {runs[0].config.get('data')}"] if other else []
    parts += ["reduced run"] if any(run.shortened for run in runs) else []
    return f" ({', '.join(parts)})" if parts else ""


def _cells(grid: Grid, found: Found) -> list[Key]:
    return [key for key in found if len(key) == 3 and key[0] == grid.lead and key[2] in grid.columns]


def _grid(grid: Grid, found: Found) -> Table | None:
    keys = _cells(grid, found)
    columns = [name for name in grid.columns if any(key[2] == name for key in keys)]
    if not columns:
        return None
    rows = []
    for name in dict.fromkeys(key[1] for key in keys):
        cells = []
        for column in columns:
            one = found.get((grid.lead, name, column))
            cells.append(NOTHING if one is None else _ours([statistics.summary(one[0].values)]))
        rows.append((name, *cells))
    return Table(grid.caption, (grid.corner, *columns), tuple(rows))


def _notes(item: Item, lines: Sequence[Line]) -> tuple[str, ...]:
    differing = [line.label for line in lines if line.verdict.startswith((verdict.DIFFERS, verdict.NOT_APART))]
    return tuple(
        note.text
        for note in item.notes
        if note.always or any(label.startswith(note.about or "") for label in differing)
    )
