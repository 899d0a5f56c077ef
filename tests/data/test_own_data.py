"""Data sets of the user's own: from arrays and from files; what is kept, and what is refused."""

import gzip
import io
import zipfile

import numpy as np
import pytest
import torch

import synsim
from synsim.data import DataNotFoundError, Dataset, load
from synsim.data.find import IDX_FILES

RNG = np.random.default_rng(0)
FLOATS = RNG.random((20, 3, 4))
NAMES = np.array(["cat", "ant", "dog", "bee"] * 5)


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


def together(data: Dataset) -> tuple[torch.Tensor, list[str]]:
    """All images and the names of their classes."""
    y = torch.cat([data.y_train, data.y_test]).tolist()
    return torch.cat([data.x_train, data.x_test]), [data.names[k] for k in y]


@pytest.mark.parametrize("form", [np.asarray, torch.as_tensor, np.ndarray.tolist], ids=["NumPy", "torch", "lists"])
def test_floats_and_names_are_kept(form):
    data = Dataset.from_arrays(form(FLOATS), NAMES.tolist(), test=0.4)
    assert data.names == ("ant", "bee", "cat", "dog")
    assert (len(data.x_train), len(data.x_test), data.classes) == (12, 8, 4)
    assert data.x_train.dtype == torch.float64
    assert (data.bounds, data.levels) == ((0.0, 1.0), 1)
    found = {(tuple(x.flatten().tolist()), name) for x, name in zip(*together(data), strict=True)}
    assert found == {(tuple(x.flatten().tolist()), name) for x, name in zip(FLOATS, NAMES, strict=True)}


@pytest.mark.parametrize(
    ("x", "dtype", "bounds", "levels"),
    [
        (RNG.integers(0, 256, (20, 3, 4), dtype=np.uint8), torch.uint8, None, 255),
        (RNG.integers(0, 200, (20, 2, 3, 4)), torch.uint8, None, 255),
        (RNG.random((20, 3, 4)) > 0.5, torch.uint8, None, 1),
        (RNG.integers(-3, 9, (20, 7), dtype=np.int16), torch.float32, (-3.0, 8.0), 1),
        (RNG.integers(0, 2**16, (20, 3, 4), dtype=np.uint16) | 2**15, torch.float32, (0.0, None), 1),
        (RNG.integers(0, 2**40, (20, 3, 4)), torch.float64, (0.0, None), 1),
        (np.float32(FLOATS) * 7, torch.float32, (0.0, None), 1),
        (np.float16(FLOATS) - 0.5, torch.float16, (None, None), 1),
    ],
)
@pytest.mark.parametrize("pixels", ["standard", "unit"])
def test_numbers_of_every_kind_are_stored_exactly_and_scaled_by_the_training_part(x, dtype, bounds, levels, pixels):
    data = Dataset.from_arrays(x, NAMES)
    assert data.x_train.dtype == dtype
    assert data.levels == levels
    assert sorted(together(data)[0].double().flatten().tolist()) == sorted(x.astype(float).flatten().tolist())
    low, high = data.bounds or (0.0, levels)
    assert (data.bounds is None) == (bounds is None)
    if bounds is not None:
        ends = (min(0.0, float(x.min())), float(x.max()))
        assert [low, high] == [end if given is None else given for end, given in zip(ends, bounds, strict=True)]
    (task,) = synsim.tasks.single(data, pixels=pixels, flat=False, dtype=torch.float64)
    train = data.x_train.double()
    if pixels == "unit":
        wanted = (train - low) / (high - low)
    else:
        axes = (0, 2, 3) if train.ndim == 4 else (0, 1, 2)
        wanted = (train - train.mean(axes, keepdim=True)) / train.std(axes, correction=0, keepdim=True)
    torch.testing.assert_close(task.train[:], wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([3, 7, 20, 3] * 5, ("3", "7", "20")),
        (np.array([-1, 5, 5, 1000], dtype=np.int16).repeat(5), ("-1", "5", "1000")),
        (np.array([1.0, 2.0]).repeat(10), ("1", "2")),
        (torch.tensor([True, False] * 10), ("False", "True")),
        (np.array([b"b", b"a"]).repeat(10), ("a", "b")),
        (np.array(["b", "a"], dtype=object).repeat(10)[:, None], ("a", "b")),
        (["10", "9"] * 10, ("10", "9")),
    ],
)
def test_labels_with_gaps_and_of_every_kind_keep_their_names(labels, names):
    data = Dataset.from_arrays(FLOATS, labels)
    assert data.names == names
    assert data.y_train.dtype == torch.int64
    assert sorted(set(data.y_train.tolist())) == list(range(len(names)))


