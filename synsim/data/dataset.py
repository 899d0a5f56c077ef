"""A data set in memory, pixels and labels as stored."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from synsim._checks import class_labels, require, tensor, warn, whole, within
from synsim._doors import check_fields, typed
from synsim.data import arrays


# Without eq: comparing tensors gives tensors, which have no single truth value.
@dataclass(frozen=True, eq=False)
class Dataset:
    """Images as uint8, and their labels; `load` returns them on the CPU. `from_arrays` makes one of any arrays.

    Tensors, NumPy arrays and lists will do. Images of another integer type become uint8 where nothing is lost by it;
    labels of another integer type than uint8 become int64, so that there may be any number of classes. Images that are
    no levels of grey or colour are kept as floats where `bounds` say between which values they lie.

    Attributes:
        name: name of the data set.
        x_train: training images [N, H, W], or [N, C, H, W] in colour; uint8.
        y_train: training labels [N], whole numbers from 0 to classes - 1; uint8 or int64.
        x_test: test images.
        y_test: test labels.
        classes: how many classes there are.
        levels: highest pixel value possible; pixels divided by it lie from 0 to 1.
        mean: mean of the training pixels per channel, after division by `levels`.
        sd: their standard deviation per channel, after division by `levels`.
        bounds: the stored values that become 0 and 1, in place of 0 and `levels`, which is 1 then; mean and sd are on
            that scale. None: pixels from 0 to `levels`.
        names: of the classes; empty: their numbers.
        dt: time step in ms, where the images are spike trains [N, T, neurons] of 0 and 1; None: they are images.

    Raises:
        ValueError: if types, shapes or lengths do not fit, labels or pixels are out of range, or there are no images.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int
    levels: int
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    bounds: tuple[float, float] | None = None
    names: tuple[str, ...] = ()
    dt: float | None = None

    @classmethod
    @typed
    def from_arrays(
        cls,
        x: Any,
        y: Any,
        x_test: Any = None,
        y_test: Any = None,
        *,
        test: float | None = None,
        stratified: bool = True,
        seed: int = 0,
        bounds: Sequence[float] | None = None,
        dt: float | None = None,
        name: str = "data",
    ) -> "Dataset":
        """A data set from arrays: tensors, NumPy arrays or lists.

        Nothing is lost: whole numbers from 0 to 255 and truth values are stored as uint8, floats as they are, other
        whole numbers as the smallest floats that hold them. Mean and sd are those of the training images.

        Args:
            x: images [N, H, W] or [N, C, H, W]; or vectors [N, P], which become images of one row; or spike trains
                [N, T, neurons] of 0 and 1, where there is a dt.
            y: a label for each, [N] or [N, 1]: text, whole numbers or truth values, with any gaps. The classes are
                numbered from 0, and their names are kept in the order of numbers or letters.
            x_test: test images; None: a share of x is kept for the test.
            y_test: their labels.
            test: the share of the test, between 0 and 1; None: 0.2.
            stratified: whether each class gives this share (one example at least), or all examples together.
            seed: chooses the examples of the test, from a stream of its own.
            bounds: the values that become 0 and 1 where pixels are to lie between (`pixels="unit"`); None: 0 and 255
                for uint8 (1, if none is above), 0 and 1 for floats between these, 0 and the largest value for others
                that are not negative, else the smallest and the largest one.
            dt: time step in ms, where x are spike trains.
            name: of the data set.

        Returns:
            The data set, on the CPU. Tensors that need no conversion are not copied.

        Raises:
            ValueError: if shapes do not fit, values are not finite or no numbers, labels are no classes, a class can't
                be both learned and tested, or two ways to a test part are asked for.

        Example:
            >>> import numpy
            >>> found = Dataset.from_arrays(numpy.arange(40).reshape(10, 2, 2), ["cat", "dog"] * 5, test=0.2)
            >>> len(found.x_train), len(found.x_test), found.names
            (8, 2, ('cat', 'dog'))
        """
        require(
            (x_test is None) == (y_test is None), f"{name}: x_test and y_test go together; give both, or none of them."
        )
        require(
            test is None or x_test is None, f"{name}: test={test} asks for a share of x, beside x_test. Choose one."
        )
        parts = [(x, y)] if x_test is None else [(x, y), (x_test, y_test)]
        stored = [arrays.images(images, f"{name}: the images") for images, _ in parts]
        labels, names = arrays.classes([given for _, given in parts], name)
        for images, given in zip(stored, labels, strict=True):
            require(
                len(images) == len(given),
                f"{name} must hold one label per image, got {len(images)} images and {len(given)} labels.",
            )
        if x_test is None:
            halves = arrays.halves(labels[0], names, 0.2 if test is None else test, seed, stratified=stratified)
            stored, labels = [stored[0][half] for half in halves], [labels[0][half] for half in halves]
        dtype = torch.promote_types(stored[0].dtype, stored[1].dtype)
        train, tested = (images.to(dtype) for images in stored)
        scale = arrays.bounds_of([train, tested], bounds, name)
        levels = arrays.levels_of(train, scale)
        mean, sd = arrays.moments(train, scale, name)
        return cls(
            name, train, labels[0], tested, labels[1], len(names), levels or 1, mean, sd,
            bounds=None if levels else scale, names=names, dt=dt,
        )  # fmt: skip

    def __post_init__(self) -> None:
        """Bring the parts into their types, and check them against each other."""
        if self.bounds is not None:
            object.__setattr__(self, "bounds", _bounds(self.bounds, f"{self.name}: bounds"))
        for part in ("train", "test"):
            self._become(f"x_{part}", _pixels if self.bounds is None else _values, f"the {part} images")
            self._become(f"y_{part}", _labels, f"the {part} labels")
        for name, form in (("mean", _numbers), ("sd", _numbers), ("classes", whole), ("levels", whole)):
            self._become(name, form, name)
        check_fields(self)
        for part, x, y in (("train", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            self._check_part(part, x, y)
        shape, test_shape = list(self.x_train.shape[1:]), list(self.x_test.shape[1:])
        require(
            shape == test_shape,
            f"{self.name}: expected test images of the training images' shape {shape}, got {test_shape}. "
            "Take both from the same data set.",
        )
        self._check_scale(shape)
        self._check_kind()
        if self.levels > 1 and int(self.x_train.max()) <= 1:
            warn(
                f"{self.name}: no training pixel is above 1 of levels={self.levels}, so that all images are nearly "
                "black. Pixels from 0 to 1 must become (x * 255).round() before they become uint8; images of black "
                "and white have levels=1."
            )

    def __repr__(self) -> str:
        """Sizes instead of pixels.

        Returns:
            One line.
        """
        shape = "×".join(str(size) for size in self.x_train.shape[1:])
        kind = "images of" if self.dt is None else f"spike trains in steps of {self.dt:g} ms of"
        return (
            f"Dataset({self.name!r}: {len(self.x_train)} train and {len(self.x_test)} test {kind} {shape}, "
            f"{self.classes} classes)"
        )

    def _become(self, name: str, form: Callable[[Any, str], Any], what: str) -> None:
        # A frozen dataclass can be written to in this way only.
        object.__setattr__(self, name, form(getattr(self, name), f"{self.name}: {what}"))

    def _check_scale(self, shape: list[int]) -> None:
        channels = shape[0] if len(shape) == 3 else 1
        last = len(shape) == 3 and len(self.mean) == len(self.sd) == shape[-1] != channels
        hint = " Are the channels the last axis? Put them before the rows: x.permute(0, 3, 1, 2)." if last else ""
        finite = all(math.isfinite(value) for value in (*self.mean, *self.sd))
        require(
            finite and len(self.mean) == len(self.sd) == channels and min(self.sd) > 0,
            f"{self.name}: expected a mean and a positive sd for each of {channels} channels, "
            f"got mean={self.mean}, sd={self.sd}.{hint}",
        )
        require(
            all(0 <= value <= 1 for value in self.mean) and max(self.sd) <= 1,
            f"{self.name}: mean and sd must lie from 0 to 1, as those of pixels divided by levels={self.levels} do, "
            f"got mean={self.mean}, sd={self.sd}. Divide them by levels.",
        )

    def _check_kind(self) -> None:
        require(
            self.bounds is None or self.levels == 1,
            f"{self.name}: levels must be 1 beside bounds, which take its place, got {self.levels}.",
        )
        require(
            len(self.names) in (0, self.classes) and len(set(self.names)) == len(self.names),
            f"{self.name}: names must name each of {self.classes} classes once, got {len(set(self.names))} names.",
        )
        if self.dt is not None:
            within(self.dt, f"{self.name}: dt", "(0, inf)")
            require(
                self.x_train.ndim == 3 and self.bounds is None and self.levels == 1,
                f"{self.name}: spike trains must be [N, T, neurons] of 0 and 1 (levels=1), "
                f"got shape {list(self.x_train.shape)} with values up to {float(self.x_train.max()):g}. "
                "Images of numbers have no dt.",
            )

    def _check_part(self, part: str, x: Tensor, y: Tensor) -> None:
        where = f"{self.name}: the {part}"
        require(
            x.ndim in {3, 4} and y.ndim == 1,
            f"{where} images must be [N, H, W] or [N, C, H, W] and the labels [N], "
            f"got {list(x.shape)} and {list(y.shape)}.",
        )
        require(x.numel() > 0, f"{where} part must hold at least one image, got shape {list(x.shape)}.")
        require(
            len(x) == len(y),
            f"{where} part must hold one label per image, got {len(x)} images and {len(y)} labels. "
            "Take both from the same data set.",
        )
        require(
            self.classes <= 256 or y.dtype != torch.uint8,
            f"{where} labels of {self.classes} classes can't be uint8, which wraps above 255. Give them as int64, "
            "taken from where they were not uint8 yet.",
        )
        lowest, highest = int(y.min()), int(y.max())
        require(
            lowest >= 0 and highest < self.classes,
            f"{where} labels must lie from 0 to {self.classes - 1}, got {highest if lowest >= 0 else lowest}. "
            "Number the classes of both parts together, such as by "
            "torch.unique(torch.cat([y_train, y_test]), return_inverse=True)[1], or raise classes.",
        )
        if self.bounds is not None:
            (low, high), least, most = self.bounds, float(x.min()), float(x.max())
            require(
                low <= least and most <= high,  # False for NaN, too
                f"{where} images must lie within the bounds {low:g} and {high:g}, got {least:g} to {most:g}.",
            )
            return
        require(
            self.levels >= 255 or int(x.max()) <= self.levels,
            f"{where} pixels must lie from 0 to levels={self.levels}, got {int(x.max())}.",
        )


def _labels(value: Any, what: str) -> Tensor:
    labels = class_labels(value, what)
    return value if isinstance(value, Tensor) and value.dtype == torch.uint8 else labels


def _numbers(value: Any, what: str) -> tuple[float, ...]:
    return tuple(tensor(value, what).double().flatten().tolist())


def _bounds(value: Any, what: str) -> tuple[float, float]:
    ends = _numbers(value, what)
    fits = len(ends) == 2 and math.isfinite(ends[0]) and math.isfinite(ends[1]) and ends[0] < ends[1]
    require(fits, f"{what} must be two finite numbers, the lower one first, got {list(ends)}.")
    return ends[0], ends[1]


def _values(value: Any, what: str) -> Tensor:
    x = tensor(value, what)
    require(x.is_floating_point() or x.dtype == torch.uint8, f"{what} must be floats or uint8, got {x.dtype}.")
    return x


def _pixels(value: Any, what: str) -> Tensor:
    x = tensor(value, what)
    if x.dtype == torch.uint8 or x.numel() == 0:
        return x
    if x.is_complex() or x.dtype == torch.bool:
        raise ValueError(f"{what} must be stored as uint8, got {x.dtype}. {_advice(x)}")
    comparable = x if x.is_floating_point() else x.long()  # torch has no comparison for uint16, uint32 and uint64
    lowest, highest = comparable.aminmax()
    if not x.is_floating_point() and lowest >= 0 and highest <= 255:
        return comparable.to(torch.uint8)
    raise ValueError(
        f"{what} must be stored as uint8, got {x.dtype} with values from {lowest:g} to {highest:g}. {_advice(x)}"
    )


def _advice(x: Tensor) -> str:
    # Never a conversion that loses the images: .to(torch.uint8) makes 0 of pixels below 1, and wraps those above 255.
    if x.dtype == torch.bool:
        return "Black and white are x.to(torch.uint8), with levels=1."
    if x.is_complex():
        return "Give the real and the imaginary part as two channels."
    if not x.is_floating_point():
        return "Scale pixels of more than 8 bits to 0 to 255 before they are converted."
    if not bool(x.isfinite().all()):
        return "Clean the data first: some of them are NaN or infinite."
    if bool((x >= 0).all() & (x <= 1).all()):
        return "Pixels from 0 to 1 become (x * 255).round().to(torch.uint8), with levels=255."
    if bool((x >= 0).all() & (x <= 255).all() & (x == x.round()).all()):
        return "They are whole numbers from 0 to 255: x.to(torch.uint8) keeps them."
    return (
        "Undo what standardised them; or, if they are no pixels but features, Dataset.from_arrays keeps them as floats."
    )
