"""From an id or a factory to a control task and its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeAlias

import gymnasium

from textgym.control.options import Options
from textgym.control.rules import Control
from textgym.errors import InvalidSetting
from textgym.registration import (
    CONTROL_ENTRY_POINT,
    CONTROL_VECTOR_ENTRY_POINT,
    env_spec,
    load_factory,
    unknown_argument,
)

ControlFactory: TypeAlias = Callable[..., Control]
OPTIONS = [field.name for field in fields(Options)]


def register_control(id: str, control: str, **kwargs: Any) -> None:
    """Make a control task known to `gymnasium.make` and `gymnasium.make_vec`, single and batched, in one call.

    Args:
        id: as Gymnasium has them, `[namespace/]Name-vN`.
        control: where the factory is, as `"package.module:function"`. It returns a `Control`.
        kwargs: defaults for the factory's arguments and for `Options`; plain data, so that the spec survives as JSON.

    Raises:
        InvalidSetting: `control` is not of that form.
    """
    if not isinstance(control, str) or control.count(":") != 1:
        raise InvalidSetting(f"control={control!r} does not say where the factory is. Write 'package.module:function'.")
    gymnasium.register(
        id=id,
        entry_point=CONTROL_ENTRY_POINT,
        vector_entry_point=CONTROL_VECTOR_ENTRY_POINT,
        kwargs={"control": control, **kwargs},
    )


def load_control(id: str, **kwargs: Any) -> tuple[Control, Options]:
    """Return the control task of a registered id, and its options.

    Raises:
        UnknownName: no environment of TextGym has this id.
        TypeError: there is no such argument.
        InvalidSetting: it is no control task's id, or a value is refused.
    """
    spec = env_spec(id)
    if spec.entry_point != CONTROL_ENTRY_POINT:
        raise InvalidSetting(f"{id} is no control task: it writes text. textgym.load_task({id!r}) is its task.")
    if "control" in kwargs:
        raise TypeError(f"{id} is its own control task; control={kwargs['control']!r} cannot be given.")
    return build_control(**{**spec.kwargs, **kwargs})


def build_control(control: Control | ControlFactory | str, **kwargs: Any) -> tuple[Control, Options]:
    """Return the control task and the options that an environment was asked for.

    Raises:
        TypeError: there is no such argument; the message suggests the nearest one.
        InvalidSetting: that is no factory, or it made no Control.
    """
    factory: Any = load_factory(control) if isinstance(control, str) else control
    known = [] if isinstance(factory, Control) or not callable(factory) else [*inspect.signature(factory).parameters]
    for name in kwargs:
        if name not in known and name not in OPTIONS:
            raise unknown_argument(control, name, [*known, *OPTIONS])
    options = Options(**{name: value for name, value in kwargs.items() if name in OPTIONS})
    rest = {name: value for name, value in kwargs.items() if name not in OPTIONS}
    made = factory if isinstance(factory, Control) else factory(**rest) if callable(factory) else None
    if not isinstance(made, Control):
        raise InvalidSetting(f"{control!r} made {made!r}, which is no Control. Let the factory return one.")
    return made, options
