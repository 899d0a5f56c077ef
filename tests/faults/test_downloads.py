"""Downloads that go wrong: each fault is named in words, nothing is left behind, and what lies beside stays whole."""

import dataclasses
import errno
import gc
import hashlib
import io
import os
import re
import threading
import time
from pathlib import Path

import pytest
import urllib3
from bad_servers import (
    ARCHIVE,
    ARCHIVES,
    CHECKSUM,
    CONTENT,
    DAMAGED,
    FOREVER,
    HEAD,
    NAME,
    PACKED,
    PLAYED,
    Server,
    answer,
    archive,
    raw,
    sent,
    then,
)

from synsim.data import DownloadError, download, fetch, transfer
from synsim.data.find import CIFAR_FILES
from synsim.data.sources import SOURCES, Files

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@dataclasses.dataclass
class Scene:
    """Where a fault is set up: a folder with a good file beside the one that is wanted."""

    root: Path
    server: Server
    patch: pytest.MonkeyPatch

    @property
    def folder(self):
        return self.root / "mnist"

    def fail(self, name, error, *, unless=lambda *a: False):
        """A function of pathlib that does not do what is asked for on a part of the file."""
        real = getattr(Path, name)

        def failing(path, *given, **options):
            if path.name.endswith(".part") and not unless(path, *given):
                raise type(error)(*error.args)
            return real(path, *given, **options)

        self.patch.setattr(Path, name, failing)


class Full(io.FileIO):
    def write(self, data):
        raise OSError(*NO_SPACE.args)


def no_space(scene):
    real = Path.open
    scene.patch.setattr(Path, "open", lambda path, mode: Full(path, "w") if mode == "wb" else real(path, mode))


def no_space_at_last(scene):
    def fsync(descriptor):
        raise OSError(*NO_SPACE.args)

    scene.patch.setattr(os, "fsync", fsync)


def a_file_for_the_folder(scene):
    scene.folder.rename(scene.root / "other")
    scene.folder.write_bytes(b"a note")


def a_folder_for_the_file(scene):
    (scene.folder / NAME).mkdir()
    (scene.folder / NAME / "a note").write_bytes(b"text")


def a_loop(scene):
    scene.folder.rename(scene.root / "other")
    scene.folder.symlink_to(scene.folder)


# What the disk may do -> the error, and the file that it names.
LOCAL = {
    "full at once": (lambda s: s.fail("open", NO_SPACE), OSError, f"No space left on device: '.*/mnist/{NAME}'"),
    "full within": (no_space, OSError, f"No space left on device: '.*/mnist/{NAME}'"),
    "full at last": (no_space_at_last, OSError, f"No space left on device: '.*/mnist/{NAME}'"),
    "beyond the quota": (
        lambda s: s.fail("open", OSError(errno.EDQUOT, "Disk quota exceeded"), unless=lambda path, mode: mode == "xb"),
        OSError,
        f"Disk quota exceeded: '.*/mnist/{NAME}'",
    ),
    "read-only": (
        lambda s: s.fail("open", OSError(errno.EROFS, "Read-only file system")),
        OSError,
        f"Read-only file system: '.*/mnist/{NAME}'",
    ),
    "locked": (
        lambda s: s.fail("replace", PermissionError(errno.EACCES, "The file is used by another process")),
        PermissionError,
        f"used by another process: '.*/mnist/{NAME}'",
    ),
    "a file for the folder": (a_file_for_the_folder, OSError, "File exists: '.*/mnist'"),
    "a folder for the file": (a_folder_for_the_file, OSError, f"A folder lies where a file belongs: '.*/mnist/{NAME}'"),
    "a loop of links": (a_loop, OSError, "File exists: '.*/mnist'|symbolic links: '.*/mnist'"),
}


ALL = [*PLAYED, *LOCAL, *ARCHIVES, *DAMAGED]


