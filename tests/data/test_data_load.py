"""Readers: what they read, and what they refuse."""

import gzip
import os
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch

import synsim
from synsim.data import DataNotFoundError, Dataset, available, load
from synsim.data.find import CIFAR_FILES, IDX_FILES
from synsim.data.load import SCALES
from synsim.data.sources import SOURCES
from synsim.data.stored import LARGEST, digest

FILES = os.environ.get("SYNSIM_DATA")
needs_files = pytest.mark.skipif(not FILES, reason="needs MNIST and Fashion-MNIST: set SYNSIM_DATA to their folder")


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_mnist(root: Path, packed: bool = False, name: str = "mnist", **changes: bytes) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    arrays = [
        generator.integers(0, high, shape)
        for high, shape in ((256, (7, 28, 28)), (10, (7,)), (256, (3, 28, 28)), (10, (3,)))
    ]
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, array in zip(IDX_FILES, arrays, strict=True):
        content = changes.get(file.split("-idx")[0].replace("-", "_"), idx(array))
        path = folder / (file + (".gz" if packed else ""))
        path.write_bytes(gzip.compress(content) if packed else content)
    return arrays


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_round_trip(tmp_path, packed, name):
    arrays = write_mnist(tmp_path, packed, name)
    data = load(name, str(tmp_path))
    for tensor, array in zip((data.x_train, data.y_train, data.x_test, data.y_test), arrays, strict=True):
        assert tensor.dtype == torch.uint8
        assert tensor.device.type == "cpu"
        assert (tensor.numpy() == array).all()
    assert (data.name, data.classes, data.levels) == (name, 10, 255)
    assert (data.mean, data.sd) == SCALES[name]


def test_what_is_read_can_be_written_to(tmp_path):
    write_mnist(tmp_path)
    data = load("mnist", tmp_path)
    data.x_train.zero_()
    assert int(load("mnist", tmp_path).x_train.max()) > 0


def test_a_packed_name_with_unpacked_content_is_read(tmp_path):
    write_mnist(tmp_path)
    path = tmp_path / "mnist" / IDX_FILES[0]
    path.rename(path.with_name(path.name + ".gz"))
    assert len(load("mnist", tmp_path).x_train) == 7


def test_the_packed_file_is_read_where_both_are_there(tmp_path):
    write_mnist(tmp_path, packed=True)
    (tmp_path / "mnist" / IDX_FILES[0]).write_bytes(b"damaged")
    assert len(load("mnist", tmp_path).x_train) == 7


IMAGES = np.full((7, 28, 28), 9)


FORMS = [
    ("mnist", "MNIST/raw", "{}"),
    ("mnist", "MNIST/raw", "{}.gz"),
    ("fashion-mnist", "FashionMNIST/raw", "{}"),
    ("mnist", "mnist", "dotted"),
    ("mnist", "mnist", "dotted.gz"),
    ("fashion-mnist", "FashionMNIST/raw", "dotted"),
]


def lay_out(root: Path, folder: str, form: str = "{}") -> list[np.ndarray]:
    """MNIST's files as torchvision and Kaggle keep them."""
    arrays = write_mnist(root, form.endswith(".gz"), name=folder)
    for path in list((root / folder).iterdir()):
        if form.startswith("dotted"):
            path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    return arrays


@pytest.mark.parametrize(("name", "folder", "form"), FORMS)
def test_files_are_found_as_torchvision_and_kaggle_keep_them(tmp_path, name, folder, form):
    arrays = lay_out(tmp_path, folder, form)
    data = load(name, tmp_path)
    for tensor, array in zip((data.x_train, data.y_train, data.x_test, data.y_test), arrays, strict=True):
        assert (tensor.numpy() == array).all()
    other = "mnist" if name == "fashion-mnist" else "fashion-mnist"
    with pytest.raises(DataNotFoundError, match="none of them"):
        load(other, tmp_path)


def test_the_own_folder_comes_before_torchvisions_and_they_are_not_mixed(tmp_path):
    lay_out(tmp_path, "MNIST/raw")
    write_mnist(tmp_path, train_images=idx(IMAGES[:2]), train_labels=idx(np.zeros(2)))
    assert len(load("mnist", tmp_path).x_train) == 2
    (tmp_path / "mnist" / IDX_FILES[3]).unlink()
    assert len(load("mnist", tmp_path).x_train) == 7


@pytest.mark.parametrize("folder", [".", "raw", "MNIST", "mnist/raw"])
def test_files_whose_data_set_nobody_tells_are_hinted_at(tmp_path, folder):
    lay_out(tmp_path, folder)
    for name in ("mnist", "fashion-mnist"):
        with pytest.raises(DataNotFoundError) as caught:
            load(name, tmp_path)
        text = f"Nearby: {tmp_path / folder} holds such files, perhaps those of another data set. If they are those of "
        assert text + f"{name}, move them to {tmp_path / name}." in str(caught.value)


