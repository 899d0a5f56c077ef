"""Programs that start at once: each is a child of a process in which everything that takes seconds is imported.

A child is a process like any other, which can be killed and leaves what a killed process leaves. What it shares with
its siblings is the seed of Python's hashes; tests that ask for more start processes of their own.
"""

import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Done:
    """How a program ended: its exit status (minus the signal that killed it), and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


class Parent:
    """The process whose children are the programs.

    Args:
        folder: where what they write is kept until it is read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0
        )
        self._line(120)

    def run(self, line: list[str], *, seconds: float = 120, kill: signal.Signals | None = None) -> Done:
        """Run a program to its end.

        Args:
            line: the file of the program and its arguments.
            seconds: how long it may take.
            kill: the signal that it gets then; None: it must have ended.

        Returns:
            How it ended.
        """
        assert self.process.poll() is None, f"the parent of programs ended with {self.process.returncode} by itself"
        out, error = self.folder / "stdout", self.folder / "stderr"
        self.process.stdin.write(json.dumps([line, str(out), str(error)]).encode() + b"\n")
        child = int(self._line(60))
        try:
            code = self._line(seconds)
        except TimeoutError:
            os.kill(child, kill or signal.SIGKILL)
            code = self._line(60)
            assert kill is not None, f"{line} took more than {seconds} s: {error.read_text()}"
        return Done(int(code), out.read_text(), error.read_text())

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(60)

    def _line(self, seconds: float) -> bytes:
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            raise TimeoutError
        line = self.process.stdout.readline()
        assert line, f"the parent of programs ended with {self.process.wait(60)}; what it said is on stderr"
        return line


def become(line: list[str], out: str, error: str) -> int:
    """Be a program: what `python line` does."""
    import runpy
    import traceback

    for number, name in enumerate([os.devnull, out, error]):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(name, flags), number)
    sys.argv = line
    sys.path[0] = str(Path(line[0]).parent)
    try:
        runpy.run_path(line[0], run_name="__main__")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def main() -> None:
    """Import, say so, and start one child after another: its number, then its exit status."""
    sys.path[0] = str(ROOT / "experiments")
    import energy  # noqa: F401
    import lifelong  # noqa: F401
    import torch

    import synsim

    torch.set_num_threads(1)
    # A step imports the compiler of torch and the kernels.
    net = synsim.mlp([4, 4], p=0.5, replicas=2)
    rule = synsim.PresynapticSGD(net, lr=0.1, p_up=0.1, p_down=0.1, g_lim=1e-3)
    synsim.cross_entropy(net(torch.ones(2, 3, 4)), torch.zeros(2, 3, dtype=torch.long)).sum().backward()
    rule.step()
    replies = os.dup(1)
    os.write(replies, b"ready\n")
    for request in sys.stdin.buffer:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = become(*json.loads(request))
            finally:
                os._exit(code)
        os.write(replies, b"%d\n" % child)
        os.write(replies, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main()