def everything(root):
    """Every file below a folder, with its content."""
    found = {}
    for place, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(place) / name
            found[str(path)] = path.read_bytes() if path.is_file() and not path.is_symlink() else path.lstat().st_mode
    return found


def outcome(name, scene):
    """What was wrong with the way in which a fault ended; None: nothing."""
    kind, expected, data = DownloadError, "", "mnist"
    mirrors = [f"{scene.server.url}/{name.replace(' ', '%20')}/"]
    scene.folder.mkdir(parents=True)
    (scene.folder / "beside.gz").write_bytes(PACKED)
    if name in PLAYED:
        play, expected = PLAYED[name]
        expected = f"{re.escape(mirrors[0])}{NAME}: .*({expected})"
    elif name in LOCAL:
        prepare, kind, expected = LOCAL[name]
        prepare(scene)
        play = answer()
    else:
        play, expected = (ARCHIVES | DAMAGED)[name]
        data = "cifar10"
        right = archive() if name in DAMAGED else sent(play)
        checksum = hashlib.md5(right, usedforsecurity=False).hexdigest()
        scene.patch.setitem(SOURCES, data, dataclasses.replace(SOURCES[data], md5=checksum))
        (scene.root / "cifar-10-batches-bin").mkdir()
    scene.server.plays[mirrors[0].split("/")[3]] = play
    before = everything(scene.root)
    began = time.monotonic()
    try:
        fetch(data, scene.root, mirrors=mirrors, progress=False)
    except kind as error:
        if not re.search(expected, str(error), re.DOTALL):
            return f"it is called {error!s}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    else:
        return "it was taken"
    finally:
        scene.patch.undo()
    if name == "two lengths":
        gc.collect()  # urllib3 leaves this connection to the collector, which would warn of it in another test
    threads = [thread.name for thread in threading.enumerate() if mirrors[0] in thread.name]
    # Before there is a response nothing can be woken, and only urllib3 from 2.3 can.
    if threads and name != "a dripping head" and hasattr(urllib3.HTTPResponse, "shutdown"):
        return f"threads were left: {threads}"
    left = {path for path, content in everything(scene.root).items() if before.get(path, None) != content}
    if left or len(before) != len(everything(scene.root)):
        return f"what was there changed: {sorted(left)}"
    return f"it took {time.monotonic() - began:.0f} s" if time.monotonic() - began > 100 else None


@pytest.fixture(scope="module")
def server():
    with Server() as made:
        yield made
        made.shutdown()


def set_up(patch):
    for variable in ("NO_PROXY", "no_proxy"):
        patch.setenv(variable, "127.0.0.1")
    patch.setitem(SOURCES, "mnist", Files("mnist", ("http://127.0.0.1:1/never/",), {NAME: CHECKSUM}))


@pytest.fixture
def scene(tmp_path, server, monkeypatch):
    set_up(monkeypatch)
    return Scene(tmp_path / "root", server, monkeypatch)


@pytest.mark.parametrize("name", ALL)
def test_every_fault_is_named_and_leaves_nothing(name, scene):
    # Bounds that are met soon; the usual ones take their time.
    scene.patch.setattr(transfer, "TIMEOUT", (2.0, 0.3))
    scene.patch.setattr(transfer, "PATIENCE", 0.3 if "drip" in name else 10.0)
    for room in (transfer, download):
        scene.patch.setattr(room, "LARGEST", 2**21)
    assert outcome(name, scene) is None


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_fault_with_the_usual_bounds(scene, tmp_path):
    wrong = {}
    for count, name in enumerate(ALL):
        set_up(scene.patch)
        found = outcome(name, dataclasses.replace(scene, root=tmp_path / str(count)))
        if found is not None:
            wrong[name] = found
    print(f"{len(ALL) - len(wrong)} of {len(ALL)} download faults named with nothing left behind")
    assert wrong == {}


