"""How the important synapses (p ≥ 0.9) are spread over neurons after learning (Fig. 4.3 and 4.7 of the paper).

Per neuron the important inputs and outputs are counted, and compared with the same number of important synapses at
random places of each weight matrix. The network is the plastic one of the energy experiment.
"""

from dataclasses import dataclass

import numpy as np
import torch
import xarray
from common import finish, run
from torch import Tensor, nn
from trained import TrainedConfig, trained

import synsim
from synsim import tables
from synsim.meters import sparsity
from synsim.papers.schug2021 import CORRELATION, IMPORTANT, KS_D, KS_P, KS_P_OTHERS
from synsim.training import Session
from synsim.training.command import option, parse


@dataclass(frozen=True, kw_only=True)
class Config(TrainedConfig):
    """Options of this experiment."""

    out: str = option("runs/neurons", "folder of the run")
    shuffles: int = option(20, "shuffled baselines; the test is made with each, and D and p are their medians")


def counted(net: nn.Module, shuffles: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Counts per side, [R, n], and those of the shuffled matrices, [S, R, n]."""
    masks = sparsity.important(net, IMPORTANT)
    seeds = next(iter(synsim.synapses(net).values())).seeds
    return sparsity.important_counts(masks), sparsity.important_counts(sparsity.shuffled(masks, seeds, shuffles))


def padded(counts: dict[str, Tensor]) -> np.ndarray:
    """Counts of all sides in one array, [side, ..., neuron], NaN where a layer has fewer neurons."""
    width = max(value.shape[-1] for value in counts.values())
    pad = [torch.nn.functional.pad(v.double(), (0, width - v.shape[-1]), value=torch.nan) for v in counts.values()]
    return torch.stack(pad).cpu().numpy()


def measure(net: nn.Module, shuffles: int) -> xarray.Dataset:
    """Counts, tests, classes of neurons, and the correlation of inputs with outputs."""
    counts, baseline = counted(net, shuffles)
    tests = [sparsity.shuffle_test(counts[side], baseline[side]) for side in counts]
    hidden = [side.removesuffix(" inputs") for side in counts if side.startswith("hidden") and side.endswith("inputs")]
    pairs = [(counts[f"{name} inputs"], counts[f"{name} outputs"]) for name in hidden]
    classes = {
        kind: padded({side: sparsity.importance_class(value[side], baseline[side]) for side in counts})
        for kind, value in {"true": counts, "shuffled": {side: value[0] for side, value in baseline.items()}}.items()
    }
    variables = {
        "count": (("side", "replica", "neuron"), padded(counts)),
        "shuffled": (("side", "shuffle", "replica", "neuron"), padded(baseline)),
        "ks": (("side", "shuffle", "replica"), torch.stack([d for d, _ in tests]).numpy()),
        "ks_p": (("side", "shuffle", "replica"), torch.stack([p for _, p in tests]).numpy()),
        "neuron_class": (("kind", "side", "replica", "neuron"), np.stack(list(classes.values()))),
    }
    for name, ranks in (("pearson", False), ("spearman", True)):
        found = [sparsity.correlation(*pair, ranks=ranks).cpu().numpy() for pair in pairs]
        variables[name] = (("hidden", "replica"), np.reshape(found, (len(hidden), -1)))
    return xarray.Dataset(variables, coords={"side": list(counts), "kind": list(classes), "hidden": hidden})


def table(dataset: xarray.Dataset) -> list[tables.Row]:
    """Tests per side, shares of highly and lowly important neurons, and correlations."""
    sound = dataset.where(~dataset.failed)
    middle, rows = sound[["ks", "ks_p"]].median("shuffle"), []
    for side in dataset.side.values:
        d, p = (middle[name].sel(side=side).values for name in ("ks", "ks_p"))
        rows.append(tables.row(side, "Kolmogorov-Smirnov D", d, KS_D.get(side)))
        rows.append(tables.row(side, "Kolmogorov-Smirnov p", p, KS_P.get(side, KS_P_OTHERS)))
    for side in (side for side in dataset.side.values if side.endswith("inputs")):
        found = sound.neuron_class.sel(side=side)
        for name, sign in (("highly", 1), ("lowly", -1)):
            for kind in dataset.kind.values:
                share = (
                    100 * (found.sel(kind=kind) == sign).sum("neuron") / found.sel(kind=kind).notnull().sum("neuron")
                )
                rows.append(tables.row(side, f"{name} important neurons, {kind}, %", share.values))
    for name in dataset.hidden.values:
        r = sound.pearson.sel(hidden=name).values
        rows.append(tables.row(name, "r of important inputs and outputs", r, CORRELATION.get(name)))
        rows.append(tables.row(name, "ρ (Spearman) of the same", sound.spearman.sel(hidden=name).values))
    return rows


def experiment(config: Config, session: Session) -> None:
    """Train, count, print and keep the results."""
    net, _, phase = trained(config, session)
    dataset = xarray.merge([phase.dataset, measure(net, config.shuffles)], combine_attrs="drop_conflicts")
    finish(session, dataset, table(dataset))
    if config.reduced():
        print(f"reduced: {config.reduced()}")
    print(f"weight decay {config.decay:g} (published: not stated for these figures)")


if __name__ == "__main__":
    run(parse(Config, __doc__ or ""), experiment)  # type: ignore[arg-type]
