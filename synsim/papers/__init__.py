"""What papers say, once: their constants and their published values, one file per paper.

In use::

    from synsim.papers import schug2021

    schug2021.TABLE_4_1["split", "mnist"]["presynaptic"]  # Published: 82.9, of three runs

Modules: `schug2021` (presynaptic stochasticity), `benzing2022` (importances), `kolouri2020` (sliced Cramér),
`vandeven2025` (ways to compute the Fisher information).
"""

from synsim.papers.published import Published as Published

__all__ = ["Published"]
