"""Nonsense at the doors of everything public: refused in words, never a crash, a hang, or a number in silence.

What counts as public: `public.py`. What counts as nonsense for an argument: `kinds.py`. Run by hand, with the table of
all callables:

    python tests/fuzz/test_nonsense.py [SETS] [SEED]
"""

import json
import os
import random
import select
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from by_call import BY_CALL
from judge import ACCEPTED, DOOR, WORDS
from kinds import Kind, Scene, constant
from public import callables
from worker import attempt, recipes

import synsim

HERE = Path(__file__).parent
ROOT = Path(synsim.__file__).parent.parent
START, PATIENCE = 120.0, 60.0
"""Seconds that the libraries may take to come up, and one set to end."""
MOST_ACCEPTED, MOST_RAW = 0.005, 0.05
"""Shares of all sets."""
SPARE = 3
"""Sets that 300 may take beyond their share of 1.5.

Which sets are tried changes with every new callable; at a true share of 0.5 % four or fewer are taken in 98 of 100.
"""
SEED = 1


class Try(NamedTuple):
    """A set of arguments and what became of it: "words", "door", "raw", "accepted", "crash" or "hang"."""

    index: int
    name: str
    verdict: str
    where: str
    said: str


class Worker:
    """A process that tries sets, and is replaced when one ends it."""

    def __init__(self, folder: str, seed: int, first: int, last: int) -> None:
        command = [sys.executable, "-W", "ignore", str(HERE / "worker.py"), folder, str(seed), str(first), str(last)]
        before = os.environ.get("PYTHONPATH")
        path = os.pathsep.join([str(ROOT), *([before] if before else [])])
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, env={**os.environ, "PYTHONPATH": path}
        )
        self.rest = b""

    def line(self, patience: float) -> dict[str, Any] | None:
        """The next line; None at the end.

        Args:
            patience: seconds to wait.

        Returns:
            What it says.

        Raises:
            TimeoutError: if nothing came.
        """
        assert self.process.stdout is not None
        while b"\n" not in self.rest:
            if not select.select([self.process.stdout], [], [], patience)[0]:
                raise TimeoutError
            came = os.read(self.process.stdout.fileno(), 1 << 16)
            if not came:
                return None
            self.rest += came
        said, self.rest = self.rest.split(b"\n", 1)
        read: dict[str, Any] = json.loads(said)
        return read

    def end(self) -> str:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.seek(0)
        text = self.errors.read()
        self.errors.close()
        return text


def tries(sets: int, seed: int = SEED) -> list[Try]:
    """Try sets of arguments in processes of their own.

    Args:
        sets: how many.
        seed: of all random choices.

    Returns:
        What became of each.
    """
    found: list[Try] = []
    with tempfile.TemporaryDirectory() as folder:
        while len(found) < sets:
            worker = Worker(folder, seed, len(found), sets)
            last = _watched(worker, found)
            said = worker.end()
            if last is not None:
                found.append(last)
            elif len(found) < sets:
                raise AssertionError(f"the worker could not go on: {said[-2000:]}")
    return found


def _watched(worker: Worker, found: list[Try]) -> Try | None:
    # The set that ended the worker, if one did.
    tried: dict[str, Any] | None = None
    while True:
        try:
            read = worker.line(START if tried is None and not found else PATIENCE + START * (tried is None))
        except TimeoutError:
            return None if tried is None else Try(tried["index"], tried["name"], "hang", "", str(tried["spoiled"]))
        if read is None:
            return None if tried is None else Try(tried["index"], tried["name"], "crash", "", str(tried["spoiled"]))
        if "name" in read:
            tried = read
        elif tried is not None:
            found.append(Try(tried["index"], tried["name"], read["verdict"], read["where"], read["said"]))
            tried = None


def table(found: list[Try]) -> str:
    """Verdicts by callable, the weakest first, and what was not refused in words."""
    by: dict[str, Counter[str]] = defaultdict(Counter)
    for each in found:
        by[each.name][each.verdict] += 1
    columns = ("crash", "hang", "accepted", "raw", "door", "words")
    total: Counter[str] = Counter(each.verdict for each in found)
    lines = ["".join(f"{name:>9}" for name in columns) + "  callable"]
    weakest = sorted(by.items(), key=lambda item: [-item[1][name] for name in columns])
    for name, counts in [("all", total), *weakest]:
        lines.append("".join(f"{counts[column]:9d}" for column in columns) + f"  {name}")
    bad = [each for each in found if each.verdict not in ("door", "words")]
    return "\n".join([*lines, *(f"{each.verdict}: {each.name}({each.said}) {each.where}" for each in bad)])


def hold(found: list[Try], spare: int = 0) -> None:
    count = Counter(each.verdict for each in found)
    said = table(found)
    print(said)
    assert count["crash"] == count["hang"] == 0, said
    assert count["accepted"] <= MOST_ACCEPTED * len(found) + spare, said
    assert count["raw"] <= MOST_RAW * len(found), said


REFUSED = {"data.download.fetch": "no mirror answers"}
"""Valid sets that are refused all the same, and why."""


def test_what_is_tried_is_refused_for_its_nonsense_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = {}
    for name, (public, kinds) in recipes().items():
        verdict, place, _ = attempt(public, kinds, Scene(random.Random(name), tmp_path), [])
        if verdict != (WORDS if name in REFUSED else ACCEPTED):
            wrong[name] = f"{verdict} {place}"
    assert not wrong, wrong


def test_every_recipe_belongs_to_something_public():
    names = callables()
    owners = {name.rsplit(".", 1)[0] for name in names}
    unused = [name for name in BY_CALL if name not in names and name not in owners]
    assert not unused, f"no such callable: {unused}"


@pytest.mark.parametrize("size", [2**31, 2**62])
def test_no_number_asks_for_work_without_end(size, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = {}
    for name, (public, kinds) in recipes().items():
        for argument, kind in kinds.items():
            if not any(map(kind.makes_sense, range(1, 7))) or kind.makes_sense(size):
                continue
            given = {**kinds, argument: Kind(constant(size))}
            verdict, place, _ = attempt(public, given, Scene(random.Random(f"{name} {argument}"), tmp_path), [])
            if verdict not in (WORDS, DOOR, ACCEPTED):
                wrong[f"{name}({argument}=)"] = f"{verdict} {place}"
    assert not wrong, wrong


def test_nonsense_is_refused_in_words():
    hold(tries(300), SPARE)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_much_nonsense_is_refused_in_words():
    hold(tries(10_000, seed=2))


if __name__ == "__main__":
    print(table(tries(int(sys.argv[1]) if len(sys.argv) > 1 else 300, int(sys.argv[2]) if len(sys.argv) > 2 else SEED)))
