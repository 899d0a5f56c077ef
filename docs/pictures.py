"""How the gallery finds its pictures: figures of `synsim.plots` are not known to pyplot."""

from typing import Any

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst


def scraper(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figures that a block has made, and show them in its place."""
    paths = []
    seen = block_vars.setdefault("seen", [])
    for value in list(block_vars["example_globals"].values()):
        if isinstance(value, Figure) and not any(value is known for known in seen):
            seen.append(value)
            path = next(block_vars["image_path_iterator"])
            value.savefig(path, dpi=192)
            paths.append(path)
    return figure_rst(paths, gallery_conf["src_dir"])
