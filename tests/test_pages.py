"""The pages of the documentation: their examples run, and they are few."""

import re
from pathlib import Path

import pytest

from synsim import importance

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md") if path.name != "searches.md")


def text(page):
    return (DOCS / page).read_text(encoding="utf-8")


def test_no_path_of_a_newcomer_takes_more_than_fifteen_lines():
    for page in PAGES:
        for block in blocks(page):
            lines = [line for line in block.splitlines() if line.strip() and not line.strip().startswith("#")]
            assert len(lines) <= 15 + sum(line.startswith(("import ", "from ")) for line in lines), page


def test_pages_are_few_and_all_in_the_index():
    assert len(PAGES) <= 16, "fifteen, and the first one"
    listed = set(re.findall(r"^[\w/]+$", text("index.md"), re.MULTILINE))
    assert {page.removesuffix(".md") for page in PAGES} - {"index"} <= listed


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page) and page != "scaling.md"])
def test_examples_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # What a page registers is not known to other tests.
    monkeypatch.setattr(importance, "_KINDS", dict(importance._KINDS))
    for block in blocks(page):
        # Every block stands by itself, as a reader would paste it.
        exec(compile(block, page, "exec"), {"__name__": "page"})
    assert capsys.readouterr().out


def test_the_gallery_is_short():
    scripts = sorted((DOCS.parent / "examples" / "gallery").glob("*.py"))
    for path in scripts:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 40, path.name


def test_a_script_of_the_gallery_that_fails_ends_the_build():
    settings = (DOCS / "conf.py").read_text(encoding="utf-8")
    assert '"only_warn_on_example_error": False' in settings
    assert "abort_on_example_error" not in settings, "aborting, the build ends without the script's name"
    assert "--fail-on-warning" in (DOCS.parent / "Makefile").read_text(encoding="utf-8")
