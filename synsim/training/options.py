"""What an experiment can be told: options that say all of themselves, and the frozen config that holds them."""

import dataclasses
import sys
import typing
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from synsim._checks import available_device, require, whole
from synsim._doors import check_fields, typed

THREADS = 1024
"""More threads than this are a slip of the hand, and end the process."""
FEW = 6
"""Of more values than this a message names the first ones."""
_told: dict[Any, Any] = {}


class UnreadOptionWarning(UserWarning):
    """An option was given that changes nothing, since what it is of was not chosen."""


@typed
def option(
    default: Any,
    text: str,
    choices: Sequence[Any] | None = None,
    *,
    neutral: bool = False,
    phases: bool = False,
    chooses: bool = False,
    least: float | None = None,
    unused: bool = False,
    of: tuple[str, Sequence[Any]] | None = None,
) -> Any:
    """A field of a config with its help.

    Args:
        default: its default.
        text: what `--help` says.
        choices: allowed values.
        neutral: it chooses what is run, where, and from where, and takes nothing away from a protocol.
        phases: it chooses which independent phases are run: a run may be resumed with another choice, and keeps the
            phases that it has.
        chooses: it is one or several seeds on which settings are chosen, so that none of them may be reported.
        least: the smallest value allowed, of each where there are several.
        unused: an experiment has no use for what others have, and refuses another value than the default; the text says
            why, or what to give instead.
        of: another option and some of its values, one of which must be chosen for this one to be read, such as
            ("methods", ("ewc",)). Where none is, and this one is given all the same, UnreadOptionWarning says so.

    Returns:
        The field.
    """
    said = {"help": f"not used: {text}" if unused else text, "choices": choices, "least": least}
    said |= {"neutral": neutral or unused, "phases": phases, "chooses": chooses, "unused": unused, "of": of}
    return dataclasses.field(default=default, metadata=said)


class _Frozen:
    # What a config is does not change, also where a class of options has no such method of its own.
    def __setattr__(self, name: str, value: object) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


