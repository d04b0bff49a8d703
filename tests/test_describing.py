"""States become words and words states again; who speaks them, and how a language model is asked."""

from __future__ import annotations

import json
import pickle
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import DiscretizeAction

from textgym import GuidanceWrapper, describe_features
from textgym.advising import ADVISORS, Asked, Endpoint, LanguageModelAdvisor
from textgym.advising.spoken import Noisy, text_chance
from textgym.describing import Describer, Scale, even, whole
from textgym.errors import InvalidDescription, InvalidModel, InvalidSetting, InvalidSize, InvalidState, UnknownName
from textgym.scenes import SCENES, Scene, lunar_lander, scene_of

TEXTS = ["compact", "english", "chinese"]
# Returns that the experts must reach by words alone, from some seeds, and in which texts.
WORTH = {
    "CartPole-v1": (500, TEXTS),
    "MountainCar-v0": (-130, TEXTS),
    "Acrobot-v1": (-110, TEXTS),
    "Pendulum-v1": (-400, ["compact"]),
    "FrozenLake-v1": (0.6, TEXTS),
    "Taxi-v3": (5, TEXTS),
}


def made(id: str) -> gymnasium.Env[Any, Any]:
    env = gymnasium.make("Taxi-v4" if id == "Taxi-v3" and "Taxi-v4" in gymnasium.registry else id)
    return DiscretizeAction(env, bins=3) if id.startswith("Pendulum") else env


def scene(id: str) -> Scene:
    env = made(id)
    found = scene_of(env.spec, env.unwrapped)
    assert found is not None
    return found


def test_a_description_by_hand() -> None:
    describe = Describer((even("x", -1, 1, 4), Scale((0.0,), ("falls", "rises"))), between=", ", end=".")
    assert describe(np.array([0.49, -1e-9])) == "x2, falls."
    assert describe.texts([[9.0, 0.0], [-9.0, 3.0]]) == ["x3, rises.", "x0, rises."]
    assert describe.read("x2, falls.").tolist() == [0.25, -0.5]
    assert describe.vocabulary.decode(describe.tokens([[9.0, 0.0]])[0]) == "x3, rises."


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("id", WORTH)
def test_what_is_said_is_read_and_tokens_say_it(id: str, text: str) -> None:
    describer = scene(id).describers[text]
    env = made(id)
    env.action_space.seed(0)
    states = [env.reset(seed=0)[0]]
    states += [env.step(env.action_space.sample())[0] for _ in range(15)]
    for state, tokens in zip(states, describer.tokens(np.array(states))):
        said = describer(np.asarray(state))
        numbers = describer.read(said)
        places = [int(np.searchsorted(s.edges, x, "right")) for s, x in zip(describer.scales, numbers)]
        assert [places] == describer.places(np.array([state])).tolist()
        assert describer.vocabulary.decode(tokens) == said
        assert len(tokens) == describer.width
        assert (tokens == describer.vocabulary.pad).sum() == np.argmax(tokens != describer.vocabulary.pad)


@pytest.mark.parametrize(("id", "text"), [(id, text) for id, (_, texts) in WORTH.items() for text in texts])
def test_the_expert_who_hears_words_alone_does_well(id: str, text: str) -> None:
    known, env = scene(id), made(id)
    describer, speech = known.describers[text], known.speeches["chinese" if text == "chinese" else "english"]
    adviser = ADVISORS["expert"](Asked(known, describer, "chinese" if text == "chinese" else "english"))
    returns = []
    for seed in range(20 if id == "FrozenLake-v1" else 3):
        state, total, ended = env.reset(seed=seed)[0], 0.0, False
        while not ended:
            action = speech.advised(adviser([describer(np.asarray(state))])[0] or "")
            assert action is not None
            state, reward, terminated, truncated, _ = env.step(action)
            total, ended = total + float(reward), terminated or truncated
        returns.append(total)
    assert np.mean(returns) >= WORTH[id][0]


@pytest.mark.parametrize("text", TEXTS)
def test_lunar_lander_can_be_told_without_box2d(text: str) -> None:
    describer = lunar_lander.SCENE.describers[text]
    states = np.random.default_rng(0).normal(size=(50, 8))
    states[:, 6:] = states[:, 6:] > 0
    numbers = np.stack([describer.read(said) for said in describer.texts(states)])
    assert set(lunar_lander.rule(numbers)) <= {0, 1, 2, 3}
    assert ((lunar_lander.worth(numbers) >= 0) & (lunar_lander.worth(numbers) <= 1)).all()
    assert "LunarLander" in SCENES