def test_more_than_256_classes():
    y = np.arange(600) * 3
    data = Dataset.from_arrays(np.arange(600.0).reshape(600, 1), y, np.arange(5.0).reshape(5, 1), y[:5])
    assert data.classes == 600
    assert (data.y_train.tolist(), data.y_test.tolist()) == (list(range(600)), list(range(5)))


def test_the_test_part_is_a_share_of_each_class_chosen_by_the_seed():
    y = np.array([0] * 50 + [1] * 10 + [2] * 2)
    x = np.arange(62.0).reshape(62, 1)
    one, same, other = (Dataset.from_arrays(x, y, test=0.3, seed=seed) for seed in (0, 0, 1))
    assert torch.bincount(one.y_test).tolist() == [15, 3, 1]
    assert torch.equal(one.x_test, same.x_test)
    assert not torch.equal(one.x_test, other.x_test)
    assert bool((one.x_test.flatten().diff() > 0).all())
    together = Dataset.from_arrays(x[:60], y[:60], test=0.3, stratified=False)
    assert len(together.x_test) == 18
    alone = Dataset.from_arrays(x[:4], [0, 0, 1, 1], test=0.01)
    assert torch.bincount(alone.y_test).tolist() == [1, 1]


def test_tasks_are_called_by_the_names_of_their_classes():
    data = Dataset.from_arrays(FLOATS, NAMES)
    assert [task.name for task in synsim.tasks.split(data)] == ["ant bee", "cat dog"]
    assert [task.name for task in synsim.tasks.by_class(data)] == ["ant", "bee", "cat", "dog"]


