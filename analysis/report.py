"""The report: every figure and table of the papers' chapters, what was published and what the runs given say.

Makes one HTML page that needs nothing from outside, and the same page as Markdown. Several runs of one experiment are
put together method by method; a folder of run folders may be given instead of each of them. A damaged or unfinished run
is named and left out, and so is a part of the page for which there is no run. The same runs make the same page, byte
for byte.
"""

import argparse
import importlib
import inspect
import io
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import xarray
from PIL import Image

from synsim import outcomes, plots, report, statistics
from synsim.figures import fail, file_name, steady
from synsim.report import Finding, Part, Picture, Run, Study

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))
# What the page is made of: packages beside this script, one after the other. Of the first, and of those with runs.
PARTS = ("chapter", "schwarz2021", "benzing2022", "spiking")
# Pixels of a figure seven inches wide, and its colours: a dozen figures have to stay small.
WIDTH, COLOURS = 1400, 128


def per_task(dataset: xarray.Dataset, folder: Path) -> list[Path]:
    """Accuracy on every task at the end, one bar per method (Fig. 4.8a)."""
    tasks, models = [str(name) for name in dataset.test_task.values], [str(name) for name in dataset.model.values]
    accuracy, data = outcomes.last(dataset), {}
    short = importlib.import_module("analysis.lifelong").short
    with plots.style():
        made, (ax,) = plots.figure(width=5.0)
        for number, model in enumerate(models):
            values = accuracy.sel(model=model).transpose("replica", "test_task").values
            found, width = statistics.summary(values), 0.8 / len(models)
            at = np.arange(len(tasks)) + (number - (len(models) - 1) / 2) * width
            ax.bar(at, found.mean, 0.92 * width, yerr=np.nan_to_num(found.sem), color=plots.COLOURS[number], alpha=0.75,
                   capsize=1.5, ecolor="0.2", label=short(model), error_kw={"elinewidth": 0.8})  # fmt: skip
            for place, each in zip(at, values.T, strict=True):
                ax.plot(np.full(len(each), place), each, ".", color="0.15", markersize=2, zorder=3)
            data[model] = values
        ax.set_xticks(range(len(tasks)), tasks)
        ax.set(xlabel="task (digits)", ylabel="accuracy at the end (%)", ylim=(0, 100))
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(models), handlelength=1.2)
        return plots.save(made, folder / "per_task", {"accuracy_percent": data, "tasks": tasks})


def script(name: str) -> ModuleType:
    """Another analysis script."""
    return importlib.import_module(f"analysis.{name}")


def small(file: Path) -> bytes:
    """A figure as a PNG for a page."""
    with Image.open(file) as full:
        image = Image.new("RGB", full.size, "white")
        image.paste(full, mask=full.getchannel("A") if full.mode == "RGBA" else None)
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
    return written.getvalue()


