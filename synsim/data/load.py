"""Data sets by name."""

import difflib
from pathlib import Path

import torch
from torch import Tensor

from synsim._doors import typed
from synsim.data.cifar import read_cifar
from synsim.data.dataset import Dataset
from synsim.data.find import find
from synsim.data.idx import read_pair
from synsim.data.own import is_path, read_own

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
def load(name: str, root: str | Path | None = None) -> Dataset:
    """Read a data set.

    Args:
        name: "digits" (bundled with scikit-learn), "mnist", "fashion-mnist" or "cifar10"; or the path of a file of
            one's own, `.npz` or `.csv`, or of a folder of IDX files, as docs/data.md describes them.
        root: folder with `<name>/<usual file name>[.gz]`, or `cifar-10-batches-bin/*.bin`. Torchvision's folders
            `MNIST/raw` and `FashionMNIST/raw` will do, and Kaggle's dots in the names of the files. None: the folder
            that the environment variable SYNSIM_DATA names, else the download cache, else ./data.

    Returns:
        The data set as stored, uint8: digits [N, 8, 8] with pixels from 0 to 16; MNIST and Fashion-MNIST [N, 28, 28]
        and CIFAR-10 [N, 3, 32, 32] from 0 to 255. Of one's own file what `Dataset.from_arrays` makes; where it has no
        test part, a fifth of each class.

    Raises:
        ValueError: if the name is unknown, or a file is damaged, no regular file, or larger than 1 GiB, packed or not,
            or an own file holds no data set.
        DataNotFoundError: if files are missing.

    Example:
        >>> import synsim
        >>> digits = synsim.data.load("digits")
        >>> digits.x_train.shape[1:], digits.classes
        (torch.Size([8, 8]), 10)
    """
    if name not in SCALES and is_path(name):
        return read_own(name, root)
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
    paths = find(name, root)
    return *read_pair(paths[0], paths[1], CLASSES), *read_pair(paths[2], paths[3], CLASSES)


def _cifar(root: str | Path | None) -> Parts:
    parts = [read_cifar(path, CLASSES) for path in find("cifar10", root)]
    x, y = zip(*parts, strict=True)
    return torch.cat(x[:-1]), torch.cat(y[:-1]), x[-1], y[-1]
