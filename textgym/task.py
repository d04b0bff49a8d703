"""Task: all the rules of writing one kind of text, and what its parts must look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np

from textgym.arrays import Array, BoolArray, FloatArray, IntArray
from textgym.ends import Predicate, wrote_eos
from textgym.episodes import Episodes, Prompt, Rows
from textgym.errors import MOST_TOKENS, InvalidReward, InvalidSetting, InvalidSize, MissingReward, require_tokens
from textgym.vocabulary import Vocabulary


class PromptGenerator(Protocol):
    """Draws one episode's prompt. It runs once an episode, so it is plain scalar code.

    Where its prompts can be listed, it may also offer `support() -> (prompts, probabilities)`, and `count`, how many
    they are, where that is known sooner; where it always returns one and the same object and draws nothing, `constant`,
    that prompt.
    """

    @property
    def max_length(self) -> int:
        """The most tokens that a prompt has."""

    @property
    def max_target(self) -> int:
        """The most tokens that a target has; 0 where no best completion is known."""

    def __call__(self, rng: np.random.Generator) -> Prompt:
        """Return a prompt that depends on `rng` alone."""


Reward: TypeAlias = Callable[[Episodes], Array]
"""Episodes in, `(n,)` numbers out; called right after `write`, with `finished` already true for rows that ended.

