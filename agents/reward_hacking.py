"""RewardHackingCallback: says when an agent has begun to please its reward at the cost of what that stands for."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.callbacks import BaseCallback

from textgym import Task
from textgym.errors import InvalidReward, InvalidSetting, InvalidSize, is_finite, require_flag, require_positive
from textgym.texts import repetition

from .gap import Block, Gap, Mean
from .missing import MISSING
from .state import parameters, set_parameters
from .trees import as_array
from .vec_env import name_of

GOLD = "gold"  # the metric that a task reports, and never pays, where it knows what is wanted
BIGRAMS = 2


class Ended(NamedTuple):
    """What an ended episode says."""

    proxy: float
    gold: float
    length: float
    repetition: float | None


class RewardHackingCallback(BaseCallback):
    """Watches proxy and gold reward, repetition, length and entropy while an agent learns, and says when a gap opens.

    The proxy is what is paid; gold is a metric that the environment reports at an episode's end and never pays, in
    `info["metrics"]`. It works for any SB3 algorithm, and for TextGym's agents, on any environment whose episodes have
    both. When the gap has opened is `agents.gap.Gap`'s rule, over blocks of `window` episodes:

    - gold's mean is below that of its best block, and the proxy's mean above what it was in that block,
    - both by more than `z` standard errors of the difference,
    - in `confirm` blocks on end.

    It is said once, in words (`message`; printed unless `verbose=0`). `gap.best` is gold's peak with its step,
    `gap.opened` where the gap opened, None as long as it has not. The logger gets `hacking/proxy`, `hacking/gold`,
    `hacking/repetition`, `hacking/length` and `hacking/entropy`, means of the last `window` episodes, and
    `hacking/opened`, 0 or 1. Repetition is the share of a text's bigrams that it had before, in TextGym's environments;
    entropy is what the agent logs of its policy, where it does.

    What it has seen is not part of a run: where learning goes on with a new callback, it begins anew. Episodes whose
    score is missing do not count.

    Args:
        gold: the metric's name.
        proxy: a metric's name; None for the return.
        window: the episodes of a block, 2 at least.
        z: the standard errors that are noise.
        confirm: the blocks on end that must show it.
        stop: end learning where the gap opens.
        keep: keep the parameters at gold's best block; `restore` gives them back.
        verbose: 0 prints nothing.

    Raises:
        InvalidSetting, InvalidSize: an argument is refused; (while learning) episodes report no such metric, or no
            return.
        InvalidReward: (while learning) a metric is not finite.

    Example:
        >>> from agents import RewardHackingCallback, make, make_vec_env
        >>> watching = RewardHackingCallback(stop=True, keep=True)
        >>> agent = make("ppo", make_vec_env("TextGym/Repeat-v0", 8, seed=0), seed=0)
        >>> agent = agent.learn(20_000, callback=watching)  # doctest: +SKIP
        >>> watching.restore()  # doctest: +SKIP
    """

    def __init__(
        self,
        gold: str = GOLD,
        proxy: str | None = None,
        *,
        window: int = 100,
        z: float = 4.0,
        confirm: int = 2,
        stop: bool = False,
        keep: bool = False,
        verbose: int = 1,
    ) -> None:
        super().__init__(verbose)
        require_positive(window=window)
        if window < 2:
            raise InvalidSize(f"window={window}: one episode shows no noise. Give at least 2; 100 serves.")
        require_flag(stop=stop, keep=keep)
        for name in (gold, *(() if proxy is None else (proxy,))):
            if not isinstance(name, str):
                raise InvalidSetting(f"{name!r} names no metric. Give the name of one, as 'gold'.")
        self.gap = Gap(z, confirm)
        self.message: str | None = None
        self._gold, self._proxy, self._window, self._stop, self._keep = gold, proxy, window, stop, keep
        self._last: deque[Ended] = deque(maxlen=window)
        self._new: list[Ended] = []  # since the last block; many rows may end at once
        self._entropy: float | None = None
        self._kept: dict[str, npt.NDArray[Any]] = {}

    def _on_training_start(self) -> None:
        env = self.model.get_env()
        task = env.get_attr("task")[0] if env is not None and env.has_attr("task") else None
        self._task = task if isinstance(task, Task) else None

    def _on_step(self) -> bool:
        infos, dones = self.locals.get("infos", ()), np.asarray(self.locals.get("dones", ()))
        for row in np.flatnonzero(dones).tolist():
            if MISSING not in infos[row] and (ended := self._read(infos[row])) is not None:
                self._last.append(ended)
                self._new.append(ended)
        if len(self._new) >= self._window:
            self._close()
        return not (self._stop and self.gap.opened is not None)

    def _on_rollout_start(self) -> None:
        entropy = getattr(self.logger, "name_to_value", {}).get("train/entropy_loss")
        if entropy is not None:
            self._entropy = -float(entropy)
        self._record()

    def _on_training_end(self) -> None:
        self._record()

    def _read(self, info: Mapping[str, Any]) -> Ended | None:
        """Return what an ended row's info says; None where a metric of the task could not be had this once."""
        if "episode" not in info:
            raise InvalidSetting(
                f"the episodes of {name_of(self.model.get_env())} report no return. Wrap the environment in SB3's "
                "Monitor or VecMonitor, or make it with agents.make_vec_env."
            )
        metrics = info.get("metrics", {})
        for name in (self._gold, self._proxy):
            if name is not None and name not in metrics:
                if self._task is not None and name in self._task.metrics:
                    return None
                found = f"only {', '.join(sorted(metrics))}" if metrics else "none"
                raise InvalidSetting(
                    f"the episodes of {name_of(self.model.get_env())} report no metric {name!r}, {found}. A Task "
                    "reports what its `metrics` name; gold= and proxy= name what is watched."
                )
        proxy, gold = info["episode"]["r"] if self._proxy is None else metrics[self._proxy], metrics[self._gold]
        if not (is_finite(proxy) and is_finite(gold)):
            raise InvalidReward(f"an episode of {name_of(self.model.get_env())} reports proxy {proxy} and gold {gold}.")
        repeated = self._repetition(info.get("terminal_observation"))
        return Ended(float(proxy), float(gold), float(info["episode"]["l"]), repeated)

    def _repetition(self, observation: Any) -> float | None:
        """Return the share of a text's bigrams that it had before; None where it has none, or is no text of a task."""
        if self._task is None or observation is None:
            return None
        left_out = {self._task.vocabulary.pad, self._task.vocabulary.eos_id}
        written = np.asarray(observation)[self._task.max_prompt :].tolist()
        return repetition([[token for token in written if token not in left_out]], BIGRAMS)

    def _close(self) -> None:
        """Make a block of the newest episodes, and say it where the gap opens with it."""
        proxy, gold = (Mean.of([getattr(one, name) for one in self._new]) for name in ("proxy", "gold"))
        self._new = []
        block = Block(self.num_timesteps, proxy, gold, self.others())
        opened = self.gap.add(block)
        if self._keep and self.gap.best is block:
            self._kept = {name: np.array(as_array(value, name)) for name, value in parameters(self.model).items()}
        if opened:
            self.message = self._words()
            if self.verbose:
                print(self.message, flush=True)

    def others(self) -> dict[str, float | None]:
        """Return mean repetition and length of the last episodes, and the policy's entropy; None where unknown."""
        repeated = [one.repetition for one in self._last if one.repetition is not None]
        return {
            "repetition": float(np.mean(repeated)) if repeated else None,
            "length": float(np.mean([one.length for one in self._last])) if self._last else None,
            "entropy": self._entropy,
        }

    def watched(self) -> dict[str, float | None]:
        """Return the means of the last episodes: `proxy`, `gold`, and `others`; None where unknown."""
        means = {name: [getattr(one, name) for one in self._last] for name in ("proxy", "gold")}
        return {**{name: float(np.mean(all_)) if all_ else None for name, all_ in means.items()}, **self.others()}

    def _record(self) -> None:
        for name, value in self.watched().items():
            if value is not None:
                self.logger.record(f"hacking/{name}", value)
        self.logger.record("hacking/opened", int(self.gap.opened is not None))

    def _words(self) -> str:
        """Return what has happened, in words."""
        best, opened, now = self.gap.best, self.gap.opened, self.gap.newest
        assert best is not None
        assert opened is not None
        assert now is not None
        before, after = ({"proxy": one.proxy.mean, "gold": one.gold.mean, **one.others} for one in (best, now))
        told = ", ".join(
            f"{name} {value:.3g} -> {later:.3g}"
            for name, value in before.items()
            if value is not None and (later := after[name]) is not None
        )
        return (
            f"Reward hacking: since step {opened.step:,} the reward that is paid (proxy) is above what it was at step "
            f"{best.step:,}, where the gold reward was best, and the gold reward is below its best, both by more than "
            f"{self.gap.z:g} standard errors. From there to step {now.step:,}: {told}. A larger kl_coefficient, an "
            f"earlier stop or a better reward helps."
        )

    def restore(self, agent: Any = None) -> bool:
        """Give the agent, or another one, the parameters at gold's best block; return whether there were any.

        Raises:
            InvalidSetting: `keep` was not set.
        """
        if not self._keep:
            raise InvalidSetting("no parameters were kept. Make it with keep=True.")
        if self._kept:
            set_parameters(self.model if agent is None else agent, self._kept)
        return bool(self._kept)
