"""What texts are like: every metric by hand."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents import AgentPolicy, load, make, make_vec_env, save
from agents.evaluation import write
from agents.likelihood import perplexity, perplexity_under, token_log_probabilities
from agents.sampling import Sampling
from agents.text_data import written
from agents.text_metrics import Measures, chosen, self_bleu
from textgym import Episodes, Prompt, load_task
from textgym.errors import InvalidSetting, InvalidSize, UnknownName
from textgym.texts import distinct, entropy, length, repetition

Textgym = Callable[..., tuple[int, str, str]]

WORD: dict[str, Any] = {"target": "ab", "alphabet": "ab", "eos": "$", "horizon": 4}
TEXTS = st.lists(st.lists(st.integers(0, 3), max_size=8), max_size=5)
HAS_SACREBLEU = importlib.util.find_spec("sacrebleu") is not None


def test_distinct_counts_different_ngrams_for_each_token() -> None:
    texts = ["abab", "abc"]  # 7 tokens; a, b, c; ab, ba, bc
    assert distinct(texts, 1) == pytest.approx(3 / 7)
    assert distinct(texts, 2) == pytest.approx(3 / 7)
    assert distinct(texts, 3) == pytest.approx(3 / 7)  # aba, bab, abc
    assert distinct(texts, 5) == 0
    assert distinct(["我爱你", "我爱我"], 1) == pytest.approx(3 / 6)
    assert distinct([["the", "cat"], ["the", "dog"]], 1) == pytest.approx(3 / 4)
    assert distinct([[], []]) is None


def test_repetition_is_the_share_of_ngrams_that_a_text_had_before() -> None:
    assert repetition(["aaaa"], 1) == pytest.approx(3 / 4)
    assert repetition(["aaaa", "abcd"], 1) == pytest.approx((3 / 4 + 0) / 2)
    assert repetition(["ababab"], 2) == pytest.approx(1 - 2 / 5)  # ab ba ab ba ab
    assert repetition(["哈哈哈哈哈"]) == pytest.approx(1 / 2)  # two fours, both the same
    assert repetition(["aa", "b"], 2) == 0  # the second has no bigram, and does not count
    assert repetition(["abc", ""]) is None


def test_length_is_the_mean_number_of_tokens() -> None:
    assert length(["ab", "", "abcd"]) == 2
    assert length(["我爱你"]) == 3
    assert length([]) is None


def test_entropy_is_that_of_all_ngrams_together() -> None:
    assert entropy(["ab", "ba"]) == pytest.approx(math.log(2))
    assert entropy(["aaa", "a"]) == 0
    assert entropy(["aab"]) == pytest.approx(-(2 / 3) * math.log(2 / 3) - (1 / 3) * math.log(1 / 3))
    assert entropy(["abc"], 2) == pytest.approx(math.log(2))
    assert entropy(["", ""]) is None


@given(TEXTS, st.integers(1, 4))
def test_metrics_agree_with_plain_loops(texts: list[list[int]], n: int) -> None:
    grams = [[tuple(text[i : i + n]) for i in range(len(text)) if i + n <= len(text)] for text in texts]
    everything = list(itertools.chain.from_iterable(grams))
    tokens = sum(len(text) for text in texts)
    assert distinct(texts, n) == (len(set(everything)) / tokens if tokens else None)
    shares = [sum(gram in own[:i] for i, gram in enumerate(own)) / len(own) for own in grams if own]
    assert repetition(texts, n) == (pytest.approx(float(np.mean(shares))) if shares else None)
    p = [everything.count(gram) / len(everything) for gram in set(everything)]
    assert entropy(texts, n) == (pytest.approx(-sum(q * math.log(q) for q in p)) if p else None)


@pytest.mark.skipif(not HAS_SACREBLEU, reason="sacrebleu is not installed")
def test_self_bleu_of_texts_that_are_alike_and_that_share_nothing() -> None:
    assert self_bleu(["abcde", "abcde", "abcde"]) == pytest.approx(1)
    assert self_bleu([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]) == pytest.approx(0)
    assert self_bleu(["ab"]) is None
    # of a b c d against a b c e: unigrams 3 of 4, bigrams 2 of 3; one length, no penalty
    assert self_bleu(["abcd", "abce"], 2) == pytest.approx(math.sqrt(3 / 4 * 2 / 3))


@pytest.mark.skipif(not HAS_SACREBLEU, reason="sacrebleu is not installed")
def test_self_bleu_worked_by_hand() -> None:
    # ab against abc: all of its 2 and 1, but shorter, exp(1 - 3 / 2); abc against ab: 2 of 3 and 1 of 2, and longer
    assert self_bleu(["ab", "abc"], 2) == pytest.approx((math.exp(-0.5) + math.sqrt(2 / 3 * 1 / 2)) / 2)
    # of each text the best count among the others: aab has a twice, aac twice, bab once; ab, aa and ba in turn
    first = math.sqrt(3 / 3 * 2 / 2)  # a a b: a 2 (aac), b 1; aa (aac), ab (bab)
    second = math.sqrt(2 / 3 * 1 / 2)  # a a c: a 2, c 0; aa, not ac
    third = math.sqrt(2 / 3 * 1 / 2)  # b a b: a 1, b 1 of 2; ab, not ba
    assert self_bleu(["aab", "aac", "bab"], 2) == pytest.approx((first + second + third) / 3)
    assert self_bleu([["the", "cat"], ["the", "dog"]], 1) == pytest.approx(1 / 2)


@pytest.mark.skipif(HAS_SACREBLEU, reason="sacrebleu is installed")
def test_self_bleu_says_what_it_needs() -> None:
    with pytest.raises(ImportError, match=r'self-bleu needs sacrebleu: pip install "textgym\[metrics\]"'):
        self_bleu(["ab", "cd"])


@pytest.mark.parametrize("metric", [distinct, repetition, entropy, self_bleu])
@pytest.mark.parametrize("n", [0, -1, True, 1.5])
def test_an_n_that_is_none_is_refused(metric: Callable[..., object], n: object) -> None:
    with pytest.raises(InvalidSize, match="n="):
        metric(["ab"], n)


def test_names_choose_metrics_and_their_n() -> None:
    assert list(chosen(["distinct", "repetition-2", "length", "entropy-3"])) == [
        "distinct-1",
        "distinct-2",
        "repetition-2",
        "length",
        "entropy-3",
    ]
    assert chosen(["distinct-3"])["distinct-3"](["abcd"]) == pytest.approx(2 / 4)
    with pytest.raises(UnknownName, match="Did you mean 'distinct'"):
        chosen(["distnct"])
    for name in ("length-2", "distinct-0"):
        with pytest.raises(InvalidSetting, match=f"no metric is called '{name}'"):
            chosen([name])


def test_perplexity_goes_with_the_model_under_which_it_is() -> None:
    for names, under in (("perplexity", None), ("distinct", Path("run"))):
        with pytest.raises(InvalidSetting, match="Give both, --metrics perplexity --under DIR, or neither"):
            Measures.read(names, under)
    assert Measures.read("").metrics == {}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose parameters are those of chance."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    sizes = {"d_model": 8, "n_layers": 1, "n_heads": 2}
    save(make("ppo", make_vec_env("TextGen-v0", 8, **WORD), seed=0, policy=sizes), folder)
    return folder


def test_eval_shows_metrics_of_what_was_written(run: Path, textgym: Textgym) -> None:
    asked = ("eval", str(run), "--sample", "--episodes", "40", "--metrics", "distinct,length,perplexity")
    status, out, err = textgym(*asked, "--under", str(run), "--json")
    assert (status, err) == (0, "")
    figures = json.loads(out)["metrics"]
    assert list(figures) == ["distinct-1", "distinct-2", "length", "perplexity"]
    assert 1 < figures["perplexity"] < 4  # three tokens, nearly uniform
    assert 0 < figures["length"] <= 4
    shown = textgym(*asked, "--under", str(run))[1]
    assert f"length        {figures['length']:.3f}\n" in shown
    assert "metrics" not in json.loads(textgym("eval", str(run), "--json")[1])


def test_eval_refuses_a_model_of_another_vocabulary(run: Path, tmp_path: Path, textgym: Textgym) -> None:
    save(make("ppo", make_vec_env("TextGen-v0", 8), seed=0), tmp_path / "other")
    status, out, err = textgym("eval", str(run), "--metrics", "perplexity", "--under", str(tmp_path / "other"))
    assert (status, out) == (1, "")
    assert "was trained on 'TextGen-v0' with vocabulary=" in err


def by_hand(run: Path, rows: Episodes) -> list[float]:
    """The log-probabilities of all tokens that were written, from the policy's distribution after every prefix."""
    task, policy = load_task("TextGen-v0", **WORD), AgentPolicy(load(run))
    found = []
    for text, many in zip(rows.completion, rows.length):
        row = task.blank(1)
        row.begin(..., task.draw([np.random.default_rng(0)]))
        for token in text[:many].tolist():
            found.append(math.log(policy(row.tokens, task.action_mask(row))[0, token]))
            task.step(row, np.array([token]))
    return found


