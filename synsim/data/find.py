"""Where the files of a data set are looked for, as this package and others lay them out."""

import json
import os
from pathlib import Path

from synsim._doors import typed

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CIFAR_FILES = (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin")

FOLDERS = {
    "mnist": ("mnist", "MNIST/raw"),
    "fashion-mnist": ("fashion-mnist", "FashionMNIST/raw"),
    "cifar10": ("cifar-10-batches-bin", "cifar10"),
}
"""Data set -> its folders below a root, in order; `fetch` writes to the first, torchvision's come after it."""

ELSEWHERE = (".", "raw", "mnist/raw", "MNIST", "fashion-mnist/raw", "FashionMNIST")
"""Folders whose files bear the right names, and may be those of another data set."""

BESIDE = {
    "cifar-10-batches-py": "holds pickles, which are not read, since they could run code. Get the binary version.",
    "cifar-10-python.tar.gz": "holds pickles, which are not read, since they could run code. Get the binary version.",
    "cifar-10-binary.tar.gz": "is still packed. Unpack it here.",
}
"""What lies below a root in place of the files of CIFAR-10, and what of it."""


class DataNotFoundError(FileNotFoundError):
    """The files of a data set are in none of the folders searched."""


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


def find(name: str, root: str | Path | None) -> list[Path]:
    """The files of a data set, all of one folder, never a mixture of two.

    Args:
        name: the data set.
        root: the only folder to search, or None.

    Returns:
        Their paths, in the order of `IDX_FILES` or `CIFAR_FILES`.

    Raises:
        DataNotFoundError: if no folder holds all of them; it says what is missing where, and what lies nearby.
    """
    files = CIFAR_FILES if name == "cifar10" else IDX_FILES
    missing = {}
    for folder in (base / each for base in roots(root) for each in FOLDERS[name]):
        found = [_there(folder, file) for file in files]
        if None not in found:
            return [path for path in found if path is not None]
        missing[folder] = [_lacking(folder / file) for file, path in zip(files, found, strict=True) if path is None]
    raise DataNotFoundError(_not_found(name, root, missing, files))


def _names(file: str) -> list[str]:
    if file in CIFAR_FILES:
        return [file]
    # The packed one first: it is the one that `fetch` verifies. Kaggle writes a dot before "idx".
    return [spelt + ending for spelt in (file, file.replace("-idx", ".idx")) for ending in (".gz", "")]


def _there(folder: Path, file: str) -> Path | None:
    # Pipes and devices count, too: they are refused when they are opened, which says more than that they are missing.
    choices = (folder / name for name in _names(file))
    return next((choice for choice in choices if choice.exists() and not choice.is_dir()), None)


def _lacking(path: Path) -> str:
    if path.is_dir():
        return f"{path.name} (a folder)"
    return f"{path.name} (a broken link)" if path.is_symlink() else path.name


def _not_found(name: str, root: str | Path | None, missing: dict[Path, list[str]], files: tuple[str, ...]) -> str:
    ending = "" if name == "cifar10" else "[.gz]"
    searched = "".join(
        f"\n  {folder}: " + (f"{', '.join(names)} missing" if names != list(files) else "none of them")
        for folder, names in missing.items()
    )
    call = f"synsim.data.fetch({json.dumps(name)}"
    call += ")" if root is None else f", {json.dumps(str(root), ensure_ascii=False)})"
    first = next(iter(missing))
    hints = "".join(f"\nNearby: {hint}" for base in roots(root) for hint in _nearby(name, base, files))
    return (
        f"the data set {name!r} was not found.\n"
        f"Looked for: {', '.join(file + ending for file in files)}\nin:{searched}{hints}\nTwo ways to get it:\n"
        f"  1. Download it: python -c 'import synsim; {call}'\n"
        f"  2. Put these files into {first} by hand; or, if another folder holds {first.name}/ with them, name that "
        f"folder by --data-dir, by load({json.dumps(name)}, root) or by the environment variable SYNSIM_DATA."
    )


def _nearby(name: str, base: Path, files: tuple[str, ...]) -> list[str]:
    if name == "cifar10":
        return [f"{base / each} {what}" for each, what in BESIDE.items() if (base / each).exists()]
    # MNIST and its relatives name their files alike: whose they are, only a folder tells.
    return [
        f"{folder} holds such files, perhaps those of another data set. If they are those of {name}, move them to "
        f"{base / FOLDERS[name][0]}."
        for folder in (base / each for each in ELSEWHERE if each not in FOLDERS[name])
        if all(_there(folder, file) for file in files)
    ]
