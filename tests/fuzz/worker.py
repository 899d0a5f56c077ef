"""Try sets of arguments, one JSON line before and one after each, so that whoever reads knows which one ended it.

python worker.py FOLDER SEED FIRST LAST
"""

import contextlib
import io
import json
import os
import random
import resource
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import GeneratorType
from typing import Any

import torch
from judge import ACCEPTED, RAW, WORDS, judge, where
from kinds import Kind, Scene
from public import Public, callables
from recipes import ABSTRACT, receiver, recipe

MEMORY = 4 << 30
"""Bytes that a set may take beside what the libraries have mapped."""


def recipes() -> dict[str, tuple[Public, dict[str, Kind]]]:
    found = {name: (public, recipe(public)) for name, public in callables().items() if name not in ABSTRACT}
    return {name: pair for name, pair in found.items() if pair[1]}


def chosen(names: list[str], seed: int, index: int) -> tuple[str, random.Random]:
    """Every callable once per round, in an order of the round's own."""
    order = random.Random(f"{seed}/{index // len(names)}").sample(names, len(names))
    return order[index % len(names)], random.Random(f"{seed}/{index}/set")


def arguments(kinds: Mapping[str, Kind], scene: Scene, spoiled: list[str]) -> dict[str, Any]:
    # All of them: where labels were left out, say, a set would be refused for that, and not for its nonsense.
    return {name: kind.nonsense(scene) if name in spoiled else kind.make(scene) for name, kind in kinds.items()}


def consume(result: Any) -> None:
    # A generator or a context manager has not looked at its arguments before it starts.
    if isinstance(result, contextlib.AbstractContextManager) and hasattr(result, "gen"):
        with result:
            pass
    elif isinstance(result, GeneratorType | Iterator):
        for _, _ in zip(range(3), result, strict=False):
            pass


def attempt(public: Public, kinds: Mapping[str, Kind], scene: Scene, spoiled: list[str]) -> tuple[str, str, str]:
    """Verdict, where it comes from, and the arguments that were spoiled."""
    call = receiver(public, scene)
    given = arguments(kinds, scene, spoiled)
    said = ", ".join(f"{name}={_short(given[name])}" for name in spoiled)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                consume(call(**given))
        except (Exception, SystemExit) as error:
            return judge(error, 1), where(error), said
    # Nonsense that is taken with a warning in words was at least not taken in silence.
    return (WORDS if any(issubclass(each.category, UserWarning) for each in heard) else ACCEPTED), "", said


def _short(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        odd = [name for name in ("meta", "sparse", "nan") if _is_odd(value, name)]
        return f"tensor({', '.join([str(value.dtype), str(list(value.shape)), *odd])})"
    return repr(value)[:60]


def _is_odd(value: torch.Tensor, name: str) -> bool:
    if name == "meta" or value.is_meta:
        return name == "meta" and value.is_meta
    if name == "sparse" or value.layout is not torch.strided:
        return name == "sparse" and value.layout is not torch.strided
    return bool(value.isnan().any())


def main(folder: str, seed: int, first: int, last: int) -> None:
    torch.set_num_threads(1)
    os.chdir(folder)
    table = recipes()
    names = sorted(table)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = sys.stdout
    for index in range(first, last):
        name, rng = chosen(names, seed, index)
        public, kinds = table[name]
        spoiled = rng.sample(list(kinds), min(len(kinds), rng.choice((1, 1, 2, 3))))
        print(json.dumps({"index": index, "name": name, "spoiled": spoiled}), file=out, flush=True)
        with tempfile.TemporaryDirectory(dir=folder) as own:
            try:
                verdict, place, said = attempt(public, kinds, Scene(rng, Path(own)), spoiled)
            except MemoryError as error:
                verdict, place, said = RAW, where(error), ""
        print(json.dumps({"index": index, "verdict": verdict, "where": place, "said": said}), file=out, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *(int(each) for each in sys.argv[2:5]))
