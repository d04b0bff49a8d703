"""The laws that every task keeps, as functions; `check_task` runs them on a task of the user's own."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import pickle
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import InvalidAction
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from textgym.agreement import LawBroken, agree
from textgym.arrays import Array
from textgym.earning import target_earns_most
from textgym.env import TextGenEnv
from textgym.episodes import Episodes
from textgym.errors import InvalidSetting
from textgym.merging import equal_keys_agree
from textgym.registration import ENTRY_POINT, build_task, env_ids, load_task
from textgym.rollouts import likely_actions, write_random
from textgym.task import Task
from textgym.vector_env import TextGenVectorEnv


@dataclass(frozen=True)
class Case:
    """What the laws are checked on."""

    task: Task
    seed: int = 0

    def single(self) -> TextGenEnv:
        """Return a single environment."""
        return TextGenEnv(self.task)

    def batch(self, n: int, mode: AutoresetMode = AutoresetMode.SAME_STEP) -> TextGenVectorEnv:
        """Return a batch of n rows."""
        return TextGenVectorEnv(self.task, n, mode)


def check_task(task: Task | str | Callable[[], Task], seed: int = 0) -> list[str]:
    """Check that a task keeps every law: what agents, the batched environment and the solver rely on.

    Args:
        task: a `Task`, a factory that needs no arguments, a registered id, or `"package.module:factory"`.
        seed: of the random episodes that are compared.

    Returns:
        The names of the laws that were checked; SB3's own checker is among them where SB3 is installed.

    Raises:
        LawBroken: a law does not hold; the message says which one, and how to mend it where that is known.
        UnknownName, InvalidSetting: there is no such id or factory.
    """
    case = Case(resolve(task), seed)
    laws = [law for law in LAWS if law is not passes_sb3_check_env or importlib.util.find_spec("stable_baselines3")]
    for law in laws:
        law(case)
    return [law.__name__ for law in laws]


def resolve(task: Task | str | Callable[[], Task]) -> Task:
    """Return the task that a `Task`, a factory, an id or a `"package.module:factory"` stands for."""
    if isinstance(task, str) and (":" not in task or task in env_ids()):
        return load_task(task)
    return build_task(task)


def passes_gymnasium_check_env(case: Case) -> None:
    """Gymnasium's `check_env` finds nothing, warnings included."""
    with _registered(case.task) as id, _strict("passes_gymnasium_check_env"):
        check_env(gymnasium.make(id).unwrapped)


def passes_sb3_check_env(case: Case) -> None:
    """Stable-Baselines3's `check_env` finds nothing, warnings included."""
    from stable_baselines3.common.env_checker import check_env as sb3_check_env

    with _strict("passes_sb3_check_env"):
        sb3_check_env(case.single())


def batch_equals_singles(case: Case) -> None:
    """A batch equals `SyncVectorEnv` of singles: everything returned, in every auto-reset mode."""
    for mode in AutoresetMode:
        for n in (1, 3, 8):
            _compare_batch(case, n, mode, steps=60 + 6 * case.task.horizon)


def _compare_batch(case: Case, n: int, mode: AutoresetMode, steps: int) -> None:
    name = f"batch_equals_singles ({n} rows, {mode.value})"
    batch = case.batch(n, mode)
    singles = SyncVectorEnv([case.single] * n, autoreset_mode=mode)
    agree(name, batch.reset(seed=case.seed), singles.reset(seed=case.seed))
    rng = np.random.default_rng(case.seed)
    for step in range(steps):
        actions = likely_actions(case.task, batch.episodes, rng)
        mine, theirs = batch.step(actions), singles.step(actions)
        agree(f"{name}, step {step}", mine, theirs)
        if mode is AutoresetMode.DISABLED and (ended := mine[2]).any():
            again = batch.reset(options={"reset_mask": ended.copy()})
            agree(f"{name}, reset at {step}", again, singles.reset(options={"reset_mask": ended.copy()}))


def same_seed_same_episodes(case: Case) -> None:
    """The same seed gives the same episodes, and global random state is not touched."""
    outside = _global_random_state()
    agree("same_seed_same_episodes", _history(case), _history(case))
    agree("same_seed_same_episodes (global random state changed)", _global_random_state(), outside)


def _global_random_state() -> list[Any]:
    generator = np.random.get_state(legacy=False)  # noqa: NPY002 (read to see that nothing used it)
    return [repr(random.getstate()), repr(generator)]


def _history(case: Case, n: int = 4, steps: int = 40) -> list[Any]:
    batch, rng = case.batch(n), np.random.default_rng(case.seed)
    history: list[Any] = [batch.reset(seed=case.seed)]
    for _ in range(steps):
        history.append(batch.step(likely_actions(case.task, batch.episodes, rng)))
    return history


def copies_continue_identically(case: Case) -> None:
    """Copies go on in mid-episode exactly as the original does: pickled, deep-copied, and set to its state."""
    for env, fresh in ((case.batch(3), case.batch(3)), (case.single(), case.single())):
        env.reset(seed=case.seed)
        rng = np.random.default_rng(case.seed)
        _write(env, case.task, rng)
        try:
            copies = [env, copy.deepcopy(env), pickle.loads(pickle.dumps(env)), fresh]
        except Exception as error:
            raise LawBroken(
                f"copies_continue_identically: {error}. Let a task hold module-level functions and frozen dataclasses "
                "with __call__, which pickle; lambdas and inner functions do not."
            ) from error
        fresh.set_state(env.get_state())
        chances = [copy.deepcopy(rng) for _ in copies]
        for _ in range(3 * case.task.horizon):
            results = [_write(one, case.task, chance) for one, chance in zip(copies, chances)]
            agree("copies_continue_identically (deepcopy)", results[0], results[1])
            agree("copies_continue_identically (pickle)", results[0], results[2])
            agree("copies_continue_identically (get_state, set_state)", results[0], results[3])