A reward whose scores may be missing returns a `numpy.ma.MaskedArray`, masked where a finished row's score could not be
had. Arithmetic keeps the mask, so that what is composed of such scores is missing where one of them is."""

StateKey: TypeAlias = Callable[[Episodes], IntArray]
"""Episodes in, `(n,)` int64 out. Rows of one prompt and one length whose keys are equal agree on all that is to come:
rewards, ends, masks and success, whatever is written next."""


def matched(episodes: Episodes) -> FloatArray:
    """1.0 where the completion is the target, whole and with nothing after it; else 0.0."""
    return episodes.matched.astype(np.float64)


SUCCESS: Mapping[str, Reward] = {"success": matched}


@dataclass(frozen=True, eq=False)
class Task:
    """The rules: what can be written, what is asked, what ends an episode and what it earns.

    What a task holds is a module-level function or a frozen dataclass with `__call__`, so that it pickles.

    Args:
        vocabulary: the tokens.
        prompts: draws each episode's prompt and, where known, its target.
        reward: what each step earns.
        horizon: the most tokens of a completion; a full one always ends.
        ends: which rows end, besides full ones.
        metrics: facts of an ended row, reported and never paid. `success`, where it is among them, also becomes
            `info["is_success"]`. The default is agreement with the target, and nothing where prompts have no target.
        mask: the actions worth taking, `(n, size)` bool, at least one a row. It narrows sampling, never what an
            environment accepts.
        state_key: what the future depends on, for exact solutions.
        mean_reward: the expected reward, where `reward` depends on `Episodes.seed`; for exact solutions.

    Raises:
        InvalidSize: a horizon that is no positive integer; prompt and completion of more than a million tokens.
        InvalidSetting: a horizon that cannot hold the longest target.
    """

    vocabulary: Vocabulary
    prompts: PromptGenerator
    reward: Reward
    horizon: int
    ends: Predicate = wrote_eos
    metrics: Mapping[str, Reward] = field(default_factory=lambda: SUCCESS)
    mask: Predicate | None = None
    state_key: StateKey | None = None
    mean_reward: Reward | None = None

    def __post_init__(self) -> None:
        require_tokens(horizon=self.horizon)
        if self.prompts.max_length + self.horizon > MOST_TOKENS:
            raise InvalidSize(
                f"prompts of up to {self.prompts.max_length:,} tokens and horizon={self.horizon:,} are more than the "
                f"{MOST_TOKENS:,} tokens that a text may have. Give shorter prompts or a shorter horizon."
            )
        if self.prompts.max_target > self.horizon:
            raise InvalidSetting(
                f"horizon={self.horizon} is shorter than the longest target, {self.prompts.max_target} tokens with "
                f"its end token. Give horizon={self.prompts.max_target} or more, or leave it out."
            )
        if self.metrics is SUCCESS and not self.prompts.max_target:
            object.__setattr__(self, "metrics", {})

    @cached_property
    def _only_full_ones_end(self) -> bool:
        return self.ends is wrote_eos and self.vocabulary.eos_id is None

    @cached_property
    def max_prompt(self) -> int:
        """Columns of the prompt in an observation."""
        return self.prompts.max_length

    @cached_property
    def size(self) -> int:
        """The number of actions."""
        return self.vocabulary.size

    def draw(self, rngs: Sequence[np.random.Generator]) -> list[Prompt]:
        """Return one prompt for each of the generators."""
        constant: Prompt | None = getattr(self.prompts, "constant", None)
        draw = self.prompts
        return [draw(rng) for rng in rngs] if constant is None else [constant] * len(rngs)

    def blank(self, n: int) -> Episodes:
        """Return n rows that have not begun."""
        return Episodes.blank(self.vocabulary, n, self.max_prompt, self.horizon, self.prompts.max_target)

    def step(
        self, episodes: Episodes, actions: IntArray, rows: Rows = ..., missing: BoolArray | None = None
    ) -> FloatArray:
        """Write one token in each of the rows, end what ends, and score: the only code that applies a rule.

        Args:
            episodes: changed in place; the rows must not have finished.
            actions: token ids in `[0, size)`, one for each of the rows. Not checked here.
            rows: which rows; their order is the order of `actions` and of the result.
            missing: `(len(rows),)`, is set to which of them have ended without a score that could be had; they earn
                0.0. None to raise `MissingReward` instead: 0.0 is no score, and who accepts it must leave such
                episodes out.

        Returns:
            Rewards, `(len(rows),)` float64, in an array of their own.

        Raises:
            InvalidReward: the reward is not finite or has the wrong shape. Nothing has changed then; nor has it
                where the reward function itself raises.
            MissingReward: a score could not be had. Nothing has changed then.
        """
        if rows is not ...:
            part = episodes.take(rows)
            rewards = self._step(part, actions, rows, missing)
            episodes.put(rows, part)
            return rewards
        return self._step(episodes, actions, range(len(episodes.tokens)), missing)

    def _step(
        self, episodes: Episodes, actions: IntArray, names: Sequence[int] | IntArray, missing: BoolArray | None
    ) -> FloatArray:
        episodes.write(actions)
        try:
            if self._only_full_ones_end:
                episodes.finished[:] = episodes.full
            else:
                np.logical_or(self.ends(episodes), episodes.full, out=episodes.finished)
            return _checked(self.reward(episodes), self.reward, episodes, names, missing)
        except BaseException:
            episodes.erase()
            raise

    def measure(
        self, episodes: Episodes, names: Sequence[int] | IntArray | None = None, accept_missing: bool = False
    ) -> dict[str, FloatArray]:
        """Return every metric of rows that have all ended, `(n,)` float64 each; errors call them by `names`, `(n,)`.

        Args:
            episodes: the rows.
            names: what errors call them; None for their numbers.
            accept_missing: NaN stands where a score could not be had; else that raises.

        Raises:
            InvalidReward: a metric is not finite or has the wrong shape.
            MissingReward: a score could not be had.
        """
        names = range(len(episodes)) if names is None else names
        found = {}
        for name, metric in self.metrics.items():
            missing = np.zeros(len(episodes), np.bool_) if accept_missing else None
            found[name] = _checked(metric(episodes), metric, episodes, names, missing)
            if missing is not None:
                found[name][missing] = np.nan
        return found

    def action_mask(self, episodes: Episodes) -> BoolArray:
        """Return the actions worth taking, `(n, size)` bool; all of them where the task has no mask."""
        if self.mask is None:
            return np.ones((len(episodes), self.size), np.bool_)
        mask = self.mask(episodes)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (len(episodes), self.size):
            raise InvalidSetting(
                f"the task's mask gave {np.asarray(mask).dtype} of shape {np.shape(mask)}; it must give bool, "
                f"({len(episodes)}, {self.size})."
            )
        if not (mask.any(axis=1) | episodes.finished).all():
            row = int(np.flatnonzero(~mask.any(axis=1) & ~episodes.finished)[0])
            raise InvalidSetting(
                f"the task's mask leaves row {row} no action, {int(episodes.length[row])} tokens after its prompt; it "
                "must allow at least one."
            )
        return mask


def _name(source: Reward) -> str:
    return getattr(source, "__name__", None) or type(source).__name__


def _checked(
    values: Array,
    source: Reward,
    episodes: Episodes,
    names: Sequence[int] | IntArray,
    missing: BoolArray | None = None,
) -> FloatArray:
    """Return rewards as `(n,)` float64 in an array of their own, or raise `InvalidReward`, calling rows by `names`."""
    n = len(episodes.tokens)
    if missing is not None:
        missing[:] = False
    if isinstance(values, np.ma.MaskedArray):
        values = _known(values, source, episodes, names, missing)
    try:
        given = np.asarray(values)
    except ValueError as error:
        raise InvalidReward(f"reward {_name(source)!r} gave {values!r}; it must give numbers, one a row.") from error
    if given.dtype.kind not in "biuf":
        raise InvalidReward(
            f"reward {_name(source)!r} gave {values!r}, dtype {given.dtype}; it must give numbers, one a row."
        )
    rewards = given.astype(np.float64)  # a copy, always
    if rewards.shape != (n,):
        raise InvalidReward(
            f"reward {_name(source)!r} gave shape {rewards.shape} for {n} rows; it must give one number a row, "
            f"shape ({n},). Decorate a function of one row with `textgym.rewards.rowwise`."
        )
    if np.count_nonzero(np.isfinite(rewards)) < n:
        row = int(np.flatnonzero(~np.isfinite(rewards))[0])
        raise InvalidReward(
            f"reward {_name(source)!r} gave {rewards[row]} at step {episodes.length[row]} of row {names[row]}, "
            f"text "
            f"{episodes.text(row)!r}. A reward must be finite: one that is not would destroy an agent silently."
        )
    return rewards


def _known(
    values: np.ma.MaskedArray[Any, Any],
    source: Reward,
    episodes: Episodes,
    names: Sequence[int] | IntArray,
    missing: BoolArray | None,
) -> Array:
    """Return values with 0.0 where they are masked, and say in `missing` where that is, or raise where it is None."""
    lacking = np.ma.getmaskarray(values)
    if lacking.shape == (len(episodes.tokens),) and lacking.any():
        rows = np.flatnonzero(lacking)
        row = int(rows[0])
        if not episodes.finished[rows].all():
            raise InvalidReward(
                f"reward {_name(source)!r} has no score for row {names[int(rows[~episodes.finished[rows]][0])]}, which "
                "has not ended: only a finished row's score may be missing, for it is the whole episode that is left "
                "out. Pay 0.0 until the end."
            )
        if missing is None:
            raise MissingReward(
                f"reward {_name(source)!r} has no score for {len(rows)} of {len(lacking)} rows; row {names[row]} wrote "
                f"{episodes.text(row)!r}. Nothing is paid for what was not scored. TextGym's agents (agents.make('ppo',"
                " env), ...) leave such episodes out while they learn; elsewhere use on_missing='raise' or 'retry', or "
                "call env.accept_missing_rewards() and leave out each episode whose info has 'reward_missing'."
            )
        missing[:] = lacking
    filled: Array = values.filled(0.0)
    return filled
