"""What is ours and not the paper's: its runs are shown with the rows of their own tables."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from synsim._doors import check_fields, typed
from synsim.report import words
from synsim.report.blocks import Table
from synsim.report.runs import Run


@dataclass(frozen=True)
class Study:
    """A question of ours.

    Attributes:
        name: for the heading.
        question: in a sentence.
        experiment: name of the script.
        command: the command that makes a run; empty if the study is shown only where there is one.
        config: what the config of a run must say.
        alt: what its figure shows.
    """

    name: str
    question: str
    experiment: str
    command: str = ""
    config: tuple[tuple[str, Any], ...] = ()
    alt: str = ""

    def __post_init__(self) -> None:
        check_fields(self)


@typed
def studies(runs: Sequence[Run], known: Sequence[Study]) -> list[tuple[Study, list[Run]]]:
    """The studies with their runs; one that asks for no run is left out where there is none.

    Args:
        runs: from `collect`.
        known: the studies.

    Returns:
        Pairs, in their order.
    """
    found = []
    for study in known:
        own = [run for run in runs if belongs(study, run)]
        if own or study.command:
            found.append((study, own))
    return found


@typed
def belongs(study: Study, run: Run) -> bool:
    """Whether a run answers a study.

    Args:
        study: the study.
        run: the run.

    Returns:
        True if script and config fit.
    """
    return run.experiment == study.experiment and all(run.config.get(name) == value for name, value in study.config)


@typed
def rows(run: Run) -> Table:
    """The result table of a run.

    Args:
        run: the run.

    Returns:
        Its rows, with what it says was published.
    """
    name = f"{run.name} ({run.config.get('data')})"
    head: tuple[str, ...] = ("what", "metric", "ours, mean ± s.e.", "n")
    times = Counter((one["method"], one["metric"]) for one in run.record.summary)
    body: list[tuple[str, ...]] = []
    for one in run.record.summary:
        what = one["method"]
        if times[what, one["metric"]] > 1:  # rows that only their settings tell apart
            what = ", ".join([what, *(f"{key} {value}" for key, value in (one.get("setting") or {}).items())])
        body.append((what, one["metric"], words.mean(one["mean"], one["sem"]), str(one["n"])))
    told = [one.get("test") for one in run.record.summary]
    if any(told):  # runs of old have their tests in the names of metrics
        head = (*head, "test")
        body = [(*cells, words.told(test)) for cells, test in zip(body, told, strict=True)]
    return Table(f"Rows of the run {name}", head, tuple(body))