def test_features_of_ones_own_become_tokens() -> None:
    describe = describe_features(height=(0, 10, 5), speed=(-1, 1))
    assert describe(np.array([9.0, 0.0])) == "height4 speed16"
    assert describe.vocabulary.size == 5 + 32
    for wrong in ({"a": (1, 0)}, {"a": (0, 1, 1)}, {"a": "01"}, {"a": (0,)}, {"a": (0, float("nan"))}, {}):
        with pytest.raises(InvalidSetting):
            describe_features(**wrong)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scale((1.0, 1.0), ("a", "b", "c")), "do not ascend"),
        (lambda: Scale((float("inf"),), ("a", "b")), "do not ascend"),
        (lambda: Scale((1.0,), ("a",)), "1 phrases for 1 edges"),
        (lambda: Scale((1.0,), ("a", " ")), "none empty"),
        (lambda: Scale((1.0,), ("a", "a")), "no two alike"),
        (lambda: Describer(()), "describe nothing"),
        (lambda: Describer((whole("x", 2), Scale((), ("far away",)))), "holds ' '"),
        (lambda: even("a b", 0, 1), "is no word"),
    ],
)
def test_describers_that_cannot_be_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        make()


@pytest.mark.parametrize("state", [[0, 0, 0], [[[0.0]]], ["a", "b"], [np.nan] * 4, [0, 0, np.inf, 0], [None] * 4])
def test_what_is_no_state_is_refused(state: Any) -> None:
    with pytest.raises(InvalidState):
        scene("CartPole-v1").describers["compact"](state)


@pytest.mark.parametrize("text", ["", "x1", "x1 v1 a1 w1 z1", "x99 v1 a1 w1", "The cart flies."])
def test_what_the_describer_did_not_say_cannot_be_read(text: str) -> None:
    with pytest.raises(InvalidDescription, match="is not what this describer says"):
        scene("CartPole-v1").describers["compact"].read(text)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5, 1.0])
def test_the_noisy_adviser_errs_as_often_as_it_is_told_and_always_alike(noise: float) -> None:
    known = scene("MountainCar-v0")
    asked = Asked(known, known.describers["compact"], noise=noise)
    texts = [f"x{a} v{b}" for a in range(32) for b in range(32)]
    right, noisy = asked.expert(texts).actions, Noisy(asked.expert, 3, noise)(texts).actions
    assert abs((right != noisy).mean() - noise) < 4 * np.sqrt(noise * (1 - noise) / len(texts)) + 1e-12
    assert ADVISORS["noisy"](asked)(texts[::-1])[::-1] == ADVISORS["noisy"](asked)(texts)
    other = Noisy(asked.expert, 3, noise, seed=1)(texts).actions
    assert (noise in (0.0,)) == bool((other == noisy).all())


def test_chance_by_text_is_uniform() -> None:
    drawn = np.stack([text_chance(str(k)) for k in range(2000)])
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert np.abs(drawn.mean(axis=0) - 0.5).max() < 4 * np.sqrt(1 / 12 / 2000)


def test_the_adversary_says_the_opposite_and_others_nothing() -> None:
    known = scene("CartPole-v1")
    asked = Asked(known, known.describers["english"], "chinese")
    text = known.describers["english"](np.array([0, 0, 0.1, 0.5]))
    assert ADVISORS["expert"](asked)([text]) == ["向右推。满分十分得4分。"]
    assert ADVISORS["adversarial"](asked)([text]) == ["向左推。满分十分得6分。"]
    assert ADVISORS["silent"](asked)([text]) == [""]
    said = ADVISORS["irrelevant"](asked)([text])[0]
    assert said
    assert known.speeches["chinese"].advised(said) is None


