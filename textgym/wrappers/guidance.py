"""GuidanceWrapper: an adviser's words as extra reward, on any Gymnasium environment of discrete actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from textgym.advising import ADVISORS, Advisor, Asked, Consultation
from textgym.arrays import Array, BoolArray
from textgym.batching import masked, seeds_of
from textgym.describing import Describer, described
from textgym.errors import InvalidSetting, Names, unknown
from textgym.guiding import Guidance, GuidedRows, Understood, guidance_to_reward, weight_of
from textgym.scenes import SCENES, Scene, scene_of
from textgym.speech import Speech

Describes = Describer | Callable[[Any], str]

if TYPE_CHECKING:
    BatchWrapper: TypeAlias = VectorWrapper[Any, Any, Any, Any, Any]
else:
    BatchWrapper = VectorWrapper  # which Gymnasium 1.2 has without types


def discrete(space: spaces.Space[Any]) -> spaces.Discrete:
    """Return an action space that has names for its actions, or raise `InvalidSetting`."""
    if not isinstance(space, spaces.Discrete) or space.start != 0:
        raise InvalidSetting(
            f"the actions are {space}; advice names one of a few, Discrete(n). For continuous ones there is "
            "gymnasium.wrappers.DiscretizeAction(env, bins=3)."
        )
    return space


def known_scene(env: Any, single: Any, what: str) -> Scene:
    """Return the scene of an environment, or raise `InvalidSetting` where language knows nothing of it."""
    if getattr(getattr(single.unwrapped, "options", None), "observation", "state") != "state":
        raise InvalidSetting(f"{env} is observed in tokens already. Make it with observation='state'.")
    scene = scene_of(single.spec, single.unwrapped)
    if scene is None:
        raise InvalidSetting(
            f"nothing is known about {env} in words, so {what} has no meaning by name. Known are {', '.join(SCENES)}; "
            "for others give a describer (textgym.describing.describe_features makes one), a function as adviser, and "
            "actions=(('left',), ('right',))."
        )
    return scene


class Told:
    """What both forms of the wrapper are given, made into rules: who describes, who advises, what pays.

    Args: as `GuidanceWrapper` has them; `single` is an environment of one row, whose name a scene may be known by.
    """

    def __init__(
        self,
        env: Any,
        single: Any,
        space: spaces.Space[Any],
        describer: str | Describes,
        advisor: str | Advisor,
        reward: Any,
        weight: Any,
        gamma: float,
        actions: Sequence[Sequence[str]] | None,
        language: str,
        noise: float,
        model: str | None,
    ) -> None:
        size = int(discrete(space).n)
        if language not in ("english", "chinese"):
            raise unknown("language", language, ("english", "chinese"))
        self.describer: Any = describer
        if isinstance(describer, str):
            self.describer = Names("describer", **known_scene(env, single, "a describer").describers)[describer]
        elif not callable(describer):
            raise InvalidSetting(f"describer={describer!r} is none. Give a name, a Describer, or a function to text.")
        speech = self._speech(env, single, actions, language)
        if len(speech.actions) != size:
            raise InvalidSetting(f"{len(speech.actions)} actions have names, where there are {size}. Name each one.")
        if isinstance(advisor, str):
            maker = ADVISORS[advisor]
            scene = known_scene(env, single, "an adviser")
            if not isinstance(self.describer, Describer):
                raise InvalidSetting(f"advisor={advisor!r} reads what a Describer says; give it one by name.")
            if len(scene.opposite) != size:
                raise InvalidSetting(
                    f"advisor={advisor!r} knows {len(scene.opposite)} actions, where there are {size}. Give a function "
                    "as adviser, or an environment of as many actions."
                )
            spoken = replace(scene, speeches={**scene.speeches, language: speech})
            advisor = maker(Asked(spoken, self.describer, language, noise, 0, model))
        pays = guidance_to_reward(reward)
        consultation = Consultation(advisor, understood=Understood(pays, speech))
        self.guidance = Guidance(consultation, speech, pays, weight_of(weight), gamma)

    def _speech(self, env: Any, single: Any, actions: Sequence[Sequence[str]] | None, language: str) -> Speech:
        if actions is None:
            return known_scene(env, single, "an action").speeches[language]
        return Speech(tuple((names,) if isinstance(names, str) else tuple(names) for names in actions))

    def texts(self, states: Sequence[Any] | Array) -> list[str]:
        """Return what is said of states."""
        return described(self.describer, states)


class GuidanceWrapper(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """An environment whose reward has an adviser's words on top; `info["true_reward"]` is the reward without them.

    Args:
        env: of discrete actions.
        describer: from an observation to text: a name ("compact", "english", "chinese") where the environment is known
            (see `textgym.scenes.SCENES`), a `Describer`, or a function.
        advisor: a name in `ADVISORS`, or a function from a list of texts to as many advices.
        reward: a name in `GUIDANCE_REWARDS`, or a function of advice and action.
        weight: how much guidance counts: a number, or `(start, end, steps)`.
        gamma: the agent's discount; potential-based shaping must share it.
        actions: the names of each action, where the environment is not known.
        language: of the adviser and of the names, where the environment is known.
        noise: the probability with which the noisy adviser is wrong.
        model: the language model's folder or name, for `advisor="language-model"`; None for the embedded one, which was
            taught CartPole, MountainCar and FrozenLake.

    Raises:
        InvalidSetting: continuous actions; a name where nothing is known about the environment.
        InvalidModel: `model` is a path at which there is no folder.
        UnknownName: no describer, adviser, reward or language of that name.
        InvalidState, InvalidDescription, InvalidAdvice: (from `reset` and `step`) a state that is not finite, a
            describer that gives no text, an adviser that does not give one text a text. An adviser that raises, is
            silent, or names no action gives no guidance, and `counts` counts it.

    Example:
        >>> env = GuidanceWrapper(gymnasium.make("CartPole-v1"), "compact", "expert")
        >>> _ = env.reset(seed=0)
        >>> env.step(1)[1] in (0.0, 2.0), env.step(0)[4]["true_reward"]
        (True, 1.0)
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        describer: str | Describes = "compact",
        advisor: str | Advisor = "expert",
        reward: Any = "agreement",
        weight: Any = 1.0,
        gamma: float = 0.99,
        actions: Sequence[Sequence[str]] | None = None,
        language: str = "english",
        noise: float = 0.3,
        model: str | None = None,
    ) -> None:
        given: dict[str, Any] = {"describer": describer, "advisor": advisor, "reward": reward, "weight": weight}
        given |= {"gamma": gamma, "actions": actions, "language": language, "noise": noise, "model": model}
        gymnasium.utils.RecordConstructorArgs.__init__(self, _disable_deepcopy=True, **given)
        gymnasium.Wrapper.__init__(self, env)
        self._told = Told(env, env, env.action_space, *given.values())
        self._rows = GuidedRows(self._told.guidance, 1)

    @property
    def counts(self) -> dict[str, int]:
        """How often the adviser was asked, and failed: see `Consultation`."""
        return dict(self._told.guidance.consultation.counts)

    @property
    def shaping_gamma(self) -> float | None:
        """The discount that potential-based shaping takes for the agent's; None where the reward is another one."""
        return self._told.guidance.gamma if self._told.guidance.shapes else None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin; the adviser is asked about the first state."""
        observation, info = self.env.reset(seed=seed, options=options)
        if seed is not None:
            self._rows.restart(ROW)
        self._rows.begin(ROW, self._told.texts([observation]))
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act; the reward has what guidance pays on top."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        texts = self._told.texts([observation])
        extra = self._rows.pay(ROW, np.array([int(action)]), texts, np.array([terminated]))
        true = float(reward)  # where a guided environment is guided again, the true reward is the innermost one
        return observation, true + extra.item(), terminated, truncated, {"true_reward": true, **info}


ROW = np.zeros(1, np.int64)
BATCH = ("num_envs", "vectorization_mode", "vector_kwargs", "wrappers", "autoreset_mode", "max_episode_steps")
"""Arguments of `make_vec` that are none of one row's."""


