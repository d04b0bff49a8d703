"""`KEY=VALUE` on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, TypeAlias

import typer

from textgym.errors import InvalidSetting

WORDS = {"True": True, "False": False, "None": None}

EnvSettings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--env", metavar="KEY=VALUE", help="An argument of the environment, as in --env target=hello."),
]


def parse_settings(settings: Iterable[str] | None) -> dict[str, Any]:
    """Return settings as keyword arguments: a value is JSON where it reads as JSON, else text.

    Raises:
        InvalidSetting: no `=`, no key, or the same key twice.
    """
    parsed: dict[str, Any] = {}
    for setting in settings or []:
        key, equals, value = setting.partition("=")
        if not equals or not key.isidentifier() or key in parsed:
            raise InvalidSetting(f"setting {setting!r} is not KEY=VALUE with a key of its own, as in target=hello.")
        try:
            parsed[key] = WORDS[value] if value in WORDS else json.loads(value)
        except ValueError:
            parsed[key] = value
    return parsed
