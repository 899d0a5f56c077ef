"""Download of data sets, verified by content."""

import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from synsim._checks import require, warn
from synsim._doors import typed
from synsim._files import regular
from synsim.data import stored
from synsim.data.find import roots
from synsim.data.load import known
from synsim.data.sources import SOURCES, Archive, Files
from synsim.data.transfer import LARGEST, DownloadError, new_file, sweep, transfer

MOST_NOTED = 2**16
RECORDED = "checksums.sha256"
"""Beside the files of an archive, their checksums when they were unpacked, as `sha256sum --check` reads them."""


@typed
def fetch(
    name: str, root: str | Path | None = None, *, mirrors: Sequence[str] | None = None, progress: bool = True
) -> Path:
    """Download a data set; what is there already and verified is not asked for again.

    A file appears under its name at once and whole, or not at all. A file that is there with other content than the
    original's is replaced, with a warning.

    A mirror is given up if nothing comes for 30 seconds, if it sends less than 1,000 bytes per second over more than a
    minute, if a file takes more than an hour, and if it has more than 256 MiB, packed or unpacked. What downloads that
    were killed left is removed a day later.

    Args:
        name: "mnist", "fashion-mnist" or "cifar10"; "digits" is bundled, nothing is done.
        root: folder to put it below. None: the folder that the environment variable SYNSIM_DATA names, else the cache.
        mirrors: base addresses to try in order, instead of the usual ones; a file is asked for at base/<file name>.
        progress: whether to show progress bars.

    Returns:
        The root, to be given to `load`.

    Raises:
        ValueError: if the data set is unknown, or mirrors is not a sequence of at least one address.
        DownloadError: if no mirror delivered a file with the right content; it lists what each one did.
        OSError: if the folder can't be written to, such as on a full disk; it names the file.
    """
    known(name)
    require(
        mirrors is None or (not isinstance(mirrors, str) and len(mirrors) > 0),
        f"mirrors must be a list of base addresses, or None for the usual ones, got {mirrors!r}.",
    )
    where = roots(root)[0]
    if name == "digits":
        return where
    source = SOURCES[name]
    folder = where / source.folder
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    if isinstance(source, Files):
        _fetch_files(source, folder, mirrors or source.mirrors, progress)
    else:
        _fetch_archive(source, folder, mirrors or source.mirrors, progress)
    return where


def _fetch_files(source: Files, folder: Path, mirrors: Sequence[str], progress: bool) -> None:
    for name, checksum in source.sha256.items():
        if not _is_there(folder / name, checksum):
            by_hand = f"put the file into {folder} by hand"
            transfer(folder / name, name, mirrors, partial(_wrong, checksum=checksum), progress, by_hand)


def _is_there(path: Path, checksum: str) -> bool:
    # `load` reads the packed file first, so a plain one counts only where that is absent, and a wrong one is outdone.
    existing = next((each for each in (path, path.with_suffix("")) if each.is_file()), None)
    if existing is None:
        return False
    reason = _wrong(existing, checksum)
    if reason is not None:
        remedy = "it is fetched again" if existing == path else f"{path.name} is fetched, and read instead"
        _report(f"{existing} is not the original file ({reason}); {remedy}.")
    return reason is None


def _wrong(path: Path, checksum: str) -> str | None:
    try:
        found = stored.digest(path, LARGEST)
    except ValueError as error:
        return f"truncated or damaged: {error.__cause__}" if error.__cause__ else str(error).removeprefix(f"{path}: ")
    return None if found == checksum else f"SHA-256 of its content: expected {checksum}, got {found}"


def _fetch_archive(source: Archive, folder: Path, mirrors: Sequence[str], progress: bool) -> None:
    if _are_there(folder, source.members):
        return
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder) as scratch:
        archive = Path(scratch) / source.file
        by_hand = f"unpack the archive into {folder.parent} by hand"
        transfer(archive, source.file, mirrors, partial(_wrong_archive, md5=source.md5), progress, by_hand)
        # Member by member and by name: nothing in an archive can choose where it is written. And all or none of them.
        with tarfile.open(archive) as packed:
            lines = [_unpack(packed, member, Path(scratch) / name) for member, name in source.members.items()]
        (Path(scratch) / RECORDED).write_text("".join(lines), encoding="utf-8")
        for name in (*source.members.values(), RECORDED):
            (Path(scratch) / name).replace(folder / name)


def _unpack(packed: tarfile.TarFile, member: str, path: Path) -> str:
    # The archive's checksum was right: only another release of it under the same name could lack a member.
    info = next((each for each in packed if each.name == member and each.isreg() and each.size <= LARGEST), None)
    content = None if info is None else packed.extractfile(info)
    if content is None:
        raise DownloadError(f"the archive has no file {member} of at most {LARGEST:,} bytes.")
    with content, new_file(path) as part, part.open("wb") as file:
        shutil.copyfileobj(content, file)
    return f"{_digest(path, 'sha256')}  {path.name}\n"


def _are_there(folder: Path, members: Mapping[str, str]) -> bool:
    # The published checksum is that of the archive; what was taken out of it is held to the checksums noted then.
    recorded = {name: checksum for checksum, _, name in (line.partition("  ") for line in _noted(folder / RECORDED))}
    present = [folder / name for name in members.values() if (folder / name).is_file()]
    changed = [path.name for path in present if not _fits(path, recorded.get(path.name))]
    if changed:
        why = f"differ from {RECORDED}" if recorded else f"have no {RECORDED} to verify them by"
        _report(f"{folder}: {', '.join(changed)} {why}; the original files are fetched again.")
    return len(present) == len(members) and not changed


def _fits(path: Path, checksum: str | None) -> bool:
    return checksum is not None and path.stat().st_size <= LARGEST and _digest(path, "sha256") == checksum


def _noted(path: Path) -> list[str]:
    # Whatever else lies there notes nothing.
    try:
        with regular(path, MOST_NOTED) as file:
            return file.read().decode("utf-8", "replace").splitlines()
    except (OSError, ValueError):
        return []


def _wrong_archive(path: Path, md5: str) -> str | None:
    found = _digest(path, "md5")
    return None if found == md5 else f"MD5: expected {md5}, got {found}"


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _report(message: str) -> None:
    warn(message)
