"""Download with several mirrors, checked by content, and never half written."""

import gzip
import hashlib
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests

from synsim.data.load import CIFAR_FILES, CIFAR_FOLDERS, IDX_FILES, cache_folder, known

TIMEOUT = 30.0
"""Seconds without an answer after which a mirror is given up."""


class DownloadError(RuntimeError):
    """No mirror delivered a file with the right content."""


@dataclass(frozen=True)
class Source:
    """Where a data set comes from and how its content is known.

    Attributes:
        mirrors: base addresses, tried in order.
        files: path below a mirror -> (path below the root, checksum).
        algorithm: of the checksums.
        unpacked: whether the checksum is that of the decompressed content.
    """

    mirrors: tuple[str, ...]
    files: Mapping[str, tuple[str, str]]
    algorithm: str = "sha256"
    unpacked: bool = True


def _idx(name: str, mirrors: Sequence[str], checksums: Sequence[str]) -> Source:
    files = {f"{file}.gz": (f"{name}/{file}.gz", known) for file, known in zip(IDX_FILES, checksums, strict=True)}
    return Source(tuple(mirrors), files)


SOURCES = {
    "mnist": _idx(
        "mnist",
        ["https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"],
        [
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ],
    ),
    "fashion-mnist": _idx(
        "fashion-mnist",
        [
            "https://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ],
        [
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ],
    ),
    "cifar10": Source(
        ("https://www.cs.toronto.edu/~kriz/",),
        {"cifar-10-binary.tar.gz": ("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")},
        algorithm="md5",
        unpacked=False,
    ),
}


def fetch(
    name: str,
    root: str | Path | None = None,
    *,
    mirrors: Sequence[str] | None = None,
    progress: bool = True,
    source: Source | None = None,
) -> Path:
    """Download a data set, or do nothing if it is there already.

    Args:
        name: "mnist", "fashion-mnist" or "cifar10" ("digits" is bundled).
        root: folder to put it below; None: the cache.
        mirrors: base addresses to try instead of the usual ones, in order.
        progress: whether to show progress bars.
        source: files and checksums, for data sets of one's own.

    Returns:
        The root, to be given to `load`.

    Raises:
        ValueError: if the data set is unknown.
        DownloadError: if no mirror delivered a file with the right content; it lists what each one did.
    """
    where = cache_folder() if root is None else Path(root)
    if source is None:
        if known(name) == "digits":
            return where
        source = SOURCES[name]
    for remote, (local, checksum) in source.files.items():
        _file(where / local, remote, checksum, source, mirrors or source.mirrors, progress)
    if name == "cifar10":
        _unpack(where / "cifar-10-binary.tar.gz", where / CIFAR_FOLDERS[0])
    return where


def _file(target: Path, remote: str, checksum: str, source: Source, mirrors: Sequence[str], progress: bool) -> None:
    if target.is_file():
        found = _checksum(target, source)
        if found == checksum:
            return
        print(f"{target}: its content is not that of {remote} ({source.algorithm} {found}); fetching it again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    for mirror in mirrors:
        url = mirror.rstrip("/") + "/" + remote
        reason = _try(url, target, lambda path: _wrong(path, checksum, source), progress)
        if reason is None:
            return
        reasons.append(f"{url}: {reason}")
    listed = "\n  ".join(reasons)
    raise DownloadError(
        f"{target.name} could not be fetched:\n  {listed}\n"
        f"Check the connection, give other addresses (mirrors=[...]), or put the file at {target} by hand."
    )


def _try(url: str, target: Path, wrong: Callable[[Path], str | None], progress: bool) -> str | None:
    # What went wrong, or None. The target appears at once and whole, or not at all.
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        downloader = pooch.HTTPDownloader(progressbar=progress, timeout=TIMEOUT)
        downloader(url, part, None)
        reason = wrong(part)
        if reason is None:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.chmod(0o644)
            part.replace(target)
        return reason
    except (requests.RequestException, OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        part.unlink(missing_ok=True)


def _wrong(path: Path, checksum: str, source: Source) -> str | None:
    found = _checksum(path, source)
    if found == checksum:
        return None
    return f"{source.algorithm} of the content is {found}, expected {checksum} (cut short, or another file)"


def _checksum(path: Path, source: Source) -> str:
    digest = hashlib.new(source.algorithm, usedforsecurity=False)
    unpack = source.unpacked and ".gz" in path.name
    try:
        with gzip.open(path) if unpack else path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        return f"none, the gzip stream is damaged: {error}"
    return digest.hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    if all((folder / file).is_file() for file in CIFAR_FILES):
        return
    with tempfile.TemporaryDirectory(prefix=".cifar-", dir=archive.parent) as name, tarfile.open(archive) as packed:
        packed.extractall(name, filter="data")
        (Path(name) / CIFAR_FOLDERS[0]).replace(folder)
