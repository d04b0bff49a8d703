"""Builders of preferences: which text is better is known in each case, and recomputed here."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agents import make, make_vec_env
from agents.preference_builders import CORRUPTIONS, from_corruption, from_labels, from_policy, repeated
from agents.preferences import split
from textgym import Episodes, Task, load_task
from textgym.arrays import FloatArray
from textgym.errors import InvalidReward, InvalidSetting, InvalidSize, UnknownName
from textgym.rollouts import write_random

COPY = load_task("TextGym/Copy-v0", alphabet="abc", max_length=3)
LONG = load_task("TextGen-v0", target="abcdefgh", reward="terminal")


def a_count(episodes: Episodes) -> FloatArray:
    """What the newest token earns: 1 for an a."""
    return np.where(episodes.newest == episodes.vocabulary.id("a"), 1.0, 0.0)


@pytest.mark.parametrize("per_text", [1, 3])
def test_each_positive_text_is_chosen_against_negative_ones(per_text: int) -> None:
    good, bad = [f"好{i}" for i in range(20)], [f"坏{i}" for i in range(17)]
    pairs = from_labels([*good, "both", good[0]], ["both", *bad], per_text=per_text, seed=1)
    n = 17 // per_text * per_text
    assert len({*pairs}) == len(pairs) == n * per_text
    assert all(pair.prompt == "" and pair.ranking[0] in good and pair.ranking[1] in bad for pair in pairs)
    assert {*Counter(text for pair in pairs for text in pair.ranking).values()} == {per_text}
    assert pairs == from_labels([*good, "both"], [*bad, "both"], per_text=per_text, seed=1)
    learned, held_out = split(pairs, 0.6, 0)  # groups of per_text are small enough to be held out
    assert abs(len(held_out) - 0.6 * len(pairs)) <= per_text**2
    assert learned


def test_labels_that_make_no_pair_are_refused() -> None:
    with pytest.raises(InvalidSetting, match=r"1 positive and 0 negative texts, .* make no pair with per_text=1"):
        from_labels(["a", "b"], ["b", "b"])
    with pytest.raises(InvalidSetting, match="text 2 is ''"):
        from_labels(["a", ""], ["b"])
    with pytest.raises(InvalidSetting, match="'ab' is no list of texts"):
        from_labels("ab", ["b"])
    with pytest.raises(InvalidSize, match="per_text=0"):
        from_labels(["a"], ["b"], per_text=0)


def test_corruptions_do_what_they_say() -> None:
    rng, text = np.random.default_rng(0), list("我爱你们大家好")
    for _ in range(50):
        assert sorted(CORRUPTIONS["shuffled"](text, rng)) == sorted(text)
        cut = CORRUPTIONS["truncated"](text, rng)
        assert 1 <= len(cut) < len(text)
        assert cut == text[: len(cut)]
        stuck = repeated(text, rng)
        assert len(stuck) == len(text)
        start = next(i for i in range(len(text)) if stuck[: i + 1] != text[: i + 1])
        sizes = [
            k for k in range(1, len(text) // 2 + 1) if all(stuck[i] == stuck[i - k] for i in range(start, len(text)))
        ]
        assert sizes  # from some place on it says the same again


def test_a_text_is_chosen_against_its_corruption() -> None:
    texts: list[str | tuple[str, str]] = [("这家", "菜很好吃"), "哈", "服务也好", "服务也好", "啊啊"]
    pairs = from_corruption(texts, seed=3)
    assert [(pair.prompt, pair.ranking[0]) for pair in pairs] == [("这家", "菜很好吃"), ("", "服务也好"), ("", "啊啊")]
    assert pairs[2].ranking[1] == "啊"  # nothing else changes it
    assert all({*pair.ranking[1]} <= {*pair.ranking[0]} for pair in pairs)
    assert pairs == from_corruption(texts, seed=3)
    words = from_corruption(["one two  three"], ["shuffled"], words=True)[0]
    assert words.ranking[0] == "one two three"
    assert sorted(words.ranking[1].split()) == ["one", "three", "two"]
    kinds = from_corruption([f"{i:06d}" for i in range(100, 400)], ["truncated", "shuffled"])
    assert 100 < sum(len(pair.ranking[1]) < 6 for pair in kinds) < 200


def test_texts_that_nothing_corrupts_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="none of the texts is changed by shuffled"):
        from_corruption(["a", "bb"], ["shuffled"])
    with pytest.raises(UnknownName, match=r"no corruption is called 'shufled'\. Did you mean 'shuffled'"):
        from_corruption(["abc"], ["shufled"])
    for given in ("shuffled", ()):
        with pytest.raises(InvalidSetting, match="is no list of names"):
            from_corruption(["abc"], given)
    with pytest.raises(InvalidSetting, match="text 1 is 5"):
        from_corruption([5])  # type: ignore[list-item]


def test_pairs_of_samples_are_judged_by_their_returns() -> None:
    pairs = from_policy(write_random, COPY, 40, reward=a_count, margins=True, distinct=False, seed=5)
    assert len(pairs) == 40
    for pair in pairs:
        better, worse = (completion.count("a") for completion in pair.ranking)
        assert better > worse
        assert pair.margin == better - worse
        assert 1 <= len(pair.prompt) <= 3
    assert pairs == from_policy(write_random, COPY, 40, reward=a_count, margins=True, distinct=False, seed=5)
    texts = [text for pair in from_policy(write_random, COPY, 40, reward=a_count) for text in pair.texts]
    assert len({*texts}) == len(texts) == 80


def test_label_noise_flips_that_share_of_labels() -> None:
    def wrong(noise: float) -> float:
        pairs = from_policy(write_random, COPY, 600, reward=a_count, noise=noise, distinct=False, seed=2)
        return float(np.mean([pair.ranking[0].count("a") < pair.ranking[1].count("a") for pair in pairs]))

    assert wrong(0.0) == 0
    assert wrong(1.0) == 1
    assert wrong(0.25) == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 600) ** 0.5)


def test_an_agent_is_a_policy_and_its_task_judges_where_no_reward_is_given() -> None:
    env = make_vec_env("TextGym/Copy-v0", 2, alphabet="abc", max_length=3)
    agent = make("ppo", env, seed=0, device="cpu", policy={"d_model": 8, "n_layers": 1, "n_heads": 1})
    for pair in from_policy(agent, replace(COPY, reward=a_count), 5):
        better, worse = (completion.count("a") for completion in pair.ranking)
        assert better > worse


def test_words_are_parted_from_the_prompt_by_a_blank() -> None:
    task = load_task("TextGym/RandomWalks-v0")
    assert isinstance(task, Task)
    texts = [pair.texts[0] for pair in from_policy(write_random, task, 3, reward=lambda rows: rows.newest)]
    vocabulary = task.vocabulary
    assert [vocabulary.decode(vocabulary.encode(text)) for text in texts] == texts


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(InvalidSetting, match=r"of \d+ pairs of samples only 0 .* n=3 were asked for"):
        from_policy(write_random, LONG, 3, distinct=False)  # nothing but the target is paid
    with pytest.raises(InvalidReward, match="gave nan"):
        from_policy(write_random, COPY, 3, reward=lambda rows: np.full(len(rows), np.nan))
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"policy": 5}, "policy=5 has no predict"),
        ({"task": "TextGen-v0"}, "is no task"),
        ({"n": 0}, "n=0 is not a size"),
        ({"noise": 1.5}, "noise=1.5"),
        ({"noise": float("nan")}, "noise=nan"),
        ({"margins": 1}, "margins=1"),
        ({"seed": -1}, "seed=-1"),
    ]
    for given, message in wrong:
        asked: dict[str, Any] = {"policy": write_random, "task": COPY, "n": 1, **given}
        with pytest.raises(ValueError, match=message):
            from_policy(**asked)
