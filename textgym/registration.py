"""From an id to a task: the table of environments is Gymnasium's own registry."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import gymnasium
from gymnasium.envs.registration import EnvSpec

from textgym.errors import InvalidSetting, unknown
from textgym.task import Task

TaskFactory: TypeAlias = Callable[..., Task]

ENTRY_POINT = "textgym.env:TextGenEnv"
VECTOR_ENTRY_POINT = "textgym.vector_env:TextGenVectorEnv"
CONTROL_ENTRY_POINT = "textgym.control.env:ControlEnv"
CONTROL_VECTOR_ENTRY_POINT = "textgym.control.vector_env:ControlVectorEnv"


def register(id: str, task: str, **task_kwargs: Any) -> None:
    """Make a task known to `gymnasium.make` and `gymnasium.make_vec`, single and batched, in one call.

    Args:
        id: as Gymnasium has them, `[namespace/]Name-vN`.
        task: where the factory is, as `"package.module:function"`. It returns a `Task`.
        task_kwargs: defaults for the factory's arguments; plain data, so that the spec survives as JSON.

    Raises:
        InvalidSetting: `task` is not of that form.

    Example:
        >>> register("Docs/Hello-v0", "textgym.envs.text_gen:text_gen", target="hello")
        >>> gymnasium.make("Docs/Hello-v0").observation_space.shape
        (5,)
    """
    if not isinstance(task, str) or task.count(":") != 1:
        raise InvalidSetting(
            f"task={task!r} does not say where the factory is. Write 'package.module:function', so that the "
            "environment can be made again elsewhere; a Task itself goes to TextGenEnv(task)."
        )
    gymnasium.register(
        id=id, entry_point=ENTRY_POINT, vector_entry_point=VECTOR_ENTRY_POINT, kwargs={"task": task, **task_kwargs}
    )


def env_ids() -> list[str]:
    """Return the ids of all environments of TextGym, sorted: of those that write text, and of control tasks."""
    return sorted([*task_ids(), *control_ids()])


def task_ids() -> list[str]:
    """Return the ids of all environments that write text, registered through `register`, sorted; each has a Task."""
    return _ids(ENTRY_POINT)


def control_ids() -> list[str]:
    """Return the ids of all control tasks, registered through `register_control`, sorted; these have no Task."""
    return _ids(CONTROL_ENTRY_POINT)


def _ids(entry_point: str) -> list[str]:
    return sorted(id for id, spec in gymnasium.registry.items() if spec.entry_point == entry_point)


def env_spec(id: str) -> EnvSpec:
    """Return the spec of a registered id.

    Args:
        id: a registered id, or `"module:id"` as Gymnasium has it: the module is imported first, and registers the id.

    Raises:
        ImportError: there is no such module.
        UnknownName: no environment of TextGym has this id; the message suggests the nearest one.
    """
    module, _, id = id.rpartition(":")
    if module:
        importlib.import_module(module)
    if id not in env_ids():
        raise unknown("environment", id, env_ids())
    return gymnasium.spec(id)


def load_task(id: str, **task_kwargs: Any) -> Task:
    """Return the task of a registered id.

    Args:
        id: a registered id.
        task_kwargs: arguments of the task's factory, over the registered ones.

    Raises:
        UnknownName: no environment of TextGym has this id.
        TypeError: the factory has no such argument, or `task` is one: an id stands for its own factory.
        InvalidSetting: it is a control task's id.
    """
    if (spec := env_spec(id)).entry_point != ENTRY_POINT:
        raise InvalidSetting(
            f"{id} is a control task: it has states and actions, and no Task, which is about writing text. "
            f"gymnasium.make({id!r}) makes it, textgym.load_control({id!r}) returns its rules."
        )
    if "task" in task_kwargs:
        raise TypeError(f"{id} is its own task; task={task_kwargs['task']!r} cannot be given. Register another id.")
    return build_task(**{**spec.kwargs, **task_kwargs})


def build_task(task: Task | TaskFactory | str, **task_kwargs: Any) -> Task:
    """Return the task that an environment was asked for: itself, or what its factory makes.

    Raises:
        TypeError: the factory has no such argument; the message suggests the nearest one.
        InvalidSetting: that is no factory, or it made no Task.
    """
    factory = load_factory(task) if isinstance(task, str) else task
    if isinstance(factory, Task):  # a module may also hold a finished one
        if task_kwargs:
            raise TypeError(f"a finished Task takes no arguments; got {sorted(task_kwargs)}. Give them to its factory.")
        return factory
    if not callable(factory):
        raise InvalidSetting(f"{task!r} is no Task, no factory of one and no id. Give one of these.")
    known = inspect.signature(factory).parameters
    for name in task_kwargs:
        if name not in known and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
            raise unknown_argument(task, name, known)
    made = factory(**task_kwargs)
    if not isinstance(made, Task):
        raise InvalidSetting(f"{task!r} made {made!r}, which is no Task. Let the factory return textgym.Task(...).")
    return made


def unknown_argument(owner: object, name: str, known: Iterable[str]) -> TypeError:
    """Return the error for an argument that a factory does not have; it suggests the nearest one."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return TypeError(f"{owner} has no argument {name!r}. {hint}Known: {', '.join(known)}.")


def load_factory(task: str) -> Callable[..., Any]:
    """Return the factory at `"package.module:function"`.

    Raises:
        InvalidSetting: there is no such module or function.
    """
    module, _, name = task.partition(":")
    try:
        factory: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidSetting(
            f"no task factory at {task!r}: {error}. Write 'package.module:function', importable from here."
        ) from error
    return factory
