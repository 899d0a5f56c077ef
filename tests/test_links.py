"""What the Markdown files link to is there: files, and the headings that anchors name, as GitHub makes them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
MADE = ("docs/gallery/", "docs/api/")
"""Folders that the build of the site fills."""


def prose(path):
    """The text without blocks of code."""
    return re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def whole(path):
    """That, with the files that a page of the site includes."""
    included = re.findall(r"^```\{include\} (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return "\n".join([prose(path), *(prose(path.parent / name) for name in included)])


def slug(heading):
    """Name of a heading's anchor: small letters, digits, - and _ of its text, words joined by dashes."""
    shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "").replace("\\", "")
    return re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")


def anchors(path):
    """All anchors of a file; a heading that comes again is numbered."""
    names, seen = set(), {}
    for heading in re.findall(r"^#+ +(.*)$", whole(path), re.MULTILINE):
        name = slug(heading)
        names.add(f"{name}-{seen[name]}" if name in seen else name)
        seen[name] = seen.get(name, 0) + 1
    return names


def broken(path):
    """Links of a file that lead nowhere."""
    found = []
    for link in re.findall(r"\]\(<?([^)\s>]+)>?[^)]*\)", re.sub(r"`[^`\n]*`", "", prose(path))):
        target, _, anchor = link.partition("#")
        there = (path.parent / target).resolve() if target else path
        outside = "://" in link or any(there.is_relative_to(ROOT / folder) for folder in MADE)
        if not outside and (not there.exists() or (anchor and anchor not in anchors(there))):
            found.append(link)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_link_and_anchor_is_there(path):
    assert broken(path) == []


def test_a_broken_link_is_found(tmp_path):
    links = "[a](#two-words-a-dash--and-35) [b](#two-1) [c](#two-2) [d](gone.md) ![e](a.md)"
    text = f"# Two `words`, a dash – and 3.5\n\n## Two\n## Two\n\n{links}\n"
    (tmp_path / "a.md").write_text(text, encoding="utf-8")
    assert broken(tmp_path / "a.md") == ["#two-2", "gone.md"]
