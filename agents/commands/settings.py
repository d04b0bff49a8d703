"""`KEY=VALUE` on the command line, and the same keys in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from textgym.errors import InvalidSetting

WORDS = {"True": True, "False": False, "None": None}

EnvSettings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--env", metavar="KEY=VALUE", help="An argument of the environment, as in --env target=hello."),
]


def parse_settings(settings: Iterable[str] | None, dotted: bool = False) -> dict[str, Any]:
    """Return settings as keyword arguments: a value is JSON where it reads as JSON, else text.

    Args:
        settings: `KEY=VALUE` each.
        dotted: whether a key may have dots, as in `policy.d_model=128`.

    Raises:
        InvalidSetting: no `=`, no key, or the same key twice.
    """
    parsed: dict[str, Any] = {}
    for setting in settings or []:
        key, equals, value = setting.partition("=")
        named = all(part.isidentifier() for part in (key.split(".") if dotted else [key]))
        if not equals or not named or key in parsed:
            raise InvalidSetting(f"setting {setting!r} is not KEY=VALUE with a key of its own, as in target=hello.")
        parsed[key] = _value(value)
    return parsed


def with_model(settings: dict[str, Any], model: str | None) -> dict[str, Any]:
    """Return an agent's settings with the language model that `--model` names, where it names one.

    Raises:
        InvalidSetting: the settings name one, too.
    """
    if model is None:
        return settings
    if "policy.model" in settings:
        raise InvalidSetting("--model and --set policy.model=... both name a model. Give one of them.")
    return {**settings, "policy.model": model}


def _value(text: str) -> Any:
    try:
        return WORDS[text] if text in WORDS else json.loads(text)
    except ValueError:
        return text


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the keys of a YAML or JSON file.

    Raises:
        FileNotFoundError: it is not there.
        InvalidSetting: it is no YAML, or no keys with values.
    """
    import yaml

    if path.is_dir():  # a run's folder: its configuration is meant
        path = path / "config.json"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidSetting(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise InvalidSetting(f"{path} holds {found!r}, no keys with values, as in `learning_rate: 3e-4`.")
    return _numbers(found)


def _numbers(found: dict[str, Any]) -> dict[str, Any]:
    """Return the values with texts like 3e-4, in which YAML 1.1 sees no number, as on the command line."""
    return {key: _numbers(v) if isinstance(v, dict) else _value(v) if _is_number(v) else v for key, v in found.items()}


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, str) and float(value) is not None
    except ValueError:
        return False
