"""What a figure or table of the paper claims, so that a run can be held against it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from synsim._checks import choice, whole, within
from synsim._doors import check_fields
from synsim.outcomes import Key
from synsim.papers import Published

DIGITS = 20
"""After the point, at most."""


@dataclass(frozen=True)
class Value:
    """A published number.

    Attributes:
        label: what it is.
        key: where ours is.
        published: theirs.
        digits: printed after the point.
        factor: for a value that was read off a figure: how many times larger or smaller ours may be. None: errors
            tell.
    """

    label: str
    key: Key
    published: Published
    digits: int = 2
    factor: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        whole(self.digits, "digits", 0, DIGITS)
        if self.factor is not None:
            within(self.factor, "factor", "(1, inf)")


@dataclass(frozen=True)
class Difference:
    """A published difference of two means.

    Attributes:
        label: what it is.
        first: where the first is.
        second: what is subtracted.
        published: theirs.
        digits: printed after the point.
    """

    label: str
    first: Key
    second: Key
    published: Published
    digits: int = 2

    def __post_init__(self) -> None:
        check_fields(self)
        whole(self.digits, "digits", 0, DIGITS)


@dataclass(frozen=True)
class Order:
    """A published order.

    Attributes:
        label: in words.
        larger: where the larger one is.
        smaller: where the smaller one is.
        published: how the paper says it.
    """

    label: str
    larger: Key
    smaller: Key
    published: str = "larger"

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Apart:
    """Two means that are tested, whichever is the larger.

    Attributes:
        label: in words, "a against b".
        first: where a is.
        second: where b is.
        published: how the paper says that they differ; empty if it does not compare them.
    """

    label: str
    first: Key
    second: Key
    published: str = ""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Limit:
    """A published threshold.

    Attributes:
        label: what it is.
        key: where ours is.
        sign: "<" or ">".
        limit: the threshold.
        published: how the paper says it.
    """

    label: str
    key: Key
    sign: str
    limit: float
    published: str

    def __post_init__(self) -> None:
        check_fields(self)
        choice(self.sign, "sign", ("<", ">"))
        within(self.limit, "limit", "(-inf, inf)")


@dataclass(frozen=True)
class Shown:
    """Something that the paper shows in a picture, without a number.

    Attributes:
        label: what it is.
        key: where ours is.
    """

    label: str
    key: Key

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Grid:
    """A table of everything with one leading name, for pictures with many numbers.

    Attributes:
        caption: of the table.
        lead: first part of the keys; the second is the row, the third the column.
        columns: in this order; others are left out.
        corner: what the rows are.
    """

    caption: str
    lead: str
    columns: tuple[str, ...]
    corner: str

    def __post_init__(self) -> None:
        check_fields(self)


Claim = Value | Difference | Order | Apart | Limit | Shown


@dataclass(frozen=True)
class Note:
    """Why we may differ.

    Attributes:
        text: the reason.
        always: shown whatever the verdicts are.
        about: words that begin the labels it is about; it is shown if one of those lines differs. Empty: any line.
    """

    text: str
    always: bool = False
    about: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Item:
    """A figure or table.

    Attributes:
        name: such as "Fig. 4.1a,b".
        headline: what the paper says there.
        experiment: name of the script whose runs show it; empty if none does.
        command: the command that makes such a run.
        data: the data set of the published one.
        config: what the config of a run must say; a key that a run does not have is not asked for.
        prefer: what it should rather say, if there are several runs.
        claims: lines of its table.
        grids: further tables.
        figure: script of analysis/ and stem of its figure; empty if there is none.
        alt: what the figure shows, for those who can't see it.
        models: those that the figure shows, in this order; empty: all that the runs have.
        notes: reasons for differences.
        remarks: notes that depend on the numbers: samples of the runs -> text, empty if there is nothing to say.
        verdict: of the whole, where nothing is measured.
    """

    name: str
    headline: str
    experiment: str = ""
    command: str = ""
    data: str = "mnist"
    config: dict[str, Any] = field(default_factory=dict)
    prefer: dict[str, Any] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    grids: tuple[Grid, ...] = ()
    figure: tuple[str, str] | tuple[()] = ()
    alt: str = ""
    models: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    remarks: tuple[Callable[[dict[Key, Any]], str], ...] = ()
    verdict: str = ""

    def __post_init__(self) -> None:
        check_fields(self)
