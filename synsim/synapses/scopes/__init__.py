"""Release scopes: for which events of a pass the synapses of a layer release anew. One class for each.

| `scope=` | class | one mask for |
|---|---|---|
| "batch" | `Batch` | a forward pass |
| "sample" | `Sample` | an example, with all of its time steps |
| "event" | `Event` | a spike at a synapse |
| "event-gaussian" | `EventGaussian` | the same, approximated by its mean and variance |

Nobody compares names of scopes: a layer's `release` is the object, which is asked. A scope of your own derives from
`PerPass` or `PerExample`, says in `counts` which sites release, and is entered by `register`; layers and the networks
built of them then take its name. Its numbers come from `release_bits`: `synsim.streams.release_bits` without checks of
the values, so that it may run inside torch.func.
"""

from synsim._philox import release_bits
from synsim.synapses.scopes.base import SCOPES, Scope, register
from synsim.synapses.scopes.per_example import PerExample, Sample
from synsim.synapses.scopes.per_pass import MEAN_FIELD, Batch, MeanField, PerPass
from synsim.synapses.scopes.per_spike import Event, EventGaussian

__all__ = [
    "MEAN_FIELD",
    "SCOPES",
    "Batch",
    "Event",
    "EventGaussian",
    "MeanField",
    "PerExample",
    "PerPass",
    "Sample",
    "Scope",
    "register",
    "release_bits",
]
