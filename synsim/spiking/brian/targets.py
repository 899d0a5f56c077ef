"""Brian2 itself, the targets it compiles for, and what is needed for them."""

import gc
import importlib
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from synsim._checks import require, warn

TARGETS = ("numpy", "cython", "cpp_standalone")
SMALL = 20_000
"""Synapses of a network up to which the NumPy target is taken: it runs at once, where compiling takes minutes."""
PATIENCE = 5.0
"""Seconds after which it is said that Cython compiles; code that was compiled before is found within them."""
COMPILING = (
    "Brian2 ({target}): compiling once, this takes minutes. Later runs of the same network find the program again; "
    'target="numpy" needs none.'
)


def brian2() -> Any:
    """The module, imported when it is first needed.

    Returns:
        `brian2`.

    Raises:
        ImportError: if it is not installed; the message says how to get it.
    """
    if "brian2" not in sys.modules and importlib.util.find_spec("brian2") is None:
        raise ImportError("Brian2 is not installed. Install it with: pip install synsim[spiking]")
    before = signal.getsignal(signal.SIGINT)
    with _deprecations():
        module = importlib.import_module("brian2")
    if isinstance(before, signal.Handlers):
        # Brian2 takes over Ctrl-C and then calls what was there before: no function in a job that ignores it (nohup).
        signal.signal(signal.SIGINT, before)
    return module


def chosen(target: str | None, synapses: int | None = None) -> str:
    """The target to use; without a compiler, NumPy and a notice.

    Args:
        target: "numpy", "cython" or "cpp_standalone"; None: NumPy for small networks, else Cython if there is a
            compiler.
        synapses: of the network; None: many.

    Returns:
        One of `TARGETS`.

    Raises:
        ValueError: if there is no such target.
        RuntimeError: if a target is asked for that needs a compiler, and there is none.
    """
    require(target is None or target in TARGETS, f"target must be one of {', '.join(TARGETS)}, got {target!r}.")
    if target == "numpy" or (target is None and synapses is not None and synapses <= SMALL):
        return "numpy"
    problem = compiler_problem()
    if problem is None and target == "cpp_standalone" and sys.platform != "win32" and shutil.which("make") is None:
        raise RuntimeError('target="cpp_standalone" needs make, which was not found. Install it, or take "cython".')
    if problem is None:
        return target or "cython"
    if target is not None:
        raise RuntimeError(f'target={target!r} needs a C++ compiler: {problem}. Install it, or take target="numpy".')
    warn(f"Brian2 runs on its NumPy target, which is slower: {problem}.")
    return "numpy"


@cache
def compiler_problem() -> str | None:
    """Why Brian2's compiled targets cannot be used.

    Returns:
        None if a C++ compiler works and finds the headers of Python.
    """
    if sys.platform == "win32":
        runtime = importlib.import_module("brian2.codegen.runtime.cython_rt.cython_rt")
        return None if runtime.CythonCodeObject.is_available() else "a test compilation with MSVC failed"
    given = (os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++").split()
    path = shutil.which(given[0])
    if path is None:
        return f"the C++ compiler {given[0]!r} was not found"
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.cpp"
        probe.write_text("#include <Python.h>\n#include <vector>\nint main() { return 0; }\n", encoding="utf-8")
        command = [path, *given[1:], "-fsyntax-only", f"-I{sysconfig.get_path('include')}", str(probe)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    first = (done.stderr.strip() or "no message").splitlines()[0]
    return f"{given[0]} could not compile a test with the headers of Python ({first})"


@contextmanager
def patience(target: str, directory: Path | None, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Say on stderr that a program is being compiled, where that takes long, for a `with` statement.

    Args:
        target: one of `TARGETS`.
        directory: of the C++ project, which holds its program if it was compiled before.
        shown: False for silence.

    Yields:
        What is called when the network begins to run.
    """
    timer = threading.Timer(PATIENCE, _say, (target,))
    if shown and target == "cpp_standalone" and not (directory is not None and (directory / "main").exists()):
        _say(target)
    elif shown and target == "cython":
        timer.daemon = True
        timer.start()
    try:
        yield timer.cancel
    finally:
        timer.cancel()


def _say(target: str) -> None:
    if sys.stderr is not None:
        print(COMPILING.format(target=target), file=sys.stderr, flush=True)


@contextmanager
def using(target: str, directory: Path | None = None) -> Iterator[Any]:
    """Brian2 with a target, for a `with` statement; preferences, device and random numbers are put back afterwards.

    Args:
        target: one of `TARGETS`.
        directory: of the C++ project.

    Yields:
        The module `brian2`.
    """
    engine = brian2()
    codegen, standalone = engine.prefs.codegen, engine.prefs.devices.cpp_standalone
    before, make, numbers = codegen.target, standalone.make_cmd_unix, np.random.get_state()  # noqa: NPY002
    generators = logging.getLogger("brian2.codegen.generators.base")
    with _deprecations():
        generators.addFilter(_order)
        try:
            if target == "cpp_standalone":
                # Names of code objects count on from those still alive; equal names let `make` find its objects again.
                gc.collect()
                engine.set_device("cpp_standalone", directory=str(directory))
                engine.device.reinit()
                engine.device.activate(directory=str(directory))
                # Brian2 copies its library anew each time, whose date would have everything compiled again.
                standalone.make_cmd_unix = f"touch -t 200001010000 brianlib/*.h && {make}"
            else:
                # Whatever device is set outside, these objects are of the runtime.
                engine.set_device("runtime")
                codegen.target = target
            yield engine
        finally:
            if target == "cpp_standalone":
                engine.device.reinit()
            importlib.import_module("brian2.devices.device").reset_device()
            codegen.target, standalone.make_cmd_unix = before, make
            # Brian2 draws from NumPy's global generator.
            np.random.set_state(numbers)  # noqa: NPY002
            generators.removeFilter(_order)


@contextmanager
def _deprecations() -> Iterator[None]:
    # Of Brian2's own use of its parser; nothing that a user of this package could change.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


def _order(record: logging.LogRecord) -> bool:
    # Brian2 warns of every `rand()` in a synapse that the outcome may depend on the order of synapses; sums do not.
    return "abstract code block that may not be well-defined" not in record.getMessage()
