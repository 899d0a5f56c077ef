"""The equations of the exported network, as Brian2 reads them. v has no unit; times are in ms.

Within a step Brian2's default schedule is the order of `synsim.spiking.neurons`: groups, thresholds, synapses, resets.
"""

from collections.abc import Sequence

from synsim.spiking.brian.plan import Population, Projection
from synsim.spiking.short_term import ShortTerm

PER_LINE = 8
"""Sites drawn in one line of `on_pre`."""


def neurons(population: Population, counters: Sequence[str]) -> str:
    """Equations of a population.

    A refractory neuron keeps its v, but what arrives still adds to it: therefore not "(unless refractory)", with which
    Brian2 drops the input too.

    Args:
        population: not the input.
        counters: variables that count releases at its synapses.

    Returns:
        Equations for `NeuronGroup`.
    """
    free = "*int(not_refractory)" if population.threshold is not None and population.refractory > 0 else ""
    lines = [f"dv/dt = -v{free}/tau : 1"]
    for counter in counters:
        whose = " from within" if counter != "released" else ""
        lines.append(f"{counter} : 1  # sites released at its synapses{whose} so far")
    return "\n".join(lines)


def reset(population: Population) -> str:
    """What happens to a neuron that fired.

    Args:
        population: one that fires.

    Returns:
        Statement for `NeuronGroup`.
    """
    return "v = 0" if population.reset == "rest" else "v -= theta"


def synapses(projection: Projection, short_term: ShortTerm | None) -> str:
    """State of a synapse.

    Args:
        projection: the layer.
        short_term: short-term plasticity, or None.

    Returns:
        Equations for `Synapses`.
    """
    lines = ["w : 1  # expected strength", "p : 1  # release probability"]
    if projection.scale is not None:
        lines.append("scale : 1  # k / (N p) of the frozen mask")
    if short_term is not None and short_term.tau_facilitation > 0:
        lines.append("du/dt = -u/tau_f : 1 (event-driven)")
    if short_term is not None and short_term.tau_depression > 0:
        lines.append("dx/dt = (1 - x)/tau_d : 1 (event-driven)")
    return "\n".join(lines)


def on_spike(projection: Projection, short_term: ShortTerm | None) -> str:
    """What a presynaptic spike does: one uniform number per site.

    Brian2's `binomial` is not used: its Cython code is biased for p > 0.5 and more than one trial.

    Args:
        projection: the layer.
        short_term: short-term plasticity, or None.

    Returns:
        Statements for `on_pre`.
    """
    lines, factor = _factor(short_term)
    if projection.draws:
        sites = projection.sites
        draw = "int(rand() < q)" if factor else "int(rand() < p)"
        lines += [f"q = p*{factor}"] if factor else []
        for first in range(0, sites, PER_LINE):
            term = " + ".join([draw] * min(PER_LINE, sites - first))
            lines.append(f"k_{first // PER_LINE} = {term}")
        total = " + ".join(f"k_{n}" for n in range(-(-sites // PER_LINE)))
        # Up to 32 sums of eight: a sum of 255 terms would be too deep an expression.
        lines = [line.replace("k_0", "k") for line in lines] if sites <= PER_LINE else [*lines, f"k = {total}"]
        lines.append("v_post += w*(k/(sites*p))")
        lines.append(f"{projection.counter}_post += k")
        return "\n".join(lines)
    scale = "*scale" if projection.scale is not None else ""
    lines.append(f"v_post += w{scale}" + (f"*{factor}" if factor else ""))
    return "\n".join(lines)


def fresh_synapses(short_term: ShortTerm | None) -> str:
    """The state of rested synapses.

    Args:
        short_term: short-term plasticity, or None.

    Returns:
        Statements; empty if there is no such state.
    """
    if short_term is None:
        return ""
    lines = ["u = 0"] if short_term.tau_facilitation > 0 else []
    return "\n".join(lines + (["x = 1"] if short_term.tau_depression > 0 else []))


def _factor(short_term: ShortTerm | None) -> tuple[list[str], str]:
    # Statements before the release, and by what they scale its probability: u⁺ x / U.
    if short_term is None:
        return [], ""
    facilitates, depresses = short_term.tau_facilitation > 0, short_term.tau_depression > 0
    fraction = "p" if short_term.per_synapse else "U"
    lines = [f"u += {fraction}*(1 - u)"] if facilitates else []
    u, x = "u" if facilitates else fraction, "*x" if depresses else ""
    if not facilitates and not depresses:
        return [], ""
    lines.append(f"factor = {u}/{fraction}{x}" if facilitates else "factor = x")
    if depresses:
        lines.append(f"x -= {u}*x")
    return lines, "factor"