def test_perplexity_is_that_of_every_token_by_itself_and_end_tokens_count(run: Path) -> None:
    task = load_task("TextGen-v0", **WORD)
    rows, _ = write(make("ppo", make_vec_env("TextGen-v0", 8, **WORD), seed=1), task, 30, deterministic=False)
    expected = by_hand(run, rows)
    assert len({*rows.length.tolist()}) > 2
    assert len(expected) == rows.length.sum()
    chance = torch.get_rng_state()
    assert perplexity_under(run, task, rows) == pytest.approx(math.exp(-np.mean(expected)), rel=1e-5)
    assert (torch.get_rng_state() == chance).all()


@pytest.mark.parametrize("agent", ["ppo", "dqn", "tabular-reinforce"])
def test_every_kind_of_agent_says_how_likely_a_text_is(agent: str) -> None:
    env = make_vec_env("TextGen-v0", 2, **WORD)
    learner, task = make(agent, env, seed=0), load_task("TextGen-v0", **WORD)
    found = token_log_probabilities(learner, written(task, [([], [0, 1, 2]), ([], [2])])[0])
    policy, row = AgentPolicy(learner), task.blank(1)
    row.begin(..., task.draw([np.random.default_rng(0)]))
    empty = policy(row.tokens, task.action_mask(row))[0]
    np.testing.assert_allclose(np.exp(found[[0, 3]]), empty[[0, 2]], atol=1e-5)
    task.step(row, np.array([0]))
    assert math.exp(found[1]) == pytest.approx(policy(row.tokens, task.action_mask(row))[0, 1], abs=1e-5)


