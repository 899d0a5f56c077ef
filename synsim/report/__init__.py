"""Run folders beside what was published: claims, verdicts by a stated rule, and the page that says both.

    runs, skipped = report.collect(["runs"])
    found = [report.assess(item, runs) for item in report.CHAPTER]
    blocks = report.page(found, report.studies(runs), runs, skipped, pictures)
    text = report.markdown(blocks, link)

Nothing here reads a clock: the same runs make the same page, byte for byte.
"""

from synsim.papers import Published
from synsim.report.assess import Finding, Line, assess
from synsim.report.blocks import Block, Bullets, Heading, Paragraph, Picture, Table
from synsim.report.chapter import CHAPTER
from synsim.report.claims import Apart, Difference, Grid, Item, Limit, Order, Shown, Value
from synsim.report.html import html
from synsim.report.markdown import markdown
from synsim.report.page import page
from synsim.report.runs import Run, Skipped, collect, merged
from synsim.report.studies import STUDIES, Study, studies
from synsim.report.verdict import RULE, of_limit, of_order, of_pair, of_value

__all__ = [
    "CHAPTER",
    "RULE",
    "STUDIES",
    "Apart",
    "Block",
    "Bullets",
    "Difference",
    "Finding",
    "Grid",
    "Heading",
    "Item",
    "Limit",
    "Line",
    "Order",
    "Paragraph",
    "Picture",
    "Published",
    "Run",
    "Shown",
    "Skipped",
    "Study",
    "Table",
    "Value",
    "assess",
    "collect",
    "html",
    "markdown",
    "merged",
    "of_limit",
    "of_order",
    "of_pair",
    "of_value",
    "page",
    "studies",
]