NAN = FLOATS.copy()
NAN[7, 1, 1] = np.nan


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x": NAN}, r"finite, got 1 images with NaN or infinity, the first is 7\. Clean"),
        ({"x": FLOATS[:19]}, "one label per image, got 19 images and 20 labels"),
        ({"x": np.zeros((20, 5))}, "the same number everywhere"),
        ({"x": FLOATS.astype(str)}, "must be a tensor, a NumPy array or a list of numbers"),
        ({"x": FLOATS.astype(object)}, "must be a tensor, a NumPy array or a list of numbers"),
        ({"x": FLOATS * 1j}, "must be a tensor, a NumPy array or a list of numbers|must be real"),
        ({"x": FLOATS[0, 0]}, r"\[N, P\], \[N, H, W\] or \[N, C, H, W\], got shape \[4\]"),
        ({"x": FLOATS[:0], "y": NAMES[:0]}, "at least one image"),
        ({"x": np.ones((20, 8, 8, 3))}, r"channels before the rows.*transpose\(0, 3, 1, 2\)"),
        ({"x": np.full((20, 4), 2**60)}, r"whole numbers up to 2\*\*53"),
        ({"y": np.eye(20)}, r"one-hot vectors become labels by y\.argmax"),
        ({"y": np.linspace(0, 1, 20)}, "got fractions. Are they the targets of a regression"),
        ({"y": np.full(20, np.nan)}, "finite, got NaN"),
        ({"y": ["a"] * 19 + [1]}, "must be text, or all numbers, got both"),
        ({"y": ["a"] * 19 + [None]}, "must be text, or all numbers, got both"),
        ({"y": [[1], [2, 3]]}, "rows of different lengths"),
        ({"y": ["one"] + ["two"] * 19}, "the class 'one' has a single example.*stratified=False"),
        ({"y": [0, 0, *range(1, 19)], "stratified": False, "test": 0.9}, "can't be learned. Split by class"),
        ({"test": 0.0}, r"test must lie in \(0, 1\)"),
        ({"test": 5}, r"test must lie in \(0, 1\)"),
        ({"x_test": FLOATS}, "x_test and y_test go together"),
        ({"x_test": FLOATS, "y_test": NAMES, "test": 0.2}, "Choose one"),
        ({"x_test": FLOATS, "y_test": ["cat"] * 19 + ["eel"]}, "no example of 'eel', which can't be learned"),
        ({"x_test": FLOATS, "y_test": [1] * 20}, "all numbers, got both"),
        ({"x_test": FLOATS[:, :2], "y_test": NAMES}, r"training images' shape \[3, 4\], got \[2, 4\]"),
        ({"bounds": (0.5, 1)}, "bounds must hold all values"),
        ({"bounds": (1, 2, 3)}, "bounds must be two numbers"),
        ({"dt": 1.0}, r"spike trains must be \[N, T, neurons\] of 0 and 1"),
        ({"dt": -1.0}, "dt must lie in"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_arrays_that_make_no_data_set_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Dataset.from_arrays(**{"x": FLOATS, "y": NAMES, **given})


def test_floats_need_bounds_which_hold_them():
    data = Dataset.from_arrays(FLOATS, NAMES)
    given = {name: getattr(data, name) for name in data.__dataclass_fields__}
    Dataset(**given)
    for change, message in (
        ({"bounds": None}, "must be stored as uint8"),
        ({"bounds": (0.0, 0.5)}, "within the bounds 0 and 0.5"),
        ({"bounds": (1.0, 0.0)}, "the lower one first"),
        ({"x_test": data.x_test * np.nan}, "within the bounds 0 and 1, got nan"),
        ({"levels": 255}, "levels must be 1 beside bounds"),
        ({"names": ("a", "b")}, "names must name each of 4 classes once"),
    ):
        with pytest.raises(ValueError, match=message):
            Dataset(**(given | change))


def test_an_npz_is_read_as_its_arrays(tmp_path):
    np.savez_compressed(tmp_path / "mine.npz", x=FLOATS, y=NAMES)
    data, made = load(str(tmp_path / "mine.npz")), Dataset.from_arrays(FLOATS, NAMES)
    assert torch.equal(data.x_train, made.x_train)
    assert (data.name, data.names, data.mean) == ("mine", made.names, made.mean)
    assert torch.equal(load("mine.npz", tmp_path).x_test, made.x_test)
    np.savez(tmp_path / "both.npz", x_train=FLOATS, y_train=NAMES, x_test=FLOATS[:5], y_test=NAMES[:5], bounds=[-1, 1])
    data = load(str(tmp_path / "both.npz"))
    assert (len(data.x_train), len(data.x_test), data.bounds) == (20, 5, (-1.0, 1.0))


def forged(shape: str) -> bytes:
    """An npz whose header speaks of another shape than its content has."""
    array = io.BytesIO()
    np.save(array, np.zeros(4))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        # A stated time: with the present one, each process of the tests would call the test of this file otherwise.
        entry = zipfile.ZipInfo("x.npy", (2020, 1, 1, 0, 0, 0))
        archive.writestr(entry, array.getvalue().replace(b"(4,)", shape.encode()))
    return file.getvalue()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": FLOATS}, "y missing. Every example needs a label"),
        ({"y": NAMES}, "x missing"),
        ({}, "got nothing: x, y missing"),
        ({"x": np.array([1, None]), "y": [1, 2]}, "x holds Python objects, which are pickled"),
        ({"x": FLOATS, "labels": NAMES}, "got also labels"),
        ({"x": FLOATS, "y": NAMES, "x_train": FLOATS, "y_train": NAMES}, "either x and y, or x_train"),
        ({"x": NAN, "y": NAMES}, "mine.npz: mine: the images must be finite"),
        ({"x": FLOATS, "y": NAMES, "dt": [1, 2]}, r"dt must be one number, got an array .* of shape \[2\]"),
        ({"time": [1.0], "neuron": [0], "y": [1, 2]}, "missing example"),
        ({"time": [1.0], "neuron": [0], "example": [0], "y": [1], "x": FLOATS}, "too many x"),
        (b"PK\3\4nothing", "expected arrays as numpy.savez writes them, but File is not a zip"),
        (b"<html>", "It is a web page"),
        (forged("(9,)"), r"x: expected 72 bytes for shape \[9\], got 32"),
        (forged("4ab}"), "x: expected an array of NumPy"),
    ],
)
def test_a_bad_npz_is_refused(tmp_path, arrays, message):
    path = tmp_path / "mine.npz"
    path.write_bytes(arrays) if isinstance(arrays, bytes) else np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message):
        load(str(path))


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
@pytest.mark.parametrize("titled", [True, False])
def test_a_table_is_read(tmp_path, ending, titled):
    x = RNG.integers(0, 256, (12, 5))
    y = ["NA", "b", "c"] * 4
    rows = ["p0,p1,label,p2,p3,p4"] if titled else []
    for label, row in zip(y, x.astype(str), strict=True):
        rows.append(",".join([*row[:2], label, *row[2:]] if titled else [label, *row]))
    text = "\n".join(rows).encode()
    path = tmp_path / f"images.{ending}"
    path.write_bytes(gzip.compress(text) if ending.endswith("gz") else text)
    data = load(str(path))
    assert (data.name, data.names, data.x_train.dtype, data.levels) == ("images", ("NA", "b", "c"), torch.uint8, 255)
    assert sorted(together(data)[0].flatten(1).tolist()) == sorted(x.tolist())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n1,2,3\n", "expected a column called label, class, target, y, got the columns a, b, c"),
        ("label,b\n1,\n2,3\n", "numbers in every column but that of the labels, got text or nothing in b"),
        ("1,2,3\n1,2,3,4\n", "rows of equal length"),
        ("", "at least two columns"),
        ("label,b\n", "a row for each example, got none"),
        ("1,2\n1,nan\n", "numbers in every column"),
    ],
)
def test_a_bad_table_is_refused(tmp_path, text, message):
    path = tmp_path / "images.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load(str(path))


