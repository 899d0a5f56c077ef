"""Does the expected strength of recorded synapses change less where their release probability was higher (Fig. 4.9)?

The paper re-analysed recordings of cortical synapses before and after spike-timing-dependent plasticity (Sjöström,
Turrigiano & Nelson 2001, as published by Costa et al. 2017, doi:10.5061/dryad.p286g), LTP and LTD together, and
found a negative correlation. THE NUMBERS NEED THAT DATA SET: it is not part of this project, and other recordings give
others.

The CSV file has a line of names, commas between the columns and a line per synapse, in any order of the columns; others
are not looked at:

  cell             any name
  protocol         LTP or LTD
  p_before         initial release probability, in (0, 1]
  strength_before  expected strength before and after, in any unit, such as the mean EPSP in mV; > 0 before, >= 0 after
  strength_after

Without the columns of the strength: p_after in [0, 1], and the quantal amplitudes q_before > 0 and q_after >= 0; the
expected strength is then p * q (the number of sites cancels). Without p_before: cv_before > 0, the coefficient of
variation of the response, and --sites N; the binomial model then gives p = 1 / (1 + N * cv^2).

The paper does not define the relative change; here it is |after - before| / before, so that LTP and LTD can be put
together (--change signed keeps the sign).
"""

import argparse
import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from synsim import figures, plots
from synsim.papers.schug2021 import RECORDED

NEEDED = (
    "The published numbers need the published data set (doi:10.5061/dryad.p286g), which is not part of this project."
)
PROTOCOLS = ("LTP", "LTD")
FEWEST = 5
LABELS = {"magnitude": "relative change |Δw̄| / w̄", "signed": "relative change Δw̄ / w̄"}
Array = np.ndarray[Any, Any]


class Synapses(NamedTuple):
    """What is known of the synapses, one value each."""

    cell: list[str]
    protocol: list[str]
    p: Array
    before: Array
    after: Array


Check = Callable[[float], bool]
# What a number must be, and how to say it.
RANGES: dict[str, tuple[Check, str]] = {
    "p_before": (lambda x: 0 < x <= 1, "in (0, 1]"),
    "p_after": (lambda x: 0 <= x <= 1, "in [0, 1]"),
    "strength_before": (lambda x: x > 0, "above 0"),
    "strength_after": (lambda x: x >= 0, "not below 0"),
    "q_before": (lambda x: x > 0, "above 0"),
    "q_after": (lambda x: x >= 0, "not below 0"),
    "cv_before": (lambda x: x > 0, "above 0"),
}


def read(file: Path, sites: int | None = None) -> Synapses:
    """The synapses of a CSV file; ValueError says what is wrong with it."""
    if sites is not None and sites < 1:
        raise ValueError(f"--sites must be at least 1, got {sites}.")
    with file.open(encoding="utf-8-sig", newline="") as opened:
        rows = csv.DictReader(opened, skipinitialspace=True)
        names = [name.strip() for name in rows.fieldnames or ()]
        rows.fieldnames = names
        wanted = columns(names, sites, file)
        found = [
            parsed(row, wanted, f"{file.name}, line {rows.line_num}")
            for row in rows
            if any(map(str.strip, filter(None, (value for value in row.values() if isinstance(value, str)))))
        ]
    if len(found) < FEWEST:
        raise ValueError(f"{file.name} has {len(found)} synapses; a correlation needs at least {FEWEST}.")
    numbers = {name: np.array([row[name] for row in found]) for name in wanted}
    p = numbers["p_before"] if "p_before" in numbers else 1 / (1 + (sites or 1) * numbers["cv_before"] ** 2)
    if "strength_before" in numbers:
        before, after = numbers["strength_before"], numbers["strength_after"]
    else:
        before, after = p * numbers["q_before"], numbers["p_after"] * numbers["q_after"]
    return Synapses([row["cell"] for row in found], [row["protocol"] for row in found], p, before, after)


def columns(names: Sequence[str], sites: int | None, file: Path) -> list[str]:
    """The columns of numbers that are read."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{file.name} has two columns {', '.join(twice)}; name each once.")
    strengths = ["strength_before", "strength_after"]
    quanta = ["p_after", "q_before", "q_after"]
    some = not set(strengths) & set(names) and set(quanta[1:]) & set(names)
    wanted = ["cv_before" if "p_before" not in names and "cv_before" in names else "p_before"]
    wanted += quanta if some else strengths
    missing = [name for name in ("cell", "protocol", *wanted) if name not in names]
    if missing:
        there = ", ".join(names) or "nothing"
        raise ValueError(
            f"{file.name} lacks the columns {', '.join(missing)}; it has {there}. --help says what is read."
        )
    if wanted[0] == "cv_before" and sites is None:
        raise ValueError(
            f"{file.name} has cv_before instead of p_before: say how many release sites there are (--sites)."
        )
    return wanted


def parsed(row: Mapping[Any, Any], wanted: Sequence[str], where: str) -> dict[str, Any]:
    """A line of the file, checked."""
    if None in row or None in row.values():
        raise ValueError(f"{where}: it has another number of fields than the line of names.")
    protocol = str(row["protocol"]).strip().upper()
    if protocol not in PROTOCOLS:
        raise ValueError(f"{where}: protocol must be {' or '.join(PROTOCOLS)}, got {row['protocol']!r}.")
    found: dict[str, Any] = {"cell": str(row["cell"]).strip(), "protocol": protocol}
    for name in wanted:
        check, words = RANGES[name]
        try:
            value = float(row[name])
        except ValueError:
            raise ValueError(f"{where}: {name} must be a number, got {row[name]!r}.") from None
        if not (math.isfinite(value) and check(value)):
            raise ValueError(f"{where}: {name} must be {words}, got {row[name].strip()}.")
        found[name] = value
    return found


def change(synapses: Synapses, kind: str = "magnitude") -> Array:
    """Relative change of the expected strength."""
    relative = (synapses.after - synapses.before) / synapses.before
    return np.abs(relative) if kind == "magnitude" else relative


def correlation(x: Array, y: Array) -> dict[str, Any]:
    """Pearson's r with its p value and 95 % interval (Fisher's z), Spearman's beside it; None where one is constant."""
    if len(x) < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return {"n": len(x), "r": None}
    pearson, spearman = stats.pearsonr(x, y), stats.spearmanr(x, y)
    low, high = pearson.confidence_interval(0.95)
    return {
        "n": len(x),
        "r": float(pearson.statistic),
        "p": float(pearson.pvalue),
        "interval": [float(low), float(high)],
        "spearman": float(spearman.statistic),
        "spearman_p": float(spearman.pvalue),
    }


