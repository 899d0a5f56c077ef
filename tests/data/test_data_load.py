"""Readers: what they read, and what they refuse."""

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import synsim.data
from synsim.data import DataNotFoundError, Dataset, load
from synsim.data.load import CIFAR_FILES, IDX_FILES, SCALES

FILES = os.environ.get("SYNSIM_DATA")
needs_files = pytest.mark.skipif(not FILES, reason="needs MNIST and Fashion-MNIST: set SYNSIM_DATA to their folder")


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_mnist(root: Path, packed: bool, **changes: bytes) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    arrays = [
        generator.integers(0, high, shape)
        for high, shape in ((256, (7, 4, 5)), (10, (7,)), (256, (3, 4, 5)), (10, (3,)))
    ]
    folder = root / "mnist"
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(IDX_FILES, arrays, strict=True):
        content = changes.get(name.split("-idx")[0].replace("-", "_"), idx(array))
        path = folder / (name + (".gz" if packed else ""))
        path.write_bytes(gzip.compress(content) if packed else content)
    return arrays


@pytest.mark.parametrize("packed", [False, True])
def test_idx_round_trip(tmp_path, packed):
    arrays = write_mnist(tmp_path, packed)
    data = load("mnist", tmp_path)
    for tensor, array in zip((data.x_train, data.y_train, data.x_test, data.y_test), arrays, strict=True):
        assert tensor.dtype == torch.uint8
        assert (tensor.numpy() == array).all()
    assert (data.classes, data.levels) == (10, 255)


@pytest.mark.parametrize(
    ("part", "content", "message"),
    [
        ("train_images", b"\0\0\x0d\3" + bytes(12), "expected an IDX file of unsigned bytes with 3 axes"),
        ("train_images", b"", "an empty file"),
        ("train_images", idx(np.zeros((7, 4, 5)))[:-1], "expected 156 bytes for shape"),
        ("train_labels", idx(np.zeros((6,))), "one label per train image, got 7 images and 6 labels"),
        ("t10k_labels", idx(np.array([1, 2, 10])), "test labels must lie from 0 to 9, got 10"),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path, part, content, message):
    write_mnist(tmp_path, False, **{part: content})
    with pytest.raises(ValueError, match=message):
        load("mnist", tmp_path)


def test_a_gzip_file_cut_short_is_refused(tmp_path):
    write_mnist(tmp_path, True)
    path = tmp_path / "mnist" / f"{IDX_FILES[0]}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz: expected a whole gzip file"):
        load("mnist", tmp_path)


def write_cifar(root: Path) -> np.ndarray:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    rows = np.random.default_rng(1).integers(0, 256, (6, 2, 3073), dtype=np.uint8)
    rows[:, :, 0] %= 10
    for name, part in zip(CIFAR_FILES, rows, strict=True):
        (folder / name).write_bytes(part.tobytes())
    return rows


def test_cifar_round_trip(tmp_path):
    rows = write_cifar(tmp_path)
    data = load("cifar10", tmp_path)
    assert data.x_train.shape == (10, 3, 32, 32)
    assert (data.x_train.flatten(1).numpy() == rows[:5].reshape(10, -1)[:, 1:]).all()
    assert (data.y_test.numpy() == rows[5, :, 0]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-1], "expected a multiple of 3073 bytes"),
        (lambda b: b"\x0b" + b[1:], "labels from 0 to 9, got 11"),
    ],
)
def test_damaged_cifar_files_are_refused(tmp_path, change, message):
    write_cifar(tmp_path)
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        load("cifar10", tmp_path)


def test_digits_are_bundled_in_stored_order():
    data = load("digits")
    assert data.x_train.shape == (1437, 8, 8)
    assert data.x_test.shape == (360, 8, 8)
    assert int(data.x_train.max()) == data.levels == 16
    assert data.y_train[:10].tolist() == list(range(10))


def test_the_scale_of_the_digits_is_that_of_their_training_part():
    pixels = load("digits").x_train.double() / 16
    assert SCALES["digits"] == ((round(float(pixels.mean()), 4),), (round(float(pixels.std(correction=0)), 4),))


def test_unknown_names_get_a_hint():
    with pytest.raises(ValueError, match="Did you mean 'fashion-mnist'"):
        load("fashion_mnist")


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_missing_data_say_where_what_and_how(tmp_path, name):
    with pytest.raises(DataNotFoundError) as caught:
        load(name, tmp_path)
    text = str(caught.value)
    assert str(tmp_path) in text
    assert f"synsim.data.fetch('{name}'" in text
    assert "--data-dir" in text
    assert (IDX_FILES[0] if name == "mnist" else CIFAR_FILES[0]) in text


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    write_mnist(tmp_path, False)
    monkeypatch.setenv("SYNSIM_DATA", str(tmp_path))
    assert len(load("mnist").x_train) == 7


def test_a_data_set_checks_its_parts():
    x, y = torch.zeros(2, 3, 3, dtype=torch.uint8), torch.zeros(2, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"must be stored as uint8, got torch\.float32"):
        Dataset("mine", x.float(), y, x, y, 10, 255, (0.0,), (1.0,))
    with pytest.raises(ValueError, match="at least one test image"):
        Dataset("mine", x, y, x[:0], y[:0], 10, 255, (0.0,), (1.0,))


@needs_files
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_real_files(name):
    data = load(name)
    assert data.x_train.shape == (60000, 28, 28)
    pixels = data.x_train.double() / 255
    assert abs(float(pixels.mean()) - data.mean[0]) < 1e-3
    assert abs(float(pixels.std()) - data.sd[0]) < 1e-3
    stored = dict(synsim.data.download.SOURCES[name].files.values())
    for local, checksum in stored.items():
        content = gzip.decompress((Path(FILES or "") / local).read_bytes())
        assert hashlib.sha256(content).hexdigest() == checksum
