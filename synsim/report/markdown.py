"""A page as Markdown, with the tables of GitHub."""

import re
from collections.abc import Callable, Sequence

from synsim._doors import typed
from synsim.report.blocks import Block, Bullets, Heading, Paragraph, Picture, Table

# Signs that Markdown would take for its own: not the underscore within a word, nor "<" before a blank.
SIGNS = re.compile(r"[\\*\[\]#]|~(?=~)|(?<![^\W_])_|_(?![^\W_])")
TAG = re.compile(r"<(?=[A-Za-z/!?])")
ENTITY = re.compile(r"&(?=#?\w+;)")


@typed
def markdown(blocks: Sequence[Block], link: Callable[[str], str]) -> str:
    """The text of a page.

    Args:
        blocks: the page.
        link: name of a picture -> its address, relative to the file.

    Returns:
        Markdown; ends with a line break.
    """
    return "\n\n".join(_block(block, link) for block in blocks) + "\n"


def _block(block: Block, link: Callable[[str], str]) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {escaped(block.text)}"
        case Paragraph():
            return escaped(block.text)
        case Bullets():
            return "\n".join(f"- {escaped(item)}" for item in block.items)
        case Table():
            return _table(block)
        case Picture():
            alt = block.alt.replace("[", "(").replace("]", ")")
            return f"![{escaped(alt)}]({link(block.name)})\n\n{escaped(block.caption)}"


def _table(table: Table) -> str:
    rows = [[_cell(text) for text in row] for row in table.rows]
    for row, heading in zip(rows, table.links, strict=False):
        row[0] = f"[{row[0]}](#{heading.anchor()})"
    lines = [[_cell(text) for text in table.head], ["---"] * len(table.head), *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{escaped(table.caption)}\n\n{text}" if table.caption else text


def _cell(text: str) -> str:
    # A bar ends a cell even in code.
    return escaped(text).replace("|", "\\|").replace("\n", " ")


@typed
def escaped(text: str) -> str:
    """Text that Markdown leaves as it is, but for code between backticks.

    Args:
        text: any text.

    Returns:
        The text with its signs escaped.
    """
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backtick without its partner is no code
        parts = [text.replace("`", "'")]
    for index in range(0, len(parts), 2):
        parts[index] = SIGNS.sub(lambda found: f"\\{found[0]}", parts[index])
        parts[index] = TAG.sub("&lt;", ENTITY.sub("&amp;", parts[index]))
    return "`".join(parts)
