"""Sparsity per neuron: how the important synapses are spread over neurons, against the same number at random.

Everything starts from the masks M = [p ≥ 0.9] of the weight matrices, in order from input to output. Hidden neuron j
has the count of its row of one matrix as inputs, and the count of its column of the next one as outputs.

Source: Schug, Benzing & Steger 2021, Fig. 4.3 and 4.7.
"""

import itertools
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from synsim import streams
from synsim._checks import affordable, number, numeric, require, whole
from synsim._doors import typed
from synsim.meters.coverage import say_reliable
from synsim.synapses import BernoulliLinear, synapses

IMPORTANT = 0.9
"""Release probability from which on a synapse counts as important."""


@typed
def important(net: nn.Module, limit: float = IMPORTANT) -> dict[str, Tensor]:
    """Which synapses are important: p ≥ limit; in control networks with ghosts, which move in place of p, the ghost.

    Args:
        net: a network of fully connected stochastic layers, one after the other.
        limit: smallest release probability that counts, in [0, 1].

    Returns:
        Name of the layer -> bool [out, in] or [R, out, in], from input to output.

    Raises:
        ValueError: if the limit lies outside [0, 1], or the network has no stochastic layer, or one that is not fully
            connected.

    Example:
        >>> import torch, synsim
        >>> net = synsim.mlp([4, 2], p=0.95)
        >>> bool(important(net)["0"].all())
        True
    """
    require(0 <= limit <= 1, f"limit must be a probability between 0 and 1, got {limit!r}.")
    layers = synapses(net)
    require(bool(layers), "expected a network with stochastic layers, got none: only they have release probabilities.")
    for name, layer in layers.items():
        require(
            isinstance(layer, BernoulliLinear),
            f"inputs and outputs are counted in fully connected layers, got {name!r}, a {type(layer).__name__}: "
            "an entry of a kernel is a synapse that many neurons share. Give the fully connected part of the network.",
        )
    say_reliable(net, "important synapses are those of stochastic layers.")
    return {name: layer.learned >= limit for name, layer in layers.items()}


