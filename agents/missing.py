"""Episodes whose score could not be had: TextGym's agents accept them while they learn, and leave them out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.base_class import BaseAlgorithm

from textgym import Task

Array = npt.NDArray[Any]
MISSING = "reward_missing"


def missing_rows(rows: Array, infos: Sequence[dict[str, Any]]) -> Array:
    """Return those of some rows whose infos say that their episode's score could not be had."""
    return rows[[MISSING in info for info in infos]]


@contextmanager
def accepting_missing(env: Any) -> Iterator[None]:
    """Let an environment that can do so pay 0.0 where a score is missing, for as long as somebody leaves that out."""
    if env is None or not env.has_attr("accepts_missing_rewards"):
        yield
        return
    before = env.get_attr("accepts_missing_rewards", 0)[0]
    env.env_method("accept_missing_rewards", True)
    try:
        yield
    finally:
        env.env_method("accept_missing_rewards", before)


def reward_counts(env: Any) -> dict[str, int]:
    """Return what the reward of an environment's task counts of its calls; nothing where it counts nothing."""
    task = env.get_attr("task", 0)[0] if env.has_attr("task") else None
    counts = getattr(task.reward, "counts", None) if isinstance(task, Task) else None
    return dict(counts or {})


class LeavesMissingOut(BaseAlgorithm):
    """Mixed into an SB3 algorithm whose buffer leaves out episodes without a score.

    Such an episode takes no part in losses, in what advantages are compared with, and in statistics. What was learned
    from its beginning before its end was known, in an earlier rollout or from a memory, stays: those rewards were paid.
    """

    missing_rewards: int = 0  # episodes that were left out

    @property
    def leaves_out(self) -> bool:
        """Whether the buffer, as it is set up, does so; others are not paid for what was not scored."""
        return False

    def learn(self, *args: Any, **kwargs: Any) -> Self:
        """Learn as SB3 does; while it lasts, episodes without a score are accepted."""
        with accepting_missing(self.env if self.leaves_out else None):
            return super().learn(*args, **kwargs)  # type: ignore[safe-super]  # of the algorithm it is mixed into

    def _update_info_buffer(self, infos: list[dict[str, Any]], dones: Any = None) -> None:
        """Take ended episodes into the statistics, but those whose score is missing, which are counted."""
        lacking = [MISSING in info for info in infos]
        if any(lacking):
            self.missing_rewards += sum(lacking)
            infos = [{} if left_out else info for info, left_out in zip(infos, lacking)]
        if self.missing_rewards:
            self.logger.record("rollout/reward_missing", self.missing_rewards)
        for name, count in reward_counts(self.env).items():
            self.logger.record(f"reward/{name.replace(' ', '_')}", count)
        super()._update_info_buffer(infos, dones)


LeavesMissingOut.learn.__wrapped__ = BaseAlgorithm.learn  # type: ignore[attr-defined]  # whose arguments they are


def counts_nothing(buffer: Any) -> bool:
    """Return whether all episodes of a rollout are left out, so that there is nothing to learn from."""
    left_out = getattr(buffer, "left_out", None)
    return left_out is not None and bool(np.all(left_out))
