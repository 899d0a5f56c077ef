"""How the important synapses (p ≥ 0.9) are spread over neurons after learning (Fig. 4.3 and 4.7 of the paper).

Per neuron the important inputs and outputs are counted, and compared with the same number of important synapses at
random places of each weight matrix. The network is the plastic one of the energy experiment.
"""

import torch
import xarray
from lines import Line, differences, told
from torch import Tensor, nn
from trained import TrainedConfig, remarks, trained

import synsim
from synsim import outcomes, tables
from synsim.experiment import Experiment, Session, option
from synsim.meters import sparsity
from synsim.papers.schug2021 import CORRELATION, IMPORTANT, KS_D, KS_P, KS_P_OTHERS


class Config(TrainedConfig):
    shuffles: int = option(20, "shuffled baselines; the test is made with each, and D and p are their medians")


def padded(counts: dict[str, Tensor]) -> Tensor:
    """Counts of all sides in one, [side, ..., neuron], NaN where a layer has fewer neurons."""
    width = max(value.shape[-1] for value in counts.values())
    wide = [
        nn.functional.pad(value.double(), (0, width - value.shape[-1]), value=torch.nan) for value in counts.values()
    ]
    return torch.stack(wide).cpu()


def spread(net: nn.Module, shuffles: int) -> xarray.Dataset:
    """Counts, tests, classes of neurons, and the correlation of inputs with outputs."""
    masks = sparsity.important(net, IMPORTANT)
    seeds = next(iter(synsim.synapses(net).values())).seeds
    counts = sparsity.important_counts(masks)
    baseline = sparsity.important_counts(sparsity.shuffled(masks, seeds, shuffles))
    sides = list(counts)
    tests = [torch.stack(sparsity.shuffle_test(counts[side], baseline[side])) for side in sides]
    ks, ks_p = torch.stack(tests, 1).unbind()
    kinds = {"true": counts, "shuffled": {side: value[0] for side, value in baseline.items()}}
    classes = [
        padded({side: sparsity.importance_class(kind[side], baseline[side]) for side in sides})
        for kind in kinds.values()
    ]
    hidden = [side.removesuffix(" inputs") for side in sides if side.startswith("hidden") and side.endswith("inputs")]
    pairs = [(counts[f"{name} inputs"], counts[f"{name} outputs"]) for name in hidden]
    pearson, spearman = (
        torch.stack([sparsity.correlation(*pair, ranks=ranks).cpu() for pair in pairs]) for ranks in (False, True)
    )
    each = ("side", "shuffle", "replica")
    return xarray.Dataset(
        {
            "count": (("side", "replica", "neuron"), padded(counts)),
            "shuffled": ((*each, "neuron"), padded(baseline)),
            "ks": (each, ks),
            "ks_p": (each, ks_p),
            "neuron_class": (("kind", "side", "replica", "neuron"), torch.stack(classes)),
            "pearson": (("hidden", "replica"), pearson),
            "spearman": (("hidden", "replica"), spearman),
        },
        {"side": sides, "kind": list(kinds), "hidden": hidden},
    )


def measure(config: Config, session: Session) -> xarray.Dataset:
    """Train, and count."""
    net, _, phase = trained(config, session)
    return xarray.merge([phase.dataset, spread(net, config.shuffles)], combine_attrs="drop_conflicts")


def rows(config: Config, dataset: xarray.Dataset) -> list[tables.Row]:
    """Tests per side, shares of highly and lowly important neurons, and correlations."""
    samples = outcomes.of("neurons", dataset)
    lines = {
        "D": Line(("side",), "{side}", "Kolmogorov-Smirnov D"),
        "p": Line(("side",), "{side}", "Kolmogorov-Smirnov p"),
        "highly": Line(("side", "kind"), "{side}", "highly important neurons, {kind}, %"),
        "lowly": Line(("side", "kind"), "{side}", "lowly important neurons, {kind}, %"),
        "r": Line(("layer",), "{layer}", "r of important inputs and outputs"),
        "rho": Line(("layer",), "{layer}", "ρ (Spearman) of the same"),
    }
    published: dict[outcomes.Key, object] = {("D", side): d for side, d in KS_D.items()}
    published |= {("r", layer): r for layer, r in CORRELATION.items()}
    published |= {("p", side): KS_P.get(side, KS_P_OTHERS) for side in dataset.side.values.tolist()}
    both = ("side", "one", "of", "other")
    compared = {
        lead: Line(both, "{side}: {one} − {other}", f"{lead} important neurons, points") for lead in ("highly", "lowly")
    }
    return told(samples, lines, published) + differences("neurons", dataset, compared)


EXPERIMENT = Experiment(Config, measure, rows, __doc__, remarks)

if __name__ == "__main__":
    EXPERIMENT.main()