class Figures:
    """Draws what the page asks for, each figure once, with the scripts beside this one.

    Args:
        folder: for the figures as PDF, PNG and JSON.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drawn: dict[tuple[Any, ...], tuple[str, dict[str, Path]] | str] = {}
        self._shown: dict[str, str] = {}
        self.pngs: dict[str, bytes] = {}

    def of_item(self, finding: Finding) -> Picture | str | None:
        """The figure of an item, why there is none, or None if the item has none."""
        try:
            return self._of_item(finding)
        except Exception as error:  # a run that can't be drawn is no reason to lose the page
            return f"No figure: {self._said(error)}."

    def _of_item(self, finding: Finding) -> Picture | str | None:
        item = finding.item
        if not item.figure:
            return None
        name, stem = item.figure
        for runs, dataset, summary in sources(finding):
            found = self._draw(name, item.experiment, runs, dataset, summary)
            if isinstance(found, str):
                return found
            if stem not in found[1]:
                continue
            picture = self._named(found, stem)
            if picture in self._shown:
                return f"The figure is that of {self._shown[picture]}."
            self._shown[picture] = item.name
            return Picture(picture, item.alt, f"{item.name}, {drawn_from(name, runs)}")
        return f"No figure: analysis/{name}.py draws no {stem} of these runs."

    def of_study(self, study: Study, run: Run) -> list[Picture] | str:
        """All figures of a study, or why there are none."""
        data, summary = run.record.dataset, run.record.summary
        found = self._draw(run.experiment, run.experiment, [run], data, summary)
        if isinstance(found, str):
            return found
        caption = f"{study.name}, {drawn_from(run.experiment, [run])}"
        try:
            return [Picture(self._named(found, stem), study.alt, caption) for stem in found[1]]
        except Exception as error:
            return f"No figure: {self._said(error)}."

    def _said(self, error: Exception) -> str:
        text = (str(error).splitlines() or [""])[0].replace(str(self._folder), "")
        return f"{type(error).__name__}: {text}"

    def _draw(
        self, name: str, experiment: str, runs: Sequence[Run], dataset: xarray.Dataset, summary: list[dict[str, Any]]
    ) -> tuple[str, dict[str, Path]] | str:
        key = (name, *(id(run) for run in runs), *map(str, dataset.get("model", ())))
        if key not in self._drawn:
            first = runs[0].config
            parts = (first.get("scenario"), first.get("data") if experiment == "lifelong" else None)
            lead = "-".join(str(part) for part in ("", *parts) if part is not None)
            taken = {found[0] for found in self._drawn.values() if isinstance(found, tuple)}
            base = file_name(f"{name}{lead}")
            lead = next(one for one in (base, *(f"{base}-{k}" for k in range(2, 1000))) if one not in taken)
            try:
                draw = per_task if name == "report" else script(name).draw
                files = call(draw, dataset, self._folder / lead, summary)
                pngs = {file.stem: file for file in files if file.suffix == ".png"}
                self._drawn[key] = lead, pngs
            except Exception as error:  # a figure that fails is no reason to lose the page
                self._drawn[key] = f"No figure: analysis/{name}.py failed ({self._said(error)})."
        return self._drawn[key]

    def _named(self, found: tuple[str, dict[str, Path]], stem: str) -> str:
        lead, files = found
        name = lead if len(files) == 1 else f"{lead}-{stem}" if not stem.startswith(lead) else stem
        if name not in self.pngs:
            self.pngs[name] = small(files[stem])
        return name


def call(
    draw: Callable[..., Sequence[Path]], dataset: xarray.Dataset, folder: Path, summary: list[dict[str, Any]]
) -> Sequence[Path]:
    """Draw; some scripts want the rows of the table too."""
    more = [summary] if len(inspect.signature(draw).parameters) > 2 else []
    return draw(dataset, folder, *more)


def sources(finding: Finding) -> list[tuple[list[Run], xarray.Dataset, list[dict[str, Any]]]]:
    """What the figure of an item may be drawn from: the models of all runs together, or one run after another."""
    models = finding.drawn()
    if models:
        runs = list(dict.fromkeys(models.values()))
        summary = [row for run in runs for row in run.record.summary]
        return [(runs, report.merged(models), summary)]
    return [([run], run.record.dataset, run.record.summary) for run in finding.sources]


def drawn_from(name: str, runs: Sequence[Run]) -> str:
    """Where a figure comes from, in words."""
    which = ", ".join(run.name for run in runs)
    return f"drawn by analysis/{name}.py from the run{'s' if len(runs) > 1 else ''} {which}."


def parts(runs: Sequence[Run]) -> list[Part]:
    """The parts of the page that some run belongs to, or the first one if none does."""
    packages = [importlib.import_module(f"analysis.{name}") for name in PARTS]
    items = tuple(item for package in packages for item in package.ITEMS)
    given = {run.experiment for run in runs}
    told = [package for package in packages if given & {one.experiment for one in (*package.ITEMS, *package.STUDIES)}]
    made = []
    for package in told or packages[:1]:
        findings = tuple(report.assess(item, runs, items) for item in package.ITEMS)
        studies = tuple(report.studies(runs, package.STUDIES))
        made.append(Part(package.TITLE, package.INTRODUCTION, findings, studies))
    return made


def write(folders: Sequence[Path], out: Path, markdown: Path | None, figures: Path | None) -> list[Path]:
    """Make the page of all runs; the files written."""
    runs, skipped = report.collect(folders)
    for one in skipped:
        print(f"left out: {one.name}: {one.reason}", file=sys.stderr)
    drawn, shown = Figures(out / "figures"), parts(runs)
    blocks = report.page(shown, runs, skipped, drawn.of_item, drawn.of_study)
    out.mkdir(parents=True, exist_ok=True)
    files = [out / "report.html"]
    # A stranger's text may hold halves of signs, which UTF-8 has not.
    files[0].write_text(report.html(blocks, drawn.pngs.__getitem__), encoding="utf-8", errors="backslashreplace")
    markdown = markdown or out / "report.md"
    beside = figures or (markdown.parent / "docs" / "reproduction")
    text = report.markdown(blocks, lambda name: relative(beside / f"{name}.png", markdown.parent))
    for name, data in drawn.pngs.items():
        files.append(beside / f"{name}.png")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        files[-1].write_bytes(data)
    markdown.parent.mkdir(parents=True, exist_ok=True)
    markdown.write_text(text, encoding="utf-8", errors="backslashreplace")
    old = sorted(file.name for file in beside.glob("*.png") if file.stem not in drawn.pngs)
    if old:
        print(f"no longer shown, delete by hand: {', '.join(old)} in {beside}", file=sys.stderr)
    for finding in (finding for part in shown for finding in part.findings):
        print(f"{finding.item.name}: {finding.verdict()}")
    return [*files, markdown]


def relative(file: Path, folder: Path) -> str:
    """The address of a file in a page that lies in a folder."""
    return Path(os.path.relpath(file, folder)).as_posix()


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="analysis/report.py",
        description=__doc__,
        epilog="\n".join(textwrap.wrap(f"Verdicts. {report.RULE}", 100)).replace("%", "%%"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, or folders with run folders in them")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/report"),
        help="folder for report.html and the figures as PDF, PNG and JSON (default: runs/report)",
    )
    parser.add_argument("--markdown", type=Path, help="file for the Markdown (default: report.md in --out)")
    parser.add_argument(
        "--figures", type=Path, help="folder for the figures of the Markdown (default: docs/reproduction beside it)"
    )
    given = parser.parse_args(arguments)
    with steady():
        try:
            for file in write(given.runs, given.out, given.markdown, given.figures):
                print(file)
        except (OSError, ValueError, MemoryError) as error:
            fail(error)


if __name__ == "__main__":
    main()