def _write(env: TextGenEnv | TextGenVectorEnv, task: Task, rng: np.random.Generator) -> Any:
    actions = likely_actions(task, env.episodes, rng)
    if isinstance(env, TextGenVectorEnv):
        return env.step(actions)
    return env.reset() if env.episodes.finished.item() else env.step(actions[0])


def rows_are_independent(case: Case) -> None:
    """No step reads or changes another row: some rows, in another order, give the same results as among all."""
    task, rng = case.task, np.random.default_rng(case.seed)
    episodes = task.blank(12)
    episodes.begin(..., task.draw([rng] * 12))
    for _ in range(20 + 4 * task.horizon):
        order = rng.permutation(12)[:7]
        actions, other = likely_actions(task, episodes, rng), episodes.take(order)
        rewards, shuffled = task.step(episodes, actions), task.step(other, actions[order])
        agree("rows_are_independent (rewards)", shuffled, rewards[order])
        agree("rows_are_independent (ends)", other.finished, episodes.finished[order])
        if (ended := np.flatnonzero(other.finished)).size:
            alone = [task.measure(other.take(ended[i : i + 1])) for i in range(len(ended))]
            among = task.measure(episodes.take(order[ended]))
            agree("rows_are_independent (metrics)", alone, [_at(among, slice(i, i + 1)) for i in range(len(ended))])
        # begin some rows anew before their ends, so that rows of every length stand side by side
        again = np.flatnonzero(episodes.finished | (rng.random(12) < 0.1))
        if again.size:
            episodes.begin(again, task.draw([rng] * len(again)))


def _at(columns: Mapping[str, Array], rows: slice) -> dict[str, Array]:
    return {name: column[rows] for name, column in columns.items()}


def masks_leave_an_action(case: Case) -> None:
    """A mask is `(n, size)` bool and leaves at least one action in every unfinished row."""
    if case.task.mask is None:
        return
    rng = np.random.default_rng(case.seed)
    episodes = case.task.blank(16)
    episodes.begin(..., case.task.draw([rng] * 16))
    while (rows := np.flatnonzero(~episodes.finished)).size:
        part = episodes.take(rows)
        try:
            mask = case.task.action_mask(part)
        except InvalidSetting as error:
            raise LawBroken(f"masks_leave_an_action: {error}") from error
        if not mask.any(axis=1).all():
            raise LawBroken(f"masks_leave_an_action: a row of {part.text(int(mask.any(axis=1).argmin()))!r} has none.")
        case.task.step(part, write_random(case.task, part, rng))
        episodes.put(rows, part)


def refused_actions_change_nothing(case: Case) -> None:
    """What is no action raises `InvalidAction` and leaves the state as it was."""
    size = case.task.size
    single, batch = case.single(), case.batch(2)
    for env, wrong in ((single, [-1, size, 0.0, np.nan, None, "0", True, [0]]), (batch, _wrong_batches(size))):
        env.reset(seed=case.seed)
        before = _arrays(env.episodes)
        for action in wrong:
            try:
                env.step(action)
            except InvalidAction:
                pass
            else:
                raise LawBroken(f"refused_actions_change_nothing: action {action!r} was accepted.")
            agree(
                f"refused_actions_change_nothing: {action!r} was refused, but the state", _arrays(env.episodes), before
            )


def _arrays(episodes: Episodes) -> list[Array]:
    return [array.copy() for array in (episodes.tokens, episodes.target, episodes.length, episodes.finished)]


def _wrong_batches(size: int) -> list[Any]:
    return [[-1, 0], [0, size], [0.0, 0.0], [0, np.nan], [0], 0, [[0], [0]], ["0", "0"], [True, False], None]


def observations_are_in_their_space(case: Case) -> None:
    """Every observation is a member of the observation space, and owns its memory."""
    batch, rng = case.batch(5), np.random.default_rng(case.seed)
    observation, _ = batch.reset(seed=case.seed)
    for _ in range(40):
        kept, old = observation.copy(), observation
        if observation not in batch.observation_space:
            raise LawBroken(f"observations_are_in_their_space: {observation!r} is not in {batch.observation_space}.")
        observation = batch.step(likely_actions(case.task, batch.episodes, rng))[0]
        if np.shares_memory(observation, old) or not np.array_equal(kept, old):
            raise LawBroken("observations_are_in_their_space: a step changed an observation handed out before.")


LAWS: tuple[Callable[[Case], None], ...] = (
    passes_gymnasium_check_env,
    passes_sb3_check_env,
    batch_equals_singles,
    same_seed_same_episodes,
    copies_continue_identically,
    rows_are_independent,
    masks_leave_an_action,
    equal_keys_agree,
    target_earns_most,
    refused_actions_change_nothing,
    observations_are_in_their_space,
)


@contextlib.contextmanager
def _registered(task: Task) -> Iterator[str]:
    """Register a task for the time of a check: Gymnasium's checker makes its environments by id."""
    id = "TextGym/BeingChecked-v0"
    gymnasium.register(id=id, entry_point=ENTRY_POINT, kwargs={"task": task})
    try:
        yield id
    finally:
        gymnasium.registry.pop(id)


@contextlib.contextmanager
def _strict(law: str) -> Iterator[None]:
    """Turn warnings and failed assertions into `LawBroken`, and keep what `human` rendering prints."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("error")
            yield
    except Exception as error:
        raise LawBroken(f"{law}: {type(error).__name__}: {error}") from error
