"""The graph of a NIR file as a chain of layers, and the constants of other tools as those of neurons here."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from synsim._checks import require

MATRICES, FIRING = ("Linear", "Affine"), ("LIF",)
RUN = ("Input", "Output", *MATRICES, *FIRING, "LI")
"""Nodes that can be run here."""


class Use(NamedTuple):
    """A layer of a chain.

    Attributes:
        name: of the node of its synapses.
        matrix: this node.
        neurons: the node of its neurons.
        back: the node of synapses from these to themselves, or None.
    """

    name: str
    matrix: Any
    neurons: Any
    back: Any

    @property
    def fires(self) -> bool:
        """Whether its neurons do."""
        return type(self.neurons).__name__ in FIRING


def chain_of(graph: Any, path: Path) -> list[Use]:
    """The layers of a graph, from input to output.

    Args:
        graph: a `nir.NIRGraph`.
        path: its file, for messages.

    Returns:
        The layers.

    Raises:
        ValueError: if it is no chain of synapses and neurons that can be run here; the message names the node.
    """
    nodes, edges = graph.nodes, [tuple(edge) for edge in graph.edges]
    for name, node in nodes.items():
        kind = type(node).__name__
        require(kind in RUN, f"{path} has the node {name!r} of kind {kind}; what can be run here are {', '.join(RUN)}.")
    kinds = {name: type(node).__name__ for name, node in nodes.items()}
    after = {name: [end for start, end in edges if start == name] for name in nodes}
    back = {
        name: one for name in nodes if kinds[name] in FIRING
        for one in after[name] if kinds[one] in MATRICES and after[one] == [name]
    }  # fmt: skip
    starts = [name for name in nodes if kinds[name] == "Input"]
    require(len(starts) == 1, f"{path} must have one input, got {len(starts)}.")
    found, here, seen = [], starts[0], 1 + len(back)
    while True:
        ends = [one for one in after[here] if one != back.get(here)]
        require(len(ends) == 1, f"{path} must be a chain of layers; the node {here!r} leads to {ends}.")
        if kinds[ends[0]] == "Output":
            break
        matrix, neurons = ends[0], after[ends[0]]
        fits = kinds[matrix] in MATRICES and len(neurons) == 1 and kinds[neurons[0]] in ("LIF", "LI")
        require(
            fits, f"{path} must have synapses, then neurons, in turn; after {here!r} come {matrix!r} and {neurons}."
        )
        here = neurons[0]
        held = nodes.get(back.get(here))
        found.append(Use(matrix, nodes[matrix], nodes[here], held))
        seen += 2
        require(len(found) <= len(nodes), f"{path} goes round in a circle at {here!r}.")
    require(bool(found) and seen + 1 == len(nodes), f"{path} must be one chain from input to output.")
    _require_populations(found, path)
    return found


def _require_populations(found: list[Use], path: Path) -> None:
    inner = [use.name for use in found[:-1] if not use.fires]
    require(not inner, f"{path} has neurons that never fire behind {inner}; here the last population may be so alone.")
    require(found[-1].back is None, f"{path} has synapses of the last population to itself, which are not run here.")
    several = len({use.back is None for use in found[:-1]}) > 1
    require(not several, f"{path} has synapses to themselves in some hidden populations, here in all or in none.")


def constants_of(chain: list[Use], step: float, dt: float) -> dict[str, float]:
    """What an Euler step of another tool does, as constants of neurons here.

    Args:
        chain: the layers.
        step: of that tool, seconds.
        dt: time step here, ms.

    Returns:
        "tau" and "threshold" of those that fire, "tau_readout", and "dt".

    Raises:
        ValueError: if neurons rest elsewhere than at 0, or are not alike.
    """
    own: dict[str, float] = {"dt": dt}
    for use in chain:
        for what in ("v_leak", "v_reset"):
            rests = not np.any(getattr(use.neurons, what, 0))
            require(rests, f"the neurons behind {use.name!r} have {what} other than 0, which is rest here.")
        tau = _single(use, "tau")
        require(
            tau > step,
            f"the neurons behind {use.name!r} have tau = {tau:g} s, which must be longer than step = {step:g} s.",
        )
        kept = 1 - step / tau
        found = {"tau" if use.fires else "tau_readout": -dt / math.log(kept)}
        if use.fires:
            found["threshold"] = _single(use, "v_threshold") * kept
        for key, value in found.items():
            require(
                math.isclose(own.get(key, value), value, rel_tol=1e-6),
                f"the neurons behind {use.name!r} have another {key} than those before; here all are alike.",
            )
        own |= found
    return {"tau": own.get("tau_readout", 0.0), "threshold": 1.0, "tau_readout": own.get("tau", 0.0), **own}


def scale_of(use: Use, step: float) -> float:
    """By how much an input moves v in an Euler step of another tool.

    Args:
        use: a layer.
        step: of that tool, seconds.

    Returns:
        r · step / τ.

    Raises:
        ValueError: if neurons are not alike.
    """
    return _single(use, "r") * step / _single(use, "tau")


def _single(use: Use, what: str) -> float:
    several = np.unique(getattr(use.neurons, what))
    require(several.size == 1, f"the neurons behind {use.name!r} have several values of {what}; here all are alike.")
    return float(several[0])
