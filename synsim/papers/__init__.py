"""What papers say, once: their constants and their published values, one file per paper."""

from synsim.papers.published import Published as Published

__all__ = ["Published"]
