"""What a record says, by names: the same samples and the same tests for a table, a figure and a page.

In use::

    from synsim import outcomes

    outcomes.final(dataset).sel(model="presynaptic")  # accuracy over all tasks at the end, %, one value per seed
    outcomes.bits_per(dataset, "energy")  # 10⁻³ bits per unit of energy at the end
    samples = outcomes.of("lifelong", dataset)  # everything: ("final", "presynaptic") -> Sample
    tests = outcomes.tests("lifelong", samples)
    tests.between("final", "presynaptic", "none")  # t, df, p, corrected p, Hedges' g; None if it could not be made
    outcomes.differences("lifelong", dataset)  # all tested pairs of a run: what, minus what, values, test

Which tests an experiment makes, and which of them are corrected together, is declared in `FAMILIES`, and nowhere else.
"""

from synsim.outcomes.costs import part
from synsim.outcomes.families import FAMILIES, Difference, Family, Tests, differences, tests
from synsim.outcomes.measures import accuracies, at_end, best, bits_per, final, first, last, learned
from synsim.outcomes.readers import READERS, of
from synsim.outcomes.rows import as_made, from_rows
from synsim.outcomes.sample import Array, Key, Pair, Sample, Samples

__all__ = [
    "FAMILIES",
    "READERS",
    "Array",
    "Difference",
    "Family",
    "Key",
    "Pair",
    "Sample",
    "Samples",
    "Tests",
    "accuracies",
    "as_made",
    "at_end",
    "best",
    "bits_per",
    "differences",
    "final",
    "first",
    "from_rows",
    "last",
    "learned",
    "of",
    "part",
    "tests",
]
