"""Where an experiment is, in words that another process understands: a script, or a name in a module."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from synsim._checks import require
from synsim.experiment import Experiment, RunConfig
from synsim.training import Session


@dataclass(frozen=True)
class Whole:
    """A script that writes its record by itself.

    Attributes:
        config: class of its options.
        work: (config, session) -> None.
    """

    config: type[RunConfig]
    work: Callable[[Any, Session], None]


NAME = "EXPERIMENT"
"""What a script calls its experiment."""


@dataclass(frozen=True)
class Source:
    """Where an experiment is found.

    Attributes:
        module: path of a script that ends in ".py", or name of a module.
        name: of the experiment in it.
        digest: SHA-256 of the script, so that a worker does not run another one; empty for a module.
    """

    module: str
    name: str = NAME
    digest: str = ""

    @property
    def script(self) -> Path | None:
        """The script; None for a module."""
        return Path(self.module) if self.module.endswith(".py") else None

    @property
    def title(self) -> str:
        """Name of the script, or of the module."""
        return self.module if self.script is None else self.script.stem


def find(experiment: object, folders: Sequence[Path] = ()) -> Source:
    """Where an experiment is.

    Args:
        experiment: the experiment itself, which must stand in a module or in a script under a name of its own; or a
            text: path of a script, "module:NAME", or name of a script in one of the folders.
        folders: where scripts are looked for.

    Returns:
        Its place.

    Raises:
        ValueError: if there is no such experiment, or other processes can't find it.
    """
    if isinstance(experiment, Source):
        return experiment
    if not isinstance(experiment, str | Path):
        return _of_object(experiment)
    text = str(experiment)
    if text.endswith(".py"):
        return _script(Path(text))
    if ":" in text:
        module, name = text.split(":", 1)
        return Source(module, name)
    for folder in folders:
        if (folder / f"{text}.py").is_file():
            return _script(folder / f"{text}.py")
    known = sorted(path.stem for folder in folders for path in folder.glob("*.py"))
    there = f" in {', '.join(map(str, folders))}: {', '.join(known)}" if known else ""
    raise ValueError(f"expected an experiment: a script{there}, its path, or module:NAME; got {text!r}.")


def _script(path: Path, name: str = NAME) -> Source:
    require(path.is_file(), f"expected the script of an experiment, got {str(path)!r}, which does not exist.")
    return Source(str(path.resolve()), name, hashlib.sha256(path.read_bytes()).hexdigest())


def _of_object(experiment: object) -> Source:
    measure = getattr(experiment, "measure", None)
    module = sys.modules.get(getattr(measure, "__module__", None) or "")
    found = [key for key, value in vars(module).items() if value is experiment] if module else []
    require(
        bool(found),
        f"expected an Experiment that stands in a module under a name of its own, got {experiment!r}: other processes "
        "must find it there. Write it into a file, as EXPERIMENT = Experiment(...), and give its path.",
    )
    assert module is not None
    file = getattr(module, "__file__", None)
    # A script is no module for other processes, and what stands beside one is found only through its path.
    if file and "." not in module.__name__:
        return _script(Path(file), found[0])
    return Source(module.__name__, found[0])


def load(source: Source) -> Experiment | Whole:
    """The experiment.

    Args:
        source: where it is.

    Returns:
        What is called so there; a second call gives the same object.

    Raises:
        ValueError: if it is not there, or the script is another one.
    """
    try:
        module = importlib.import_module(source.module) if source.script is None else _run(source, source.script)
    except ModuleNotFoundError as error:
        raise ValueError(f"{source.module} can't be imported here: {error}.") from error
    experiment = getattr(module, source.name, None)
    if experiment is None and hasattr(module, "experiment") and hasattr(module, "Config"):
        return Whole(module.Config, module.experiment)
    if not isinstance(experiment, Experiment):
        raise ValueError(
            f"{source.module} has no experiment {source.name}; it must say {source.name} = Experiment(...)."
        )
    return experiment


def _run(source: Source, script: Path) -> ModuleType:
    require(script.is_file(), f"{script} does not exist here: a worker must see the scripts of the experiments.")
    digest = hashlib.sha256(script.read_bytes()).hexdigest()
    require(
        source.digest in ("", digest),
        f"{script} is not the script that the sweep was started with. Start the sweep again.",
    )
    known = sys.modules.get(script.stem)
    if known is not None and getattr(known, "__file__", None) and Path(str(known.__file__)).resolve() == script:
        return known
    # Scripts find their siblings in their own folder, as they do when Python runs them.
    if str(script.parent) not in sys.path:
        sys.path.insert(0, str(script.parent))
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[script.stem]
        raise
    return module
