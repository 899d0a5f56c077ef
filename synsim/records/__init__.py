"""What a run leaves behind, and how it is read back.

A run is a folder of four files, and one for people:

- `run.json`: the resolved config, seeds, versions, commit, device, command line, status and times;
- `record.nc`: the results, an xarray dataset with labelled axes;
- `checkpoint.safetensors`: tensors, and everything else as JSON in the metadata of the file;
- `summary.json`: the rows of the result table;
- `README.txt`: what the run is, and which command draws its figures, for people.

Each file is replaced whole and at once, so that a run killed at any moment can be resumed, and a second process that
would write to the same folder is refused. Each is checked on opening, so that a file cut short or altered by accident
is refused. The checks are no signature: they don't stop someone who forges the digests too. Nothing is ever pickled, so
opening a record runs no code from it.

In use::

    run = records.create("runs/split", config, resume=True)
    saved = run.load_checkpoint()                       # None in a new run
    run.save_checkpoint({"weight": weight}, {"task": 3})
    run.save_record(dataset)
    run.save_summary(rows)
    run.finish()

    record = records.open("runs/split")
    record.dataset, record.config, record.summary, record.table()
    records.collect("runs/*")                           # one tidy table of many runs, for pandas
"""

from synsim.records.collecting import collect
from synsim.records.dataset import sha256
from synsim.records.description import FREE
from synsim.records.errors import (
    DamagedRecordError,
    ForeignFolderError,
    RunBusyError,
    RunExistsError,
    RunMismatchError,
)
from synsim.records.folder import RunFolder, create
from synsim.records.reading import Record, open

__all__ = [
    "FREE",
    "DamagedRecordError",
    "ForeignFolderError",
    "Record",
    "RunBusyError",
    "RunExistsError",
    "RunFolder",
    "RunMismatchError",
    "collect",
    "create",
    "open",
    "sha256",
]