@pytest.mark.parametrize(
    ("beside", "hint"),
    [
        ("cifar-10-batches-py", "holds pickles, which are not read"),
        ("cifar-10-python.tar.gz", "holds pickles, which are not read"),
        ("cifar-10-binary.tar.gz", "is still packed"),
    ],
)
def test_other_forms_of_cifar_are_hinted_at(tmp_path, beside, hint):
    (tmp_path / beside).mkdir()
    with pytest.raises(DataNotFoundError, match=f"Nearby: {tmp_path}/{beside} {hint}"):
        load("cifar10", tmp_path)


def test_nothing_nearby_gives_no_hint(tmp_path):
    for name in ("mnist", "cifar10"):
        with pytest.raises(DataNotFoundError) as caught:
            load(name, tmp_path)
        assert "Nearby" not in str(caught.value)


def write_cifar(root: Path, folder: str = "cifar-10-batches-bin") -> np.ndarray:
    (root / folder).mkdir()
    rows = np.random.default_rng(1).integers(0, 256, (6, 2, 3073), dtype=np.uint8)
    rows[:, :, 0] %= 10
    for name, part in zip(CIFAR_FILES, rows, strict=True):
        (root / folder / name).write_bytes(part.tobytes())
    return rows


@pytest.mark.parametrize("folder", ["cifar-10-batches-bin", "cifar10"])
def test_cifar_round_trip(tmp_path, folder):
    rows = write_cifar(tmp_path, folder)
    data = load("cifar10", tmp_path)
    assert data.x_train.shape == (10, 3, 32, 32)
    assert (data.x_train.flatten(1).numpy() == rows[:5].reshape(10, -1)[:, 1:]).all()
    assert (data.y_train.numpy() == rows[:5, :, 0].reshape(-1)).all()
    assert (data.x_test.flatten(1).numpy() == rows[5, :, 1:]).all()
    assert (data.y_test.numpy() == rows[5, :, 0]).all()
    assert len(data.mean) == len(data.sd) == 3


def test_digits_are_bundled_in_stored_order():
    from sklearn.datasets import load_digits

    data, stored = load("digits"), load_digits()
    assert data.x_train.shape == (1437, 8, 8)
    assert data.x_test.shape == (360, 8, 8)
    assert (torch.cat([data.x_train, data.x_test]).numpy() == stored.images).all()
    assert (torch.cat([data.y_train, data.y_test]).numpy() == stored.target).all()
    assert data.x_train.dtype == data.y_train.dtype == torch.uint8
    assert int(data.x_train.max()) == data.levels == 16


def test_the_scale_of_the_digits_is_that_of_their_training_part():
    pixels = load("digits").x_train.double() / 16
    assert SCALES["digits"] == ((round(float(pixels.mean()), 4),), (round(float(pixels.std(correction=0)), 4),))


def test_names():
    assert available() == ("digits", "mnist", "fashion-mnist", "cifar10")


@pytest.mark.parametrize(
    ("given", "meant"), [("fashion_mnist", "fashion-mnist"), ("MNIST", "mnist"), ("cifar-10", "cifar10")]
)
def test_unknown_names_get_a_hint(given, meant):
    with pytest.raises(ValueError, match=f"one of digits, mnist, fashion-mnist, cifar10. Did you mean '{meant}'"):
        load(given)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_missing_data_say_where_what_and_how(tmp_path, name):
    with pytest.raises(DataNotFoundError) as caught:
        load(name, tmp_path)
    text = str(caught.value)
    folder = "cifar-10-batches-bin" if name == "cifar10" else name
    files = CIFAR_FILES if name == "cifar10" else [f"{file}[.gz]" for file in IDX_FILES]
    call = f'synsim.data.fetch("{name}", "{tmp_path}")'
    for part in (str(tmp_path / folder), *files, call, "--data-dir", "SYNSIM_DATA", "by hand"):
        assert part in text
    assert isinstance(caught.value, FileNotFoundError)


