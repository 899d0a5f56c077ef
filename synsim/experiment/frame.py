"""From a config to a run folder and a table: what every experiment does around its science."""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
import xarray

from synsim import records, tables
from synsim._checks import require
from synsim._console import steady
from synsim._doors import check_fields, typed
from synsim.training import Session, TrainingFailedError, TrainingStoppedError
from synsim.training.command import fail, parse, resolved
from synsim.training.options import RunConfig
from synsim.training.stopping import Stop, StoppedError

Measure = Callable[[Any, Session], xarray.Dataset]
Rows = Callable[[Any, xarray.Dataset], Sequence[tables.Row]]
Remarks = Callable[[Any, xarray.Dataset], Sequence[str]]

# What a person can mend: their messages are for them, not for a traceback.
EXPECTED = (ValueError, OSError, MemoryError, torch.OutOfMemoryError, TrainingFailedError, TrainingStoppedError)


@dataclass(frozen=True)
class Experiment:
    """A question, as a script asks it.

    Attributes:
        config: class of its options.
        measure: (config, session) -> everything measured.
        rows: (config, dataset) -> rows of the result table.
        description: what `--help` says first.
        remarks: (config, dataset) -> lines below the table.

    Raises:
        TypeError: if a part is of another kind.

    Example:
        >>> from synsim.experiment import Experiment, RunConfig
        >>> EXPERIMENT = Experiment(RunConfig, measure=lambda config, session: ..., rows=lambda config, dataset: [])
    """

    config: type[RunConfig]
    measure: Measure
    rows: Rows
    description: str | None = ""
    remarks: Remarks | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        require(issubclass(self.config, RunConfig), f"config must be a class of RunConfig, got {self.config!r}.")

    @typed
    def parse(self, arguments: Sequence[str] | None = None) -> RunConfig:
        """Read the command line; exit with a message if it does not fit.

        Args:
            arguments: instead of `sys.argv[1:]`.

        Returns:
            The config.
        """
        return parse(self.config, self.description or "", arguments)

    @typed
    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Command line: run, print the table; errors that a person can mend become messages.

        Args:
            arguments: instead of `sys.argv[1:]`.
        """
        config = self.parse(arguments)
        with steady(), Stop() as stop:
            run = Run(config, stop)
            try:
                run.go(self, shown=True)
            except KeyboardInterrupt:
                print(f"\n{run.ending()}", file=sys.stderr)
                sys.exit(stop.leave())
            except EXPECTED as error:
                fail(error)

    @typed
    def run(self, config: RunConfig) -> records.Record:
        """Run in the folder of the config, without a word but for progress; what has finished is only read.

        Args:
            config: of this experiment's class. With `resume`, a run that was cut goes on.

        Returns:
            The record.

        Raises:
            TypeError: if the config is of another experiment.
        """
        if not isinstance(config, self.config):
            raise TypeError(f"expected a {self.config.__qualname__} of this experiment, got {type(config).__name__}.")
        with Stop() as stop:
            Run(config, stop).go(self, shown=False)
        return records.open(config.out)


class Run:
    """One run of an experiment; its folder is told how it ended.

    The folder is made when the training begins, so that a run that can't begin bars no other.

    Args:
        config: of the experiment.
        stop: signals.
    """

    def __init__(self, config: RunConfig, stop: Stop) -> None:
        self.config, self.stop, self.stopped = config, stop, False
        self.folder: records.RunFolder | None = None

    def go(self, experiment: Experiment, *, shown: bool) -> None:
        """Train, measure, write, and print what is to be shown.

        Args:
            experiment: what is run.
            shown: whether the table is printed.
        """
        self.hold(lambda session: self._go(experiment, session, shown))

    def hold(self, work: Callable[[Session], None]) -> None:
        """Do some work in the folder, and tell it how that ended.

        Args:
            work: is given the session.
        """
        try:
            try:
                work(self._session())
            except BaseException:
                # A second signal may come in right here; whatever it makes of the error, it comes no further than this.
                self.stop.leave()
                raise
        except BaseException as error:
            self.stop.leave()
            self.stopped = has_stopped(error)
            self._note("stopped" if self.stopped else "interrupted")
            raise

    def _session(self) -> Session:
        config, stop = self.config, self.stop
        folder = records.create(
            config.out,
            resolved(config),
            overwrite=config.overwrite,
            resume=config.resume,
            choices=config.phase_options(),
            wait=True,
        )
        self.folder = folder
        stop.saves = lambda: folder.started
        session = Session(folder, config.checkpoint_every, lambda: stop.asked, config.quiet)
        session.notes["reduced"] = reduced(config)
        return session

    def _go(self, experiment: Experiment, session: Session, shown: bool) -> None:
        dataset = experiment.measure(self.config, session)
        rows = list(experiment.rows(self.config, dataset))
        try:
            session.finish(dataset, rows)
        finally:  # the table is printed too if it can't be written
            if shown:
                print(tables.text(rows))
        if not shown:
            return
        print(f"\nrun folder: {session.folder.path}")
        for line in experiment.remarks(self.config, dataset) if experiment.remarks else ():
            print(line)
        if reduced(self.config):
            print(f"reduced: {reduced(self.config)}")

    def _note(self, status: str) -> None:
        # Others may write to the folder from now on.
        if self.folder is None:
            return
        with suppress(OSError, ValueError):  # what ended it may be that nothing can be written
            if self.folder.started and self.folder.run["status"] == "running":
                self.folder.finish(status)
        self.folder.leave()

    def ending(self) -> str:
        """What is said to somebody who stopped the run.

        Returns:
            One line.
        """
        if self.folder is None or not self.folder.started:
            return "interrupted before it began; nothing was saved"
        how = "stopped" if self.stopped else "interrupted at once, without saving"
        return f"{how}; go on with --resume --out {self.folder.path}"


def reduced(config: RunConfig) -> str:
    """What a run takes away from its protocol.

    Args:
        config: any config.

    Returns:
        Text; empty if nothing is taken away, or there is no protocol.
    """
    told = getattr(config, "reduced", None)
    return str(told()) if told is not None else ""


def has_stopped(error: BaseException) -> bool:
    """Whether a run ended because it was asked to, with its state saved, be it that a second signal came meanwhile.

    Args:
        error: what ended it.

    Returns:
        False for any other error.
    """
    return any(isinstance(one, StoppedError | TrainingStoppedError) for one in (error, error.__context__))
