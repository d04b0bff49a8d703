"""What newcomers got wrong, and what they are told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import InvalidAction

import textgym
from textgym.arrays import IntArray
from textgym.envs.corners import corners
from textgym.envs.text_gen import text_gen
from textgym.episodes import Episodes
from textgym.errors import InvalidPrompt, InvalidSetting, InvalidSize, InvalidTarget, InvalidVocabulary
from textgym.prompts import ListedPrompts, RandomStrings
from textgym.rewards import right_token
from textgym.space import TokenBox


def test_a_truth_value_given_as_text_is_not_taken_for_true() -> None:
    with pytest.raises(InvalidSetting, match="stop_on_error='False' is neither True nor False"):
        text_gen(stop_on_error="False")  # type: ignore[arg-type]


def test_a_number_is_no_target_and_the_command_lines_way_out_is_named() -> None:
    with pytest.raises(InvalidTarget, match="--env 'target=\\\"2024\\\"'"):
        text_gen(2024)  # type: ignore[arg-type]
    with pytest.raises(InvalidVocabulary, match="alphabet=5 is no text"):
        text_gen(alphabet=5)  # type: ignore[arg-type]


def sorts_in_place(string: IntArray) -> IntArray:
    string.sort()
    return string


def test_an_answer_that_changes_its_argument_leaves_the_prompt_alone() -> None:
    prompts = RandomStrings(textgym.Vocabulary(tuple("abcdefgh")), 6, 6, sorts_in_place)
    drawn = [prompts(np.random.default_rng(seed)) for seed in range(5)]
    assert any(prompt.tokens.tolist() != sorted(prompt.tokens.tolist()) for prompt in drawn)
    assert all(prompt.target.tolist() == sorted(prompt.tokens.tolist()) for prompt in drawn)


def test_letters_are_needed_beside_the_end_token() -> None:
    with pytest.raises(InvalidVocabulary, match="alone has no letters"):
        RandomStrings(textgym.Vocabulary(("$",), eos="$"), 1, 2, sorts_in_place)


class NeedsGradient:
    """Refuses to become an array, as a tensor that needs a gradient does."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("detach first")


def test_what_cannot_become_an_array_is_an_invalid_action() -> None:
    envs = textgym.TextGenVectorEnv(text_gen(), 2)
    envs.reset()
    with pytest.raises(InvalidAction, match="are no array: detach first"):
        envs.step(NeedsGradient())


def test_a_prompt_must_be_a_prompt() -> None:
    episodes = text_gen().blank(1)
    with pytest.raises(InvalidPrompt, match=r"must return Prompt\(tokens, target\)"):
        episodes.begin(..., [(np.array([0]), np.array([0]), 0)])  # type: ignore[list-item]


def narrow(episodes: Episodes) -> Any:
    return np.ones((len(episodes), 1), np.bool_)


def test_a_mask_of_another_shape_is_refused_where_it_is_asked_for() -> None:
    task = text_gen()
    masked = textgym.Task(task.vocabulary, task.prompts, right_token, 3, mask=narrow)
    env = textgym.TextGenEnv(masked)
    env.reset()
    with pytest.raises(InvalidSetting, match=r"mask gave bool of shape \(1, 1\); it must give bool, \(1, 3\)"):
        env.action_masks()


def test_a_step_too_small_for_a_grid_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="does not divide 1"):
        corners(step=1e-320)


def test_environments_take_a_factory_and_a_task_as_well_as_a_place() -> None:
    assert textgym.TextGenEnv(text_gen, target="ab").task.size == 2
    assert textgym.TextGenVectorEnv(text_gen(), 2).task.size == 3


def test_a_finished_text_is_seen_before_its_row_begins_anew(capsys: pytest.CaptureFixture[str]) -> None:
    envs = textgym.TextGenVectorEnv(text_gen(), 1, "SameStep", render_mode="human")
    envs.reset()
    for action in (0, 1, 2):
        envs.step([action])
    assert capsys.readouterr().out.split() == ["我", "我爱", "我爱你"]


def test_words_are_shown_with_blanks_between_them() -> None:
    vocabulary = textgym.Vocabulary.from_words("the cat sat", eos="END")
    prompt = textgym.Prompt(vocabulary.encode("cat sat"), vocabulary.encode("the"))
    task = textgym.Task(vocabulary, ListedPrompts((prompt,)), right_token, horizon=4)
    env = textgym.TextGenEnv(task, render_mode="ansi")
    env.reset()
    for token in (0, 1, 3):
        env.step(token)
    assert env.render() == "cat sat → the cat END"


def test_spaces_with_another_end_of_the_prompt_differ() -> None:
    assert TokenBox(9, 6, 7) == TokenBox(9, 6, 7) != TokenBox(9, 7, 6)
    assert TokenBox(9, 6, 7) == gym.spaces.Box(0, 9, (13,), np.int32)


def test_a_module_before_an_id_is_imported_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_texts.py").write_text(
        "import textgym\ntextgym.register('Own/Text-v0', 'textgym.envs.text_gen:text_gen', target='own')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert textgym.load_task("own_texts:Own/Text-v0").horizon == 3
    finally:
        gym.registry.pop("Own/Text-v0", None)
        sys.modules.pop("own_texts", None)


SIZES = [
    ("TextGen", "horizon"),
    ("Copy", "max_length"),
    ("Sort", "max_length"),
    ("Arithmetic", "digits"),
    ("RandomWalks", "max_length"),
    ("IncreasingNumbers", "largest"),
    ("Lock", "length"),
    ("Recall", "gap"),
    ("Repeat", "horizon"),
    ("Brackets", "max_prompt"),
    ("Brackets", "horizon"),
]


@pytest.mark.parametrize("size", [1_000_001, 10**9, 2**63, 10**400], ids=["million", "billion", "int64", "float64"])
@pytest.mark.parametrize(("name", "argument"), SIZES)
def test_a_size_that_would_fill_memory_is_refused(name: str, argument: str, size: int) -> None:
    id = "TextGen-v0" if name == "TextGen" else f"TextGym/{name}-v0"
    with pytest.raises(InvalidSize, match=r"is more tokens than are held|are more than the 1,000,000 tokens"):
        textgym.load_task(id, **{argument: size})


def test_a_text_may_have_a_million_tokens() -> None:
    assert textgym.load_task("TextGym/Repeat-v0", horizon=1_000_000).horizon == 1_000_000
    assert textgym.load_task("TextGym/Recall-v0", facts=1, gap=999_995).max_prompt == 999_999
    with pytest.raises(InvalidSize, match="prompts of up to 1,000,000 tokens and horizon=1 are more"):
        textgym.load_task("TextGym/Recall-v0", facts=1, gap=999_996)