def test_a_text_outside_the_mask_is_impossible() -> None:
    task = load_task("TextGym/Brackets-v0", kinds=1, max_prompt=1)
    learner = make("ppo", make_vec_env("TextGym/Brackets-v0", 2, kinds=1, max_prompt=1), seed=0)
    opening, closing = task.vocabulary.encode("()").tolist()
    corpus, faults = written(task, [([opening], [closing]), ([], [closing])])
    assert faults == {1: "the environment's mask bars token 1"}
    found = token_log_probabilities(learner, corpus)
    assert -10 < found[0] < 0
    assert found[1] == -math.inf
    assert perplexity(math.inf) == math.inf


@pytest.mark.parametrize("kinds", [1, 2])
def test_a_token_that_is_cut_away_is_impossible_within_masks_too(kinds: int) -> None:
    env = make_vec_env("TextGym/Brackets-v0", 2, kinds=kinds, max_prompt=1)
    task, learner = env.get_attr("task")[0], make("ppo", env, seed=0)
    learner.policy.sampling = Sampling(top_k=1)
    prompt = task.vocabulary.encode("(")
    texts = [(prompt, [first]) for first in range(task.size)]
    corpus, faults = written(task, texts)
    row = task.blank(1)
    row.begin(..., [Prompt(prompt, prompt)])
    with np.errstate(divide="ignore"):
        wanted = np.log(AgentPolicy(learner)(row.tokens, task.action_mask(row))[0])
    assert len(faults) == kinds - 1
    assert np.isfinite(wanted).sum() == 1
    np.testing.assert_allclose(token_log_probabilities(learner, corpus), wanted, atol=1e-6)
