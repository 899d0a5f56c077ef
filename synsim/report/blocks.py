"""What a page is made of; words between backticks are code."""

from dataclasses import dataclass

from synsim._checks import require, whole
from synsim._doors import check_fields


@dataclass(frozen=True)
class Heading:
    """A heading.

    Attributes:
        level: 1 for the title.
        text: its words.
    """

    level: int
    text: str

    def __post_init__(self) -> None:
        check_fields(self)
        whole(self.level, "level", 1, 6)

    def anchor(self) -> str:
        """The name by which the page links to it.

        Returns:
            Small letters, digits and hyphens, as the usual Markdown readers make them.
        """
        kept = "".join(letter for letter in self.text.lower() if letter.isalnum() or letter in " -_")
        return kept.replace(" ", "-")


@dataclass(frozen=True)
class Paragraph:
    """Words.

    Attributes:
        text: the words.
    """

    text: str

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Bullets:
    """A list.

    Attributes:
        items: its lines.
    """

    items: tuple[str, ...]

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row names it.

    Attributes:
        caption: over it; empty if the text before it says enough.
        head: of the columns.
        rows: as many cells each as the head has.
        links: heading that the first cell of each row leads to; empty if none does.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    links: tuple[Heading, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        odd = [len(row) for row in self.rows if len(row) != len(self.head)]
        require(not odd, f"every row must have as many cells as the head, {len(self.head)}, got {odd}.")
        rows, links = len(self.rows), len(self.links)
        require(links in (0, rows), f"expected a link for each of {rows} rows or none, got {links}.")


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        name: of its file, without folder and suffix.
        alt: what it shows, for those who can't see it.
        caption: below it.
    """

    name: str
    alt: str
    caption: str

    def __post_init__(self) -> None:
        check_fields(self)


Block = Heading | Paragraph | Bullets | Table | Picture