def correlations(synapses: Synapses, kind: str = "magnitude") -> dict[str, dict[str, Any]]:
    """Of the initial release probability with the change: of all synapses, as published, and of each protocol."""
    y, names = change(synapses, kind), np.array(synapses.protocol)
    chosen = {"all": np.ones(len(y), dtype=bool), **{name: names == name for name in PROTOCOLS}}
    found = {name: correlation(synapses.p[mask], y[mask]) for name, mask in chosen.items()}
    if found["all"]["r"] is None:
        raise ValueError("all release probabilities or all changes are the same: there is no correlation.")
    return found


def said(name: str, found: Mapping[str, Any]) -> str:
    """A correlation in words."""
    if found["r"] is None:
        return f"{name}: n = {found['n']}, too few or all the same"
    low, high = found["interval"]
    text = (
        f"{name}: n = {found['n']}, Pearson r = {found['r']:.4f} (95 %: {low:.2f} to {high:.2f}), p = {found['p']:.2g}"
        f"; Spearman ρ = {found['spearman']:.4f}, p = {found['spearman_p']:.2g}"
    )
    return text.replace("-", "−")


def scatter(ax: Axes, synapses: Synapses, kind: str) -> Axes:
    """Change against initial release probability, with the least-squares line of all synapses."""
    y, names = change(synapses, kind), np.array(synapses.protocol)
    for number, name in enumerate(PROTOCOLS):
        mask = names == name
        ax.plot(synapses.p[mask], y[mask], plots.MARKERS[number], color=plots.COLOURS[number], label=name, alpha=0.8)
    ends = np.array([synapses.p.min(), synapses.p.max()])
    fit = stats.linregress(synapses.p, y)
    ax.plot(ends, fit.intercept + fit.slope * ends, color="0.3", linewidth=1)
    ax.axhline(0, color="0.7", linewidth=0.6, zorder=0)
    ax.set(xlabel="initial release probability p", ylabel=LABELS[kind], xlim=(0, 1.03))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, handletextpad=0.2)
    return ax


def draw(synapses: Synapses, folder: Path, kind: str = "magnitude") -> list[Path]:
    """The figure and the numbers in it."""
    found = correlations(synapses, kind)
    with plots.style():
        made, (ax,) = plots.figure()
        scatter(ax, synapses, kind)
        text = f"r = {found['all']['r']:.2f}, p = {found['all']['p']:.2g}, n = {found['all']['n']}".replace("-", "−")
        ax.set_title(text, fontsize=7, pad=16)
        data: dict[str, Any] = {"change": kind, "correlation": found, "published": str(RECORDED), "note": NEEDED}
        points = {
            "cell": synapses.cell,
            "protocol": synapses.protocol,
            "p": synapses.p,
            LABELS[kind]: change(synapses, kind),
        }
        return plots.save(made, folder / "recorded_synapses", data | points)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="analysis/recorded_synapses.py",
        description=(__doc__ or "").replace("%", "%%"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="CSV file with the columns above")
    parser.add_argument("--sites", type=int, help="release sites per synapse, if the file has cv_before")
    parser.add_argument("--change", choices=tuple(LABELS), default="magnitude", help="of the expected strength")
    parser.add_argument("--out", type=Path, help="folder for the figure (default: figures/ beside the file)")
    given = parser.parse_args(arguments)
    try:
        synapses = read(given.file, given.sites)
        found = correlations(synapses, given.change)
    except (OSError, ValueError) as error:  # UnicodeDecodeError is a ValueError
        parser.error(str(error))
    with figures.steady():
        say(synapses, found, given.out or given.file.parent / "figures", given.change)


def say(synapses: Synapses, found: dict[str, Any], folder: Path, change: str) -> None:
    """Draw the figure, then print the correlations."""
    try:
        files = draw(synapses, folder, change)
    except OSError as error:
        figures.fail(error)
    for name, one in found.items():
        print(said(name, one))
    low, high = found["all"]["interval"]
    place = "inside" if low <= RECORDED.mean <= high else "outside"
    print(f"published: {RECORDED}; {place} our interval. {NEEDED}")
    for file in files:
        print(file)


if __name__ == "__main__":
    main()
