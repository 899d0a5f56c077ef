"""Progress: a bar on a terminal; elsewhere a whole line every thirty seconds, and nothing that overwrites."""

import io
import os
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

import synsim
from synsim import _progress, tasks
from synsim._progress import EVERY, Lines, bar
from synsim.data import Dataset
from synsim.training import fit


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def every(self, seconds: float, count: int) -> Iterator[int]:
        for number in range(count):
            self.now += seconds
            yield number


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_progress, "time", clock)
    monkeypatch.setattr(Lines, "last", None)
    return clock


def test_a_file_gets_a_line_every_thirty_seconds_and_one_at_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = bar(clock.every(1.0, 100), total=100, desc="training")
    assert list(steps) == list(range(100))
    said = capsys.readouterr().err
    assert said.endswith("\n")
    assert not set(said) & {"\r", "\x1b"}
    lines = said.splitlines()
    # A step counts when it is done, after the clock has moved on for the next.
    assert [line.split(" [")[0] for line in lines] == [
        "training:  30% 30/100", "training:  60% 60/100", "training:  90% 90/100", "training: 100% 100/100",
    ]  # fmt: skip
    assert "[00:30<01:10,  1.00step/s]" in lines[0]


def test_short_loops_one_after_another_share_the_time(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(8):
        for _ in bar(clock.every(1.0, 10), total=10, desc=f"loop {number}"):
            pass
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["loop 2", "loop 2", "loop 5", "loop 5"]


def test_a_short_loop_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list(bar(clock.every(1.0, 29), total=29))) == 29
    assert capsys.readouterr().err == ""


def test_a_bar_that_goes_on_counts_from_where_it_was_and_names_what_it_is_told(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with bar(total=10, initial=4, desc="more", unit="task", leave=False) as shown:
        shown.set_postfix(task="0-1", loss="0.5")
        clock.now += EVERY
        shown.update(2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("more:  60% 6/10 [00:30<")
    assert line.endswith("task=0-1, loss=0.5]")


def test_a_download_that_begins_again_counts_anew(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with bar(unit="B", unit_scale=True, desc="file", leave=False) as shown:
        shown.update(5000)
        shown.reset(20_000)
        clock.now += EVERY
        shown.update(10_000)
    assert capsys.readouterr().err.startswith("file:  50% 10.0k/20.0k [00:30<00:30")


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(bar(range(3), desc="loop", unit="task")) == [0, 1, 2]
    assert "\rloop: 100%" in stream.getvalue()
    assert "3/3" in stream.getvalue()


@pytest.mark.parametrize("stream", [None, Broken(), Terminal()], ids=["none", "full", "quiet"])
def test_what_can_not_or_shall_not_be_shown_ends_no_loop(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    assert len(list(bar(clock.every(EVERY, 3), shown=not isinstance(stream, Terminal)))) == 3
    assert stream is None or stream.getvalue() == ""


def test_training_whose_output_goes_to_a_file_writes_lines(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = torch.rand(40, 8, 8, device="cpu"), torch.arange(40, device="cpu") % 2
    (task,) = tasks.single(Dataset.from_arrays(x, y, test=0.2, seed=1))
    net = synsim.mlp([64, 2])

    def later(row: object) -> None:
        clock.now += EVERY

    fit(net, torch.optim.SGD(net.parameters(), 0.05), [task], epochs=3, batch=8, progress="mine", on_epoch=later)
    said = capsys.readouterr().err
    assert "\r" not in said
    lines = said.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("mine: ") and f"task={task.name}, loss=" in line for line in lines)
    assert "12/12" in lines[-1]


LOOP = "from synsim import _progress; _progress.EVERY = 0.0\nfor _ in _progress.bar(range(3), desc='x'): pass"


@pytest.mark.parametrize(("columns", "drawn"), [(0, False), (80, True)])
def test_a_terminal_without_a_size_gets_lines(columns, drawn):
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    subprocess.run([sys.executable, "-c", LOOP], stderr=theirs, check=True)
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert "3/3" in said
    assert ("|" in said) == drawn
