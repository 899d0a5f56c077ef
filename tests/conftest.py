"""One thread: the tensors of the tests are small, and beside another busy process two threads wait for each other."""

import os
import signal
from pathlib import Path

import pytest
import torch
from forked import Parent

os.environ["OMP_NUM_THREADS"] = "1"  # of the scripts that tests start
torch.set_num_threads(1)
# Signals that a shell had this process ignore (nohup, a job in the background) are heard, before Brian2 keeps them.
for number in (getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture
def one_thread():
    """For bits that depend on the number of threads, whatever tests before have left."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def parent(tmp_path_factory):
    """Programs that start at once (see `forked`)."""
    made = Parent(tmp_path_factory.mktemp("parent"))
    yield made
    made.close()


@pytest.fixture
def scripts(monkeypatch):
    """The experiments and analysis scripts can be imported; what they save is not pressed onto the disk."""
    root = Path(__file__).resolve().parent.parent
    monkeypatch.syspath_prepend(str(root / "experiments"))
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