@typing.dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(option,))
@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(_Frozen):
    """What every experiment can be told. The folder of a run is called after the script, unless told otherwise.

    A class of it is a frozen dataclass by itself, with the options that it adds.

    Example:
        >>> from synsim.experiment import RunConfig, option
        >>> class Config(RunConfig):
        ...     decay: float = option(0.01, "weight decay")
        >>> Config(seeds=(1, 2)).decay
        0.01
    """

    _says: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    data: str = option(
        "mnist",
        "data set: digits, mnist, fashion-mnist or cifar10; or a file of your own, such as mine.npz (docs/data.md)",
        neutral=True,
    )
    data_dir: str | None = option(
        None, "folder that holds the data sets, and own files (default: $SYNSIM_DATA, then the cache)", neutral=True
    )
    seeds: tuple[int, ...] = option((2019, 2020, 2021), "one replica per seed")
    device: str = option("cpu", "torch device, such as cpu or cuda", neutral=True)
    threads: int | None = option(None, "threads of torch (default: all cores)", neutral=True)
    epochs: int | None = option(10, "passes over each task")
    out: str = option(None, "folder of the run (default: runs/ and the name of the script)", neutral=True)
    resume: bool = option(False, "go on with the run that the folder holds", neutral=True)
    overwrite: bool = option(False, "replace the run that the folder holds", neutral=True)
    checkpoint_every: float = option(60.0, "seconds between checkpoints", neutral=True)
    quiet: bool = option(False, "no progress bars", neutral=True)

    def __init_subclass__(cls, **given: Any) -> None:
        """Make a dataclass of the class, and refuse what is not read any more.

        Raises:
            TypeError: if presets or phases are not said by the options themselves.
        """
        super().__init_subclass__(**given)
        old = [name for name in ("CHOICES", "PRESETS") if name in vars(cls)]
        if old:
            raise TypeError(
                f"{cls.__qualname__} has {' and '.join(old)}, which is not read: an option says itself that it chooses "
                "phases, option(..., phases=True), and what it is in every preset, by_preset('text', quick=1, paper=9)."
            )
        written = dict(vars(cls))
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        # A class that is decorated all the same is made anew: of its options only the defaults are left by then, and
        # methods of a frozen class may not be there.
        own = {field.name: written[field.name] for field in dataclasses.fields(cls) if field.name in written}
        says = {name: value.metadata if isinstance(value, dataclasses.Field) else {} for name, value in own.items()}
        cls._says = {**cls._says, **says}
        for name in ("__setattr__", "__delattr__"):
            delattr(cls, name)

    def __post_init__(self) -> None:
        """Check what can be checked without the data."""
        if vars(self)["out"] is None:
            object.__setattr__(self, "out", f"runs/{_script(type(self))}")
        for name, hint in typing.get_type_hints(type(self)).items():
            value = getattr(self, name)
            if typing.get_origin(hint) is tuple and not isinstance(value, tuple):
                object.__setattr__(self, name, tuple(value) if isinstance(value, list) else (value,))
        require(len(self.seeds) > 0, "expected at least one seed, got none.")
        twice = sorted({seed for seed in self.seeds if self.seeds.count(seed) > 1})
        require(not twice, f"a seed must be given once, got {twice} twice: these replicas would be the same run.")
        object.__setattr__(self, "seeds", tuple(whole(seed, "seed", 0) for seed in self.seeds))
        check_fields(self)
        self._check_values()
        self._check_choosing()
        if self.epochs is not None:
            whole(self.epochs, "epochs")
        if self.threads is not None:
            most = f"threads must be at most {THREADS}, got {self.threads}."
            require(whole(self.threads, "threads") <= THREADS, most)
        require(self.checkpoint_every >= 0, f"checkpoint_every must be at least 0 s, got {self.checkpoint_every!r}.")
        require(bool(self.out), "out must be the name of a folder, got an empty one.")
        available_device(self.device)
        self._tell_unread()

    def _tell_unread(self) -> None:
        for field in dataclasses.fields(self):
            says = self.says()[field.name]
            if says.get("of") is None:
                continue
            given, (other, values) = getattr(self, field.name), says["of"]
            chosen = getattr(self, other)
            chosen = chosen if isinstance(chosen, tuple) else (chosen,)
            if given in (field.default, *says.get("presets", {}).values()) or {*chosen} & {*values}:
                continue
            what = f"--{field.name.replace('_', '-')} changes nothing: it is of --{other} {_several(values)}"
            message = f"{what}, and --{other} is {_several(chosen)}."
            # By the name of the script, since no line of it is at fault; once, however many configs a sweep makes.
            warnings.warn_explicit(message, UnreadOptionWarning, _script(type(self)), 0, registry=_told)

    def _check_values(self) -> None:
        for field in dataclasses.fields(self):
            name, says = field.name, self.says()[field.name]
            given, least = getattr(self, name), says.get("least")
            idle = bool(says.get("unused")) and given != field.default
            require(not idle, f"--{name.replace('_', '-')} is {says.get('help')}; got {given!r}.")
            for value in given if isinstance(given, tuple) else (given,):
                # Not `value < least`, which lets NaN pass.
                low = least is not None and value is not None and not value >= least
                require(not low, f"{name} must be at least {least}, got {value!r}.")

    def _check_choosing(self) -> None:
        for field in dataclasses.fields(self):
            if not self.says()[field.name].get("chooses"):
                continue
            given, flag = getattr(self, field.name), f"--{field.name.replace('_', '-')}"
            # Empty by itself: only some settings are chosen, and the experiment knows when.
            empty = given == () and field.default != ()
            require(not empty, f"settings must be chosen on one seed at least: give {flag}.")
            both = sorted({*(given if isinstance(given, tuple) else (given,))} & {*self.seeds})
            require(not both, f"seeds {both} are in {flag} and in --seeds; settings must be chosen on other seeds.")

    @classmethod
    def says(cls) -> dict[str, Mapping[str, Any]]:
        """What every option says of itself.

        Returns:
            Name -> what it was given by `option`: help, choices and so on; empty where it was not.
        """
        return {field.name: cls._says.get(field.name, field.metadata) for field in dataclasses.fields(cls)}

    @classmethod
    def phase_options(cls) -> tuple[str, ...]:
        """Options that choose which independent phases are run.

        Returns:
            Their names.
        """
        return tuple(name for name, says in cls.says().items() if says.get("phases"))


def _several(values: Sequence[Any]) -> str:
    shown = [str(value) for value in values[:FEW]]
    return ", ".join([*shown, f"and {len(values) - FEW} more"] if len(values) > FEW else shown)


def _script(kind: type[RunConfig]) -> str:
    # The file that asks for these options; a notebook has none, and these alone are no script's.
    file = None if kind is RunConfig else getattr(sys.modules.get(kind.__module__), "__file__", None)
    return Path(file or "run").stem
