"""A language model as the policy of a control task: it reads a description and answers with an action's word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from language_models import ARCHITECTURES, GPT2, bpe, saved, word_level
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import DummyVecEnv
from transformers import AutoModelForCausalLM, AutoTokenizer

from agents import CausalLMDQNPolicy, CausalLMPolicy, SB3VecEnv, load, make, make_vec_env, save
from agents.causal_vocabulary import word_ids
from agents.control import evaluate_control
from textgym import GuidanceWrapper, TextObservation, VectorTextObservation, Vocabulary, load_control
from textgym.errors import InvalidSetting, InvalidTarget, InvalidVocabulary
from textgym.scenes import cart_pole
from textgym.space import TokenBox

# SB3 silences this when it is imported, which pytest undoes for each test.
pytestmark = pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")
CART = "TextGym/CartPole-v0"
TINY = {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2}
WORDS = [*cart_pole.COMPACT.vocabulary.tokens, "left", "right"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a tiny GPT-2 whose tokens are the words of CartPole's compact text, left and right."""
    return saved(tmp_path_factory.mktemp("worded"), TINY, WORDS, word_level)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a tiny GPT-2 with a byte-level tokenizer, some of whose tokens are whole words with a blank before them."""
    large = {"max_position_embeddings": 128, "initializer_range": 0.3}  # so large that the actions' chances differ
    return saved(tmp_path_factory.mktemp("spoken"), TINY, [" left", " right", " the", " pole"], bpe, **large)


def own_probabilities(folder: str, texts: list[str], words: list[str]) -> torch.Tensor:
    """Return the softmax, over words' first tokens, of what Hugging Face's model says comes next, `(texts, words)`."""
    auto: Any = AutoModelForCausalLM
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model, rows = auto.from_pretrained(folder).eval(), []
    ids = [tokenizer.encode(word, add_special_tokens=False)[0] for word in words]
    for text in texts:
        read = [tokenizer.bos_token_id, *tokenizer.encode(text, add_special_tokens=False)]
        with torch.no_grad():
            rows.append(model(torch.tensor([read])).logits[0, -1, ids].softmax(0))
    return torch.stack(rows)


def test_what_the_policy_does_is_what_the_model_would_say_next(spoken: str) -> None:
    env = make_vec_env(CART, 3, seed=0, text="english", tokenizer=spoken, instruction="Balance. {state} Push")
    policy: Any = make("ppo", env, policy={"model": spoken}, device="cpu").policy.eval()
    env.reset()
    for _ in range(4):
        seen: Any = env.step(np.array([0, 1, 1]))[0]
    vocabulary = Vocabulary.from_pretrained(spoken)
    texts = [vocabulary.decode(row) for row in seen]
    assert texts[0].startswith("Balance. The cart is in the middle, runs left, the pole")
    assert texts[0].endswith(" Push")
    expected = own_probabilities(spoken, texts, [" left", " right"])
    assert abs(expected[0, 0] - 0.5) > 0.1  # not what any model would say
    for _ in range(2):  # read anew, and remembered
        with torch.no_grad():
            torch.testing.assert_close(policy.scores(torch.as_tensor(seen)).exp(), expected, atol=1e-5, rtol=0)
            actions, _, log_prob = policy(torch.as_tensor(seen))
        taken = expected.log().gather(1, actions[:, None])[:, 0]
        torch.testing.assert_close(log_prob, taken, atol=1e-5, rtol=0)


def test_words_of_ones_own_are_taken_as_they_are_written(spoken: str) -> None:
    text = TextObservation(gymnasium.make("CartPole-v1"), "english", vocabulary=Vocabulary.from_pretrained(spoken))
    seen = torch.as_tensor(text.reset(seed=0)[0])[None]
    said = [text.vocabulary.decode(seen[0].numpy())]
    found = []
    for words in ([" left", " right"], ["left", "right"], ["yes", "no"]):
        kwargs = {"model": spoken, "action_words": words}
        policy: Any = PPO(CausalLMPolicy, text, device="cpu", policy_kwargs=kwargs).policy.eval()
        with torch.no_grad():
            found.append(policy.scores(seen).exp())
        torch.testing.assert_close(found[-1], own_probabilities(spoken, said, words), atol=1e-5, rtol=0)
    assert not torch.allclose(found[0], found[1], atol=1e-3)


@pytest.mark.parametrize("kind", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_an_update_sees_what_the_rollout_did(kind: dict[str, Any]) -> None:
    """Observations are no prefixes of one another: each is a row of its own, and read whole."""
    model = make("ppo", make_vec_env(CART, 4, seed=0, max_steps=9), policy={"model": kind}, n_steps=24, device="cpu")
    _, callback = model._setup_learn(10**6)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, 24)
    assert model.rollout_buffer.segments > 80
    (batch,) = model.rollout_buffer.get(None)
    values, log_prob, _ = model.policy.evaluate_actions(batch.observations, batch.actions.flatten())
    torch.testing.assert_close(values[:, 0], batch.old_values, atol=1e-4, rtol=0)
    torch.testing.assert_close(log_prob, batch.old_log_prob, atol=1e-4, rtol=0)


def test_only_the_newest_places_logits_of_the_action_words_are_computed(spoken: str) -> None:
    env = make_vec_env(CART, 2, text="english", tokenizer=spoken)
    policy: Any = make("ppo", env, policy={"model": spoken}, device="cpu").policy
    made: list[tuple[int, ...]] = []
    policy.action_net.register_forward_hook(lambda net, seen, out: made.append(tuple(out.shape)))
    policy.predict(env.reset())
    assert made == [(2, 2)]


def test_a_tiny_model_learns_to_balance(folder: str) -> None:
    """A random policy earns about 22, with a step limit of 200 or without; this one several times that."""
    kwargs: dict[str, Any] = {"max_steps": 200, "tokenizer": folder}
    env = make_vec_env(CART, 16, seed=0, **kwargs)
    agent = make("ppo", env, seed=0, device="cpu", policy={"model": folder})
    control, options = load_control(CART, **kwargs)
    before = evaluate_control(agent, control, options, 50, deterministic=False).mean_return
    after = evaluate_control(agent.learn(6144), control, options, 50).mean_return
    assert before < 35
    assert after > 80


class Matching(gymnasium.Env[Any, Any]):
    """One step: the action that is the state is paid."""

    observation_space, action_space = gymnasium.spaces.Discrete(2), gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = int(self.np_random.integers(2))
        return self.state, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        return self.state, float(action == self.state), True, False, {}


def shade(state: int) -> str:
    return ("dark", "light")[state]


MATCHING: dict[str, Any] = {"describer": shade, "vocabulary": Vocabulary.from_words("dark light"), "max_tokens": 1}


@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_what_is_to_be_done_is_learned_from_a_description(name: str) -> None:
    rows = SyncVectorEnv([Matching] * 8, autoreset_mode=AutoresetMode.SAME_STEP)
    env = SB3VecEnv(VectorTextObservation(rows, **MATCHING))
    env.seed(0)
    words = {} if name == "dqn" else {"action_words": ("no", "yes")}
    agent = make(name, env, seed=0, device="cpu", policy={"model": TINY, **words}).learn(800)
    assert agent.predict(np.array([[0], [1]]), deterministic=True)[0].tolist() == [0, 1]


def test_dqn_takes_steps_in_a_control_task(folder: str) -> None:
    env = make_vec_env(CART, 4, seed=0, tokenizer=folder, max_steps=50)
    agent = make("dqn", env, seed=0, device="cpu", policy={"model": folder}, learning_starts=32).learn(200)
    assert agent.policy.base_model.source == folder


@pytest.mark.parametrize(("algorithm", "policy"), [(PPO, CausalLMPolicy), (DQN, CausalLMDQNPolicy)])
def test_sb3s_own_agents_act_by_words_in_an_environment_of_ones_own(
    algorithm: Any, policy: Any, folder: str, tmp_path: Path
) -> None:
    def made() -> Any:
        guided = GuidanceWrapper(gymnasium.make("CartPole-v1"), advisor="expert", reward="potential")
        return TextObservation(guided, "compact", vocabulary=Vocabulary.from_pretrained(folder))

    size: dict[str, Any] = {"n_steps": 16, "batch_size": 32} if algorithm is PPO else {"learning_starts": 16}
    env = DummyVecEnv([made] * 2)
    assert env.observation_space.action_words == (" left", " right")  # type: ignore[attr-defined]
    model = algorithm(policy, env, device="cpu", seed=0, policy_kwargs={"model": folder}, **size).learn(64)
    model.save(tmp_path / "model.zip")
    again, seen = algorithm.load(tmp_path / "model.zip", device="cpu"), env.reset()
    assert np.array_equal(model.predict(seen, deterministic=True)[0], again.predict(seen, deterministic=True)[0])
    assert policy is CausalLMDQNPolicy or again.policy.features_extractor.word_ids == [130, 131]


def test_training_from_the_command_line(folder: str, textgym: Run, tmp_path: Path) -> None:
    run, small = str(tmp_path / "run"), ("--set", "n_steps=16", "--set", "n_epochs=1", "--n-envs", "4")
    given = ("--env", f"tokenizer={folder}", "--env", "max_steps=20", "--model", folder)
    status, out, err = textgym("train", CART, *given, *small, "--steps", "128", "--out", run)
    assert (status, err) == (0, "")
    status, out, _ = textgym("eval", run, "--episodes", "5", "--json")
    assert 5 <= json.loads(out)["mean_return"] <= 20
    agent = load(run, device="cpu")
    assert agent.policy.features_extractor.word_ids == [130, 131]
    save(agent.learn(16, reset_num_timesteps=False), tmp_path / "again")
    status, out, _ = textgym("train", CART, *given, "--explain")
    assert "a logit of a language model 32 wide then moves as fast" in out
    assert "policy.action_words" in out
    words = ("--set", 'policy.action_words=["x1","x1"]')
    status, _, err = textgym("train", CART, *given, *words)
    assert status != 0
    assert "begin with the same token" in err
    assert "Traceback" not in err


def test_another_tokenizer_is_another_environment(folder: str, tmp_path: Path) -> None:
    agent = make("ppo", make_vec_env(CART, 2, tokenizer=folder), policy={"model": folder}, device="cpu", n_steps=8)
    save(agent.learn(16), tmp_path / "run")
    other = saved(tmp_path / "other", TINY, [*reversed(WORDS)], word_level)
    with pytest.raises(InvalidSetting, match="with vocabulary="):
        load(tmp_path / "run", env=make_vec_env(CART, 2, tokenizer=other), device="cpu")


def test_the_first_token_of_each_word_by_hand(spoken: str, folder: str) -> None:
    bytes_of: Any = AutoTokenizer.from_pretrained(spoken)
    left, right = (bytes_of.encode(word)[0] for word in (" left", " right"))
    assert len(bytes_of.encode(" left")) == 1
    assert word_ids((" left", " right"), (), 0, bytes_of, 320) == [left, right]
    assert word_ids(("left", "yes"), (), 0, bytes_of, 320) == [bytes_of.encode(text)[0] for text in ("left", "y")]
    # " yes" and " no" begin with a blank that is a token by itself: it tells nothing
    assert word_ids((" yes", " no"), (), 0, bytes_of, 320) == [bytes_of.encode(letter)[0] for letter in "yn"]
    whole: Any = AutoTokenizer.from_pretrained(folder)
    assert word_ids((" left", " right"), (), 0, whole, 132) == [130, 131]
    # without a tokenizer they are the environment's own, or come behind them
    assert word_ids((" up", "a", " down"), ("a", "b"), 3, None, 6) == [3, 0, 5]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((" push left", " push right"), r"\[' push left', ' push right'\] begin with the same token .*'push'"),
        ((" left", " left"), "begin with the same token"),
        ((" left", " sideways"), r"\[' sideways'\] have no token of the model, which has 133"),
        (("left", "lefts"), r"\['lefts'\] have no token"),
    ],
)
def test_words_that_cannot_be_told_apart_or_are_unknown_are_refused(
    words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    known = saved(tmp_path / "m", TINY, [*WORDS, "push"], word_level)
    env = make_vec_env(CART, 2)
    with pytest.raises(InvalidVocabulary, match=message):
        make("ppo", env, policy={"model": known, "action_words": words}, device="cpu")


@pytest.mark.parametrize("words", [[" left"], [], [" left", " right", " up"]])
def test_there_is_one_word_for_each_action(words: list[str]) -> None:
    with pytest.raises(InvalidSetting, match=rf"{len(words)} action words for 2 actions.*policy\.action_words"):
        make("ppo", make_vec_env(CART, 2), policy={"model": TINY, "action_words": words}, device="cpu")


@pytest.mark.parametrize("words", ["left", 3, ["left", 3], ["left", " "], [None, "right"]])
def test_what_are_no_words_is_refused(words: Any) -> None:
    env = make_vec_env(CART, 2)
    with pytest.raises(InvalidSetting, match=r"action_words=.* is no (list of words|word)"):
        PPO(CausalLMPolicy, env, policy_kwargs={"model": TINY, "action_words": words}, device="cpu")
    with pytest.raises(InvalidSetting, match=r"action_words"):
        make("ppo", env, policy={"model": TINY, "action_words": words})


def test_actions_without_names_are_not_taken_for_tokens() -> None:
    text = TextObservation(Matching(), **MATCHING)
    assert isinstance(text.observation_space, TokenBox)
    assert text.observation_space.action_words == ()
    with pytest.raises(InvalidSetting, match="0 action words for 2 actions, which are no tokens here"):
        PPO(CausalLMPolicy, text, policy_kwargs={"model": TINY}, device="cpu")


def test_tokens_of_the_environments_own_must_be_the_models(spoken: str) -> None:
    with pytest.raises(InvalidVocabulary, match=r"'x0'.*tokenizer=DIR.*Vocabulary\.from_pretrained"):
        make("ppo", make_vec_env(CART, 2), policy={"model": spoken}, device="cpu")


def test_an_instruction_that_the_tokenizer_cannot_write(folder: str) -> None:
    with pytest.raises(InvalidTarget, match="'Balance it"):
        make_vec_env(CART, 2, tokenizer=folder, instruction="Balance it:")


def test_both_kinds_of_observation_at_once_are_no_text(folder: str) -> None:
    env = make_vec_env(CART, 2, tokenizer=folder, observation="both")
    with pytest.raises(InvalidSetting, match="a language model reads rows of tokens; here observations are Dict"):
        make("ppo", env, policy={"model": folder}, device="cpu")


def test_candidates_are_words_too() -> None:
    policy: Any = make("ppo", make_vec_env(CART, 2), policy={"model": GPT2, "candidates": 1}, device="cpu").policy
    with torch.no_grad():
        assert policy.scores(torch.tensor([[1, 40, 70, 100]])).exp().max() == 1