class Server(BaseHTTPRequestHandler):
    """Speaks OpenAI's protocol, well or badly, as the model's name asks it to."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model, content = asked["model"], asked["messages"][0]["content"]
        answer = {"choices": [{"message": {"content": "Push left." if "a3" in content else "Push right."}}]}
        body = {"shapeless": b"[]", "garbled": b"{", "silent": b'{"choices": [{"message": {"content": null}}]}'}
        said = body.get(model, json.dumps(answer).encode())
        self.send_response(500 if model == "broken" else 200)
        self.end_headers()
        if model == "slow":
            time.sleep(0.6)
        if model == "key":
            said = said.replace(b"Push", self.headers["Authorization"].encode())
        try:
            for byte in said:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.05 if model == "dripping" else 0)
        except OSError:
            pass  # nobody waits for the answer any more

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_an_endpoint_advises(url: str) -> None:
    adviser = Endpoint(url, "good", ("push left", "push right"))
    assert adviser(["x1 v1 a3 w1", "x1 v1 a9 w1"]) == ["Push left.", "Push right."]
    env = GuidanceWrapper(gymnasium.make("CartPole-v1"), "compact", adviser)
    env.reset(seed=0)
    assert env.step(1)[1] == 2.0


@pytest.mark.parametrize("model", ["shapeless", "garbled", "silent", "broken", "slow", "dripping"])
def test_an_endpoint_that_fails_is_counted_and_gives_no_guidance(url: str, model: str) -> None:
    env = GuidanceWrapper(gymnasium.make("CartPole-v1"), "compact", Endpoint(url, model, ("l", "r"), timeout=0.2))
    env.reset(seed=0)
    assert env.step(1)[1] == 1.0
    assert env.counts["failed"] == 2


def test_an_endpoint_that_is_not_there_is_counted_too() -> None:
    assert Endpoint("http://127.0.0.1:9/v1", "m", ("l", "r"), timeout=1.0)(["a", "b"]) == [None, None]


def test_a_key_comes_from_the_environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "secret")
    assert Endpoint(url, "key", ("l", "r"), key_variable="SOME_KEY")(["a"]) == ["Bearer secret right."]
    assert Endpoint(url, "key", ("l", "r"), key_variable="NO_SUCH_KEY")(["a"]) == [None]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"url": "localhost"}, InvalidSetting, "is no address of an endpoint"),
        ({"url": "file:///etc/passwd"}, InvalidSetting, "is no address of an endpoint"),
        ({"timeout": 0}, InvalidSetting, "timeout=0"),
        ({"timeout": float("nan")}, InvalidSetting, "timeout=nan"),
        ({"prompt": "What now?"}, InvalidSetting, "does not show the state"),
        ({"prompt": "{state} {other}"}, InvalidSetting, "has places other than"),
        ({"workers": 0}, InvalidSize, "workers=0"),
        ({"max_tokens": True}, InvalidSize, "max_tokens=True"),
    ],
)
def test_endpoints_that_cannot_be_are_refused(kwargs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Endpoint(**{"url": "http://a/v1", "model": "m", "actions": ("l", "r"), **kwargs})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a tiny GPT-2 that knows letters."""
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

    folder = tmp_path_factory.mktemp("model")
    pieces = [*map(chr, range(33, 127)), "Ġ", "<|endoftext|>"]  # a byte-level tokenizer's blank
    GPT2Tokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]).save_pretrained(folder)
    config = GPT2Config(
        vocab_size=96, n_positions=256, n_layer=1, n_embd=16, n_head=2, bos_token_id=95, eos_token_id=95
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def test_a_language_model_says_the_likelier_candidate(model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    adviser = LanguageModelAdvisor(str(model), ("left", "to the right"), prompt="{state}:", normalised=False)
    texts = ["x1", "a longer state", "x9 v3"]
    network: Any = AutoModelForCausalLM.from_pretrained(model)
    network.eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    for text, said, scores in zip(texts, adviser(texts), adviser.scores([f"{text}:" for text in texts])):
        expected = []
        for candidate in adviser.candidates:
            prompt, answer = tokenizer.encode(f"{text}:"), tokenizer.encode(" " + candidate)
            with torch.no_grad():
                logits = network(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
            expected.append(sum(logits[len(prompt) - 1 + i, token].item() for i, token in enumerate(answer)))
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        assert said == adviser.candidates[int(np.argmax(expected))]


def test_a_language_model_writes_freely_and_pickles_without_its_weights(model: Path) -> None:
    adviser = LanguageModelAdvisor(str(model), ("left", "right"), mode="generate", max_new_tokens=3)
    said = adviser(["x1", "a longer state"])
    assert len(said) == 2
    assert all(isinstance(text, str) for text in said)
    assert len(pickle.dumps(adviser)) < 1000
    assert pickle.loads(pickle.dumps(adviser))(["x1", "a longer state"]) == said


def test_a_language_model_guides_by_name_and_one_that_fails_is_counted(model: Path, tmp_path: Path) -> None:
    env = gymnasium.make("TextGym/CartPole-v0", guidance="language-model", model=str(model))
    env.reset(seed=0)
    assert env.step(0)[1] in (0.0, 2.0)
    (tmp_path / "empty").mkdir()
    empty = GuidanceWrapper(gymnasium.make("CartPole-v1"), "english", "language-model", model=str(tmp_path / "empty"))
    empty.reset(seed=0)
    assert empty.step(0)[1] == 1.0
    assert empty.counts["failed"] == 2


def test_a_language_model_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    guidance: dict[str, Any] = {"guidance": "language-model", "model": str(tmp_path / "none")}
    with pytest.raises(InvalidModel, match=r"none is no folder. Give one that `save_pretrained` wrote"):
        gymnasium.make("TextGym/CartPole-v0", **guidance)
    with pytest.raises(InvalidModel, match="none is no folder"):
        GuidanceWrapper(gymnasium.make("CartPole-v1"), "english", "language-model", model=guidance["model"])


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"mode": "rank"}, UnknownName, "no mode of a language model's advice is called 'rank'"),
        ({"candidates": ("left",)}, InvalidSetting, "leave no choice"),
        ({"candidates": ("left", " ")}, InvalidSetting, "leave no choice"),
        ({"path": ""}, InvalidSetting, "names no model"),
        ({"max_time": -1}, InvalidSetting, "max_time=-1"),
        ({"max_new_tokens": 0}, InvalidSize, "max_new_tokens=0"),
        ({"prompt": "Go!"}, InvalidSetting, "does not show the state"),
    ],
)
def test_language_models_that_cannot_be_asked_are_refused(
    kwargs: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        LanguageModelAdvisor(**{"path": "p", "candidates": ("left", "right"), **kwargs})
