"""What can be wrong with a folder or a file, each with its own name."""

from pathlib import Path

from synsim.records.files import CHECKPOINT, RECORD, RUN, SUMMARY

_REBUILD = "Run the experiment again with --resume: it rebuilds this file from the checkpoint."
_RESTART = "Put back a copy of this file, or start the run again with --overwrite."
_REMEDY = {RECORD: _REBUILD, SUMMARY: _REBUILD, CHECKPOINT: _RESTART, RUN: _RESTART}


class RunExistsError(FileExistsError):
    """The folder holds a run already, and nothing was said about what to do with it."""


class RunBusyError(RunExistsError):
    """Another process is writing to the folder."""


class ForeignFolderError(FileExistsError):
    """The folder holds files that no run has left; they are never touched."""


class RunMismatchError(ValueError):
    """The run to be resumed was made with another config."""


class DamagedRecordError(ValueError):
    """A file of a run is not what was written: cut short, altered, or from another version."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path} is damaged: {reason}. {_REMEDY.get(path.name, _RESTART)}")
