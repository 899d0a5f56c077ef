"""Table 4.1 of the README, from the page that the report has written: no number of it is typed in."""

import argparse
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = ("Split MNIST", "Split Fashion-MNIST", "Permuted MNIST", "Permuted Fashion-MNIST")
METHODS = ("presynaptic consolidation", "no consolidation", "BGD", "EWC", "joint training")
BEGIN, END = "<!-- Table 4.1, written by: python analysis/front.py -->\n", "<!-- end of the table -->\n"


def section(page: str, number: int, column: str) -> str:
    """What the page says about a column of the table."""
    head = f"### Table 4.1, column {number}: {column}\n"
    if head not in page:
        raise SystemExit(f"the page has no section {head.strip('# ')!r}: was it written with runs of this column?")
    return page.split(head, 1)[1].split("\n### ", 1)[0]


def cell(text: str, method: str) -> str:
    """Ours, and what was published, of a method."""
    found = re.search(rf"^\| accuracy over all tasks, %: {method} \| ([^|]*) \| ([^|]*) \|", text, re.MULTILINE)
    return "–" if found is None else f"{found[2]} ({found[1]})"


def table(page: str) -> str:
    """The table in Markdown.

    Args:
        page: text of REPRODUCTION.md.

    Returns:
        A row for each method, a column for each pair of scenario and data.
    """
    sections = [section(page, number, column) for number, column in enumerate(COLUMNS, 1)]
    rows = [["", *COLUMNS], ["---"] * (len(COLUMNS) + 1)]
    rows += [[method, *(cell(text, method) for text in sections)] for method in METHODS]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def written(readme: str, page: str) -> str:
    """The README with the table of the page."""
    before, rest = readme.split(BEGIN)
    return before + BEGIN + table(page) + END + rest.split(END)[1]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="front.py", description=__doc__)
    parser.add_argument("--page", type=Path, default=ROOT / "REPRODUCTION.md")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    given = parser.parse_args(arguments)
    readme = given.readme.read_text(encoding="utf-8")
    given.readme.write_text(written(readme, given.page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
