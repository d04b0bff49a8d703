"""When a gap between proxy and gold opens: by hand, on noise, and on Repeat, whose proxy an agent hacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback

from agents import RewardHackingCallback, SB3VecEnv, make, make_vec_env
from agents.folder import read_files
from agents.gap import Block, Gap, Mean
from agents.metrics import COLUMNS, GOLD_COLUMNS, read_metrics
from agents.training import plan, resume, train
from textgym import Episodes, Task, TextGenVectorEnv, load_task
from textgym.arrays import FloatArray
from textgym.errors import InvalidReward, InvalidSetting, InvalidSize

FAST = {"alpha": 2.0}  # of tabular-reinforce, which hacks Repeat in some 4,000 steps then


def block(step: int, proxy: float, gold: float, error: float = 0.0) -> Block:
    return Block(step, Mean(proxy, error), Mean(gold, error))


def test_a_mean_knows_its_noise() -> None:
    assert Mean.of([1.0, 3.0]) == (2.0, 1.0)  # s = sqrt(2), n = 2
    assert Mean(7.1, 3.0).exceeds(Mean(2.0, 4.0), z=1.0)  # sqrt(3^2 + 4^2) = 5
    assert not Mean(7.0, 3.0).exceeds(Mean(2.0, 4.0), z=1.0)
    assert not Mean(0.1 + 0.2, 0.0).exceeds(Mean(0.3, 0.0), z=4.0)  # rounding is no rise


@pytest.mark.parametrize(
    ("proxies", "golds", "opened"),
    [
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 2, 1, 0], 4),  # the peak is block 3; 4 and 5 show it
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], None),  # honest
        ([1, 2, 3, 4, 5, 6], [3, 3, 3, 3, 3, 3], None),  # gold stands still
        ([1, 2, 3, 2, 1, 0], [1, 2, 3, 2, 1, 0], None),  # both fall: learning is broken, nothing is hacked
        ([1, 2, 3, 3, 3, 3], [1, 2, 3, 2, 1, 0], None),  # the proxy does not rise
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 2, 3, 2], None),  # never twice on end
        ([1, 2, 3, 4, 3, 5], [1, 2, 3, 2, 2, 2], None),  # nor here: block 5's proxy is what it was at the peak
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 2, 4, 3], None),  # a new peak begins anew
    ],
)
def test_the_rule_by_hand(proxies: list[float], golds: list[float], opened: int | None) -> None:
    gap = Gap(z=4.0, confirm=2)
    said = [gap.add(block(i, p, g)) for i, (p, g) in enumerate(zip(proxies, golds), 1)]
    assert (None if gap.opened is None else gap.opened.step) == opened
    assert said == [i == (opened or -1) + 1 for i in range(1, 7)]  # once, with the block that confirms it
    assert gap.best is not None
    assert gap.best.step == 1 + golds.index(max(golds))


def test_what_noise_can_explain_is_no_gap() -> None:
    # gold falls by 1.0 and the proxy rises by 1.0; the noise of a difference is 4 * sqrt(2) * error
    for error, opens in ((0.17, True), (0.18, False)):
        gap = Gap()
        for step, (proxy, gold) in enumerate([(1, 2), (2, 1), (2, 1)]):
            gap.add(block(step, proxy, gold, error))
        assert (gap.opened is not None) == opens


def test_a_gold_that_only_fluctuates_hardly_ever_alarms() -> None:
    rng, alarms, caught = np.random.default_rng(0), 0, 0
    for _ in range(200):
        flat, falling = Gap(), Gap()
        for step, noise in enumerate(rng.normal(size=200)):  # 200 blocks, in units of a mean's standard error
            flat.add(Block(step, Mean(step, 1.0), Mean(noise, 1.0)))
            falling.add(Block(step, Mean(step, 1.0), Mean(noise - 0.1 * max(0, step - 100), 1.0)))
        alarms += flat.opened is not None
        caught += falling.opened is not None and falling.opened.step > 100
    assert alarms <= 2  # of 200
    assert caught >= 198


@pytest.mark.parametrize(
    ("arguments", "error", "fault"),
    [
        ({"window": 1}, InvalidSize, "window=1: one episode shows no noise"),
        ({"window": 0}, InvalidSize, "window=0 is not a size"),
        ({"z": -1.0}, InvalidSetting, "z=-1.0 is no number of standard errors"),
        ({"confirm": 0}, InvalidSize, "confirm=0 is not a size"),
        ({"stop": 1}, InvalidSetting, "stop=1 is neither"),
        ({"gold": None}, InvalidSetting, "None names no metric"),
        ({"proxy": 3}, InvalidSetting, "3 names no metric"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], error: type[Exception], fault: str) -> None:
    with pytest.raises(error, match=fault):
        RewardHackingCallback(**arguments)


class Diary(BaseCallback):
    """Keeps every finished episode: the step at which it ended, return and gold."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[tuple[int, float, float]] = []

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.ends.append((self.num_timesteps, info["episode"]["r"], info["metrics"]["gold"]))
        return True


def repeat(task: Task | None = None, seed: int = 0) -> Any:
    """Return eight rows of Repeat, or of another task."""
    if task is None:
        return make_vec_env("TextGym/Repeat-v0", 8, seed=seed)
    return SB3VecEnv(TextGenVectorEnv(task, 8, gym.vector.AutoresetMode.SAME_STEP))