def test_missing_data_without_a_root_name_every_folder_searched(tmp_path, monkeypatch):
    monkeypatch.delenv("SYNSIM_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataNotFoundError) as caught:
        load("mnist")
    text = str(caught.value)
    for part in (str(tmp_path / "cache" / "synsim" / "mnist"), str(Path("data") / "mnist")):
        assert part in text
    assert 'synsim.data.fetch("mnist")' in text


def test_the_files_that_are_missing_among_others_are_named(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "mnist" / IDX_FILES[3]).unlink()
    with pytest.raises(DataNotFoundError, match=f"mnist: {IDX_FILES[3]} missing"):
        load("mnist", tmp_path)


def test_where_files_are_looked_for(tmp_path, monkeypatch):
    named, cache, here, given = (tmp_path / part for part in ("named", "cache", "here", "given"))
    for count, folder in enumerate((named, cache, here / "data", given), start=1):
        write_mnist(folder, train_images=idx(IMAGES[:count]), train_labels=idx(np.zeros(count)))
    here.joinpath("other").mkdir()
    monkeypatch.setattr(pooch, "os_cache", lambda project: cache)
    monkeypatch.chdir(here)
    monkeypatch.setenv("SYNSIM_DATA", str(named))
    assert len(load("mnist", given).x_train) == 4
    assert len(load("mnist").x_train) == 1
    monkeypatch.setenv("SYNSIM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataNotFoundError, match="nowhere"):
        load("mnist")
    monkeypatch.setenv("SYNSIM_DATA", "")
    assert len(load("mnist").x_train) == 2
    (cache / "mnist" / IDX_FILES[2]).unlink()
    assert len(load("mnist").x_train) == 3


X, Y = torch.zeros(2, 3, 3, dtype=torch.uint8), torch.zeros(2, dtype=torch.uint8)
RIGHT = {
    "x_train": X,
    "y_train": Y,
    "x_test": X,
    "y_test": Y,
    "classes": 10,
    "levels": 16,
    "mean": (0.0,),
    "sd": (1.0,),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": X.float()}, r"train images must be stored as uint8, got torch\.float32"),
        ({"y_test": Y + 0.9}, r"test labels must hold integer class labels, got torch\.float32.* of a regression"),
        ({"y_test": Y.double()}, r"test labels must hold integer class labels, got torch\.float64.*y\.long\(\)"),
        ({"y_test": Y.bool()}, r"test labels must hold integer class labels, got torch\.bool"),
        ({"y_test": ["cat", "dog"]}, r"test labels .*names such as 'cat'.*numpy\.unique"),
        ({"y_test": [0, None]}, "test labels must be a tensor, a NumPy array or a list of numbers"),
        ({"y_train": torch.tensor([0, -1])}, "train labels must lie from 0 to 9, got -1.*return_inverse"),
        ({"y_train": np.array([1, 10])}, "train labels must lie from 0 to 9, got 10.*return_inverse"),
        ({"classes": 1000}, "labels of 1000 classes can't be uint8, which wraps above 255"),
        ({"classes": 0}, "classes must be a whole number of at least 1, got 0"),
        ({"classes": 2.5}, "classes must be a whole number of at least 1, got 2.5"),
        ({"levels": "16"}, "levels must be a whole number of at least 1, got '16'"),
        ({"x_train": X + 0.5, "levels": 255}, r"from 0.5 to 0.5. Pixels from 0 to 1 become \(x \* 255\)\.round"),
        ({"x_train": X + 7.0}, r"They are whole numbers from 0 to 255: x\.to\(torch\.uint8\)"),
        ({"x_train": X - 1.5}, r"from -1.5 to -1.5. Undo what standardised them"),
        ({"x_train": X * float("nan")}, "Clean the data first"),
        ({"x_train": X.bool()}, r"got torch\.bool. Black and white"),
        ({"x_train": X.long() + 256}, "got torch.int64 with values from 256 to 256. Scale pixels of more than 8 bits"),
        ({"x_train": X.long() - 1}, "got torch.int64 with values from -1 to -1"),
        ({"x_train": [[[1, 2], [3]]]}, "train images must be .* rows of equal length"),
        ({"x_train": X[:0].float(), "y_train": Y[:0]}, "train part must hold at least one image"),
        (
            {
                "x_train": torch.zeros(2, 4, 4, 3).byte(),
                "x_test": torch.zeros(2, 4, 4, 3).byte(),
                "mean": (0,) * 3,
                "sd": (1,) * 3,
            },
            r"for each of 4 channels, .*permute\(0, 3, 1, 2\)",
        ),
        ({"x_train": X.flatten()}, r"\[N, H, W\] or \[N, C, H, W\] and the labels \[N\], got \[18\] and \[2\]"),
        ({"x_test": X[:0], "y_test": Y[:0]}, "test part must hold at least one image"),
        ({"y_train": Y[:1]}, "one label per image, got 2 images and 1 labels"),
        ({"y_train": Y + 10}, "train labels must lie from 0 to 9, got 10"),
        ({"x_test": X + 17}, "test pixels must lie from 0 to levels=16, got 17"),
        ({"x_test": X[:, :2]}, r"training images' shape \[3, 3\], got \[2, 3\]"),
        ({"mean": (0.0, 0.0)}, "a mean and a positive sd for each of 1 channels"),
        ({"sd": (0.0,)}, "a mean and a positive sd for each of 1 channels"),
        ({"sd": (float("inf"),)}, "a mean and a positive sd for each of 1 channels"),
        ({"mean": (float("nan"),)}, "a mean and a positive sd for each of 1 channels"),
        ({"mean": (-1.0,)}, "mean and sd must lie from 0 to 1, .*Divide them by levels"),
        ({"mean": (33.3,), "sd": (78.6,)}, "mean and sd must lie from 0 to 1, .*Divide them by levels"),
        (
            {"x_train": torch.empty(2, 3, 3, device="meta")},
            "train images must be a tensor with values, got one on the meta",
        ),
        ({"y_test": torch.eye(2).to_sparse()}, "test labels must be dense, got torch.sparse_coo"),
        ({"mean": "0.5"}, "mean must be a tensor, a NumPy array or a list of numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*nearly black")
def test_a_data_set_checks_its_parts(change, message):
    Dataset("mine", **RIGHT)
    with pytest.raises(ValueError, match=f"mine: .*{message}"):
        Dataset("mine", **(RIGHT | change))


def test_more_than_256_classes_keep_their_labels():
    y = torch.arange(1000)
    data = Dataset("many", X[:1].expand(1000, 3, 3) + 9, y, X[:1].expand(1000, 3, 3), y, 1000, 255, (0.5,), (0.3,))
    assert data.y_train.dtype == torch.int64
    assert data.y_train.tolist() == list(range(1000))
    (task,) = synsim.tasks.single(data)
    assert task.train.batch(torch.tensor([999, 256]))[1].tolist() == [999, 256]


@pytest.mark.parametrize(
    "form",
    [
        lambda t: t.numpy(),
        lambda t: t.tolist(),
        lambda t: t.long(),
        lambda t: t.to(torch.uint16),
        lambda t: t.numpy().astype(">i4"),
        lambda t: list(t),
    ],
    ids=["NumPy", "lists", "int64", "uint16", "big-endian", "list of tensors"],
)
def test_whole_numbers_of_any_form_make_the_same_data_set(form):
    x, y = torch.arange(18, dtype=torch.uint8).reshape(2, 3, 3), torch.tensor([3, 9], dtype=torch.uint8)
    parts = {"x_train": form(x), "y_train": form(y), "x_test": form(x), "y_test": form(y)}
    whole = {"classes": np.int64(10), "levels": torch.tensor(17), "mean": np.float32(0.5), "sd": torch.tensor([0.25])}
    data = Dataset("mine", **parts, **whole)
    assert data.x_train.dtype == torch.uint8
    assert torch.equal(data.x_train, x)
    assert data.y_test.tolist() == [3, 9]
    assert (data.classes, data.levels, data.mean, data.sd) == (10, 17, (0.5,), (0.25,))
    torch.testing.assert_close(synsim.tasks.single(data)[0].test[0:2], (x.flatten(1) / 17 - 0.5) / 0.25)


@pytest.mark.parametrize("levels", [2, 16, 255])
def test_images_that_lost_their_pixels_are_noticed(levels):
    scaled = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(0))
    for x in (scaled.to(torch.uint8), scaled.round().to(torch.uint8)):
        with pytest.warns(UserWarning, match=rf"mine: no training pixel is above 1 of levels={levels}.*nearly black"):
            Dataset("mine", **(RIGHT | {"x_train": x, "x_test": x, "levels": levels}))
        Dataset("mine", **(RIGHT | {"x_train": x, "x_test": x, "levels": 1}))
        Dataset("mine", **(RIGHT | {"x_train": torch.full_like(x, 2), "x_test": x, "levels": levels}))


@pytest.mark.filterwarnings("ignore:.*nearly black")
def test_a_data_set_shows_its_sizes_not_its_pixels():
    assert repr(Dataset("mine", **RIGHT)) == "Dataset('mine': 2 train and 2 test images of 3×3, 10 classes)"


@needs_files
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_real_files(name):
    try:
        data = load(name)
    except DataNotFoundError as error:
        pytest.skip(str(error))
    assert data.x_train.shape == (60000, 28, 28)
    assert data.x_test.shape == (10000, 28, 28)
    assert data.y_train.unique().tolist() == data.y_test.unique().tolist() == list(range(data.classes))
    pixels = data.x_train.double() / 255
    assert float(pixels.mean()) == pytest.approx(data.mean[0], abs=6e-5)
    assert float(pixels.std()) == pytest.approx(data.sd[0], abs=6e-5)
    for file, checksum in SOURCES[name].sha256.items():
        packed = Path(FILES or "") / name / file
        path = packed if packed.is_file() else packed.with_suffix("")
        assert digest(path, LARGEST) == checksum
