"""Scores that cannot be had: the three policies, both environments, and what composed rewards make of them."""

from __future__ import annotations

import copy
import logging
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given
from hypothesis import strategies as st
from scored_models import Flaky, scored

from textgym import Episodes, Task, TextGenEnv, TextGenVectorEnv
from textgym.agreement import agree
from textgym.arrays import Array
from textgym.errors import InvalidReward, InvalidSetting, InvalidSize, MissingReward, UnknownName
from textgym.rewards import BannedWords, Distinct, Length, Part, Repetition, ServedReward, WeightedSum, reward_of
from textgym.rollouts import rollout, write_random


def task_of(reward: Any, horizon: int = 4, **changes: Any) -> Task:
    return replace(scored(horizon=horizon), reward=reward, **changes)


def written(task: Task, *texts: str) -> Episodes:
    """Return rows that hold these texts and have ended."""
    rows = task.blank(len(texts))
    rows.begin(..., task.draw([np.random.default_rng(0)] * len(texts)))
    for row, text in enumerate(texts):
        for token in task.vocabulary.encode(text):
            rows.write(np.array([token]), np.array([row]))
    rows.finished[:] = True
    return rows


@dataclass
class Broken:
    """A service that does what a list says, call by call."""

    answers: list[Any]

    def __call__(self, prompts: list[str], completions: list[str]) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer


NAN = float("nan")


@pytest.mark.parametrize(
    ("answer", "cause", "message"),
    [
        (ConnectionError("down"), "exception", "ConnectionError: down"),
        (partial(time.sleep, 1.0), "time limit", r"no answer within 0\.05 s"),
        ([1.0, NAN], "not finite", "a score of nan"),
        ([np.inf, 1.0], "not finite", "a score of inf"),
        ([1.0], "wrong shape", r"scores of shape \(1,\) for 2 texts"),
        ([[1.0], [2.0]], "wrong shape", r"shape \(2, 1\)"),
        (["good", "bad"], "wrong shape", "no numbers"),
    ],
)
def test_what_cannot_be_had_raises_is_asked_for_again_or_left_out(answer: Any, cause: str, message: str) -> None:
    limit = 0.05 if cause == "time limit" else None
    rows = written(scored(), "ab", "b")
    raising = ServedReward(Broken([answer]), time_limit=limit)
    with pytest.raises(MissingReward, match=message):
        raising(rows)
    assert raising.counts[cause] == raising.counts["calls"] == 1

    lacking = 1 if isinstance(answer, list) and len(answer) == 2 and cause == "not finite" else 2
    again = ServedReward(Broken([answer, [3.0, 4.0][:lacking]]), on_missing="retry", retries=1, time_limit=limit)
    assert np.isfinite(again(rows)).all()
    assert (again.counts["retried"], again.counts["scored"], again.counts[cause]) == (lacking, 2, 1)

    dropped = ServedReward(Broken([answer]), on_missing="drop", time_limit=limit)
    found = dropped(rows)
    assert isinstance(found, np.ma.MaskedArray)
    assert np.isnan(found.data[found.mask]).all()  # nothing is invented under the mask either
    assert found.mask.sum() == dropped.counts["dropped"] == lacking


def test_retries_end() -> None:
    reward = ServedReward(Broken([ConnectionError("down")] * 9), on_missing="retry", retries=4)
    with pytest.raises(MissingReward, match="in 5 of 5 calls"):
        reward(written(scored(), "a"))
    assert reward.counts["calls"] == 5


def test_the_same_rows_are_asked_for_once() -> None:
    reward = ServedReward(Broken([[1.0, 2.0], [5.0, 6.0]]))
    rows = written(scored(), "ab", "b")
    assert reward(rows).tolist() == reward(rows.take(np.arange(2))).tolist() == [1.0, 2.0]
    assert reward(rows.take(np.array([1, 0]))).tolist() == [5.0, 6.0]


def test_copies_keep_the_policy_and_nothing_else() -> None:
    reward = ServedReward(Flaky(), on_missing="drop", retries=2, time_limit=3.0)
    reward(written(scored(), "ab", "d"))
    for twin in (copy.deepcopy(reward), pickle.loads(pickle.dumps(reward))):
        assert twin == reward
        assert twin.counts == {}


ENVS: dict[str, Callable[[Task], Any]] = {
    "single": TextGenEnv,
    "batch": lambda task: TextGenVectorEnv(task, 2, AutoresetMode.SAME_STEP),
}


