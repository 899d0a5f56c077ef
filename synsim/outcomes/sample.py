"""Named samples of a run."""

from typing import NamedTuple

import numpy as np
import xarray
from numpy.typing import NDArray

Array = NDArray[np.float64]
Key = tuple[str, ...]
"""Names a measurement of a run: what is measured, then of what, such as ("final", "presynaptic")."""
Pair = tuple[Key, Key]
"""Two measurements that are compared; signs are those of the first minus the second."""


class Sample(NamedTuple):
    """One value per seed, NaN where a replica failed.

    Attributes:
        values: [R].
        note: how it was chosen, such as "decay 0.05".
    """

    values: Array
    note: str = ""


Samples = dict[Key, Sample]


def sample(values: xarray.DataArray, note: str = "") -> Sample:
    """A sample from labelled values.

    Args:
        values: [R].
        note: how it was chosen.

    Returns:
        The sample, in float64.
    """
    return Sample(np.asarray(values.values, dtype=float).reshape(-1), note)
