"""The page of a report: what was published, what was found, and where every number comes from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from synsim._checks import require
from synsim._doors import check_fields, typed
from synsim.report import verdict
from synsim.report.assess import Finding
from synsim.report.blocks import Block, Bullets, Heading, Paragraph, Picture, Table
from synsim.report.runs import Run, Skipped
from synsim.report.studies import Study, belongs, rows

HEAD = ("what", "published", "ours", "n", "difference", "test", "verdict")

Pictures = Callable[[Finding], Picture | str | None]
StudyPictures = Callable[[Study, Run], Sequence[Picture] | str]


@dataclass(frozen=True)
class Part:
    """What is said of one paper.

    Attributes:
        title: its heading; what stands before a colon is its name.
        introduction: what it is and who made it.
        findings: of the items.
        studies: ours, with their runs.
    """

    title: str
    introduction: str
    findings: tuple[Finding, ...]
    studies: tuple[tuple[Study, list[Run]], ...]

    def __post_init__(self) -> None:
        check_fields(self)


@typed
def page(
    parts: Sequence[Part],
    runs: Sequence[Run],
    skipped: Sequence[Skipped],
    picture: Pictures,
    study_pictures: StudyPictures,
) -> list[Block]:
    """All blocks of the page.

    Args:
        parts: one after the other; the page has the title of the first.
        runs: all that were given, to name those that say nothing here.
        skipped: folders that were left out.
        picture: finding -> its figure, why there is none, or None if there is nothing to draw.
        study_pictures: study and run -> its figures, or why there are none.

    Returns:
        The page, from the title on.

    Raises:
        ValueError: if there is no part.
    """
    require(len(parts) > 0, "expected at least one part, got none.")
    blocks = _first(parts[0])
    for number, part in enumerate(parts):
        blocks += _further(part) if number else []
        for finding in part.findings:
            blocks += item(finding, picture(finding))
        blocks += _ours(part, number)
        for study, own in part.studies:
            blocks += study_blocks(study, own, study_pictures)
    findings = [finding for part in parts for finding in part.findings]
    studies = [study for part in parts for study, _ in part.studies]
    used = {id(run) for finding in findings for run in (*finding.sources, *finding.drawn().values())}
    idle = [run for run in runs if id(run) not in used and not any(belongs(study, run) for study in studies)]
    unread = dict.fromkeys(text for finding in findings for text in finding.unread)
    return blocks + left_out(idle, skipped, list(unread))


def _first(part: Part) -> list[Block]:
    title: list[Block] = [Heading(1, part.title), Paragraph(part.introduction)]
    if not part.findings:
        return title
    return [
        *title,
        Heading(2, "The rule"),
        Paragraph(verdict.RULE),
        Heading(2, "Overview"),
        overview(part.findings),
        Heading(2, "Figures and tables of the paper"),
    ]


def _further(part: Part) -> list[Block]:
    table = [overview(part.findings)] if part.findings else []
    return [Heading(2, part.title), Paragraph(part.introduction), *table]


def _ours(part: Part, number: int) -> list[Block]:
    # Headings are places that are linked to, so that those of further parts are told apart by their names.
    unpublished = Paragraph("Nothing in this section is published: there is nothing to compare with.")
    if not number and not part.findings:
        return [Heading(2, "Studies")]
    if not number:
        return [Heading(2, "Studies of ours, not of the paper"), unpublished]
    return [Heading(2, f"{part.title.partition(':')[0]}: studies of ours"), unpublished] if part.studies else []


@typed
def overview(findings: Sequence[Finding]) -> Table:
    """One line per item.

    Args:
        findings: of the items.

    Returns:
        The table; its lines lead to the items.
    """
    lines = tuple((found.item.name, found.verdict()) for found in findings)
    links = tuple(Heading(3, found.item.name) for found in findings)
    return Table("", ("figure or table", "verdict"), lines, links)


@typed
def item(finding: Finding, picture: Picture | str | None) -> list[Block]:
    """The blocks of one item.

    Args:
        finding: what became of its claims.
        picture: its figure, or why there is none.

    Returns:
        Heading, claims, figure, reasons and runs.
    """
    one = finding.item
    blocks: list[Block] = [Heading(3, one.name), Paragraph(one.headline)]
    if one.verdict:
        return [*blocks, Paragraph(f"Verdict: {one.verdict}.")]
    if not finding.sources:
        return [*blocks, Paragraph(f"Verdict: {verdict.NOT_RUN}. The command: `{one.command}`")]
    made = tuple(tuple(line) for line in finding.lines if line.verdict != verdict.NOT_RUN)
    if made:
        blocks.append(Table("", HEAD, made))
    missing = [f"{line.label} ({line.published})" for line in finding.lines if line.verdict == verdict.NOT_RUN]
    if missing:
        blocks.append(Paragraph(f"Not run (published): {'; '.join(missing)}. All lines together: `{one.command}`"))
    blocks += finding.grids
    if isinstance(picture, str):
        blocks.append(Paragraph(picture))
    elif picture is not None:
        blocks.append(picture)
    if finding.notes:
        blocks += [Paragraph("Where paper, code and we differ:"), Bullets(finding.notes)]
    return [*blocks, Paragraph("Made by:"), Bullets(origins(finding))]


@typed
def origins(finding: Finding) -> tuple[str, ...]:
    """All runs that the numbers and the figure of an item are from.

    Args:
        finding: the item.

    Returns:
        A line per run, with what is from it if there are several.
    """
    drawn: dict[Run, tuple[str, ...]] = {}
    for name, run in finding.drawn().items():
        drawn[run] = (*drawn.get(run, ()), name)
    runs = dict.fromkeys((*finding.sources, *drawn))
    lines = []
    for run in runs:
        taken = (key[-1] for key in finding.sources.get(run, ()) if key[0] in ("final", "task", "best"))
        names = tuple(dict.fromkeys(taken)) or drawn.get(run, ())
        text = ", ".join(names) + ("" if run in finding.sources else " (in the figure)")
        lines.append(described(run, text if len(runs) > 1 else ""))
    return tuple(lines)


@typed
def described(run: Run, taken: str = "") -> str:
    """A run in one line.

    Args:
        run: the run.
        taken: what is taken from it, if there are several.

    Returns:
        Its command, commit, device, threads, time and what it reduced.
    """
    return f"{f'{taken}: ' if taken else ''}`{run.command()}` ({run.facts()})"


@typed
def study_blocks(study: Study, runs: Sequence[Run], pictures: StudyPictures) -> list[Block]:
    """The blocks of a study of ours.

    Args:
        study: the study.
        runs: its runs.
        pictures: see `page`.

    Returns:
        Heading, question, and table, figures and origin of every run.
    """
    blocks: list[Block] = [Heading(3, f"{study.name} (ours)"), Paragraph(study.question)]
    if not runs:
        return [*blocks, Paragraph(f"Not run. The command: `{study.command}`")]
    for run in runs:
        blocks.append(rows(run))
        found = pictures(study, run)
        blocks += [Paragraph(found)] if isinstance(found, str) else list(found)
        blocks += [Paragraph("Made by:"), Bullets((described(run),))]
    return blocks


@typed
def left_out(idle: Sequence[Run], skipped: Sequence[Skipped], unread: Sequence[str]) -> list[Block]:
    """What was given and is not on the page.

    Args:
        idle: finished runs that no line is from.
        skipped: folders that could not be used.
        unread: runs whose record this version can't read.

    Returns:
        A section, or nothing if everything was used.
    """
    blocks: list[Block] = []
    if idle:
        lines = tuple(f"{run.name}: `{run.command()}`" for run in idle)
        blocks += [Paragraph("Finished runs that no line is from, because another one was better or none asks for it:")]
        blocks.append(Bullets(lines))
    if skipped or unread:
        blocks += [Paragraph("Folders that could not be used:")]
        blocks.append(Bullets((*(f"{name}: {reason}" for name, reason in skipped), *unread)))
    return [Heading(2, "Left out"), *blocks] if blocks else []
