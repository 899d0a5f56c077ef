"""Data sets by name."""

import difflib
import os
from pathlib import Path

import pooch
import torch

from synsim.data.cifar import read_cifar
from synsim.data.dataset import Dataset
from synsim.data.idx import read_idx

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CIFAR_FILES = (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin")
CIFAR_FOLDERS = ("cifar-10-batches-bin", "cifar10")
DIGITS_TRAIN = 1437

SCALES = {
    "digits": ((0.3054,), (0.3755,)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion-mnist": ((0.2861,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}
"""Mean and standard deviation of the training pixels, on the scale from 0 to 1."""


class DataNotFoundError(FileNotFoundError):
    """The files of a data set are in none of the folders searched."""


def available() -> tuple[str, ...]:
    """Names that `load` knows.

    Returns:
        The names.
    """
    return tuple(SCALES)


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
        close = difflib.get_close_matches(name, SCALES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown data set {name!r}; expected one of {', '.join(SCALES)}.{hint}")
    return name


def cache_folder() -> Path:
    """Where `fetch` puts files unless told otherwise.

    Returns:
        A folder of the user's cache.
    """
    return Path(pooch.os_cache("synsim"))


def roots(root: str | Path | None) -> list[Path]:
    """Folders to search, in order.

    Args:
        root: the only folder to search, or None.

    Returns:
        That folder; or the one of $SYNSIM_DATA, else the cache and ./data.
    """
    if root is not None:
        return [Path(root)]
    if os.environ.get("SYNSIM_DATA"):
        return [Path(os.environ["SYNSIM_DATA"])]
    return [cache_folder(), Path("data")]


def load(name: str, root: str | Path | None = None) -> Dataset:
    """Read a data set.

    Args:
        name: "digits" (bundled with scikit-learn), "mnist", "fashion-mnist" or "cifar10".
        root: folder with `<name>/<usual file name>[.gz]`, or `cifar-10-batches-bin/*.bin`. None: the folder that the
            environment variable SYNSIM_DATA names, else the download cache, else ./data.

    Returns:
        The data set, as stored.

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
    return Dataset(name, *parts, classes=10, levels=16 if name == "digits" else 255, mean=mean, sd=sd)


Parts = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def _digits() -> Parts:
    # Imported here: it is slow, and only this data set needs it.
    from sklearn.datasets import load_digits

    stored = load_digits()
    x, y = torch.tensor(stored.images).to(torch.uint8), torch.tensor(stored.target).to(torch.uint8)
    return x[:DIGITS_TRAIN], y[:DIGITS_TRAIN], x[DIGITS_TRAIN:], y[DIGITS_TRAIN:]


def _idx(name: str, root: str | Path | None) -> Parts:
    for folder in roots(root):
        found = [_either(folder / name / file) for file in IDX_FILES]
        if all(path is not None for path in found):
            images, labels, test_images, test_labels = (path for path in found if path is not None)
            return (
                read_idx(images, 3),
                read_idx(labels, 1),
                read_idx(test_images, 3),
                read_idx(test_labels, 1),
            )
    raise _missing(name, root, [f"{name}/{file}[.gz]" for file in IDX_FILES])


def _either(path: Path) -> Path | None:
    packed = path.with_name(path.name + ".gz")
    return path if path.is_file() else packed if packed.is_file() else None


def _cifar(root: str | Path | None) -> Parts:
    for folder in roots(root):
        for inner in CIFAR_FOLDERS:
            paths = [folder / inner / file for file in CIFAR_FILES]
            if all(path.is_file() for path in paths):
                read = [read_cifar(path) for path in paths]
                train = [torch.cat([part[k] for part in read[:-1]]) for k in (0, 1)]
                return train[0], train[1], *read[-1]
    raise _missing("cifar10", root, [f"{CIFAR_FOLDERS[0]}/{file}" for file in CIFAR_FILES])


def _missing(name: str, root: str | Path | None, files: list[str]) -> DataNotFoundError:
    folders = ", ".join(str(folder) for folder in roots(root))
    where = "" if root is None else f", {str(root)!r}"
    return DataNotFoundError(
        f"the data set {name!r} was not found in {folders}. Looked for: {', '.join(files)}. Two ways to get it: "
        f"(1) download it: python -c \"import synsim.data; synsim.data.fetch('{name}'{where})\"; "
        "(2) put these files there by hand, or name the folder that has them (--data-dir, load(root=...), or the "
        "environment variable SYNSIM_DATA)."
    )