@pytest.mark.parametrize("form", ENVS)
def test_an_environment_raises_until_somebody_accepts(form: str) -> None:
    env = ENVS[form](task_of(ServedReward(Flaky("d", "nan"), on_missing="drop"), horizon=1))
    d = 3 if form == "single" else np.array([3, 0])
    env.reset(seed=0)
    before = env.episodes.get_state()
    with pytest.raises(MissingReward, match=r"TextGen.*Env: reward 'ServedReward' has no score for 1 of . rows"):
        env.step(d)
    agree("the state", env.episodes.get_state(), before)
    env.accept_missing_rewards()
    _, reward, _, _, info = env.step(d)
    if form == "single":
        assert (reward, info) == (0.0, {"reward_missing": True})
    else:
        assert reward.tolist() == [0.0, 1.0]
        assert info["final_info"]["reward_missing"].tolist() == [True, False]
    env.accept_missing_rewards(False)
    env.reset()
    with pytest.raises(MissingReward):
        env.step(d)
    with pytest.raises(InvalidSetting, match="accept=1 is neither"):
        env.accept_missing_rewards(1)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_batch_reports_what_singles_report(mode: AutoresetMode) -> None:
    flaky = ServedReward(Flaky("d", "nan"), on_missing="drop")
    metrics = {"score": flaky, "length": Length(), "success": ServedReward(Flaky("a", "nan"), on_missing="drop")}
    task = task_of(flaky, horizon=3, metrics=metrics)
    batch, singles = TextGenVectorEnv(task, 4, mode), SyncVectorEnv([lambda: TextGenEnv(task)] * 4, autoreset_mode=mode)
    batch.accept_missing_rewards()
    for single in singles.envs:
        single.unwrapped.accept_missing_rewards()  # type: ignore[attr-defined]
    agree("reset", batch.reset(seed=0), singles.reset(seed=0))
    rng, seen = np.random.default_rng(0), 0
    for step in range(120):
        actions = rng.integers(task.size, size=4)
        mine, theirs = batch.step(actions), singles.step(actions)
        agree(f"step {step}", mine, theirs)
        seen += "reward_missing" in mine[4].get("final_info", mine[4])
        if mode is AutoresetMode.DISABLED and mine[2].any():
            for env in (batch, singles):
                env.reset(options={"reset_mask": mine[2].copy()})
    assert seen > 5


def half(episodes: Episodes) -> Array:
    """Lack a score before the end."""
    return np.ma.MaskedArray(np.zeros(len(episodes)), ~episodes.finished)


def test_only_a_finished_row_may_lack_a_score() -> None:
    env = TextGenEnv(task_of(half))
    env.accept_missing_rewards()
    env.reset(seed=0)
    with pytest.raises(InvalidReward, match="row 0, which has not ended"):
        env.step(0)


def test_a_sum_lacks_a_score_where_a_part_does() -> None:
    flaky = ServedReward(Flaky("d", "nan"), on_missing="drop")
    reward = WeightedSum({"score": Part(flaky, 2.0, (-1, 1)), "length": Part(Length(), -0.1)}, clip=(-1, 1.5))
    rows = written(scored(), "aab", "ad", "a")
    found: Any = reward(rows)
    assert found.mask.tolist() == [False, True, False]
    assert np.isnan(found.data[1])
    assert found[[0, 2]].tolist() == pytest.approx([1.5, 1.5])  # 2 - 0.3 and 2 - 0.1, clipped
    assert reward.counts["dropped"] == 1
    rows.finished[2] = False
    assert reward(rows)[2] == 0.0


@given(st.lists(st.text("abcd我爱", max_size=4), min_size=1, max_size=5))
def test_counting_rewards_agree_with_loops(texts: list[str]) -> None:
    rows = written(scored(), *texts)
    pairs = [[text[i : i + 2] for i in range(len(text) - 1)] for text in texts]
    assert Length()(rows).tolist() == [len(text) for text in texts]
    assert Length(2, 3)(rows).tolist() == [max(0, 2 - len(text)) + max(0, len(text) - 3) for text in texts]
    expected = [len(set(grams)) / len(text) if text else 0.0 for grams, text in zip(pairs, texts)]
    assert Distinct(2)(rows).tolist() == expected
    expected = [1 - len(set(grams)) / len(grams) if grams else 0.0 for grams in pairs]
    assert Repetition(2)(rows).tolist() == pytest.approx(expected)
    assert BannedWords(["我", "AB"])(rows).tolist() == [_banned(rows, row) for row in range(len(texts))]


def _banned(rows: Episodes, row: int) -> int:
    prompt, text = rows.vocabulary.decode(rows.prompt[row]), rows.vocabulary.decode(rows.tokens[row])
    ends = [i + len(word) for word in ("我", "ab") for i in range(len(text)) if text[i : i + len(word)] == word]
    return sum(end > len(prompt) for end in ends)


