"""Episodes against a model of it: each row a plain Python object."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from textgym import Episodes, Prompt, Vocabulary
from textgym.episodes import Rows

VOCABULARY = Vocabulary(("a", "b", "c"), symbols=("?",), eos="$")  # 4 actions, a symbol, pad 5
PAD = 5


@dataclass
class Row:
    """What one row of Episodes is."""

    prompt: list[int] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    seed: int = 0
    written: list[int] = field(default_factory=list)
    finished: bool = True


def agree(episodes: Episodes, rows: list[Row]) -> None:
    """Compare everything public with the model."""
    horizon, max_target = episodes.horizon, episodes.target.shape[1]
    prompts = [[PAD] * (episodes.max_prompt - len(row.prompt)) + row.prompt for row in rows]
    completions = [row.written + [PAD] * (horizon - len(row.written)) for row in rows]
    assert len(episodes) == len(rows)
    assert episodes.prompt.tolist() == prompts
    assert episodes.completion.tolist() == completions
    assert episodes.tokens.tolist() == [p + c for p, c in zip(prompts, completions)]
    assert episodes.target.tolist() == [row.target + [PAD] * (max_target - len(row.target)) for row in rows]
    assert episodes.target_length.tolist() == [len(row.target) for row in rows]
    assert episodes.length.tolist() == [len(row.written) for row in rows]
    assert episodes.finished.tolist() == [row.finished for row in rows]
    assert episodes.seed.tolist() == [row.seed for row in rows]
    assert episodes.longest == max(len(row.written) for row in rows)
    assert episodes.full.tolist() == [len(row.written) == horizon for row in rows]
    assert episodes.faultless.tolist() == [row.written == row.target[: len(row.written)] for row in rows]
    assert episodes.matched.tolist() == [row.written == row.target for row in rows]
    assert [episodes.text(i) for i in range(len(rows))] == [VOCABULARY.decode(row.written) for row in rows]
    if all(row.written for row in rows):
        assert episodes.newest.tolist() == [row.written[-1] for row in rows]
        padded = [row.target + [PAD] * horizon for row in rows]
        assert episodes.wanted.tolist() == [p[len(row.written) - 1] for p, row in zip(padded, rows)]


class Writing(RuleBasedStateMachine):
    """Random sequences of every change that Episodes offers."""

    @initialize(n=st.integers(1, 4), max_prompt=st.integers(0, 2), horizon=st.integers(1, 4), data=st.data())
    def make(self, n: int, max_prompt: int, horizon: int, data: st.DataObject) -> None:
        max_target = data.draw(st.integers(0, horizon))
        self.rows = [Row() for _ in range(n)]
        self.episodes = Episodes.blank(VOCABULARY, n, max_prompt, horizon, max_target)
        tokens = st.lists(st.integers(0, 4), max_size=max_prompt).map(lambda ids: np.array(ids, np.int32))
        target = st.lists(st.integers(0, 3), max_size=max_target).map(lambda ids: np.array(ids, np.int32))
        prompt = st.builds(Prompt, tokens, target, st.integers(0, 2**64 - 1))
        self.prompts = data.draw(st.lists(prompt, min_size=1, max_size=3))  # few, so that the same come again

    def some(self, data: st.DataObject, able: list[int]) -> tuple[Rows, list[Row]]:
        """Draw some of the rows that are able, in any order: as Episodes wants them, as the model has them."""
        if len(able) == len(self.rows) and data.draw(st.booleans()):
            return ..., self.rows
        chosen = data.draw(st.lists(st.sampled_from(able), unique=True, min_size=1)) if able else []
        return np.array(chosen, np.int64), [self.rows[i] for i in chosen]

    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        rows, models = self.some(data, [*range(len(self.rows))])
        one = st.sampled_from(range(len(self.prompts)))
        numbers = [data.draw(one)] * len(models) if data.draw(st.booleans()) else [data.draw(one) for _ in models]
        self.episodes.begin(rows, [self.prompts[i] for i in numbers])
        for model, i in zip(models, numbers):
            tokens, target, seed = self.prompts[i]
            model.prompt, model.target, model.seed = tokens.tolist(), target.tolist(), seed
            model.written, model.finished = [], False
        agree(self.episodes, self.rows)

    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        able = [i for i, row in enumerate(self.rows) if len(row.written) < self.episodes.horizon]
        rows, models = self.some(data, able)
        rightly = data.draw(st.booleans())
        for model in models:
            rest = model.target[len(model.written) :]
            model.written.append(rest[0] if rightly and rest else data.draw(st.integers(0, 3)))
        self.episodes.write(np.array([model.written[-1] for model in models], np.int64), rows)
        agree(self.episodes, self.rows)

    @rule(data=st.data())
    def erase(self, data: st.DataObject) -> None:
        rows, models = self.some(data, [i for i, row in enumerate(self.rows) if row.written])
        self.episodes.erase(rows)
        for model in models:
            model.written.pop()
            model.finished = False
        agree(self.episodes, self.rows)

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        for i, model in enumerate(self.rows):
            self.episodes.finished[i] = model.finished = data.draw(st.booleans())

    @rule(data=st.data(), again=st.booleans())
    def take_change_and_put(self, data: st.DataObject, again: bool) -> None:
        whole, rows = self.episodes, self.rows
        chosen = data.draw(st.lists(st.sampled_from(range(len(rows))), unique=not again, min_size=1, max_size=5))
        self.episodes, self.rows = whole.take(np.array(chosen)), [copy.deepcopy(rows[i]) for i in chosen]
        getattr(self, data.draw(st.sampled_from(["begin", "write", "erase"])))(data)
        agree(whole, rows)  # what is taken is a copy
        if not again:
            whole.put(np.array(chosen), self.episodes)
            for i, row in zip(chosen, self.rows):
                rows[i] = copy.deepcopy(row)
        self.write(data)
        agree(whole, rows)  # and so is what is put
        self.episodes, self.rows = whole, rows

    @rule(pickled=st.booleans())
    def go_on_with_a_copy(self, pickled: bool) -> None:
        state = (self.episodes, self.prompts)
        self.episodes, self.prompts = pickle.loads(pickle.dumps(state)) if pickled else copy.deepcopy(state)
        agree(self.episodes, self.rows)


TestWriting = Writing.TestCase
TestWriting.settings = settings(max_examples=150, stateful_step_count=20, deadline=None)


def test_blank_rows_have_ended_before_they_begin() -> None:
    agree(Episodes.blank(VOCABULARY, 3, max_prompt=1, horizon=2, max_target=2), [Row(), Row(), Row()])


@pytest.mark.parametrize("again", [False, True])
def test_a_prompt_that_comes_again_is_written_anew_where_another_took_its_place(again: bool) -> None:
    one, two = (Prompt(np.array([i], np.int32), np.array([i, i], np.int32), seed=i) for i in (0, 1))
    rows = np.array([1])
    for change in ("begin", "put"):
        episodes = Episodes.blank(VOCABULARY, 3, max_prompt=1, horizon=2, max_target=2)
        episodes.begin(..., [one] * 3)
        part = episodes.take(rows) if change == "put" else episodes
        part.begin(... if change == "put" else rows, [two])
        episodes.put(rows, part) if change == "put" else None
        asked = [Row([i], [i, i], i, [], False) for i in (0, 1, 0)]
        agree(episodes, asked)
        episodes.begin(..., [one] * 3) if again else episodes.begin(rows, [one])
        agree(episodes, [asked[0]] * 3)
