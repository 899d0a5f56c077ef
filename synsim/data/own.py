"""The user's own files: arrays of NumPy, tables, folders of IDX files. docs/data.md describes them."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from synsim._checks import require
from synsim.data.dataset import Dataset
from synsim.data.find import DataNotFoundError, roots
from synsim.data.idx import read_idx
from synsim.data.npz import read_npz
from synsim.data.stored import LARGEST, fill, opened

TABLES = (".csv", ".csv.gz")
LABELS = ("label", "class", "target", "y")
"""What the column of the labels may be called."""
IDX = re.compile(r"(?P<set>.*?)(?P<part>train|t10k|test)-(?P<kind>images|labels)[-.]idx[13]-ubyte(\.gz)?")


def is_path(name: str) -> bool:
    """Whether the name of a data set is rather that of a file or folder.

    Args:
        name: the name.

    Returns:
        True if it ends like a file that is read, has a folder in it, or is there.
    """
    return name.lower().endswith((".npz", *TABLES)) or "/" in name or "\\" in name or Path(name).exists()


def read_own(name: str, root: str | Path | None) -> Dataset:
    """A data set of the user's own.

    Args:
        name: of the file or folder, in the working folder or in a root.
        root: the only other folder to look in; None: those of `find.roots`.

    Returns:
        The data set.

    Raises:
        DataNotFoundError: if it is not there.
        ValueError: if it holds no data set, or a part of it does not fit.
    """
    places = [Path(name).expanduser(), *(base / name for base in roots(root))]
    path = next((place for place in places if place.exists()), None)
    if path is None:
        raise DataNotFoundError(f"{name} was not found. Looked for: {', '.join(map(str, dict.fromkeys(places)))}.")
    if path.is_dir():
        return _made(path, _read_folder(path))
    if path.name.lower().endswith(".npz"):
        return _made(path, read_npz(path))
    known = path.name.lower().endswith(TABLES)
    require(known, f"{path}: expected a file that ends in .npz, {', '.join(TABLES)}, or a folder of IDX files.")
    return _made(path, _read_table(path))


def _made(path: Path, given: dict[str, Any]) -> Dataset:
    try:
        return Dataset.from_arrays(**given, name=path.name.split(".")[0] or path.name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_table(path: Path) -> dict[str, Any]:
    with opened(path) as file:
        content, got = fill(file, LARGEST)
    require(got <= LARGEST, f"{path}: expected a table of at most {LARGEST:,} bytes, got more.")
    column, titled = _layout(content.tobytes().partition(b"\n")[0], path)
    # Imported here: it is slow, and only tables need it.
    import pandas as pd

    try:
        # Nothing is taken for a gap: NA may be a class, and a pixel that is missing is no number.
        table = pd.read_csv(
            io.BytesIO(content.data),
            header=0 if titled else None,
            keep_default_na=False,
            encoding="utf-8-sig",
            converters={column: str.strip},
        )
    except ValueError as error:
        raise ValueError(f"{path}: expected a table with rows of equal length, but {error}.") from error
    labels = table.pop(table.columns[column]).to_numpy(dtype=str)
    require(len(table) > 0, f"{path}: expected a row for each example, got none.")
    wrong = [str(name) for name, kind in table.dtypes.items() if kind.kind not in "biuf"]
    require(
        not wrong,
        f"{path}: expected numbers in every column but that of the labels, got text or nothing in "
        f"{', '.join(wrong[:8])}.",
    )
    numbers = all(re.fullmatch(r"[+-]?\d{1,18}", each) for each in set(labels.tolist()))
    return {"x": table.to_numpy(), "y": labels.astype(np.int64) if numbers else labels}


def _layout(line: bytes, path: Path) -> tuple[int, bool]:
    # From the first line: the column of the labels, and whether the line names the columns.
    cells = [cell.strip().strip('"') for cell in line.decode("utf-8", "replace").lstrip("\ufeff").split(",")]
    require(
        len(cells) > 1, f"{path}: expected a table of at least two columns, set apart by commas, got {cells[0][:40]!r}."
    )
    if all(map(_is_number, cells[1:])):
        return 0, False
    column = next((cells.index(name) for name in LABELS if name in cells), None)
    if column is None:
        raise ValueError(
            f"{path}: expected a column called {', '.join(LABELS)}, got the columns {', '.join(cells[:8])}, …."
        )
    return column, True


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_folder(path: Path) -> dict[str, Any]:
    found: dict[tuple[str, str], Path] = {}
    sets = set()
    for file in sorted(path.iterdir()):  # a packed file comes after the plain one, and takes its place
        match = IDX.fullmatch(file.name)
        if match is not None and not file.is_dir():
            found["train" if match["part"] == "train" else "test", match["kind"]] = file
            sets.add((match["set"], match["part"] == "t10k", match["part"] == "test"))
    names = sorted({name for name, _, _ in sets})
    ambiguous = len(names) > 1 or len(sets) > 2
    require(not ambiguous, f"{path}: expected the files of one data set, got those of several. Give each a folder.")
    wanted = [(part, kind) for part in ("train", "test") for kind in ("images", "labels")]
    lacking = [f"*{part}-{kind}-idx*-ubyte[.gz]" for part, kind in wanted if (part, kind) not in found]
    if lacking:
        raise DataNotFoundError(
            f"{path}: expected IDX files of images and labels for training, and for the test (t10k or test); "
            f"{', '.join(lacking)} missing."
        )
    x, y, x_test, y_test = (read_idx(found[role], 3 if role[1] == "images" else 1) for role in wanted)
    return {"x": x, "y": y, "x_test": x_test, "y_test": y_test}
