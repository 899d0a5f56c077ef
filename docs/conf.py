"""The documentation: pages in Markdown, a gallery that is executed, and every public name from its docstring."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import interface  # noqa: E402
import pictures  # noqa: E402
from docutils import nodes  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

import synsim  # noqa: E402

project = "synsim"
author = "The synsim authors"
copyright = "2026, the synsim authors"
release = version = synsim.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "searches.md", "reproduction"]
default_role = "code"
html_theme = "furo"
html_title = f"synsim {version}"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4
# The gallery writes its pages with their names as targets, which the other pages link to.
suppress_warnings = ["config.cache"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

sphinx_gallery_conf = {
    "examples_dirs": [str(HERE.parent / "examples" / "gallery")],
    "gallery_dirs": ["gallery"],
    "image_scrapers": (pictures.scraper,),
    "capture_repr": (),
    "filename_pattern": r"\.py$",
    # Scripts that fail end the build when all have run, and stand at its end by name.
    "only_warn_on_example_error": False,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
}


def unbroken(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Keep a mean and its error on one line."""
    for text in list(doctree.findall(nodes.Text)):
        if " ± " in text:
            text.parent.replace(text, nodes.Text(text.replace(" ± ", "\u00a0±\u00a0")))


def setup(app: Sphinx) -> None:
    """Write the pages of the interface before the others are read."""
    interface.write(HERE / "api")
    app.connect("doctree-resolved", unbroken)
