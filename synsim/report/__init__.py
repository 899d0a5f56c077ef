"""Run folders beside what was published: claims, verdicts by a stated rule, and the page that says both.

In use::

    runs, skipped = report.collect(["runs"])
    found = [report.assess(item, runs, items) for item in items]
    part = report.Part("Title", "Words.", tuple(found), tuple(report.studies(runs, ours)))
    blocks = report.page([part], runs, skipped, pictures, study_pictures)
    text = report.markdown(blocks, link)

Nothing here reads a clock: the same runs make the same page, byte for byte. What is claimed (`Item`) and studied
(`Study`) comes from whoever makes the page: this is the engine.
"""

from synsim.papers import Published
from synsim.report.assess import Finding, Line, assess
from synsim.report.blocks import Block, Bullets, Heading, Paragraph, Picture, Table
from synsim.report.claims import Apart, Claim, Difference, Grid, Item, Limit, Note, Order, Shown, Value
from synsim.report.html import html
from synsim.report.markdown import markdown
from synsim.report.page import Part, page
from synsim.report.runs import Run, Skipped, collect, merged
from synsim.report.studies import Study, studies
from synsim.report.verdict import RULE, of_limit, of_order, of_pair, of_value

__all__ = [
    "RULE",
    "Apart",
    "Block",
    "Bullets",
    "Claim",
    "Difference",
    "Finding",
    "Grid",
    "Heading",
    "Item",
    "Limit",
    "Line",
    "Note",
    "Order",
    "Paragraph",
    "Part",
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