def test_a_mirror_that_is_slow_but_steady_is_not_given_up(scene):
    scene.patch.setattr(transfer, "PATIENCE", 0.1)
    scene.patch.setattr(transfer, "SLOWEST", 100.0)
    scene.patch.setattr(transfer, "CHUNK", 100)
    pieces = [PACKED[k : k + len(PACKED) // 8 + 1] for k in range(0, len(PACKED), len(PACKED) // 8 + 1)]
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(PACKED)
    scene.server.plays["steady"] = then(raw(head + PACKED[:0]), raw(*pieces, wait=0.1))
    began = time.monotonic()
    fetch("mnist", scene.root, mirrors=[f"{scene.server.url}/steady"], progress=False)
    assert time.monotonic() - began > 0.5
    assert (scene.folder / NAME).read_bytes() == PACKED


def test_a_file_may_take_only_so_long_however_fast_it_comes(scene):
    scene.patch.setattr(transfer, "LONGEST", 0.5)
    scene.server.plays["long"] = then(raw(HEAD + b"\r\n"), raw(bytes(10_000), wait=0.05, times=FOREVER))
    with pytest.raises(DownloadError, match=r"too slow: [0-9,]{6,} bytes arrived in [01] seconds"):
        fetch("mnist", scene.root, mirrors=[f"{scene.server.url}/long"], progress=False)


def test_what_killed_downloads_left_goes_after_a_day(scene):
    scene.folder.mkdir(parents=True)
    left = [f".{NAME}.{'0a' * 6}.part", ".unpacking-x1"]
    others = [f".{NAME}.{'1b' * 6}.part", ".note.part", "images.part", NAME.removesuffix(".gz")]
    (scene.folder / left[1]).mkdir()
    for name in (left[0], f"{left[1]}/{ARCHIVE}", *others):
        (scene.folder / name).write_bytes(CONTENT)
    for name in (*left, *others[1:]):
        os.utime(scene.folder / name, (time.time() - 2 * 24 * 3600,) * 2)
    fetch("mnist", scene.root, mirrors=["http://127.0.0.1:1/"], progress=False)
    assert sorted(path.name for path in scene.folder.iterdir()) == sorted(others)


def test_a_link_is_replaced_and_what_it_points_to_stays(scene):
    scene.folder.mkdir(parents=True)
    good = scene.root / "good"
    good.write_bytes(b"a note")
    (scene.folder / NAME).symlink_to(good)
    scene.server.plays["good"] = answer()
    with pytest.warns(UserWarning, match="is not the original file"):
        fetch("mnist", scene.root, mirrors=[f"{scene.server.url}/good"], progress=False)
    assert (scene.folder / NAME).read_bytes() == PACKED
    assert not (scene.folder / NAME).is_symlink()
    assert good.read_bytes() == b"a note"


@pytest.mark.parametrize("noted", [b"\xff\xfe\x00" * 5, b"x" * 2**20, None], ids=["bytes", "long", "pipe"])
def test_strange_check_sums_of_an_archive_note_nothing(scene, noted):
    folder = scene.root / "cifar-10-batches-bin"
    scene.patch.setitem(
        SOURCES,
        "cifar10",
        dataclasses.replace(SOURCES["cifar10"], md5=hashlib.md5(archive(), usedforsecurity=False).hexdigest()),
    )
    scene.server.plays["good"] = answer(archive())
    folder.mkdir(parents=True)
    (folder / CIFAR_FILES[0]).write_bytes(b"other")
    if noted is None:
        os.mkfifo(folder / download.RECORDED)
    else:
        (folder / download.RECORDED).write_bytes(noted)
    with pytest.warns(UserWarning, match=r"data_batch_1\.bin (have no|differ from) checksums"):
        fetch("cifar10", scene.root, mirrors=[f"{scene.server.url}/good"], progress=False)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*CIFAR_FILES, download.RECORDED])
    assert (folder / CIFAR_FILES[0]).read_bytes() == bytes(3073)
