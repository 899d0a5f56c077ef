"""Data sets by name, and where their files are looked for."""

import difflib
import json
import os
from pathlib import Path

import torch
from torch import Tensor

from synsim._doors import typed
from synsim.data.cifar import read_cifar
from synsim.data.dataset import Dataset
from synsim.data.idx import read_pair

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CIFAR_FILES = (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin")
CIFAR_FOLDERS = ("cifar-10-batches-bin", "cifar10")
CLASSES = 10
DIGITS_TRAIN = 1437

SCALES = {
    "digits": ((0.3054,), (0.3755,)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion-mnist": ((0.2861,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}
"""Mean and standard deviation of the training pixels, on the scale from 0 to 1."""

Parts = tuple[Tensor, Tensor, Tensor, Tensor]


class DataNotFoundError(FileNotFoundError):
    """The files of a data set are in none of the folders searched."""


def available() -> tuple[str, ...]:
    """Names that `load` knows.

    Returns:
        The names.
    """
    return tuple(SCALES)


@typed
def known(name: str) -> str:
    """The name of a data set, checked.

    Args:
        name: the name given.

    Returns:
        The same name.

    Raises:
        ValueError: if there is no such data set.
    """
    if name not in SCALES:
        close = difflib.get_close_matches(str(name).lower(), SCALES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown data set {name!r}; expected one of {', '.join(SCALES)}.{hint}")
    return name


@typed
def roots(root: str | Path | None) -> list[Path]:
    """Folders to search, in order; `fetch` writes to the first.

    Args:
        root: the only folder to search, or None.

    Returns:
        That folder; or the one of $SYNSIM_DATA; or the user's cache and ./data.
    """
    # A folder named on purpose is the only one: falling back would read other files than those meant.
    named = root if root is not None else os.environ.get("SYNSIM_DATA")
    if named:
        return [Path(named).expanduser()]
    import pooch  # here: a fifth of a second that most imports of the package do not need

    return [Path(pooch.os_cache("synsim")), Path("data")]


@typed
def load(name: str, root: str | Path | None = None) -> Dataset:
    """Read a data set.

    Args:
        name: "digits" (bundled with scikit-learn), "mnist", "fashion-mnist" or "cifar10".
        root: folder with `<name>/<usual file name>[.gz]`, or `cifar-10-batches-bin/*.bin`. None: the folder that the
            environment variable SYNSIM_DATA names, else the download cache, else ./data.

    Returns:
        The data set as stored, uint8: digits [N, 8, 8] with pixels from 0 to 16; MNIST and Fashion-MNIST [N, 28, 28]
        and CIFAR-10 [N, 3, 32, 32] from 0 to 255.

    Raises:
        ValueError: if the name is unknown or a file is damaged.
        DataNotFoundError: if files are missing.
    """
    mean, sd = SCALES[known(name)]
    if name == "digits":
        parts = _digits()
    elif name == "cifar10":
        parts = _cifar(root)
    else:
        parts = _idx(name, root)
    return Dataset(name, *parts, classes=CLASSES, levels=16 if name == "digits" else 255, mean=mean, sd=sd)


def _digits() -> Parts:
    # Imported here: it is slow, and only this data set needs it.
    from sklearn.datasets import load_digits

    stored = load_digits()
    x, y = (
        torch.tensor(stored.images, device="cpu").to(torch.uint8),
        torch.tensor(stored.target, device="cpu").to(torch.uint8),
    )
    return x[:DIGITS_TRAIN], y[:DIGITS_TRAIN], x[DIGITS_TRAIN:], y[DIGITS_TRAIN:]


def _idx(name: str, root: str | Path | None) -> Parts:
    paths = _find(name, root, (name,), IDX_FILES, packed=True)
    return *read_pair(paths[0], paths[1], CLASSES), *read_pair(paths[2], paths[3], CLASSES)


def _cifar(root: str | Path | None) -> Parts:
    parts = [read_cifar(path, CLASSES) for path in _find("cifar10", root, CIFAR_FOLDERS, CIFAR_FILES, packed=False)]
    x, y = zip(*parts, strict=True)
    return torch.cat(x[:-1]), torch.cat(y[:-1]), x[-1], y[-1]


def _find(
    name: str, root: str | Path | None, folders: tuple[str, ...], files: tuple[str, ...], packed: bool
) -> list[Path]:
    # All files of one folder, never a mixture of two.
    searched = [base / folder for base in roots(root) for folder in folders]
    missing = {}
    for folder in searched:
        found = [_either(folder / file, packed) for file in files]
        if None not in found:
            return [path for path in found if path is not None]
        missing[folder] = [file for file, path in zip(files, found, strict=True) if path is None]
    raise _not_found(name, root, missing, files, ".gz" if packed else "")


def _either(path: Path, packed: bool) -> Path | None:
    # The packed one first: it is the one that `fetch` verifies.
    choices = [path.with_name(path.name + ".gz"), path] if packed else [path]
    return next((choice for choice in choices if choice.is_file()), None)


def _not_found(
    name: str, root: str | Path | None, missing: dict[Path, list[str]], files: tuple[str, ...], ending: str
) -> DataNotFoundError:
    suffix = f"[{ending}]" if ending else ""
    searched = "".join(
        f"\n  {folder}: " + (f"{', '.join(names)} missing" if len(names) < len(files) else "none of them")
        for folder, names in missing.items()
    )
    call = f"synsim.data.fetch({json.dumps(name)}"
    call += ")" if root is None else f", {json.dumps(str(root), ensure_ascii=False)})"
    return DataNotFoundError(
        f"the data set {name!r} was not found.\n"
        f"Looked for: {', '.join(file + suffix for file in files)}\nin:{searched}\nTwo ways to get it:\n"
        f"  1. Download it: python -c 'import synsim; {call}'\n"
        f"  2. Put these files into {next(iter(missing))} by hand; or, if another folder holds "
        f"{next(iter(missing)).name}/ with them, name that folder by --data-dir, by load({json.dumps(name)}, root) "
        "or by the environment variable SYNSIM_DATA."
    )
