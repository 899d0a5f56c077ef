"""The command line of an experiment, from its frozen config."""

import dataclasses
import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml  # type: ignore[import-untyped,unused-ignore]
from jsonargparse import ActionConfigFile, ArgumentParser, DefaultHelpFormatter  # type: ignore[attr-defined,unused-ignore]

from synsim import _console
from synsim.training.options import RunConfig as RunConfig
from synsim.training.options import option as option

WORDS = {int: "INT", float: "NUMBER", str: "TEXT"}
"""What `--help` calls the types of values."""
MANY = 16
"""Of more values than this `--help` shows the ends."""

Config = TypeVar("Config", bound=RunConfig)


def parse(kind: type[Config], description: str, arguments: Sequence[str] | None = None) -> Config:
    """Read the command line; exit with a message if it does not fit.

    Args:
        kind: the config's class.
        description: of the script.
        arguments: instead of `sys.argv[1:]`.

    Returns:
        The config.
    """
    parser, given = _read(kind, description, arguments)
    try:
        config = kind(**given)
    except (ValueError, TypeError) as error:
        parser.error(str(error))
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    return config


def options(kind: type[RunConfig], description: str, arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Read the command line, as `parse` does, without making a config of it.

    Args:
        kind: the config's class.
        description: of the script.
        arguments: instead of `sys.argv[1:]`.

    Returns:
        Every field -> what was given for it, or its default.
    """
    return _read(kind, description, arguments)[1]


def _read(
    kind: type[RunConfig], description: str, arguments: Sequence[str] | None
) -> tuple[ArgumentParser, dict[str, Any]]:
    parser = ArgumentParser(description=description, exit_on_error=True, formatter_class=_Help)
    hints = typing.get_type_hints(kind)
    many = {name for name, hint in hints.items() if typing.get_origin(hint) is tuple}
    parser.add_argument(
        "--config", action=_config_file(many), metavar="FILE", help="YAML file with any of these options"
    )
    for field in dataclasses.fields(kind):
        _add(parser, field, hints[field.name], kind.says()[field.name])
    values = parser.parse_args(arguments)
    given: dict[str, Any] = {field.name: getattr(values, field.name) for field in dataclasses.fields(kind)}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return parser, given


def _config_file(many: typing.Container[str]) -> type[ActionConfigFile]:
    # YAML files in which a list of one may be written as its only element, as on the command line.
    class ConfigFile(ActionConfigFile):
        def __call__(self, parser: Any, namespace: Any, value: Any, option_string: str | None = None) -> None:
            wrong = _misread(value)
            if wrong:
                parser.error(f"config {value}: {wrong}")
            super().__call__(parser, namespace, _listed(value, many), option_string)  # type: ignore[no-untyped-call,unused-ignore]

    return ConfigFile


def _listed(value: str, many: typing.Container[str]) -> str:
    try:
        content = yaml.safe_load(Path(value).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return value  # jsonargparse says what is wrong with it
    if not isinstance(content, dict):
        return value
    single = [name for name, one in content.items() if str(name).replace("-", "_") in many and _is_single(one)]
    return json.dumps({**content, **{name: [content[name]] for name in single}}, default=str) if single else value


def _misread(value: str) -> str:
    # What YAML takes for something else than was meant, without a word; "" if there is nothing.
    try:
        root = yaml.compose(Path(value).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError):
        return ""  # jsonargparse says what is wrong with it
    if root is None:
        return "the file is empty; give it options, one a line, such as 'epochs: 2'."
    if not isinstance(root, yaml.MappingNode):
        return ""
    names = [str(key.value).replace("-", "_") for key, _ in root.value]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return f"{', '.join(twice)} is given twice, and YAML would drop the first; give it once."
    for _, given in root.value:
        for node in given.value if isinstance(given, yaml.SequenceNode) else [given]:
            if str(node.tag).endswith(":int") and (":" in node.value or re.fullmatch(r"[-+]?0[0-9_]+", node.value)):
                read = yaml.safe_load(node.value)
                return f"YAML reads {node.value} as {read}, in octal or base 60; write {read}, or the number meant."
    return ""


def _is_single(value: object) -> bool:
    return value is not None and not isinstance(value, list | tuple | dict)


def _add(parser: ArgumentParser, field: "dataclasses.Field[Any]", hint: Any, says: Mapping[str, Any]) -> None:
    flag, text = f"--{field.name.replace('_', '-')}", _help(field.default, says)
    if hint is bool:
        parser.add_argument(flag, action="store_true", default=field.default, help=text)
        return
    many = typing.get_origin(hint) is tuple
    inner = typing.get_args(hint)[0] if many else hint
    if isinstance(inner, types.UnionType):
        inner = next(part for part in typing.get_args(inner) if part is not type(None))
    options: dict[str, Any] = {
        "type": inner,
        "default": list(typing.cast("tuple[Any, ...]", field.default)) if many else field.default,
    }
    if many:
        options["nargs"] = "+"
    if says.get("choices"):
        options["choices"] = list(says["choices"])
    # Many choices stand in the text, as names would else be written out twice.
    if many or not says.get("choices"):
        options["metavar"] = "NAME" if says.get("choices") else WORDS.get(inner, "TEXT")
    parser.add_argument(flag, help=text, **options)


class _Help(DefaultHelpFormatter):  # type: ignore[misc,unused-ignore]
    # The texts are complete; jsonargparse would add types as Python writes them.
    def _get_help_string(self, action: Any) -> str:
        return str(action.help or "")


def _help(default: object, says: Mapping[str, Any]) -> str:
    text, choices, many = str(says.get("help", "")), says.get("choices"), isinstance(default, tuple)
    if many and choices:
        text += f"; any of {', '.join(map(str, choices))}"
    if says.get("chooses"):
        text += "; not reported"
    presets = {name: value for name, value in says.get("presets", {}).items() if value not in (None, ())}
    if presets:
        return f"{text} ({'; '.join(f'{name}: {_shown(value, choices)}' for name, value in presets.items())})"
    if default in (None, ()) or isinstance(default, bool) or "default:" in text:
        return text
    return f"{text} (default: {_shown(default)})"


def _shown(value: object, choices: Sequence[object] | None = None) -> str:
    # Values as they are typed; of a long row of numbers its ends.
    if not isinstance(value, tuple):
        return str(value)
    if choices is not None and set(value) == set(choices):
        return "all"
    words = [str(one) for one in value]
    return " ".join(words if len(words) <= MANY else [*words[:2], "…", words[-1]])


def resolved(config: RunConfig) -> dict[str, Any]:
    """The config as JSON values, for the record.

    Args:
        config: any config.

    Returns:
        Field -> value.
    """
    return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(config).items()}


def fail(error: Exception) -> typing.NoReturn:
    """End a script with a message instead of a traceback.

    Args:
        error: what went wrong.
    """
    _console.fail(error)
