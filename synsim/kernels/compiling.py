"""Compilation of the CPU kernels: at their first use, kept on disk where that is possible, and never a reason to fail.

Numba refuses to keep anything for a user who owns neither a home nor the installation, raises when a kept file is
damaged, and looks only at the file of a function to see whether what it kept is stale. Here the cache goes to a private
folder for temporary files, or is left out; what cannot be read is compiled again; and all kernels age together.
"""

import os
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

_KINDS = ("cpu.py", "cpu_*.py", "constants.py")


class Later:
    """A module of kernels, imported at its first use and numba with it, which takes a quarter of a second.

    Args:
        name: full name of the module.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(import_module(self._name), attribute)
        # An attribute of its own is found without this function from now on: calls cost what they cost in a module.
        setattr(self, attribute, value)
        return value


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Numba's decorator of the same name, with a cache that never raises.

    Args:
        **options: of numba's, without `cache`.

    Returns:
        The decorator.
    """
    import numba

    def compiled(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        # As `Dispatcher.enable_caching` does, which knows no other class of caches than its own.
        # (Where NUMBA_DISABLE_JIT is set, the function comes back as it went.)
        if hasattr(dispatcher, "_cache"):
            dispatcher._cache = _kept(function) or dispatcher._cache
        return dispatcher

    return compiled


def _kept(function: Callable[..., Any]) -> Any:
    # The cache of a function: beside the package or in the user's home, else in a private folder, else none.
    config: Any = import_module("numba.core.config")
    try:
        return _cache_class()(function)
    except (RuntimeError, OSError):
        pass
    folder = private_folder()
    if folder is None:
        return None
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        return _cache_class()(function)
    except (RuntimeError, OSError):
        return None
    finally:
        config.CACHE_DIR = before


def private_folder() -> Path | None:
    """A folder for temporary files that nobody else can write to: what lies in it is executed.

    Returns:
        The folder, or None if there is none or another user made it.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    try:
        folder = Path(tempfile.gettempdir()) / f"synsim-numba-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o022
    return folder if mine else None


@cache
def _sources() -> str:
    # Kernels and constants of one file are compiled into those of others: each is stale when any file has changed.
    digest = sha256()
    for kind in _KINDS:
        for path in sorted(Path(__file__).parent.glob(kind)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _cache_class() -> Any:
    function_cache: Any = import_module("numba.core.caching").FunctionCache

    class KernelCache(function_cache):  # type: ignore[misc]
        """Numba's cache of a function, which compiles again where it cannot read and forgets where it cannot write."""

        def __init__(self, function: Callable[..., Any]) -> None:
            super().__init__(function)
            self._cache_file._source_stamp = (self._cache_file._source_stamp, _sources())

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            try:
                return super().load_overload(sig, target_context)
            except Exception:  # a damaged pickle can raise anything
                self._forget()
                return None

        def save_overload(self, sig: Any, data: Any) -> None:
            try:
                super().save_overload(sig, data)
            except Exception:
                self._forget()

        def _forget(self) -> None:
            try:
                self.flush()
            except OSError:
                self.disable()

    return KernelCache
