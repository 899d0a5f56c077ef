"""What can be asked of the package from a command line: `python -m synsim versions|fetch NAME|show RUN`."""

import argparse
import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version

from synsim import data, records, tables
from synsim._console import sentence, steady
from synsim.records import origin
from synsim.records.description import show

TOOLS = ("compare", "dev", "docs")
"""Extras of which a run needs nothing."""
ACCELERATION = ("triton",)
"""What the package uses where it comes with another one, and names nowhere."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer.

    Args:
        arguments: what stands behind the name of the package; None: those of the command line.
    """
    asked = _parser().parse_args(arguments)
    with steady():
        try:
            asked.answer(asked)
        except (OSError, ValueError, ImportError, MemoryError, data.DownloadError) as error:
            sys.exit(f"python -m synsim: {sentence(error)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m synsim", description="Ask the package synsim.")
    commands = parser.add_subparsers(required=True, metavar="versions | fetch NAME | show RUN")
    command = commands.add_parser("versions", help="what is installed, for a report of a fault")
    command.set_defaults(answer=_versions)
    command = commands.add_parser("fetch", help="download a data set")
    command.add_argument("name", metavar="NAME", help="mnist, fashion-mnist, cifar10, ...")
    command.add_argument("--root", metavar="DIR", help="folder to put it below (default: SYNSIM_DATA, or the cache)")
    command.set_defaults(answer=_fetch)
    command = commands.add_parser("show", help="config and table of a run")
    command.add_argument("run", metavar="RUN", help="its folder")
    command.set_defaults(answer=_show)
    return parser


def _versions(asked: argparse.Namespace) -> None:
    about = origin.describe(None)
    lines = {name: text for name, text in about["versions"].items() if name in ("synsim", "python", "platform")}
    commit = about["commit"]
    if commit is not None:
        lines["commit"] = commit["sha"] + (" (with uncommitted changes)" if commit["dirty"] else "")
    lines["device"] = str(about["device"])
    for name in (*_requirements(), *ACCELERATION):
        try:
            lines[name] = version(name)
        except PackageNotFoundError:
            lines[name] = "not installed"
    width = max(map(len, lines))
    print("\n".join(f"{name.ljust(width)}  {text}" for name, text in lines.items()))


def _requirements() -> list[str]:
    # What an install needs, extras included; tools of development apart. Nothing is known of a copy without metadata.
    try:
        named = requires("synsim") or []
    except PackageNotFoundError:
        return ["torch", "numpy", "numba", "scipy", "xarray", "safetensors"]
    wanted = [line for line in named if not re.search(f"extra == .({'|'.join(TOOLS)})", line)]
    bare = (re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in wanted)
    return [name for name in dict.fromkeys(bare) if name != "synsim"]


def _fetch(asked: argparse.Namespace) -> None:
    where = data.fetch(asked.name, asked.root)
    print("digits come with scikit-learn." if asked.name == "digits" else f"{asked.name} is below {where}")


def _show(asked: argparse.Namespace) -> None:
    record = records.open(asked.run)
    print(repr(record))
    for key, value in sorted(record.config.items()):
        print(f"  {key}: {show(value)}")
    if record.summary:
        print("\n" + tables.text(record.summary))
    else:
        print(f"\nno table yet: the status of the run is {record.run['status']!r}.")


if __name__ == "__main__":
    main()
