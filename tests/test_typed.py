"""What `@typed` holds at the door of every room, tried on functions of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from synsim._doors import ArgumentError, typed


@typed
def takes(
    *,
    x: Tensor | None = None,
    y: Tensor = torch.zeros(1),  # noqa: B008
    words: Sequence[str] = (),
    numbers: Sequence[float] = (),
    wholes: Sequence[int] = (),
    groups: Sequence[Sequence[int]] = (),
    tensors: Sequence[Tensor] = (),
    pairs: tuple[tuple[str, int], ...] = (),
) -> None:
    pass


@pytest.mark.parametrize(
    ("name", "value", "got"),
    [
        ("y", torch.empty(2, 3, device="meta"), r"a dense tensor, got .* shape \[2, 3\] on the meta device"),
        ("y", torch.eye(3).to_sparse(), "a dense tensor, got .* in the layout sparse_coo"),
        ("x", torch.empty(2, 3, device="meta"), "a dense tensor or None, got .* on the meta device"),
        ("words", torch.zeros(2, 3), "a sequence of text, got"),
        ("words", np.zeros(2), "a sequence of text, got"),
        ("numbers", torch.zeros(2, 3), "a sequence of a number, got"),
        ("numbers", torch.eye(3).to_sparse(), "a sequence of a number, got"),
        ("wholes", np.zeros(2), "a sequence of a whole number, got"),
        ("groups", np.zeros((2, 2)), "a sequence of .*, got"),
        ("groups", np.zeros(2, dtype=int), "a sequence of .*, got"),
        ("pairs", torch.empty(0), "a tuple of .*, got"),
        ("pairs", np.zeros(2), "a tuple of .*, got"),
        ("tensors", np.zeros(2), "a sequence of a dense tensor, got"),
    ],
)
def test_arrays_that_are_no_dense_rows_of_their_kind_are_refused(name: str, value: Any, got: str) -> None:
    with pytest.raises(ArgumentError, match=f"{name} must be {got}"):
        takes(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", torch.nn.Parameter(torch.zeros(2, 3))),
        ("y", torch.zeros(2, 3).T),
        ("numbers", torch.zeros(2)),
        ("numbers", np.arange(3)),
        ("wholes", torch.arange(3)),
        ("wholes", np.empty(0, dtype=int)),
        ("groups", np.zeros((2, 2), dtype=np.int32)),
        ("groups", torch.zeros(2, 2, dtype=torch.uint8)),
        ("tensors", torch.zeros(2, 3)),
    ],
)
def test_arrays_of_the_kind_are_taken(name: str, value: Any) -> None:
    takes(**{name: value})
