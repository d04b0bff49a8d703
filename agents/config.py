"""Config: what a run was trained on, by what, and how: enough to train it again."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field

from textgym import Control, Task, control_ids, load_control, load_task
from textgym.control import Options
from textgym.errors import InvalidSetting

from .layers import flat
from .settings import Settings

LARGEST = 2**28  # tokens in all rows of an environment: a gigabyte
NAME = r"^[\w.-]+(:[\w.]+)?$"  # of an agent; messages suggest it for a command line


def _shown(folder: str) -> str:
    if not folder.isprintable():
        raise ValueError("it has characters that cannot be shown")
    return folder


class Start(Settings):
    """The run whose policy another run began from."""

    folder: Annotated[str, AfterValidator(_shown)] = Field("", description="the run's folder, as it was named")
    sha256: str | None = Field(None, description="of its policy.safetensors; none where it is still to be read")


Init: TypeAlias = Annotated[
    Start | None, BeforeValidator(lambda given: {"folder": given} if isinstance(given, str) else given)
]
"""A start, or the name of its folder."""


class Config(Settings):
    """Plain data: a registered id and an agent's name; no object, and no place of code but that name."""

    env: str | None = Field(None, description="a registered id; none where the environment was made from a Task")
    env_kwargs: dict[str, Any] = Field(default_factory=dict, description="arguments of the environment")
    agent: str = Field("ppo", pattern=NAME, description="a name in AGENTS, or the user's own 'package.module:make'")
    settings: dict[str, Any] = Field(default_factory=dict, description="the agent's settings")
    seed: int | None = Field(0, ge=0, description="the seed of everything random")
    steps: int = Field(4_000, ge=1, lt=2**63, description="the environment steps in all, rows counted one by one")
    n_envs: int = Field(8, ge=1, le=65_536, description="the rows written side by side")
    init: Init = Field(None, description="the run that it begins from; none where it begins with random parameters")
    pretraining: dict[str, Any] | None = Field(
        None, description="how the policy was fitted to text before any step, by agents.pretrain; none where it was not"
    )
    distillation: dict[str, Any] | None = Field(
        None, description="of which policy it was distilled before any step, and how; none where it was not"
    )
    quantisation: Literal["int8"] | None = Field(
        None, description="what its linear layers were made of after learning, by agents.quantise; none for floats"
    )

    def task(self) -> Task:
        """Return the task that the run is about.

        Raises:
            InvalidSetting: the run names code to import, or no environment, or one of more rows than fit into memory.
            UnknownName: the id is not registered here.
        """
        if self.env is None:
            raise InvalidSetting(
                "this run's environment was not made from an id by agents.make_vec_env. Give it: load(DIR, env=...)."
            )
        if ":" in self.env or "task" in self.env_kwargs:
            raise InvalidSetting(
                f"this run's environment, {self.env!r} with {self.env_kwargs!r}, names code to import; a run says its "
                "environment by a registered id alone."
            )
        task = load_task(self.env, **self.env_kwargs)
        self._fits(task.max_prompt + task.horizon)
        return task

    @property
    def is_control(self) -> bool:
        """Whether the run is about a control task, which has no Task."""
        return self.env in control_ids()

    def control(self) -> tuple[Control, Options]:
        """Return the control task that the run is about; raises as `task` does."""
        control, options = load_control(self.env or "", **self.env_kwargs)
        self._fits(options.view(control).describer.width)
        return control, options

    def check(self) -> int:
        """Return how many tokens an observation has; raises as `task` does where the environment cannot be made."""
        if self.is_control:
            control, options = self.control()
            return options.view(control).describer.width
        task = self.task()
        return task.max_prompt + task.horizon

    def _fits(self, width: int) -> None:
        if width * self.n_envs > LARGEST:
            raise InvalidSetting(f"{self.n_envs} rows of {width} tokens are asked for; {LARGEST} tokens are the most.")

    def difference(self, old: Config) -> str | None:
        """Return how another run than this one is `old`, in words; None where it is an older state of this one."""
        was, now = flat(old.model_dump()), flat(self.model_dump())
        if old.steps <= self.steps:
            was["steps"] = now["steps"]
        for name in {**was, **now}:
            if was.get(name) != now.get(name):
                return f"another run already, with {name}={was.get(name)!r} where this one has {now.get(name)!r}"
        return None
