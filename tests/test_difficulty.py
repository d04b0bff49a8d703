"""How hard a task is: worked by hand, against every text played one by one, and against episodes of chance."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from brute_force import SMALL, ids

import textgym
from textgym import Prompt, Task, Vocabulary, difficulty, evaluate, load_task, variant
from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.env import TextGenEnv
from textgym.envs.ladders import LADDERS
from textgym.episodes import Episodes
from textgym.errors import InvalidSetting, InvalidSize, UnknownName
from textgym.hardness import DRAWN_PROMPTS, Difficulty
from textgym.prompts import ListedPrompts, RandomStrings
from textgym.rollouts import rollout, write_random

LETTERS = "abcdefghijklmnopqrstuvwxyz"
NOTHING = np.array([], np.int32)


def test_three_tokens_of_three() -> None:
    found = difficulty("TextGen-v0")
    assert found.random_success == pytest.approx((1 / 3) ** 3)
    assert found.random_episodes == pytest.approx(27)
    assert found.random_return == pytest.approx(3 * (1 / 3 - 2 / 3))
    assert found.optimal_return == 3.0
    assert found.sparsity == 0.0  # a wrong token costs 1
    assert (found.optimal_completions, found.lookahead, found.exact, found.has_metric) == ((1, 1), 1, True, True)


def test_three_tokens_of_three_paid_at_the_end() -> None:
    found = difficulty("TextGen-v0", reward="terminal")
    assert found.random_return == pytest.approx(1 / 27)
    assert found.sparsity == pytest.approx(1 - (1 / 27) / 3)  # one step in three is the last, one text in 27 right
    assert found.lookahead == 1  # the right token is worth something to chance, a wrong one nothing
    assert difficulty("TextGen-v0", 0.5, reward="terminal").random_return == pytest.approx(1 / 27 / 4)


@dataclass(frozen=True)
class TwoSteps:
    """The first letter pays `first` at once; the second pays 1 later, if a token below `good` follows it."""

    first: float
    good: int

    def __call__(self, episodes: Episodes) -> FloatArray:
        token, opened = episodes.newest, episodes.completion[:, 0] == 1
        at_once, later = (token == 0) * self.first, (opened & (token < self.good)) * 1.0
        paid: FloatArray = np.where(episodes.length == 1, at_once, later)
        return paid


def two_steps(first: float, good: int, size: int = 1000) -> Task:
    tokens = tuple(chr(ord("一") + i) for i in range(size))
    return Task(Vocabulary(tokens), ListedPrompts((Prompt(NOTHING, NOTHING),)), TwoSteps(first, good), horizon=2)


def test_two_steps_by_hand() -> None:
    found = difficulty(two_steps(first=0.5, good=999))
    # Q^1 of the second letter is 0.999, of the first 0.5; V* is 1. After it: Q^1 is 1, of the one bad token 0.
    needed = math.log(0.999 * 1 / (0.999 - 0.5) ** 2) + math.log(6 * math.log(2 * 2 * 1000))
    assert found.effective_horizon == pytest.approx(1 + needed / math.log(1000))
    assert found.lookahead == 1
    assert (found.optimal_return, found.optimal_completions) == (1.0, (999, 999))
    assert not found.has_metric
    assert found.random_success == pytest.approx(0.999 / 1000)
    assert found.random_return == pytest.approx(0.5 / 1000 + 0.999 / 1000)
    assert found.sparsity == pytest.approx(1 - (1 / 1000 + 0.999 / 1000) / 2)


@pytest.mark.parametrize("good", [1, 500], ids=["worse", "tied"])
def test_two_steps_of_which_the_second_must_be_seen(good: int) -> None:
    found = difficulty(two_steps(first=0.5, good=good))  # Q^1 of the second letter is good/1000
    assert (found.lookahead, found.effective_horizon) == (2, 2.0)


def three_ones(episodes: Episodes) -> FloatArray:
    """0.5 for beginning with a 0, 1 for beginning with three 1s."""
    decoy = (episodes.length == 1) & (episodes.newest == 0)
    paid: FloatArray = 0.5 * decoy + ((episodes.length == 3) & (ones(episodes) == 1))
    return paid


def ones(episodes: Episodes) -> IntArray:
    """Whether all that is written are 1s."""
    column = np.arange(episodes.horizon) < episodes.length[:, None]
    written: IntArray = ((episodes.completion == 1) | ~column).all(axis=1).astype(np.int64)
    return written


def test_three_steps_must_be_seen() -> None:
    tokens = tuple(chr(ord("一") + i) for i in range(1000))
    prompts = ListedPrompts((Prompt(NOTHING, NOTHING),))
    found = difficulty(Task(Vocabulary(tokens), prompts, three_ones, horizon=5, state_key=ones))
    assert found.lookahead == 3  # Q^2 of a 1 is 1/1000, Q^3 is 1; of a 0 both are 0.5
    needed = math.log(1 * 1 / 0.5**2) + math.log(6 * math.log(2 * 5 * 1000.0**3))
    assert found.effective_horizon == pytest.approx(3 + needed / math.log(1000))
    assert found.optimal_completions == (1000**2, 1000**2)


def test_trying_as_often_as_the_bound_says_finds_the_optimum_at_least_half_the_time() -> None:
    task, rng = load_task("TextGen-v0", target="hello", alphabet=LETTERS, reward="shaped"), np.random.default_rng(0)
    m = int(26 ** (difficulty(task).effective_horizon - 1))
    assert m < 26**2
    assert np.mean([greedy_over_chance(task, m, rng) == pytest.approx(1.0) for _ in range(20)]) >= 0.5


def greedy_over_chance(task: Task, m: int, rng: np.random.Generator) -> float:
    """Return what a text earns whose every token did best on average, over m texts of chance after it."""
    best: list[int] = []
    for _ in range(task.horizon):
        episodes = task.blank(task.size * m)
        episodes.begin(..., task.draw([rng] * len(episodes)))
        returns = np.zeros(len(episodes))
        for token in best:
            returns += task.step(episodes, np.full(len(episodes), token))
        returns += task.step(episodes, np.repeat(np.arange(task.size), m))
        while not episodes.finished.any():
            returns += task.step(episodes, rng.integers(task.size, size=len(episodes)))
        best.append(int(returns.reshape(task.size, m).mean(axis=1).argmax()))
    return float(returns.reshape(task.size, m)[best[-1]].mean())


def test_the_bound_of_a_word_by_hand() -> None:
    chance = sum(26.0**-i for i in range(5)) / 5  # what uniform writing earns behind the first right letter, and it
    needed = math.log(1 * chance / chance**2) + math.log(6 * math.log(2 * 5 * 26))  # a wrong letter earns nothing
    found = difficulty("TextGen-v0", target="hello", alphabet=LETTERS, reward="shaped")
    assert found.effective_horizon == pytest.approx(1 + needed / math.log(26))


def test_where_rewards_are_negative_returns_count_from_the_least() -> None:
    # The least is -5. Q^1 of the right letter: 1 now, 1/26 - 25/26 four times; of a wrong one 2 less.
    above = 1 + 4 * (1 / 26 - 25 / 26) + 5
    needed = math.log(above * (5 + 5) / 2**2) + math.log(6 * math.log(2 * 5 * 26))
    found = difficulty("TextGen-v0", target="hello", alphabet=LETTERS)
    assert found.effective_horizon == pytest.approx(1 + needed / math.log(26))
    lifted = replace(load_task("TextGen-v0", target="hello", alphabet=LETTERS), reward=half_of_one_more)
    assert difficulty(lifted).effective_horizon == pytest.approx(found.effective_horizon)


def half_of_one_more(episodes: Episodes) -> FloatArray:
    paid: FloatArray = (episodes.newest == episodes.wanted).astype(np.float64)
    return paid


def test_values_as_small_as_chance_are_told_apart() -> None:
    found = difficulty("TextGen-v0", target="z" * 20, alphabet=LETTERS, reward="terminal")
    assert found.random_success == pytest.approx(26.0**-20, rel=1e-9)
    assert (found.lookahead, found.effective_horizon) == (1, 20.0)  # no more than trying every text


def test_where_all_is_optimal_nothing_need_be_tried() -> None:
    free = difficulty(replace(load_task("TextGen-v0"), reward=pays_nothing, metrics={}))
    assert (free.lookahead, free.effective_horizon, free.random_success, free.sparsity) == (1, 1.0, 1.0, 1.0)
    assert difficulty("TextGen-v0", target="aaa").effective_horizon == 1.0  # one action


def pays_nothing(episodes: Episodes) -> FloatArray:
    return np.zeros(len(episodes))


Play = tuple[tuple[int, ...], float, list[float], bool]  # actions, their probability, rewards, success


def plays(task: Task, prompt: Prompt) -> Iterator[Play]:
    """Play every text of a prompt through the environment."""
    env, seen = TextGenEnv(replace(task, prompts=ListedPrompts((prompt,)))), set()
    for actions in itertools.product(range(task.size), repeat=task.horizon):
        env.reset(seed=0)
        p, ended = 1.0, False
        rewards: list[float] = []
        info: dict[str, Any] = {}
        while not ended:
            mask = env.action_masks()
            if not mask[actions[len(rewards)]]:
                break
            p /= mask.sum()
            _, reward, ended, _, info = env.step(actions[len(rewards)])
            rewards.append(float(reward))
        if ended and actions[: len(rewards)] not in seen:
            seen.add(actions[: len(rewards)])
            yield actions[: len(rewards)], p, rewards, bool(info.get("is_success", False))


def never_twice(episodes: Episodes) -> BoolArray:
    """The token written last may not be written again."""
    allowed = np.ones((len(episodes), episodes.vocabulary.size), np.bool_)
    if episodes.longest:
        allowed[np.arange(len(episodes)), episodes.newest] = False
    return allowed


def masked() -> Task:
    return replace(load_task("TextGen-v0", target="abc", alphabet="abc"), mask=never_twice, state_key=None)


class Loaded:
    """Two prompts, one three times as likely as the other."""

    max_length, max_target = 1, 2

    def support(self) -> tuple[list[Prompt], FloatArray]:
        easy, hard = (Prompt(np.array([i]), np.array([i] * n)) for i, n in ((0, 1), (1, 2)))
        return [easy, hard], np.array([0.75, 0.25])

    def __call__(self, rng: np.random.Generator) -> Prompt:
        return self.support()[0][int(rng.random() < 0.25)]


def loaded() -> Task:
    return replace(load_task("TextGen-v0", target=["a", "bb"], alphabet="ab"), prompts=Loaded())


CASES = [*((ids(case), load_task(case[0], **case[1])) for case in SMALL), ("masked", masked()), ("loaded", loaded())]


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.0])
@pytest.mark.parametrize("task", [task for _, task in CASES], ids=[name for name, _ in CASES])
def test_it_is_what_every_text_played_one_by_one_says(task: Task, gamma: float) -> None:
    prompts, probabilities = task.prompts.support()  # type: ignore[attr-defined]
    success = earned = best = steps = unpaid = luck = 0.0
    completions = []
    for chance, prompt in zip(probabilities, prompts):
        played = [(p, sum(gamma**i * r for i, r in enumerate(rs)), rs, won) for _, p, rs, won in plays(task, prompt)]
        assert sum(p for p, *_ in played) == pytest.approx(1)
        top = max(total for _, total, _, _ in played)
        optimal = [p for p, total, _, _ in played if math.isclose(total, top, abs_tol=1e-9)]
        success += chance * sum(p for p, _, _, won in played if won)
        earned += chance * sum(p * total for p, total, _, _ in played)
        steps += chance * sum(p * len(rewards) for p, _, rewards, _ in played)
        unpaid += chance * sum(p * rewards.count(0.0) for p, _, rewards, _ in played)
        best, luck = best + chance * top, luck + chance * sum(optimal)
        completions.append(len(optimal))
    found, unmeasured = difficulty(task, gamma), difficulty(replace(task, metrics={}), gamma)
    assert found.random_success == pytest.approx(success)
    assert unmeasured.random_success == pytest.approx(luck)
    assert (found.has_metric, unmeasured.has_metric) == (True, False)
    assert found.random_return == pytest.approx(earned)
    assert found.optimal_return == pytest.approx(best)
    assert found.sparsity == pytest.approx(unpaid / steps)
    assert found.optimal_completions == (min(completions), max(completions))
    assert found.exact


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.0])
@pytest.mark.parametrize("case", SMALL, ids=ids)
def test_states_that_merge_change_nothing(case: tuple[str, Any], gamma: float) -> None:
    task = load_task(case[0], **case[1])
    tree = difficulty(replace(task, state_key=None), gamma)
    for name, value in vars(difficulty(task, gamma)).items():
        assert value == pytest.approx(getattr(tree, name)), name


@pytest.mark.parametrize("gamma", [1.0, 0.7, 0.0])
@pytest.mark.parametrize("case", SMALL, ids=ids)
def test_it_agrees_with_the_value_of_uniform_writing(case: tuple[str, Any], gamma: float) -> None:
    found, worth = difficulty(case[0], gamma, **case[1]), evaluate(case[0], None, gamma, **case[1])
    assert found.random_return == pytest.approx(worth.expected_return, abs=1e-12)
    assert found.random_success == pytest.approx(worth.success_probability)


@pytest.mark.parametrize("task", [task for _, task in CASES], ids=[name for name, _ in CASES])
def test_episodes_of_chance_come_near_it(task: Task) -> None:
    found, n = difficulty(task), 4000
    returns, episodes = rollout(task, write_random, n, seed=1)
    successes = task.measure(episodes)["success"]
    for mean, sampled in ((found.random_return, returns), (found.random_success, successes)):
        assert abs(mean - sampled.mean()) <= 3 * sampled.std() / math.sqrt(n) + 1e-12


@dataclass(frozen=True, eq=False)
class Drawn:
    """A reward of its own for every text of two letters: `rewards[depth][text as a binary number]`."""

    rewards: tuple[FloatArray, ...]

    def __call__(self, episodes: Episodes) -> FloatArray:
        paid = np.zeros(len(episodes))
        for row in range(len(episodes)):
            written = episodes.completion[row, : episodes.length[row]]
            paid[row] = self.rewards[len(written) - 1][int("".join(map(str, written.tolist())), 2)]
        return paid


def lookahead_by_loop(rewards: tuple[FloatArray, ...]) -> tuple[int, float]:
    """Return the least lookahead and the bound of a task of two letters, text by text, with no arrays."""
    depth = len(rewards)
    texts = [text for d in range(depth) for text in itertools.product((0, 1), repeat=d)]

    def reward(text: tuple[int, ...]) -> float:
        return float(rewards[len(text) - 1][int("".join(map(str, text)), 2)])

    def value(text: tuple[int, ...], k: int) -> float:  # 0: uniform
        if len(text) == depth:
            return 0.0
        of = [q(text, a, max(k, 1)) for a in (0, 1)]
        return max(of) if k else sum(of) / 2

    memory: dict[tuple[tuple[int, ...], int, int], float] = {}

    def q(text: tuple[int, ...], action: int, k: int) -> float:
        key = (text, action, k)
        if key not in memory:
            memory[key] = reward((*text, action)) + value((*text, action), k - 1)
        return memory[key]

    def least(text: tuple[int, ...]) -> float:
        return 0.0 if len(text) == depth else min(reward((*text, a)) + least((*text, a)) for a in (0, 1))

    def chosen(text: tuple[int, ...], k: int) -> set[int]:
        of = [q(text, a, k) for a in (0, 1)]
        return {a for a in (0, 1) if of[a] >= max(of) - 1e-9}

    def reached(k: int) -> list[tuple[int, ...]]:
        return [text for text in texts if all(text[i] in chosen(text[:i], k) for i in range(len(text)))]

    lookahead, bound = depth, float(depth)
    for k in range(1, depth):
        if all(chosen(text, k) <= chosen(text, depth) for text in reached(k)):
            lookahead = min(lookahead, k)
        needed = []
        for text in reached(depth):
            for bad in {0, 1} - chosen(text, depth):
                gap = q(text, 1 - bad, k) - q(text, bad, k)
                floor = min(0.0, least(text))
                top, best = q(text, 1 - bad, k) - floor, q(text, 1 - bad, depth) - floor
                needed.append(math.log2(top * best / gap**2) if gap > 1e-9 else math.inf)
        bound = min(bound, k + max(needed) + math.log2(6 * math.log(2 * depth * 2**k)))
    return lookahead, bound


@pytest.mark.parametrize("lowest", [0.0, -0.5])
@pytest.mark.parametrize("bonus", [0.0, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("seed", range(4))
def test_lookahead_and_bound_are_those_of_a_plain_loop(seed: int, bonus: float, lowest: float) -> None:
    rng, depth = np.random.default_rng(seed), 9
    rewards = tuple(  # what is paid falls by half with each letter; the second letter is paid the bonus
        (rng.choice([lowest, 0.0, 0.25, 0.5], 2**d) + bonus * (np.arange(2**d) % 2)) / 2**d for d in range(1, depth + 1)
    )
    task = Task(Vocabulary(("a", "b")), ListedPrompts((Prompt(NOTHING, NOTHING),)), Drawn(rewards), horizon=depth)
    found, (lookahead, bound) = difficulty(task), lookahead_by_loop(rewards)
    assert found.lookahead == lookahead
    assert found.effective_horizon == pytest.approx(bound)
    assert found.lookahead <= found.effective_horizon + 1e-9
    assert bound < depth or bonus < 4.0  # some are bounds in earnest


def lucky(episodes: Episodes) -> FloatArray:
    sign = np.where(episodes.seed % np.uint64(2) == 0, 1.0, -1.0)
    paid: FloatArray = (episodes.newest == 0) + sign
    return paid


def mean_lucky(episodes: Episodes) -> FloatArray:
    paid: FloatArray = (episodes.newest == 0).astype(np.float64)
    return paid


def test_where_reward_depends_on_chance_its_mean_counts_and_the_bound_is_not_known() -> None:
    task = replace(load_task("TextGen-v0"), reward=lucky, mean_reward=mean_lucky, state_key=None)
    found = difficulty(task)
    assert found.random_return == pytest.approx(1.0)
    assert found.optimal_return == 3.0
    assert found.sparsity == pytest.approx(2 / 3)
    assert found.lookahead == 1
    assert math.isnan(found.effective_horizon)


def test_what_never_succeeds_takes_for_ever() -> None:
    found = difficulty("TextGen-v0", horizon=4)  # nothing stops the writer at the target's end
    assert (found.random_success, found.random_episodes) == (0.0, math.inf)


def test_episodes_of_random_search_are_what_is_counted() -> None:
    task = load_task("TextGen-v0", target=["a", "bb"], alphabet="ab")
    rng, waits, waited = np.random.default_rng(0), [], 0
    _, episodes = rollout(task, write_random, 6000, seed=int(rng.integers(100)))
    for won in task.measure(episodes)["success"]:
        waited += 1
        if won:
            waits.append(waited)
            waited = 0
    error = np.std(waits) / math.sqrt(len(waits))
    assert abs(np.mean(waits) - difficulty(task).random_episodes) < 3 * error
    assert difficulty(task).random_episodes == pytest.approx(1 / ((1 / 2 + 1 / 4) / 2))


def test_too_many_prompts_are_drawn_instead() -> None:
    found = difficulty("TextGym/Copy-v0")
    task = load_task("TextGym/Copy-v0")
    drawn = task.draw([np.random.default_rng(0)] * DRAWN_PROMPTS)
    assert not found.exact
    assert found == replace(difficulty(task, prompts=drawn), exact=False)
    small = difficulty("TextGym/Copy-v0", alphabet="abc", limit=100_000)  # 1092 prompts, with the limit of fewer
    assert small.exact
    fewer = difficulty("TextGym/Copy-v0", alphabet="abc", limit=20_000)
    assert not fewer.exact
    assert fewer.random_success == pytest.approx(small.random_success, rel=0.3)


class Unlisted:
    """Prompts that cannot be listed."""

    max_length, max_target = 1, 1

    def __call__(self, rng: np.random.Generator) -> Prompt:
        letter = rng.integers(2, size=1)
        return Prompt(letter, letter)


def test_prompts_that_nobody_lists_are_drawn() -> None:
    found = difficulty(replace(load_task("TextGen-v0", target=["a", "b"]), prompts=Unlisted()))
    assert not found.exact
    assert found.random_success == pytest.approx(0.5)


def same(string: IntArray) -> IntArray:
    return string


def test_prompts_are_counted_before_they_are_listed() -> None:
    for low, high in ((1, 1), (2, 4)):
        strings = RandomStrings(Vocabulary(tuple("abc$"), eos="$"), low, high, same)
        assert strings.count == len(strings.support()[0])


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"gamma": 1.5}, InvalidSetting, r"gamma=1\.5 is no number from 0 to 1"),
        ({"gamma": math.nan}, InvalidSetting, r"gamma=nan is no number from 0 to 1"),
        ({"prompts": []}, InvalidSetting, r"prompts=\[\] is no prompt"),
        ({"limit": 0}, InvalidSize, r"limit=0 is not a size"),
        ({"limit": True}, InvalidSize, r"limit=True is not a size"),
        ({"limit": 5}, InvalidSetting, r"more than 5 pairs of a state and an action"),
        ({"targt": "a"}, TypeError, r"Did you mean 'target'\?"),
    ],
)
def test_what_means_nothing_is_refused(kwargs: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        difficulty("TextGen-v0", **kwargs)


def test_prompts_that_hide_their_target_are_refused() -> None:
    hidden = ListedPrompts(tuple(Prompt(NOTHING, np.array([i], np.int32)) for i in (0, 1)))
    with pytest.raises(InvalidSetting, match="comes with several targets"):
        difficulty(replace(load_task("TextGen-v0"), prompts=hidden))


@pytest.mark.parametrize("id", sorted({*textgym.task_ids()} - {"TextGym/RewardModel-v0"}))
def test_every_id_has_a_difficulty_that_is_one(id: str) -> None:
    found = difficulty(id)
    assert isinstance(found, Difficulty)
    assert 0 <= found.random_success <= 1 + 1e-9
    assert 0 <= found.sparsity <= 1 + 1e-9
    assert found.random_return <= found.optimal_return + 1e-9
    assert 1 <= found.lookahead <= load_task(id).horizon
    assert math.isnan(found.effective_horizon) or found.lookahead <= found.effective_horizon <= load_task(id).horizon
    assert 1 <= found.optimal_completions[0] <= found.optimal_completions[1]


def test_a_task_whose_reward_reads_the_whole_text_has_none_and_says_so() -> None:
    with pytest.raises(InvalidSetting, match="every text is a state of its own"):
        difficulty("TextGym/RewardModel-v0")


@pytest.mark.parametrize("decade", range(1, 7))
@pytest.mark.parametrize("id", sorted(LADDERS))
def test_a_variant_is_as_hard_as_was_asked(id: str, decade: int) -> None:
    chosen = variant(id, 10.0**-decade)
    assert json.loads(json.dumps(chosen)) == chosen
    assert abs(math.log10(difficulty(id, **chosen).random_success) + decade) <= 0.5
    env = gymnasium.make(id, **chosen)
    assert env.reset(seed=0)[0] in env.observation_space


@pytest.mark.parametrize("id", sorted(LADDERS))
def test_every_rung_is_harder(id: str) -> None:
    rungs = [difficulty(id, **LADDERS[id](k)).random_success for k in range(1, 6)]
    assert all(0.1 - 1e-9 <= after / before < 1 for before, after in itertools.pairwise(rungs))


def test_the_nearest_rung_is_found_on_either_side() -> None:
    assert variant("TextGen-v0", 0.01 * 10**0.4)["target"] == "ab"
    assert variant("TextGen-v0", 0.01 * 10**-0.4)["target"] == "ab"


@pytest.mark.parametrize(
    ("id", "success", "error", "match"),
    [
        ("TextGym/Corners-v0", 0.1, UnknownName, "no id with a ladder of variants is called 'TextGym/Corners-v0'"),
        ("TextGem-v0", 0.1, UnknownName, r"Did you mean 'TextGen-v0'\? Known: TextGen-v0"),
        (3, 0.1, UnknownName, "is called 3"),
        ("TextGen-v0", 0.9, InvalidSetting, r"success=0\.9 is out of reach .* the nearest, .* has 0\.1"),
        ("TextGen-v0", 1e-90, InvalidSetting, r"success=1e-90 is out of reach"),
        ("TextGen-v0", 0.0, InvalidSetting, r"success=0\.0 is no probability between 0 and 1"),
        ("TextGen-v0", True, InvalidSetting, "success=True is no probability"),
        ("TextGen-v0", math.nan, InvalidSetting, "success=nan is no probability"),
        ("TextGen-v0", "0.1", InvalidSetting, "success='0.1' is no probability"),
    ],
)
def test_variants_that_cannot_be_are_refused(id: Any, success: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        variant(id, success)