def test_plain_data_names_rewards() -> None:
    spec = {
        "name": "sum",
        "parts": {
            "score": {"name": "terminal", "weight": 2},
            "length": {"most": 3, "weight": -0.5},
            "words": {"name": "banned_words", "words": ["ab"], "weight": -1, "clip": [0, 1]},
        },
        "clip": [-2, 2],
    }
    reward = reward_of(spec)
    assert reward(written(scored(), "ab", "aaaa")).tolist() == [-1.0, -0.5]
    assert pickle.loads(pickle.dumps(reward)) == reward


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("lerned", UnknownName, "no reward is called 'lerned'"),
        ({"name": "lenght"}, UnknownName, "no reward with arguments is called 'lenght'. Did you mean 'length'"),
        ({"name": "length", "mots": 3}, UnknownName, "no argument of 'length' is called 'mots'. Did you mean 'most'"),
        ({"name": "learned"}, InvalidSetting, "reward 'learned' lacks 'model'"),
        ({"parts": {}}, InvalidSetting, "names no reward"),
        (3, InvalidSetting, "reward=3 names no reward"),
        ({"name": "sum", "parts": {}}, InvalidSetting, "is no sum. Give at least one part"),
        ({"name": "sum", "parts": ["length"]}, InvalidSetting, "are no parts"),
        ({"name": "sum", "parts": {"length": {"weight": NAN}}}, InvalidSetting, "weight=nan"),
        ({"name": "sum", "parts": {"length": {"clip": [1, 2]}}}, InvalidSetting, "leaves out 0"),
        ({"name": "sum", "parts": {"length": {"clip": 3}}}, InvalidSetting, "clip=3 is no pair"),
        ({"name": "length", "least": 3, "most": 2}, InvalidSetting, "most=2 is less than least=3"),
        ({"name": "distinct", "n": 0}, InvalidSize, "n=0"),
        ({"name": "banned_words", "words": "ab"}, InvalidSetting, "words='ab' is no list"),
        ({"name": "banned_words", "words": [""]}, InvalidSetting, "'' is no word to ban"),
        ({"name": "banned_words", "words": []}, InvalidSetting, "bans nothing"),
    ],
)
def test_rewards_that_cannot_be_are_refused(spec: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        reward_of(spec)


def served(calls: int, caplog: pytest.LogCaptureFixture) -> None:
    """Let a service fail in 1 % of calls, in every way, and count."""
    rng, given, hung = np.random.default_rng(0), [], threading.Event()

    def service(prompts: list[str], completions: list[str]) -> Any:
        if rng.random() >= 0.01:
            given.append(float(rng.random()))
            return [given[-1]]
        kind = rng.integers(4)
        if kind == 0:
            raise ConnectionError("down")
        if kind == 1:
            hung.wait()
        return [NAN] if kind == 2 else []

    reward = ServedReward(service, on_missing="drop", time_limit=0.2)
    env = TextGenEnv(task_of(reward, horizon=1))
    env.accept_missing_rewards()
    earned, missing = [], 0
    rng_actions = np.random.default_rng(1)
    env.reset(seed=0)
    with caplog.at_level(logging.WARNING, "textgym.rewards"):
        while reward.counts.get("calls", 0) < calls:
            _, paid, _, _, info = env.step(rng_actions.integers(6))
            if info:
                assert (paid, info) == (0.0, {"reward_missing": True})
                missing += 1
            else:
                earned.append(paid)
            env.reset()
            reward._memory.rows = b""  # each text is asked for anew
    hung.set()
    assert earned == given  # every score that was paid was given
    counts = reward.counts
    assert counts["dropped"] == missing == sum(counts.get(name, 0) for name in FAULTS)
    assert counts["calls"] == len(given) + missing == calls
    assert 0.005 * calls < missing < 0.02 * calls
    assert f"of {caplog.records[-1].args[-1]} calls" in caplog.text  # type: ignore[index]


FAULTS = ("exception", "time limit", "not finite", "wrong shape")


def test_a_service_that_fails_in_one_call_of_a_hundred(caplog: pytest.LogCaptureFixture) -> None:
    served(1000, caplog)


@pytest.mark.slow
def test_a_service_that_fails_in_one_of_a_hundred_of_20_000_calls(caplog: pytest.LogCaptureFixture) -> None:
    served(20_000, caplog)


def test_elsewhere_a_missing_score_raises() -> None:
    with pytest.raises(MissingReward, match=r"agents.make\('ppo', env\)"):
        rollout(task_of(ServedReward(Flaky("d", "nan"), on_missing="drop")), write_random, 50)
