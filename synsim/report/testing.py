"""The tests behind the orders and differences of an item: those that the experiment declares, or those of its runs."""

from collections.abc import Sequence

from synsim import outcomes, statistics
from synsim.outcomes import Key, Pair, Sample
from synsim.report.claims import Apart, Claim, Difference, Item, Order
from synsim.report.runs import Run
from synsim.statistics import Test

Found = dict[Key, tuple[Sample, Run]]
"""Every measurement that the runs of an item have, and the run it is from."""


def keys_of(claim: Claim) -> tuple[Key, ...]:
    """The measurements that a claim is about.

    Args:
        claim: the claim.

    Returns:
        One key, or two where it compares them.
    """
    match claim:
        case Order():
            return claim.larger, claim.smaller
        case Difference() | Apart():
            return claim.first, claim.second
        case _:
            return (claim.key,)


def pairs_of(item: Item) -> dict[int, Pair]:
    """The pairs that the claims of an item compare.

    Args:
        item: the item.

    Returns:
        Place of the claim -> pair.
    """
    found = {index: keys_of(claim) for index, claim in enumerate(item.claims)}
    return {index: (keys[0], keys[1]) for index, keys in found.items() if len(keys) == 2}


def tests_of(item: Item, found: Found, page: Sequence[Item]) -> dict[int, Test]:
    """The tests of an item's claims, each corrected in one family wherever it stands.

    Args:
        item: the item.
        found: its measurements.
        page: all items; of an experiment that declares no families, the tests of a measurement in all of them that see
            the same runs are one.

    Returns:
        Place of the claim -> test, with the signs of the claim; claims without one are left out.
    """
    if item.experiment in outcomes.FAMILIES:
        tests = outcomes.tests(item.experiment, {key: sample for key, (sample, _) in found.items()})
    else:
        alike = [one for one in page if _sees(one) == _sees(item)]
        tests = outcomes.Tests(_undeclared([pair for one in (item, *alike) for pair in pairs_of(one).values()], found))
    return {index: tests[pair] for index, pair in pairs_of(item).items() if pair in tests}


def _sees(item: Item) -> tuple[object, ...]:
    # Items that see the same runs.
    return item.experiment, item.data, item.config, item.prefer


def _undeclared(pairs: Sequence[Pair], found: Found) -> dict[Pair, Test]:
    families: dict[str, dict[Pair, tuple[outcomes.Array, outcomes.Array]]] = {}
    for pair in pairs:
        family = families.setdefault(pair[0][0], {})
        # A pair that two claims are about is one test.
        if all(key in found for key in pair) and (pair[1], pair[0]) not in family:
            family[pair] = found[pair[0]][0].values, found[pair[1]][0].values
    made = {pair: test for name, family in families.items() for pair, test in statistics.family(name, family).items()}
    for first, second in made:
        run, other = found[first][1], found[second][1]
        if run is other:
            # The run corrected it in a family of its own, which its table shows.
            told = outcomes.as_made(run.record.summary, found[first][0].values, found[second][0].values)
            made[first, second] = told or made[first, second]
    return made
