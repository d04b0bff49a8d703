"""Words become reward: worked examples, Ng's theorem on FrozenLake, and what happens when an adviser fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import DiscretizeAction

from textgym.advising import ADVISORS, Asked, Consultation
from textgym.agreement import agree
from textgym.errors import (
    InvalidAdvice,
    InvalidDescription,
    InvalidReward,
    InvalidSetting,
    InvalidState,
    UnknownName,
)
from textgym.guiding import Guidance, GuidedRows, Moves, Weight, agreement, potential, similarity, weight_of
from textgym.scenes.grids import lake_scene
from textgym.scenes.scene import solve_table
from textgym.speech import Speech, rated
from textgym.vocabulary import Vocabulary
from textgym.wrappers import GuidanceWrapper, TextObservation, VectorGuidanceWrapper, VectorTextObservation

SPEECH = Speech((("push left", "left", "左"), ("push right", "right", "右")))


def moves(advice: Sequence[str], actions: Sequence[int], **kwargs: Any) -> Moves:
    n = len(actions)
    ones = {"weight": np.full(n, 2.0), "held": np.zeros(n), "reached": np.zeros(n), "gamma": 0.5, "speech": SPEECH}
    return Moves(advice, np.array(actions), **{**ones, **kwargs})


def test_agreement_pays_for_the_advised_action_and_costs_for_another() -> None:
    advice = ["Push LEFT!", "向右推", "left or right", "", "don't push left; go right"]
    assert agreement(moves(advice, [0, 0, 0, 1, 1])).tolist() == [2, -2, 0, 0, 2]


def test_similarity_is_the_cosine_of_words() -> None:
    paid = similarity(moves(["push left now", "push right", "天气"], [0, 0, 0]))
    assert paid == pytest.approx([2 * 2 / np.sqrt(3 * 2), 2 * 1 / 2, 0])


def test_potential_is_the_difference_of_weighted_potentials() -> None:
    paid = potential(moves(["", ""], [0, 0], held=np.array([0.3, 0.4]), reached=np.array([0.8, 0.0])))
    assert paid == pytest.approx([0.5 * 0.8 - 0.3, -0.4])


def test_weights_fall_evenly_and_stay() -> None:
    assert weight_of([1.0, 0.0, 4])(np.arange(6)).tolist() == [1, 0.75, 0.5, 0.25, 0, 0]
    assert Weight(3.0, 3.0)(np.arange(2)).tolist() == [3, 3]


def test_how_good_a_text_finds_a_state() -> None:
    texts = {
        "It is worth 7 of 10.": 0.7,
        "3/10": 0.3,
        "满分十分得9分。": 0.9,
        "Excellent": 1.0,
        "很差": 0.25,
        "极差": 0.0,
    }
    assert {text: rated(text) for text in texts} == texts
    assert rated("The weather is fine.") is None
    assert rated("goodness") is None


def test_shaping_adds_up_to_nothing_but_the_first_potential() -> None:
    """With gamma 1 and constant weight the extra rewards of an episode sum to -Phi(first state)."""
    env = GuidanceWrapper(gymnasium.make("CartPole-v1"), reward="potential", gamma=1.0, weight=3.0)
    env.reset(seed=0)
    first, extra, ended = env._rows.held.item(), 0.0, False
    while not ended:
        _, reward, ended, _, info = env.step(0)
        extra += reward - info["true_reward"]
    assert first > 0
    assert extra == pytest.approx(-first)


def test_an_annealed_potential_by_hand() -> None:
    """Devlin & Kudenko (2012): gamma w(t + 1) Phi(s') - w(t) Phi(s), the weight going on where an episode ends."""
    phi, weight, gamma = {"a": 0.4, "b": 1.0, "c": 0.0}, [1.0, 0.75, 0.5, 0.25, 0.0, 0.0], 0.5
    said: Any = lambda texts: [f"{10 * phi[text]:g} of 10" for text in texts]  # noqa: E731
    consultation = Consultation(said)
    rows = GuidedRows(Guidance(consultation, SPEECH, potential, Weight(1.0, 0.0, 4), gamma), 1)
    one, ended, going = np.zeros(1, np.int64), np.array([True]), np.array([False])
    rows.begin(one, ["a"])
    assert rows.pay(one, one, ["b"], going) == pytest.approx(gamma * weight[1] * 1.0 - weight[0] * 0.4)
    assert rows.pay(one, one, ["a"], ended) == pytest.approx(-weight[1] * 1.0)  # nothing is left of a state at the end
    rows.begin(one, ["b"])
    assert rows.pay(one, one, ["a"], going) == pytest.approx(gamma * weight[3] * 0.4 - weight[2] * 1.0)
    assert rows.pay(one, one, ["b"], going) == pytest.approx(-weight[3] * 0.4)
    assert rows.pay(one, one, ["a"], going) == 0.0
    rows.restart(one)
    rows.begin(one, ["b"])
    assert rows.held.tolist() == [1.0]


def test_a_time_limit_does_not_make_the_potential_0() -> None:
    env = GuidanceWrapper(gymnasium.make("CartPole-v1", max_episode_steps=2), reward="potential", gamma=0.9)
    env.reset(seed=0)
    held = [env._rows.held.item()]
    for _ in range(2):
        _, reward, terminated, truncated, info = env.step(1)
        held.append(env._rows.held.item())
        assert reward - info["true_reward"] == pytest.approx(0.9 * held[-1] - held[-2])
    assert (terminated, truncated) == (False, True)
    assert held[-1] > 0


@pytest.mark.parametrize("name", ["expert", "noisy", "adversarial", "irrelevant", "silent"])
@pytest.mark.parametrize("map_name", ["4x4", "8x8"])
def test_potential_based_guidance_keeps_the_optimal_policy_of_frozen_lake(name: str, map_name: str) -> None:
    """Ng, Harada & Russell (1999), theorem 1, solved both ways: Q'(s, a) = Q(s, a) - Phi(s), the same actions win."""
    lake, gamma = FrozenLakeEnv(map_name=map_name), 0.95
    scene = lake_scene(lake)
    adviser = ADVISORS[name](Asked(scene, scene.describers["compact"], noise=0.5))
    states = np.arange(lake.observation_space.n)  # type: ignore[attr-defined]
    phi = np.array([rated(text or "") or 0.0 for text in adviser(scene.describers["compact"].texts(states))])
    assert (np.ptp(phi) > 0.3) == (name in ("expert", "noisy", "adversarial"))
    shaped = {
        s: {
            a: [(p, t, r + gamma * (0.0 if end else phi[t]) - phi[s], end) for p, t, r, end in outcomes]
            for a, outcomes in of_state.items()
        }
        for s, of_state in lake.P.items()
    }
    plain, guided = solve_table(lake.P, gamma)[1], solve_table(shaped, gamma)[1]
    inside = np.array(
        [not all(end for _, _, _, end in lake.P[s][0]) or lake.P[s][0][0][1] != s for s in states.tolist()]
    )
    np.testing.assert_allclose(guided[inside], plain[inside] - phi[inside, None], atol=1e-8)
    best = plain[inside] >= plain[inside].max(axis=1, keepdims=True) - 1e-7
    assert (best == (guided[inside] >= guided[inside].max(axis=1, keepdims=True) - 1e-7)).all()


def test_naive_agreement_with_an_adversary_changes_the_optimal_policy() -> None:
    lake, gamma = FrozenLakeEnv(map_name="4x4"), 0.95
    scene = lake_scene(lake)
    texts = scene.describers["compact"].texts(np.arange(16))
    advice = ADVISORS["adversarial"](Asked(scene, scene.describers["compact"]))(texts)
    advised = [scene.speeches["english"].advised(text or "") for text in advice]
    naive = {
        s: {
            a: [(p, t, r + (1.0 if a == advised[s] else -1.0), end) for p, t, r, end in outcomes]
            for a, outcomes in of_state.items()
        }
        for s, of_state in lake.P.items()
    }
    plain, paid = solve_table(lake.P, gamma)[1], solve_table(naive, gamma)[1]
    assert (plain.argmax(axis=1) != paid.argmax(axis=1))[:15].any()


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("id", ["CartPole-v1", "FrozenLake-v1"])
def test_both_wrappers_do_to_a_batch_what_they_do_to_singles(id: str, mode: AutoresetMode) -> None:
    shaping: dict[str, Any] = {"advisor": "noisy", "reward": "potential", "weight": (1.0, 0.0, 60)}
    told: dict[str, Any] = {"describer": "english", "advisor": "expert", "instruction": "Act well:"}
    forms: list[Any] = [
        (GuidanceWrapper, VectorGuidanceWrapper, shaping),
        (TextObservation, VectorTextObservation, told),
    ]
    for one, many, kwargs in forms:
        batch = many(SyncVectorEnv([lambda: gymnasium.make(id)] * 3, autoreset_mode=mode), **kwargs)
        wrapped = [lambda one=one, kwargs=kwargs: one(gymnasium.make(id), **kwargs)] * 3
        singles = SyncVectorEnv(wrapped, autoreset_mode=mode)
        agree("reset", batch.reset(seed=1), singles.reset(seed=1))
        chance = np.random.default_rng(0)
        for step in range(60):
            actions = chance.integers(batch.single_action_space.n, size=3)
            mine, theirs = batch.step(actions), singles.step(actions)
            agree(f"{one.__name__}, step {step}", mine, theirs)
            if mode is AutoresetMode.DISABLED and (ended := mine[2] | mine[3]).any():
                options = [{"reset_mask": ended.copy()} for _ in range(2)]
                agree("reset", batch.reset(options=options[0]), singles.reset(options=options[1]))


def test_guidance_inside_an_environment_is_guidance_around_it() -> None:
    for steps in (500, 3):  # ended by itself, and cut off
        own: dict[str, Any] = {"observation": "state", "max_steps": steps}
        inside = gymnasium.make("TextGym/CartPole-v0", guidance="expert", shaping="potential", **own)
        around = GuidanceWrapper(gymnasium.make("TextGym/CartPole-v0", **own), reward="potential")
        inside.reset(seed=0), around.reset(seed=0)
        ended = False
        while not ended:
            mine, theirs = inside.step(1), around.step(1)
            assert mine[1:] == theirs[1:]
            ended = mine[2] or mine[3]
        assert mine[3] == (steps == 3)


def test_gymnasiums_own_batches_can_be_guided() -> None:
    env = VectorGuidanceWrapper(gymnasium.make_vec("CartPole-v1", 2, "vector_entry_point"))
    env.reset(seed=0)
    assert sorted(env.step(np.array([0, 1]))[1].tolist()) in ([0.0, 0.0], [0.0, 2.0], [2.0, 2.0])
    assert env.counts["asked"] == 4


class Fails:
    def __call__(self, texts: list[str]) -> list[str]:
        raise TimeoutError("too late")


def guided(advisor: Any = "expert", describer: Any = "compact", **kwargs: Any) -> GuidanceWrapper:
    return GuidanceWrapper(gymnasium.make("CartPole-v1"), describer, advisor, **kwargs)


def test_an_adviser_that_fails_gives_no_guidance_and_is_counted() -> None:
    env = guided(Fails())
    env.reset(seed=0)
    assert env.step(0)[1] == 1.0
    assert env.counts == {"asked": 2, "remembered": 0, "consulted": 2, "failed": 2, "silent": 0, "unclear": 0}


def test_an_adviser_that_fails_twenty_times_in_a_row_is_given_up_with_a_warning() -> None:
    env = guided(Fails())
    for seed in range(19):
        env.reset(seed=seed)
    with pytest.warns(RuntimeWarning, match=r"failed 20 times in a row.*TimeoutError: too late"):
        env.reset(seed=19)
    for seed in range(20, 25):
        env.reset(seed=seed)
    assert (env.counts["consulted"], env.counts["failed"]) == (20, 25)


def test_none_and_silence_are_no_guidance() -> None:
    env = guided(lambda texts: [None if "x15" in text else "" for text in texts])
    env.reset(seed=0)
    assert env.step(1)[1] == 1.0
    assert env.counts["failed"] + env.counts["silent"] == 2


def test_each_text_is_asked_about_once() -> None:
    asked: list[str] = []
    env = guided(lambda texts: asked.extend(texts) or ["left"] * len(texts))  # type: ignore[func-returns-value]
    for _ in range(3):
        env.reset(seed=0)
        env.step(0)
    assert len(asked) == len(set(asked)) == 2


@pytest.mark.parametrize(
    ("advisor", "message"),
    [
        (lambda texts: [], r"asked about 1 texts and gave \[\]"),
        (lambda texts: ["left", "left"], "asked about 1 texts"),
        (lambda texts: "left", "asked about 1 texts and gave 'left'"),
        (lambda texts: [3], "gave 3, which is no text"),
    ],
)
def test_an_adviser_must_give_one_text_a_text(advisor: Any, message: str) -> None:
    with pytest.raises(InvalidAdvice, match=message):
        guided(advisor).reset(seed=0)


@pytest.mark.parametrize("said", [None, "", "   ", 7, b"text"])
def test_a_describer_must_give_a_text(said: Any) -> None:
    names, letters = (("left",), ("right",)), Vocabulary.from_characters("abc")
    with pytest.raises(InvalidDescription, match="the describer gave"):
        guided(lambda texts: texts, lambda state: said, actions=names).reset(seed=0)
    with pytest.raises(InvalidDescription, match="the describer gave"):
        TextObservation(gymnasium.make("CartPole-v1"), lambda s: said, vocabulary=letters, max_tokens=3).reset(seed=0)


class Broken(gymnasium.Wrapper[Any, Any, Any, Any]):
    def reset(self, **kwargs: Any) -> Any:
        return np.array([0, np.nan, 0, 0], np.float32), {}


@pytest.mark.parametrize("describer", ["compact", "english", "chinese", lambda state: "a state"])
def test_a_state_that_is_not_finite_is_refused(describer: Any) -> None:
    env = GuidanceWrapper(Broken(gymnasium.make("CartPole-v1")), describer, lambda texts: [""] * len(texts))
    with pytest.raises(InvalidState, match="is not finite"):
        env.reset()


@pytest.mark.parametrize("wrapper", [GuidanceWrapper, TextObservation])
def test_continuous_actions_are_refused_and_discretised_ones_are_not(wrapper: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"advice names one of a few.*DiscretizeAction"):
        wrapper(gymnasium.make("Pendulum-v1"))
    env = wrapper(DiscretizeAction(gymnasium.make("Pendulum-v1"), bins=3), "english", "expert")
    env.reset(seed=0)
    env.step(2)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"advisor": "oracle"}, UnknownName, "no adviser is called 'oracle'"),
        ({"describer": "verbose"}, UnknownName, "no describer is called 'verbose'"),
        ({"reward": "agreeing"}, UnknownName, "no guidance reward is called 'agreeing'. Did you mean 'agreement'"),
        ({"language": "german"}, UnknownName, "no language is called 'german'"),
        ({"advisor": 3}, InvalidSetting, "3 is no adviser"),
        ({"describer": 3}, InvalidSetting, "describer=3"),
        ({"weight": None}, InvalidSetting, "weight=None"),
        ({"gamma": 2}, InvalidSetting, "gamma=2 is no number from 0 to 1"),
        ({"actions": [["left"]]}, InvalidSetting, "1 actions have names, where there are 2"),
        ({"actions": [["left"], ["left"]]}, InvalidSetting, "'left' is the name of two actions"),
        ({"actions": [["left"], []]}, InvalidSetting, "every action needs a name"),
        ({"describer": lambda s: "text"}, InvalidSetting, "reads what a Describer says"),
    ],
)
def test_what_cannot_guide_is_refused(kwargs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        guided(**kwargs)


def test_an_unknown_environment_needs_words_of_the_users() -> None:
    cliff = gymnasium.make("CliffWalking-v1")
    with pytest.raises(InvalidSetting, match=r"nothing is known about .*CliffWalking.* in words"):
        GuidanceWrapper(cliff)
    names = (("up",), ("right",), ("down",), ("left",))
    env = GuidanceWrapper(cliff, lambda s: f"square {s}", lambda texts: ["go up"] * len(texts), actions=names)
    env.reset(seed=0)
    assert env.step(0)[1] == -1 + 1
    assert env.step(1)[1] == -1 - 1  # against advice


def test_a_reward_of_the_users_must_pay_numbers() -> None:
    env = guided(reward=lambda advice, action: 0.25 if "left" in advice else 0.5)
    env.reset(seed=0)
    assert env.step(0)[1] in (1.25, 1.5)
    env = guided(reward=lambda advice, action: float("nan"))
    env.reset(seed=0)
    with pytest.raises(InvalidReward, match="guidance reward paid nan"):
        env.step(0)


def test_text_is_observed_with_instruction_and_advice() -> None:
    env = TextObservation(gymnasium.make("CartPole-v1"), "english", "expert", instruction="Balance it:")
    seen, _ = env.reset(seed=0)
    assert seen in env.observation_space
    text = env.vocabulary.decode(seen)
    assert text.startswith("Balance it: The cart is in the middle")
    assert text.endswith("of 10.")


def test_words_that_the_vocabulary_lacks_are_one_symbol() -> None:
    env = TextObservation(gymnasium.make("CartPole-v1"), "compact", lambda texts: ["hm left"], max_tokens=6)
    assert env.vocabulary.decode(env.reset(seed=0)[0][-2:]) == "� �"


def test_a_function_as_describer_needs_a_vocabulary_and_a_width() -> None:
    cart = gymnasium.make("CartPole-v1")
    with pytest.raises(InvalidSetting, match="give vocabulary="):
        TextObservation(cart, lambda s: "ab")
    with pytest.raises(InvalidSetting, match="give max_tokens="):
        TextObservation(cart, lambda s: "ab", vocabulary=Vocabulary.from_characters("abc"))
    env = TextObservation(cart, lambda s: "ab", vocabulary=Vocabulary.from_characters("abc"), max_tokens=3)
    assert env.reset(seed=0)[0].tolist() == [3, 0, 1]


def test_environments_of_tokens_are_told_to_show_their_state() -> None:
    with pytest.raises(InvalidSetting, match="observation='state'"):
        GuidanceWrapper(gymnasium.make("TextGym/CartPole-v0"))
