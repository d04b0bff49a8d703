"""Recipe: how one of the table's agents is made from an environment, a probe of it, and what the user asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from textgym.errors import InvalidSetting

from .device import check_device
from .probe import Probe, check_discount, probe
from .settings import Choice, DeepSettings, Settings
from .state import base_model_of
from .table import RUNTIME, Made
from .vec_env import require_rows

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Recipe(Generic[S]):
    """A function `make(env, **overrides)` whose settings can be validated and explained before anything is made.

    Args:
        name: in AGENTS.
        settings: what the agent can be told.
        choose: from a probe and what the user gave, values for what was left open, by names with dots, each with its
            reason.
        build: makes the agent, of an environment, resolved settings and `RUNTIME` arguments.
    """

    name: str
    settings: type[S]
    build: Callable[..., Any]
    choose: Callable[[Probe, S], Mapping[str, Choice]] | None = None

    def __call__(self, env: Any, **overrides: Any) -> Any:
        """Return the agent.

        Args:
            env: a vectorised environment, as `make_vec_env` makes them.
            overrides: settings over the defaults, `seed`, `device`, `verbose`, `tensorboard_log`.

        Raises:
            UnknownName: there is no such setting.
            InvalidSetting: a value out of its range; a single environment; a device that is not here.
        """
        require_rows(env, self.name)
        runtime = {key: overrides.pop(key) for key in RUNTIME if key in overrides}
        check_device(runtime.get("device", "auto"))
        settings, _ = self.resolve(env, overrides)
        check_discount(env, getattr(settings, "gamma", None))
        try:
            agent = self.build(env, settings, **runtime)
        except AssertionError as error:  # SB3's way to refuse settings that do not fit each other
            raise InvalidSetting(f"{self.name}: {error}") from error
        if isinstance(settings, DeepSettings):
            agent.reward_scale = settings.reward_scale
        data = settings.model_dump()
        if (base := base_model_of(agent)) is not None:
            data["policy"] |= {
                "model": base.source,
                "revision": base.revision,
            }  # the same one, wherever from
        agent.made = Made(self.name, data, runtime.get("seed"))
        return agent

    def resolve(self, env: Any, overrides: Mapping[str, Any]) -> tuple[S, dict[str, str]]:
        """Return the settings, and for each name with dots why it has its value."""
        given = self.settings.read(overrides, self.name)
        names = set(given.given())
        # what was given in full, as a run's configuration is, needs no probe
        everything = names >= {name for name, _, _ in given.flat()}
        chosen = {} if everything or self.choose is None else self.choose(probe(env), given)
        left = {name: choice for name, choice in chosen.items() if name not in names}
        settings = given
        for name, choice in left.items():
            settings = settings.replaced(name, choice.value)
        reasons = {name: "given" if name in names else "default" for name, _, _ in settings.flat()}
        return settings, {**reasons, **{name: choice.reason for name, choice in left.items()}}
