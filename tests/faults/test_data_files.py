"""Data files that are none: each is refused in words that name it, whatever it is, and nothing changes on the disk."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import re
import socket
import struct
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from synsim.data import DataNotFoundError, load
from synsim.data.find import CIFAR_FILES, IDX_FILES

posix = sys.platform != "win32"
IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = IDX_FILES
BATCH = CIFAR_FILES[2]


def idx(shape, kind=8, data=None, highest=256):
    size = int(np.prod(shape, dtype=np.int64)) if data is None else len(data)
    values = np.arange(size) * 37 % highest if data is None else data
    head = bytes([0, 0, kind, len(shape)]) + b"".join(struct.pack(">I", n) for n in shape)
    return head + bytes(np.asarray(values, np.uint8))


GOOD = {
    IMAGES: idx((7, 28, 28)),
    LABELS: idx((7,), highest=10),
    TEST_IMAGES: idx((3, 28, 28)),
    TEST_LABELS: idx((3,), highest=10),
}
X, Y = GOOD[IMAGES], GOOD[LABELS]
ROWS = b"".join(bytes([label]) + bytes(range(256)) * 12 for label in (3, 9))


def archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("train", X)
    return file.getvalue()


def array():
    file = io.BytesIO()
    np.save(file, np.zeros((7, 28, 28), np.uint8))
    return file.getvalue()


def head(*sizes, kind=8, axes=3):
    return bytes([0, 0, kind, axes]) + struct.pack(f">{len(sizes)}I", *sizes)


MAGIC = r"expected an IDX file of unsigned bytes with 3 axes \(magic 00000803\), got "
LONG = r"expected 5504 bytes for shape \[7, 28, 28\], got "

# The content of the file of training images, or of another -> how that is called.
CONTENTS = {
    "nothing": (b"", MAGIC + "an empty file. Fetch it again"),
    "a byte": (b"\0", MAGIC + "00"),
    "half a magic": (X[:3], MAGIC + "000008"),
    "half a header": (X[:11], "expected an IDX header of 16 bytes, got 11 bytes"),
    "a header": (X[:16], LONG + "16"),
    "half": (X[:2700], LONG + "2700"),
    "a byte less": (X[:-1], LONG + "5503"),
    "a byte more": (X + b"\0", LONG + "5505"),
    "an end of line": (X + b"\r\n", LONG + "5506"),
    "much more": (X + bytes(2**21), LONG + "at least 1054080"),
    "itself twice": (X + X, LONG + "11008"),
    "other ends of lines": (X.replace(b"\n", b"\r\n"), LONG),
    "a mark in front": (b"\xef\xbb\xbf" + X, MAGIC + "efbbbf00"),
    "read as text": (X.decode("latin-1").encode(), LONG),
    "signed bytes": (idx((7, 28, 28), 9), MAGIC + "00000903. It is an IDX file of signed bytes with 3 axes"),
    "short numbers": (idx((7, 28, 28), 11) * 2, MAGIC + "00000b03. It is an IDX file of int16"),
    "whole numbers": (idx((7, 28, 28), 12), MAGIC + "00000c03. It is an IDX file of int32"),
    "floats": (idx((7, 28, 28), 13), MAGIC + "00000d03. It is an IDX file of float32"),
    "doubles": (idx((7, 28, 28), 14), MAGIC + "00000e03. It is an IDX file of float64"),
    "an unknown type": (idx((7, 28, 28), 10), MAGIC + "00000a03. Is it another file"),
    "little-endian": (X[3::-1] + X[4:], MAGIC + "03080000. Is it another file"),
    "little-endian sizes": (X[:4] + np.frombuffer(X[4:16], ">u4").astype("<u4").tobytes() + X[16:], "header speaks of"),
    "labels for images": (Y, MAGIC + "00000801. It is .* with 1 axis. Were images and labels exchanged"),
    "a matrix": (idx((7, 784)), MAGIC + "00000802. It is an IDX file of unsigned bytes with 2 axes"),
    "colours": (idx((7, 28, 28, 3)), MAGIC + "00000804. It is an IDX file of unsigned bytes with 4 axes"),
    "no axes": (head(axes=0), MAGIC + "00000800"),
    "255 axes": (head(*[1] * 255, axes=255), MAGIC + "000008ff"),
    "no images": (head(0, 28, 28), r"expected at least one image, got shape \[0, 28, 28\]"),
    "no pixels": (head(7, 0, 28), r"expected at least one image, got shape \[7, 0, 28\]"),
    "the largest sizes": (head(*[2**32 - 1] * 3), r"\[4294967295, 4294967295, 4294967295\], and at most 1,073,741,824"),
    "sizes that wrap": (head(2**31, 2**31, 4) + bytes(16), r"\[2147483648, 2147483648, 4\], and at most 1,073,741,824"),
    "a gigabyte": (head(2**16, 2**7, 2**7), "header speaks of 1,073,741,840 bytes"),
    "almost a gigabyte": (head(2**16 - 1, 2**7, 2**7), "expected 1073725456 bytes .* got 16"),
    "an image too many": (head(8, 28, 28) + X[16:], r"expected 6288 bytes for shape \[8, 28, 28\], got 5504"),
    "an image too few": (head(6, 28, 28) + X[16:], r"expected 4720 bytes for shape \[6, 28, 28\], got 5504"),
    "narrower": (head(7, 28, 27) + X[16:], r"expected 5308 bytes for shape \[7, 28, 27\], got 5504"),
    "a web page": (b"<!DOCTYPE html><html>log in", MAGIC + "3c21444f. It is a web page"),
    "a page behind a mark": (b"\xef\xbb\xbf\r\n <html>log in", MAGIC + "efbbbf0d. It is a web page"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", MAGIC + ".*Git LFS"),
    "a zip archive": (archive(), MAGIC + "504b0304. It is a zip archive"),
    "an array of NumPy": (array(), MAGIC + "934e554d. It is an array of NumPy"),
    "a pickle": (pickle.dumps({"data": X}), MAGIC + "8004.*pickle .*not read"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(99), MAGIC + "89484446. It is an HDF5 file"),
    "text": (b"label,pixel0,pixel1\n5,0,0\n", MAGIC + "6c616265. Is it another file"),
    "xz": (lzma.compress(X), MAGIC + "fd377a58. Is it another file"),
    "bzip2": (bz2.compress(X), MAGIC + "425a6839. Is it another file"),
    "noise": (np.random.default_rng(0).bytes(5504), MAGIC),
    "zeros": (bytes(5504), MAGIC + "00000000. Is it another file"),
}
OTHERS = {
    "images for labels": (LABELS, X, "unsigned bytes with 1 axes .*It is .* with 3 axes. Were images and labels exch"),
    "a label too few": (LABELS, idx((6,), highest=10), "expected one label for each of the 7 images in .*got 6"),
    "a label too many": (LABELS, idx((8,), highest=10), "expected one label for each of the 7 images in .*got 8"),
    "no labels": (LABELS, head(0, axes=1), "expected one label for each of the 7 images in .*got 0"),
    "a label of 10": (LABELS, idx((7,), data=[1, 2, 3, 10, 4, 5, 6]), "expected labels from 0 to 9, got 10"),
    "a label of 255": (TEST_LABELS, idx((3,), data=[1, 255, 0]), "expected labels from 0 to 9, got 255"),
    "training labels for the test": (TEST_LABELS, Y, "expected one label for each of the 3 images in .*got 7"),
    "labels as floats": (TEST_LABELS, idx((3,), 13), "It is an IDX file of float32 with 1 axis[.]$"),
    "smaller test images": (TEST_IMAGES, idx((3, 8, 8)), "of the training images' shape .28, 28., got .8, 8."),
}
P = gzip.compress(X, mtime=0)
PACKED = {
    "packed once more": (gzip.compress(P), MAGIC + "1f8b0800. It is packed by gzip once more"),
    "cut": (P[:-20], "a damaged one .*ended before"),
    "cut in its end": (P[:-4], "a damaged one .*ended before"),
    "cut in its head": (P[:5], "a damaged one .*ended before"),
    "overwritten": (P[:20] + b"\xff" * 9 + P[29:], "a damaged one .*(decompressing|CRC check)"),
    "a bit flipped": (P[:40] + bytes([P[40] ^ 4]) + P[41:], "a damaged one|got [0-9]+"),
    "another check sum": (P[:-8] + bytes(4) + P[-4:], "a damaged one .*CRC check failed"),
    "another length": (P[:-4] + bytes(4), "a damaged one .*Incorrect length"),
    "another method": (P[:2] + b"\x07" + P[3:], "a damaged one .*Unknown compression method"),
    "bytes behind": (P + b"<!-- proxy -->", "a damaged one .*Not a gzipped file"),
    "a second part, cut": (gzip.compress(X[:900]) + gzip.compress(X[900:])[:-9], "a damaged one .*ended before"),
    "a bomb behind": (P + gzip.compress(bytes(2**27), 1), LONG + "at least"),
    "a bomb behind a header": (gzip.compress(X[:16] + bytes(2**27), 1), LONG + "at least"),
    "a bomb alone": (gzip.compress(bytes(2**27), 1), MAGIC + "00000000"),
}


def sparse(path):
    with path.open("wb") as file:
        file.write(head(2**20, 2**10, 8) if path.suffix != ".bin" else ROWS)
        file.truncate(8 * 2**30)


def device(path):
    path.symlink_to("/dev/zero")


def loop(path):
    path.symlink_to(path)


def broken(path):
    path.symlink_to(path.with_name("gone"))


def listening(path):
    with socket.socket(socket.AF_UNIX) as made:
        before = Path.cwd()
        os.chdir(path.parent)  # an address may have no more than a hundred characters
        made.bind(path.name)
        os.chdir(before)


# What lies in place of a file -> how that is called.
PLACES = {
    "a sparse file": (sparse, "{}: expected a regular file of at most .*, but it has 8,589,934,592 bytes"),
    "a pipe": (os.mkfifo if posix else None, "{}: expected a regular file .*it is no regular file"),
    "a device": (device, "{}: expected a regular file .*it is no regular file"),
    "a folder": (Path.mkdir, r"{} \(a folder\) missing"),
    "a broken link": (broken, r"{} \(a broken link\) missing"),
    "a loop of links": (loop, r"{} \(a broken link\) missing"),
    "a socket": (listening, "{}"),
    "no file": (lambda path: None, "{} missing"),
}
RECORDS = {
    "nothing": (b"", "expected records of 3073 bytes, got 0 bytes"),
    "a byte less": (ROWS[:-1], "expected records of 3073 bytes, got 6145 bytes: 1 records and 3072 bytes"),
    "a byte more": (ROWS + b"\n", "got 6147 bytes: 2 records and 1 bytes"),
    "CIFAR-100": (b"".join(bytes([19]) + ROWS[k : k + 3073] for k in (0, 3073)), "got 6148 bytes"),
    "a label of 10": (b"\x0a" + ROWS[1:], "expected labels from 0 to 9, got 10. Is it a CIFAR-10 file"),
    "a label of 255": (ROWS + b"\xff" + ROWS[1:3073], "expected labels from 0 to 9, got 255"),
    "packed": (gzip.compress(ROWS), "It is packed by gzip"),
    "a web page": (b"<html>" + bytes(3067), "got 60. It is a web page"),
    "a pointer": (b"version https://git-lfs", "Git LFS"),
    "a pickle": (pickle.dumps({b"data": ROWS}), "pickle of Python, which is not read"),
    "a zip archive": (archive(), "zip archive"),
}


def write(folder, name, content):
    """Put something in place of a file, whether it is there or not."""
    path = folder / name
    path.unlink(missing_ok=True)
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)


def cases():
    """Name -> data set, file, what lies there, how that is called."""
    found = {}
    for name, (content, words) in CONTENTS.items():
        found[f"{name}, plain"] = ("mnist", IMAGES, content, words)
        found[f"{name}, packed"] = ("mnist", f"{IMAGES}.gz", gzip.compress(content), words)
    for name, (file, content, words) in OTHERS.items():
        found[f"{name}, plain"] = ("mnist", file, content, words)
        found[f"{name}, packed"] = ("fashion-mnist", f"{file}.gz", gzip.compress(content), words)
    found |= {f"gzip: {name}": ("mnist", f"{IMAGES}.gz", *rest) for name, rest in PACKED.items()}
    for name, (place, words) in PLACES.items():
        found[f"{name} for images"] = ("mnist", IMAGES, place, words.format(IMAGES))
        found[f"{name} for records"] = ("cifar10", BATCH, place, words.format(BATCH))
    return found | {f"records: {name}": ("cifar10", BATCH, *rest) for name, rest in RECORDS.items()}


CASES = cases()
FOLDERS = {"mnist": "mnist", "fashion-mnist": "fashion-mnist", "cifar10": "cifar-10-batches-bin"}


def state(folder):
    found = {path.name: path.lstat() for path in folder.iterdir()}
    return {name: (status.st_mode, status.st_size, status.st_mtime_ns) for name, status in found.items()}


def outcome(name, root):
    """What was wrong with the way in which a file was refused; None: nothing."""
    data, file, content, words = CASES[name]
    folder = root / FOLDERS[data]
    folder.mkdir(parents=True)
    good = dict.fromkeys(CIFAR_FILES, ROWS) if data == "cifar10" else GOOD
    for each, right in good.items():
        packed = file.endswith(".gz")
        (folder / f"{each}{'.gz' * packed}").write_bytes(gzip.compress(right, 1) if packed else right)
    write(folder, file, content)
    before = state(folder)
    began = time.monotonic()
    tracemalloc.start()
    try:
        load(data, root)
    except (ValueError, DataNotFoundError, OSError) as error:
        text = str(error)
        if isinstance(error, OSError) and not isinstance(error, DataNotFoundError) and "socket" not in name:
            return f"a raw error: {error!r}"
        if not re.search(words, text, re.DOTALL):
            return f"it is called {text}"
        if file not in text and file.removesuffix(".gz") not in text and "test images" not in text:
            return f"the file is not named: {text}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    else:
        return "it was taken"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    if state(folder) != before:
        return "what was there changed"
    took = time.monotonic() - began
    return f"{took:.0f} s, {peak >> 20} MiB" if took > 30 or peak > 2**24 else None


@pytest.mark.parametrize("name", CASES)
@pytest.mark.skipif(not posix, reason="pipes, devices and links")
def test_every_malformed_file_is_refused_in_words(name, tmp_path):
    assert outcome(name, tmp_path) is None


@pytest.mark.slow
def test_how_many_malformed_files_are_refused_in_words(tmp_path):
    wrong = {name: found for k, name in enumerate(CASES) if (found := outcome(name, tmp_path / str(k))) is not None}
    print(f"{len(CASES) - len(wrong)} of {len(CASES)} malformed data files refused in words")
    assert wrong == {}
