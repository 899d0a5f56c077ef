"""Tables, tests and figures from records; nothing here trains."""

import importlib
import pkgutil
from typing import Any


def placed(package: str, name: str) -> tuple[Any, ...]:
    """What the modules of a part of the report hold under a name, in the order of its places.

    Args:
        package: the part, such as "analysis.chapter".
        name: "ITEMS" or "STUDIES": place on the page -> what stands there.

    Returns:
        What the modules of the package hold, those of lower places first.

    Raises:
        ValueError: if two have one place.
    """
    found = pkgutil.iter_modules(importlib.import_module(package).__path__)
    modules = [importlib.import_module(f"{package}.{each.name}") for each in found]
    pairs = [pair for module in modules for pair in getattr(module, name, {}).items()]
    places = [place for place, _ in pairs]
    if len(set(places)) < len(places):
        raise ValueError(f"{name} of {package} must have places of their own, got {sorted(places)}.")
    return tuple(one for _, one in sorted(pairs, key=lambda pair: pair[0]))
