"""What is ours and not the paper's: its runs are shown with the rows of their own tables."""

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


STUDIES = (
    Study(
        "Release sites and masks per image",
        "How do bits per energy change with the number of release sites N per synapse at equal mean release, and with "
        "one mask per image instead of one per batch?",
        "sites",
        "python experiments/sites.py --preset paper",
        alt="Curves over the number of release sites for networks with fixed and with plastic release, one for a mask "
        "per batch and one for a mask per image: bits per energy, mutual information and synaptic energy.",
    ),
    Study(
        "Printed and published rule of the release probability",
        "Does the rule as printed (hard bounds) do what the rule of the published code does (soft bounds), each with "
        "the published constants and with its own?",
        "bounds",
        "python experiments/bounds.py --preset paper",
        alt="Bars of accuracy over all tasks and of bits per energy for soft and hard bounds, with the published "
        "constants and with their own, beside the sorted scores of the random search.",
    ),
    Study(
        "The search for the metaplasticity constants",
        "What does a random search on permuted tasks find, and what are its constants worth on other tasks?",
        "search",
        "python experiments/search.py --preset paper",
        alt="Scores of all trials against each constant, with the published constants and the best trial marked.",
    ),
    Study(
        "Spiking networks: bits per energy",
        "What does a bit cost in a network of leaky integrate-and-fire neurons with the same synapses, beside the rate "
        "network of the same widths?",
        "spiking_energy",
        "python experiments/spiking_energy.py --data mnist",
        alt="Bits per energy of rate and spiking networks with plastic, deterministic and fixed release; spikes and "
        "membrane potentials of a spiking network that sees one image.",
    ),
    Study(
        "Spiking networks: tasks in sequence",
        "Does presynaptic consolidation keep old tasks in a spiking network too, against EWC and no protection, each "
        " at the best setting of its grid?",
        "spiking_lifelong",
        "python experiments/spiking_lifelong.py --data mnist",
        alt="Accuracy on the first task after each task, accuracy over all tasks at the end, and the search of the "
        "learning rates.",
    ),
    Study(
        "Spiking networks: PyTorch against Brian2",
        "Does a trained network do the same in Brian2, an independent simulator?",
        "brian2_check",
        "python experiments/brian2_check.py --data digits",
        alt="Readouts and releases in Brian2 against those in PyTorch.",
    ),
)


@typed
def studies(runs: Sequence[Run], known: Sequence[Study] = STUDIES) -> list[tuple[Study, list[Run]]]:
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
    body = tuple(
        (one["method"], one["metric"], words.mean(one["mean"], one["sem"]), str(one["n"])) for one in run.record.summary
    )
    name = f"{run.name} ({run.config.get('data')})"
    return Table(f"Rows of the run {name}", ("what", "metric", "ours, mean ± s.e.", "n"), body)
