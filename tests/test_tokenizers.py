"""Vocabularies of real tokenizers: pieces of characters, prompts, chat templates, candidates, rewards on text."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from transformers import GPT2Tokenizer

from textgym import Task, Vocabulary, check_task
from textgym.envs.text_gen import text_gen
from textgym.errors import InvalidPrompt, InvalidSetting, InvalidTarget, InvalidVocabulary
from textgym.prompts import prompt_ids
from textgym.rendering import ansi, frame

END = "<|end|>"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'other' %}{{ raise_exception('no such role') }}{% endif %}"
    "{{ m['role'] + ':' + m['content'] + eos_token }}{% endfor %}{% if add_generation_prompt %}{{ 'bot:' }}{% endif %}"
)


def byte_level(folder: Path, **settings: Any) -> str:
    """Write a byte-level BPE: 256 bytes, merges for hell and for two of the three bytes of 我, and an end token."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in kept] + [chr(256 + i) for i in range(256 - len(kept))]
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("æ", "Ī")]
    tokens = [*letters, *["".join(merge) for merge in merges], END]
    ends = {"bos_token": END, "eos_token": END, "unk_token": END, **settings}
    made: Any = GPT2Tokenizer
    made(vocab={token: i for i, token in enumerate(tokens)}, merges=merges, **ends).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    return byte_level(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = byte_level(tmp_path_factory.mktemp("chatty"))
    Path(folder, "chat_template.jinja").write_text(TEMPLATE)
    return folder


def begun(task: Task, *written: int) -> Any:
    """Return a row in which these tokens are written, and the rewards."""
    rows = task.blank(1)
    rows.begin(..., [task.prompts(np.random.default_rng(0))])
    return rows, [task.step(rows, np.array([token])).item() for token in written]


def test_the_end_token_is_the_tokenizers_own_where_that_is_asked_for(plain: str, tmp_path: Path) -> None:
    task = text_gen("hello", tokenizer=plain, eos=True)
    assert (task.vocabulary.eos, task.horizon) == (END, 3)
    assert text_gen("hello", tokenizer=plain, eos=False).vocabulary.eos is None
    endless = byte_level(tmp_path, eos_token=None)
    with pytest.raises(InvalidVocabulary, match=r"eos=True, but tokenizer=.* has no end token"):
        text_gen("hello", tokenizer=endless, eos=True)
    with pytest.raises(InvalidVocabulary, match="eos=True is for a tokenizer's own"):
        text_gen("hello", eos=True)


def test_pieces_of_a_character_are_spelled_with_the_last_of_them(plain: str) -> None:
    vocabulary = Vocabulary.from_pretrained(plain, symbols=("<ask>",))
    head, tail = vocabulary.encode("我").tolist()
    hell = vocabulary.id("hell")
    end, ask = vocabulary.size - 1, vocabulary.id("<ask>")
    assert vocabulary.spell([hell, head, tail, hell]) == ["hell", "", "我", "hell"]
    assert vocabulary.spell([head]) == ["\N{REPLACEMENT CHARACTER}"]
    assert vocabulary.spell([head, end, tail]) == ["\N{REPLACEMENT CHARACTER}", END, "\N{REPLACEMENT CHARACTER}"]
    assert vocabulary.spell([head, ask]) == ["\N{REPLACEMENT CHARACTER}", "<ask>"]
    assert Vocabulary(("a",), ("?",), "$").spell([0, 1, 2, 3]) == ["a", "$", "?", ""]
    rng = np.random.default_rng(0)
    for _ in range(100):  # whatever the ids, nothing is lost and nothing crashes
        ids = rng.integers(vocabulary.size - 1, size=8).tolist()
        spelled = "".join(vocabulary.spell(ids))
        assert spelled.replace("\N{REPLACEMENT CHARACTER}", "") == vocabulary.decode(ids).replace(
            "\N{REPLACEMENT CHARACTER}", ""
        )


def test_frames_show_whole_characters_and_incomplete_ones(plain: str) -> None:
    task = text_gen("我", tokenizer=plain)
    head, tail = task.vocabulary.encode("我").tolist()
    rows, _ = begun(task, head)
    half = frame(rows, 0)
    rows, _ = begun(task, head, tail)
    whole = frame(rows, 0)
    assert ansi(rows, 0) == "我"
    assert whole.shape == half.shape
    assert (whole != half).any()


def test_prompts_are_texts_or_ids(plain: str) -> None:
    by_text, by_ids = (text_gen("hello", tokenizer=plain, prompt=p) for p in ("hello", [258, 78]))
    ids = by_text.vocabulary.encode("hello").tolist()
    assert by_text.prompts(np.random.default_rng(0)).tokens.tolist() == ids
    assert by_ids.prompts(np.random.default_rng(0)).tokens.tolist() == [258, 78]
    both: Any = ["x", [1, 2, 3]]
    several = text_gen(["ab", "cd"], tokenizer=plain, prompt=both, eos=True)
    assert [p.tokens.tolist() for p in several.prompts.prompts] == [[87], [1, 2, 3]]  # type: ignore[attr-defined]
    assert several.max_prompt == 3
    assert "batch_equals_singles" in check_task(several)


def test_letters_that_only_a_prompt_has_are_symbols() -> None:
    task = text_gen("ab", prompt="b or a?")
    assert (task.size, task.vocabulary.symbols) == (2, (" ", "o", "r", "?"))
    assert ansi(begun(task, 0, 1)[0], 0) == "b or a? → ab"


def test_a_chat_template_writes_what_a_user_says(chatty: str) -> None:
    task = text_gen("我", tokenizer=chatty, prompt="hello", chat=True, eos=True)
    vocabulary, tokens = task.vocabulary, task.prompts(np.random.default_rng(0)).tokens.tolist()
    asked, answer = (vocabulary.encode(text).tolist() for text in ("user:hello", "bot:"))
    assert tokens == [
        *asked,
        vocabulary.eos_id,
        *answer,
    ]  # without the begin token: a network begins every row with one
    said = [{"role": "sys", "content": "be brief"}, {"role": "user", "content": "hello"}]
    rendered = vocabulary.encode_chat(said)
    assert vocabulary.decode(rendered) == "sys:be briefuser:hellobot:"
    env = gym.make("TextGen-v0", tokenizer=chatty, target=["我", "你"], prompt=[said, "who"], chat=True, eos=True)
    assert env.unwrapped.task.max_prompt == len(rendered)  # type: ignore[attr-defined]
    assert env.spec is not None
    assert json.loads(env.spec.to_json())["kwargs"]["chat"] is True


def test_a_conversation_that_cannot_be(chatty: str, plain: str) -> None:
    said = [{"role": "user", "content": "hello"}]
    with pytest.raises(InvalidSetting, match="this tokenizer has no chat template"):
        text_gen("我", tokenizer=plain, prompt="hello", chat=True)
    with pytest.raises(InvalidSetting, match="chat templates are pretrained tokenizers'"):
        text_gen("我", prompt="hello", chat=True)
    with pytest.raises(InvalidSetting, match="is a conversation, and chat=False"):
        text_gen("我", tokenizer=chatty, prompt=said)
    with pytest.raises(InvalidSetting, match="are token ids, which no chat template writes"):
        text_gen("我", tokenizer=chatty, prompt=[1, 2], chat=True)
    with pytest.raises(InvalidSetting, match="chat=True says how a prompt is written, and there is none"):
        text_gen("我", tokenizer=chatty, chat=True)
    with pytest.raises(InvalidPrompt, match=r"chat template refuses .*no such role"):
        text_gen("我", tokenizer=chatty, prompt=[{"role": "other", "content": ""}], chat=True)
    with pytest.raises(InvalidPrompt, match="chat template refuses"):
        text_gen("我", tokenizer=chatty, prompt=[{"role": "user"}], chat=True)


@pytest.mark.parametrize("prompt", ["", [], [[]], 3, [True], [1.5], [None], {"role": "user"}, [[1], [2]]])
def test_what_is_no_prompt_is_refused(prompt: Any) -> None:
    with pytest.raises(InvalidPrompt, match=r"is empty or no prompt|is [02] prompts for 1 targets"):
        text_gen("ab", prompt=prompt)


def test_prompts_that_the_vocabulary_cannot_write() -> None:
    for ids in ([2], [-1], [10**12]):
        with pytest.raises(InvalidPrompt, match="the ids of this vocabulary are 0 to 1"):
            text_gen("ab", prompt=ids)
    with pytest.raises(InvalidPrompt, match="prompt 'c' cannot be written: text 'c' has 'c'"):
        prompt_ids(Vocabulary(("a",)), "c")
    with pytest.raises(InvalidPrompt, match="is 1 prompts for 2 targets"):
        text_gen(["ab", "a"], prompt="x")


def test_candidates_narrow_what_is_written(plain: str) -> None:
    env = gym.make("TextGen-v0", tokenizer=plain, target="我", eos=True, candidates=["我", "hello"])
    env.reset(seed=0)
    task: Task = env.unwrapped.task  # type: ignore[attr-defined]
    mask = env.unwrapped.action_masks()  # type: ignore[attr-defined]
    words = {*task.vocabulary.encode("我").tolist(), *task.vocabulary.encode("hello").tolist(), task.size - 1}
    assert {*np.flatnonzero(mask).tolist()} == words
    assert pickle.loads(pickle.dumps(task)).mask == task.mask
    assert check_task(task)
    assert text_gen("ab", alphabet="abcd", candidates="ba").mask.ids == (0, 1)  # type: ignore[union-attr]


def test_candidates_that_are_none(plain: str) -> None:
    for words in ([], "", [""], [3], 3, {"a": 1}):
        with pytest.raises(InvalidSetting, match="is no list of words"):
            text_gen("ab", candidates=words)  # type: ignore[arg-type]
    with pytest.raises(InvalidVocabulary, match="candidate 'x' cannot be written: text 'x' has 'x'"):
        text_gen("ab", candidates="abx")
    with pytest.raises(InvalidVocabulary, match=r"candidate '\?' cannot be written: '\?' stands in prompts only"):
        text_gen("ab", candidates="ab?", prompt="?")
    with pytest.raises(InvalidTarget, match="target '我' has the token 'æĪ', which no candidate has"):
        text_gen("我", tokenizer=plain, candidates=["hello"])
    with pytest.raises(InvalidTarget, match="target 'ab' has the token 'b', which no candidate has"):
        text_gen("ab", candidates="a")


def test_a_reward_of_text_pays_for_other_tokens_that_read_alike(plain: str) -> None:
    vocabulary = Vocabulary.from_pretrained(plain)
    hell, o, end = vocabulary.id("hell"), vocabulary.id("o"), vocabulary.size - 1
    other = [vocabulary.id(letter) for letter in "hell"]
    for reward, paid in (("text", [0, 0, 0, 0, 0, 1]), ("shaped_text", [1 / 6] * 6), ("terminal", [0] * 6)):
        task = text_gen("hello", tokenizer=plain, eos=True, horizon=7, reward=reward)
        rows, rewards = begun(task, *other, o, end)
        assert rewards == pytest.approx(paid)
        assert task.measure(rows)["success"].item() == (reward != "terminal")
    rows, rewards = begun(text_gen("hello", tokenizer=plain, eos=True, reward="shaped_text"), hell, end)
    assert rewards == pytest.approx([4 / 6, 0])


def test_a_character_is_paid_with_the_last_of_its_pieces(plain: str) -> None:
    task = text_gen("我a", tokenizer=plain, reward="shaped_text")
    head, tail, a = task.vocabulary.encode("我a").tolist()
    assert begun(task, head, tail, a)[1] == pytest.approx([0, 1 / 3, 2 / 3])  # the end is the third part
    assert begun(task, head, head, a)[1] == [0, 0, 0]
    assert begun(task, tail, a, a)[1] == [0, 0, 0]


@pytest.mark.parametrize("reward", ["text", "shaped_text"])
def test_tasks_rewarded_by_text_keep_the_laws(reward: str, plain: str) -> None:
    assert check_task(text_gen(["hello", "我"], tokenizer=plain, eos=True, reward=reward, candidates=["hello我"]))


@pytest.mark.parametrize("name", [3, None, True, [], "", "a/b/c", "/nowhere"])
def test_what_is_no_tokenizer(name: Any) -> None:
    with pytest.raises(InvalidVocabulary, match="could not be loaded: give a folder"):
        Vocabulary.from_pretrained(name)


def test_folders_without_a_readable_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(InvalidVocabulary, match="the folder has no tokenizer's files"):
        Vocabulary.from_pretrained(str(tmp_path))
    for content in ("", "{}", "[1]", '{"model": 3}'):
        (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(InvalidVocabulary, match="could not be loaded"):
            Vocabulary.from_pretrained(str(tmp_path))


def test_a_folder_that_has_changed_is_read_again(tmp_path: Path) -> None:
    folder = byte_level(tmp_path)
    first = Vocabulary.from_pretrained(folder)
    assert Vocabulary.from_pretrained(folder).codec == first.codec
    byte_level(tmp_path, additional_special_tokens=["<more>"])
    assert Vocabulary.from_pretrained(folder).size == first.size + 1