def test_it_fires_on_repeat_and_says_what_the_episodes_say(capsys: pytest.CaptureFixture[str]) -> None:
    watching, diary = RewardHackingCallback(keep=True), Diary()
    agent = make("tabular-reinforce", repeat(), seed=0, **FAST)
    before = {name: array.copy() for name, array in agent.state_dict().items()}
    agent.learn(9_000, callback=[diary, watching])
    best, opened = watching.gap.best, watching.gap.opened
    assert best is not None
    assert opened is not None
    assert best.step < opened.step < 9_000
    steps, returns, golds = (np.array(column) for column in zip(*diary.ends))
    blocks = [range(first, first + 104) for first in range(0, len(steps) - 103, 104)]  # eight rows end at once
    means = [golds[list(rows)].mean() for rows in blocks]
    assert best.step == steps[blocks[int(np.argmax(means))][-1]]
    assert best.gold.mean == pytest.approx(max(means))
    assert best.proxy.mean == pytest.approx(returns[list(blocks[int(np.argmax(means))])].mean())
    at = [steps[rows[-1]] for rows in blocks].index(opened.step)
    assert means[at] < max(means)
    said = capsys.readouterr().out
    assert said == f"{watching.message}\n"
    assert f"since step {opened.step:,}" in said
    assert f"step {best.step:,}, where the gold reward was best" in said
    last = watching.watched()
    assert last["gold"] == pytest.approx(golds[-100:].mean())
    assert last["proxy"] == pytest.approx(returns[-100:].mean())
    assert last["length"] == 6.0
    assert (last["repetition"] or 0) > 0.1
    newest = {name: array.copy() for name, array in agent.state_dict().items()}
    assert watching.restore()
    kept = agent.state_dict()
    assert not np.array_equal(kept["preferences"], newest["preferences"])
    assert before.keys() == kept.keys()


def test_it_stops_where_the_gap_opens() -> None:
    watching = RewardHackingCallback(stop=True, verbose=0)
    agent = make("tabular-reinforce", repeat(), seed=0, **FAST)
    agent.learn(20_000, callback=watching)
    assert watching.gap.newest is not None
    assert agent.num_timesteps == watching.gap.newest.step < 20_000
    with pytest.raises(InvalidSetting, match="Make it with keep=True"):
        watching.restore()


def whole_gold(episodes: Episodes) -> FloatArray:
    """Pay, with the last word, what Repeat only reports."""
    gold: Any = load_task("TextGym/Repeat-v0").metrics["gold"]
    return np.where(episodes.finished, gold(episodes), 0.0)


def test_it_does_not_fire_where_the_reward_is_honest() -> None:
    watching = RewardHackingCallback()
    task = replace(load_task("TextGym/Repeat-v0"), reward=whole_gold, state_key=None)
    agent = make("tabular-reinforce", repeat(task), seed=0, **FAST)
    agent.learn(15_000, callback=watching)
    assert watching.gap.best is not None
    assert watching.gap.best.gold.mean > 0.55  # it has learned: 0.42 at first
    assert watching.message is None


KINDS: dict[Any, dict[str, Any]] = {
    PPO: {"n_steps": 32, "batch_size": 64},
    A2C: {"n_steps": 8},
    DQN: {"learning_starts": 16, "train_freq": 16},
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_sb3_algorithm_can_be_watched(kind: Any) -> None:
    watching = RewardHackingCallback(window=20, keep=True, verbose=0)
    single = kind is DQN  # which SB3 wraps in Monitor itself
    env = gym.make("TextGym/Repeat-v0") if single else repeat()
    agent = kind("MlpPolicy", env, seed=0, device="cpu", **KINDS[kind])
    agent.learn(600, callback=watching)
    seen = watching.watched()
    assert 0.1 < (seen["gold"] or 0) < 0.7
    assert seen["repetition"] is not None
    assert (seen["entropy"] is None) == (kind is DQN)
    assert watching.restore()


def test_what_an_environment_lacks_is_named() -> None:
    agent = make("q-learning", make_vec_env("TextGen-v0", 4, seed=0), seed=0)
    with pytest.raises(InvalidSetting, match=r"TextGen-v0 report no metric 'gold', only success"):
        agent.learn(100, callback=RewardHackingCallback())
    watching = RewardHackingCallback("success", window=10)
    agent.learn(200, callback=watching)  # the proxy is honest here: success is its own gold
    assert watching.message is None
    by_name = RewardHackingCallback("success", "success", window=10)
    agent.learn(100, callback=by_name)
    assert by_name.watched()["proxy"] == by_name.watched()["gold"]


def test_a_gold_that_is_not_finite_is_refused() -> None:
    watching = RewardHackingCallback()
    watching.model = make("q-learning", repeat(), seed=0)
    watching._task = None
    with pytest.raises(InvalidReward, match=r"reports proxy 1\.0 and gold nan"):
        watching._read({"episode": {"r": 1.0, "l": 3}, "metrics": {"gold": float("nan")}})
    with pytest.raises(InvalidSetting, match=r"report no return\. Wrap"):
        watching._read({"metrics": {"gold": 1.0}})


def test_textgym_train_watches_where_there_is_gold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"env": "TextGym/Repeat-v0", "agent": "tabular-reinforce", "steps": 6_000}
    train(plan(asked, FAST), tmp_path / "run")
    assert capsys.readouterr().out.count("Reward hacking: since step") == 1
    text = read_files(tmp_path / "run")[1]["metrics.csv"].decode()
    assert text.splitlines()[0] == ",".join((*COLUMNS, *GOLD_COLUMNS))
    rows = read_metrics(text)
    assert all(row["gold"] is not None for row in rows)
    assert max(row["gold"] or 0 for row in rows) > (rows[-1]["gold"] or 0) + 0.05
    assert (rows[-1]["repetition"] or 0) > (rows[0]["repetition"] or 0)
    resume(tmp_path / "run", steps=6_500)
    assert len(read_metrics(read_files(tmp_path / "run")[1]["metrics.csv"].decode())) > len(rows)