@pytest.mark.parametrize("names", [IDX_FILES, [name.replace("t10k", "test") + ".gz" for name in IDX_FILES]])
def test_a_folder_of_idx_files_is_read(tmp_path, names):
    x, y = RNG.integers(0, 256, (12, 5, 4)), np.arange(12) % 4 * 2
    for name, array in zip(names, (x, y, x[:3], y[:3]), strict=True):
        content = idx(array)
        (tmp_path / f"emnist-{name}").write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    data = load(str(tmp_path))
    assert (data.x_train.numpy() == x).all()
    assert (data.names, data.levels) == (("0", "2", "4", "6"), 255)
    (tmp_path / IDX_FILES[0]).write_bytes(idx(x))
    with pytest.raises(ValueError, match="those of several"):
        load(str(tmp_path))
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(DataNotFoundError, match="train-images-idx"):
        load(str(tmp_path))


def test_what_is_no_file_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, message in (("no.npz", "no.npz was not found. Looked for: no.npz"), ("./some/where", "was not found")):
        with pytest.raises(DataNotFoundError, match=message):
            load(name)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"expected a file that ends in \.npz"):
        load("notes.txt")
    with pytest.raises(ValueError, match=r"unknown data set 'mnits'.*Did you mean 'mnist'"):
        load("mnits")
