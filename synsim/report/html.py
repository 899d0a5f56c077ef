"""A page as one HTML file that needs nothing from outside."""

import base64
import html as escape
from collections.abc import Callable, Sequence

from synsim._doors import typed
from synsim.report import verdict
from synsim.report.blocks import Block, Bullets, Heading, Paragraph, Picture, Table

# Dark letters on light grounds: every pair has a contrast of at least 7 to 1. The words say it all without colours.
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 72rem; margin: 0 auto;
  padding: 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #999; } h3 { margin-top: 2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.875rem; margin: 0.5rem 0 1rem; }
caption { text-align: left; font-weight: 600; padding: 0.25rem 0; }
th, td { border: 1px solid #999; padding: 0.25rem 0.5rem; text-align: left; vertical-align: top; }
thead th { background: #eee; } tbody th { font-weight: 400; }
.agrees { background: #e2f3e6; } .differs { background: #fde6d8; } .open { background: #f1f1f1; }
code { font: 0.875em ui-monospace, monospace; background: #f3f3f3; overflow-wrap: anywhere; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; } figcaption { font-size: 0.875rem; }
a { color: #0b3d91; } a:focus-visible, .wide:focus-visible { outline: 3px solid #0b3d91; }
.skip:not(:focus) { position: absolute; left: -99rem; }
""".strip()


@typed
def html(blocks: Sequence[Block], picture: Callable[[str], bytes]) -> str:
    """The text of a page; it starts with a heading of level 1.

    Args:
        blocks: the page.
        picture: name of a picture -> its PNG.

    Returns:
        A whole HTML document.
    """
    title = next(block.text for block in blocks if isinstance(block, Heading))
    body = "\n".join(_block(block, picture) for block in blocks)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{_plain(title)}</title>\n'
        f'<style>\n{STYLE}\n</style>\n</head>\n<body>\n<a class="skip" href="#content">Skip to the content</a>\n'
        f'{_contents(blocks)}\n<main id="content">\n{body}\n</main>\n</body>\n</html>\n'
    )


def _contents(blocks: Sequence[Block]) -> str:
    links = [
        f'<li><a href="#{_quoted(block.anchor())}">{_inline(block.text)}</a></li>'
        for block in blocks
        if isinstance(block, Heading) and block.level == 2
    ]
    return f'<nav aria-label="Contents">\n<ul>\n{chr(10).join(links)}\n</ul>\n</nav>'


def _block(block: Block, picture: Callable[[str], bytes]) -> str:
    match block:
        case Heading():
            tag = f"h{block.level}"
            return f'<{tag} id="{_quoted(block.anchor())}">{_inline(block.text)}</{tag}>'
        case Paragraph():
            return f"<p>{_inline(block.text)}</p>"
        case Bullets():
            return "<ul>\n" + "\n".join(f"<li>{_inline(item)}</li>" for item in block.items) + "\n</ul>"
        case Table():
            return _table(block)
        case Picture():
            data = base64.b64encode(picture(block.name)).decode("ascii")
            image = f'<img alt="{_quoted(block.alt)}" src="data:image/png;base64,{data}">'
            return f"<figure>\n{image}\n<figcaption>{_inline(block.caption)}</figcaption>\n</figure>"


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{_inline(text)}</th>' for text in table.head)
    judged = table.head.index("verdict") if "verdict" in table.head else -1
    lines = []
    for number, row in enumerate(table.rows):
        name = _inline(row[0])
        if number < len(table.links):
            name = f'<a href="#{_quoted(table.links[number].anchor())}">{name}</a>'
        cells = [
            f'<td class="{_colour(text)}">{_inline(text)}</td>' if place == judged else f"<td>{_inline(text)}</td>"
            for place, text in enumerate(row[1:], start=1)
        ]
        lines.append(f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>')
    caption = f"<caption>{_inline(table.caption)}</caption>\n" if table.caption else ""
    name = _quoted(table.caption.replace("`", "") or f"Table of {table.head[0]}")
    return (
        f'<div class="wide" role="region" aria-label="{name}" tabindex="0">\n<table>\n{caption}'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{chr(10).join(lines)}\n</tbody>\n</table>\n</div>"
    )


def _colour(text: str) -> str:
    if verdict.DIFFERS in text or verdict.FAILED in text:
        return "differs"
    return "agrees" if verdict.WITHIN in text or verdict.SAME in text else "open"


def _inline(text: str) -> str:
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _plain(text)
    return "".join(f"<code>{_plain(part)}</code>" if index % 2 else _plain(part) for index, part in enumerate(parts))


def _plain(text: str) -> str:
    return escape.escape(text, quote=False)


def _quoted(text: str) -> str:
    return escape.escape(text, quote=True)