@typed
def important_counts(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Important inputs and outputs of every neuron.

    Args:
        masks: bool [..., out, in] per weight matrix, from input to output, each as wide as the last one was high.

    Returns:
        Side -> int64 [..., neurons], two per matrix: with two matrices "input outputs" (the outputs of the input
        neurons), "hidden 1 inputs", "hidden 1 outputs", "output inputs".

    Raises:
        ValueError: if there are no masks, or they are not of bools, or do not follow on one another.
    """
    require(bool(masks), "expected at least one mask, got none.")
    for name, mask in masks.items():
        require(
            mask.dtype == torch.bool and mask.ndim >= 2,
            f"mask {name!r} must hold bools [..., out, in], got {mask.dtype} {list(mask.shape)}. See `important`.",
        )
    for (one, mask), (other, following) in itertools.pairwise(masks.items()):
        require(
            mask.shape[-2] == following.shape[-1] and mask.shape[:-2] == following.shape[:-2],
            f"masks must follow on one another: {one!r} is {list(mask.shape)}, so that {other!r} must be "
            f"[..., {mask.shape[-2]}] with the same replicas, got {list(following.shape)}.",
        )
    names = ["input", *(f"hidden {k}" for k in range(1, len(masks))), "output"]
    found: dict[str, Tensor] = {}
    for (before, after), mask in zip(itertools.pairwise(names), masks.values(), strict=True):
        found[f"{before} outputs"] = mask.sum(-2)
        found[f"{after} inputs"] = mask.sum(-1)
    return found


@typed
def shuffled(masks: Mapping[str, Tensor], seeds: Sequence[int], shuffles: int = 1) -> dict[str, Tensor]:
    """The same number of important synapses per matrix and replica, at random places.

    Args:
        masks: bool [out, in] or [R, out, in] per weight matrix.
        seeds: one per replica (one without replicas); a replica is shuffled alike alone and among others.
        shuffles: S, how many times.

    Returns:
        Name -> bool [S, out, in] or [S, R, out, in].

    Raises:
        ValueError: if there is not one seed per replica, or masks are not of bools, or there would be too many.
    """
    shuffles = whole(shuffles, "shuffles")
    affordable(17 * shuffles * sum(mask.numel() for mask in masks.values()), f"{shuffles} shuffles")
    found = {}
    for name, mask in masks.items():
        require(
            mask.dtype == torch.bool and mask.ndim in (2, 3),
            f"mask {name!r} must hold bools [out, in] or [R, out, in], got {mask.dtype} {list(mask.shape)}.",
        )
        replicas = mask.shape[0] if mask.ndim > 2 else 1
        require(
            len(seeds) == replicas, f"expected one seed per replica of {name!r}, {replicas}, got {len(seeds)} seeds."
        )
        flat = mask.reshape(replicas, -1)
        keys = streams.keys("eval/shuffle", seeds, name)
        orders = [streams.permutation(keys, flat.shape[1], draw).to(mask.device) for draw in range(shuffles)]
        found[name] = torch.stack([flat.gather(1, order).reshape(mask.shape) for order in orders])
    return found


@typed
def shuffle_test(counts: Tensor, baseline: Tensor) -> tuple[Tensor, Tensor]:
    """Two-sample Kolmogorov-Smirnov test of counts against those of a shuffled matrix.

    Counts have ties, which makes the p value too large, if anything.

    Args:
        counts: [..., n] of the neurons.
        baseline: [..., n] after a shuffle, or [S, ..., n].

    Returns:
        D and p, float64, both shaped like the baseline without its last axis.

    Raises:
        ValueError: if the shapes do not fit.
    """
    require(
        0 < counts.ndim <= baseline.ndim and baseline.shape[baseline.ndim - counts.ndim :] == counts.shape,
        f"the baseline must have the shape of the counts, {list(counts.shape)}, possibly after an axis of shuffles, "
        f"got {list(baseline.shape)}.",
    )
    from scipy import stats

    numeric(counts, "counts"), numeric(baseline, "baseline")
    width, lead = counts.shape[-1], baseline.shape[:-1]
    pairs = zip(_rows(counts.expand(baseline.shape), width), _rows(baseline, width), strict=True)
    with warnings.catch_warnings():
        # Where p is 1, rounding may lead SciPy to its asymptotic formula, of which it warns; that says 1 as well.
        warnings.filterwarnings("ignore", message="ks_2samp", category=RuntimeWarning)
        found = torch.tensor([tuple(stats.ks_2samp(*pair)) for pair in pairs], dtype=torch.float64, device="cpu")
    return found[:, 0].reshape(lead), found[:, 1].reshape(lead)


@typed
def importance_class(counts: Tensor, baseline: Tensor, distance: float = 2.0) -> Tensor:
    """Highly and lowly important neurons: more than `distance` standard deviations off the mean of the shuffled matrix.

    Args:
        counts: [..., n] of the neurons.
        baseline: [S, ..., n] after S shuffles; mean and standard deviation are over neurons and shuffles.
        distance: in standard deviations.

    Returns:
        int8 [..., n]: 1 highly important, −1 lowly important, 0 neither.

    Raises:
        ValueError: if the shapes do not fit.
    """
    require(
        baseline.ndim == counts.ndim + 1 and baseline.shape[1:] == counts.shape,
        f"the baseline must have the shape of the counts, {list(counts.shape)}, after an axis of shuffles, "
        f"got {list(baseline.shape)}.",
    )
    every = numeric(baseline, "baseline").double()
    numeric(counts, "counts")
    distance = number(distance, "distance")
    mean = every.mean((0, -1)).unsqueeze(-1)
    sd = every.var((0, -1), correction=0).sqrt().unsqueeze(-1)
    return ((counts > mean + distance * sd).to(torch.int8)) - ((counts < mean - distance * sd).to(torch.int8))


@typed
def correlation(a: Tensor, b: Tensor, *, ranks: bool = False) -> Tensor:
    """Correlation over the last axis: Pearson's, or Spearman's, which is that of the ranks.

    Args:
        a: [..., n], such as the important inputs of the neurons of a layer.
        b: the same shape.
        ranks: Spearman's; equal values share their mean rank.

    Returns:
        float64 [...]; NaN where either does not vary.

    Raises:
        ValueError: if the shapes differ.
    """
    numeric(a, "a"), numeric(b, "b")
    require(
        a.shape == b.shape and a.ndim > 0,
        f"expected two tensors of one shape, got {list(a.shape)} and {list(b.shape)}.",
    )
    x, y = (_deviations(value, ranks) for value in (a, b))
    scale = (x.square().sum(-1) * y.square().sum(-1)).sqrt()
    return (x * y).sum(-1) / torch.where(scale > 0, scale, torch.nan)


def _deviations(value: Tensor, ranks: bool) -> Tensor:
    if ranks:
        from scipy import stats

        value = torch.from_numpy(stats.rankdata(value.detach().cpu().numpy(), axis=-1))
    value = value.detach().double()
    # From the first value on, so that values that are all alike deviate by exactly zero.
    value = value - value[..., :1]
    return value - value.mean(-1, keepdim=True)


def _rows(value: Tensor, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return value.reshape(-1, width).double().cpu().numpy()
