"""From the record of a run to named samples, by the name of its experiment."""

from collections.abc import Callable

import xarray

from synsim._checks import require
from synsim._doors import typed
from synsim.outcomes import costs, memories
from synsim.outcomes.sample import Samples

Reader = Callable[[xarray.Dataset], Samples]

READERS: dict[str, Reader] = {
    "energy": costs.energy,
    "lifelong": memories.lifelong,
    "continuous": memories.lifelong,
    "ablation": memories.lifelong,
    "spiking_lifelong": memories.lifelong,
    "lesions": costs.lesions,
    "importance_of_release": costs.importance_of_release,
    "neurons": costs.neurons,
    "perceptron": memories.perceptron,
    "sites": costs.sites,
    "spiking_energy": costs.spiking_energy,
    "bounds": memories.bounds,
    "search": memories.search,
    "importances": memories.importances,
}
"""Experiment -> reader of its records; others are read from the rows of their tables."""


@typed
def of(experiment: str, dataset: xarray.Dataset) -> Samples:
    """All samples of a run.

    Args:
        experiment: name of its script, without suffix.
        dataset: its record, of this version or of an older one.

    Returns:
        Key -> sample.

    Raises:
        ValueError: if nothing is known of the experiment.
    """
    known = ", ".join(sorted(READERS))
    require(experiment in READERS, f"experiment must be one whose records can be read, {known}; got {experiment!r}.")
    return READERS[experiment](dataset)