class VectorGuidanceWrapper(BatchWrapper):
    """The same for a vector environment, in each auto-reset mode: row i is what `GuidanceWrapper` makes of row i.

    Args:
        env: of discrete actions, whose `metadata["autoreset_mode"]` says how its rows begin anew.
        arguments: as `GuidanceWrapper` has them.

    Raises: as `GuidanceWrapper`.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        describer: str | Describes = "compact",
        advisor: str | Advisor = "expert",
        reward: Any = "agreement",
        weight: Any = 1.0,
        gamma: float = 0.99,
        actions: Sequence[Sequence[str]] | None = None,
        language: str = "english",
        noise: float = 0.3,
        model: str | None = None,
    ) -> None:
        super().__init__(env)
        chosen = describer, advisor, reward, weight, gamma, actions, language, noise, model
        self._told = Told(env, row_of(env), env.single_action_space, *chosen)
        self._rows = GuidedRows(self._told.guidance, env.num_envs)
        self._mode = AutoresetMode(env.metadata["autoreset_mode"])
        self._over = np.zeros(env.num_envs, np.bool_)  # (n,) rows whose next step is a reset

    @property
    def counts(self) -> dict[str, int]:
        """How often the adviser was asked, and failed: see `Consultation`."""
        return dict(self._told.guidance.consultation.counts)

    @property
    def shaping_gamma(self) -> float | None:
        """The discount that potential-based shaping takes for the agent's; None where the reward is another one."""
        return self._told.guidance.gamma if self._told.guidance.shapes else None

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin in all rows, or in those of `options["reset_mask"]`."""
        mask = None if options is None else options.get("reset_mask")  # SyncVectorEnv takes it out of the options
        rows = np.arange(self.num_envs) if mask is None else np.flatnonzero(mask)
        observations, info = self.env.reset(seed=seed, options=options)
        seeds = seeds_of(seed, self.num_envs)
        self._rows.restart(np.array([row for row in rows.tolist() if seeds[row] is not None], np.int64))
        self._begin(rows, observations)
        self._over[rows] = False
        return observations, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Act in all rows; the rewards have what guidance pays on top."""
        observations, rewards, terminations, truncations, info = self.env.step(actions)
        going, ended = ~self._over, terminations | truncations
        true = np.asarray(rewards, np.float64)
        paid = true.copy()
        same = self._mode is AutoresetMode.SAME_STEP
        rows = np.flatnonzero(going)
        if len(rows):
            reached = [self._reached(observations, info, row, same and bool(ended[row])) for row in rows.tolist()]
            chosen = np.asarray(actions).astype(np.int64)[rows]
            paid[rows] += self._rows.pay(rows, chosen, self._told.texts(reached), terminations[rows])
        self._begin(np.flatnonzero(ended if same else self._over), observations)
        self._over = ended.copy() if self._mode is AutoresetMode.NEXT_STEP else np.zeros(self.num_envs, np.bool_)
        return observations, paid, terminations, truncations, self._info(dict(info), true, going, ended & same)

    def _info(self, info: dict[str, Any], true: Array, going: BoolArray, closed: BoolArray) -> dict[str, Any]:
        """Return an info with true rewards, laid out as `SyncVectorEnv` does."""
        if "true_reward" in info or "true_reward" in info.get("final_info", {}):
            return info
        shown = going & ~closed
        if shown.any():
            info |= masked("true_reward", np.where(shown, true, 0.0), shown)
        if closed.any():
            final = {**info.get("final_info", {}), **masked("true_reward", np.where(closed, true, 0.0), closed)}
            info |= masked("final_info", final, closed)
        return info

    def _begin(self, rows: Array, observations: Any) -> None:
        if len(rows):
            self._rows.begin(rows, self._told.texts([observed(observations, row) for row in rows.tolist()]))

    def _reached(self, observations: Any, info: Mapping[str, Any], row: int, final: bool) -> Any:
        return info["final_obs"][row] if final else observed(observations, row)


def observed(observations: Any, row: int) -> Any:
    """Return one row of batched observations, those of a Dict included."""
    if isinstance(observations, dict):
        return {key: observed(values, row) for key, values in observations.items()}
    return observations[row]


def row_of(env: VectorEnv[Any, Any, Any]) -> Any:
    """Return an environment that a vector environment's scene may be known by: one of its rows, or one made alike."""
    if getattr(env.unwrapped, "control", None) is not None:
        return env
    singles = getattr(env.unwrapped, "envs", None)
    if singles:
        return singles[0]
    if env.spec is None:
        return env
    return gymnasium.make(
        env.spec.id, **{name: value for name, value in env.spec.kwargs.items() if name not in (*BATCH, "render_mode")}
    )
