"""An agent that begins with a run's policy: it is that policy, exactly, and says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from signing import configure

import agents
from agents import initialise, load, make, make_vec_env, pretrain, save
from agents.config import Start
from agents.probabilities import AgentPolicy
from agents.runs import config_of
from textgym.errors import InvalidSetting

# SB3 silences this when it is imported, which pytest undoes for each test.
pytestmark = pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")

Textgym = Callable[..., tuple[int, str, str]]

SIZES: dict[str, Any] = {"d_model": 16, "n_layers": 1, "n_heads": 2}
WORD: dict[str, Any] = {"target": "bcd", "alphabet": "abcd", "eos": "$", "horizon": 4, "reward": "terminal"}
TEXTS = [first + second + third for first in "abcd" for second in "bcd" for third in "bcd" if first < second < third]
MORE = ["ab", "bc", "cd", "abd", "acd", "d", "bd", "ad"]


def rows(n: int = 8, **changes: Any) -> Any:
    return make_vec_env("TextGen-v0", n, seed=0, **{**WORD, **changes})


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy fitted to texts whose letters rise, bcd among them."""
    folder = tmp_path_factory.mktemp("starts") / "start"
    agent = make("ppo", rows(), seed=0, device="cpu", policy=SIZES)
    pretrain(agent, TEXTS + MORE, epochs=20, learning_rate=1e-2)
    save(agent, folder)
    return folder


def same(agent: Any, start: Path, part: str) -> bool:
    """Whether all parameters of a part are the run's."""
    own, other = agent.policy.state_dict(), load(start).policy.state_dict()
    names = [name for name in own if part in name and name in other]
    assert names
    return all(torch.equal(own[name], other[name]) for name in names)


@pytest.mark.parametrize("name", ["ppo", "a2c", "reinforce"])
def test_learning_begins_at_the_very_policy(name: str, start: Path) -> None:
    agent = make(name, rows(), init=start, seed=7, device="cpu")
    assert agents.evaluate(agent).expected_return == agents.evaluate(start).expected_return
    untouched = make(name, rows(), seed=7, device="cpu", policy=SIZES)
    assert agents.evaluate(untouched).expected_return != agents.evaluate(start).expected_return
    assert torch.equal(agent.policy.value_net.weight, untouched.policy.value_net.weight)
    assert same(agent, start, "features_extractor")
    assert same(agent, start, "action_net")
    assert not same(agent, start, "value_net")


def test_it_stays_better_than_learning_from_nothing(start: Path) -> None:
    found = []
    for init in (start, None):
        agent = make("ppo", rows(), init=init, seed=3, device="cpu", **({} if init else {"policy": SIZES}))
        before = agents.evaluate(agent).expected_return
        found.append((before, agents.evaluate(agent.learn(4096)).expected_return))
    (before, after), (before_scratch, after_scratch) = found
    assert before > 5 * before_scratch
    assert after > 5 * before
    assert after > 10 * after_scratch


def test_dqn_begins_with_the_transformer(start: Path) -> None:
    agent = make("dqn", rows(), init=start, seed=7, device="cpu")
    fresh = make("dqn", rows(), seed=7, device="cpu", policy=SIZES)
    given = load(start).policy.state_dict()
    for network in (agent.policy.q_net, agent.policy.q_net_target):
        for name, value in network.features_extractor.state_dict().items():
            assert torch.equal(value, given[f"features_extractor.{name}"])
        assert torch.equal(network.q_net[0].weight, fresh.policy.q_net.q_net[0].weight)
    agent.learn(300)


def test_dqn_begins_with_all_of_a_dqn_and_ppo_with_its_transformer(tmp_path: Path) -> None:
    save(make("dqn", rows(), seed=1, device="cpu", policy=SIZES).learn(300), tmp_path)
    again = make("dqn", rows(), init=tmp_path, seed=2, device="cpu")
    assert same(again, tmp_path, "q_net.")
    assert agents.evaluate(again, deterministic=True).occupancy[-1][0].tolist() == (
        agents.evaluate(tmp_path, deterministic=True).occupancy[-1][0].tolist()
    )
    ppo = make("ppo", rows(), init=tmp_path, seed=2, device="cpu")
    given = load(tmp_path).policy.q_net.features_extractor.state_dict()
    assert all(torch.equal(value, given[name]) for name, value in ppo.policy.features_extractor.state_dict().items())


def test_an_agent_made_before_can_be_initialised_and_what_it_remembers_is_forgotten(start: Path) -> None:
    agent = make("ppo", rows(), seed=5, device="cpu", policy=SIZES)
    seen = np.full((3, 4), 5, np.int32)
    agent.predict(seen)
    assert initialise(agent, start) is agent
    expected, _ = load(start).predict(seen, deterministic=True)
    assert agent.predict(seen, deterministic=True)[0].tolist() == expected.tolist()
    with pytest.raises(InvalidSetting, match="has learned for 512 steps already"):
        initialise(agent.learn(300), start)


def test_a_run_says_what_it_began_from_wherever_that_is_now(start: Path, tmp_path: Path) -> None:
    shutil.copytree(start, tmp_path / "start")
    agent = make("ppo", rows(), init=tmp_path / "start", seed=0, device="cpu").learn(200)
    save(agent, tmp_path / "run")
    digest = json.loads((start / "manifest.json").read_text())["files"]["policy.safetensors"]
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert kept["init"] == {"folder": str(tmp_path / "start"), "sha256": digest}
    assert kept["pretraining"] is None
    shutil.rmtree(tmp_path / "start")  # nothing of it is needed any more
    again = load(tmp_path / "run")
    assert config_of(again) == config_of(agent)
    assert again.made.init == Start(folder=str(tmp_path / "start"), sha256=digest)
    for name, value in agent.policy.state_dict().items():
        assert torch.equal(value, again.policy.state_dict()[name])


def test_other_rewards_are_no_other_policy(start: Path) -> None:
    agent = make("ppo", rows(reward="token", target="ab"), init=start, device="cpu")
    assert same(agent, start, "action_net")


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"alphabet": "abcde"}, {}, "vocabulary=.*Give the one that it was trained on, whose arguments were {'"),
        ({"alphabet": "dcba"}, {}, "vocabulary="),
        ({"horizon": 5}, {}, "prompts of at most 0 tokens, at most 4 more; here prompts have up to 0, and .* is 5"),
        ({"target": ["bcd", "abc"]}, {}, "here prompts have up to 3"),
        (
            {},
            {"policy.d_model": 32},
            r"policy\.d_model=16, and this agent policy\.d_model=32\. Leave",
        ),
        ({}, {"policy.n_layers": 2}, r"policy\.n_layers=1, and this agent policy\.n_layers=2"),
        ({}, {"policy": {"n_heads": 4}}, r"policy\.n_heads=2, and this agent policy\.n_heads=4"),
        (
            {},
            {"policy.residual_scale": 1.0},
            r"policy\.residual_scale=0\.1, and this agent policy\.residual_scale=1\.0",
        ),
    ],
)
def test_another_vocabulary_width_or_size_is_refused(
    changes: dict[str, Any], settings: dict[str, Any], message: str, start: Path
) -> None:
    with pytest.raises(InvalidSetting, match=message):
        make("ppo", rows(**changes), init=start, device="cpu", **settings)


def test_shorter_prompts_and_a_shorter_horizon_are_read_as_in_the_wide_run(tmp_path: Path) -> None:
    wide = make("ppo", rows(target=["bcd", "acd"], prompt=["ab", "b"]), seed=0, device="cpu", policy=SIZES)
    save(wide, tmp_path)
    narrow = make("ppo", rows(target="bc", prompt="a", horizon=3), init=tmp_path, seed=1, device="cpu")
    pad = 5
    for tokens in ([], [0], [0, 1], [0, 1, 2]):  # a prompt of one token at most, then what is written
        prompt, written = tokens[:1], tokens[1:]
        seen = [
            np.array([[*[pad] * (most - len(prompt)), *prompt, *written, *[pad] * (horizon - len(written))]])
            for most, horizon in ((1, 3), (2, 4))
        ]
        masks = np.ones((1, 5), np.bool_)
        one, other = (AgentPolicy(agent)(observations, masks) for agent, observations in zip((narrow, wide), seen))
        np.testing.assert_allclose(one, other, atol=1e-7)
    assert not np.allclose(other, 0.2, atol=0.02)


def test_what_has_no_transformer_is_refused(start: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="q-learning has no transformer"):
        make("q-learning", rows(), init=start)
    with pytest.raises(InvalidSetting, match="cannot be what q-learning begins with"):
        initialise(make("q-learning", rows()), start)
    save(make("q-learning", rows(), seed=0).learn(100), tmp_path / "table")
    with pytest.raises(InvalidSetting, match="cannot be what ppo begins with: the two have no transformer in common"):
        make("ppo", rows(), init=tmp_path / "table")
    with pytest.raises(FileNotFoundError, match="holds no run"):
        make("ppo", rows(), init=tmp_path / "nowhere")


def test_a_damaged_or_replaced_start_is_refused(start: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(start, other)
    with pytest.raises(InvalidSetting, match=r"is not what this run began from: its policy\.safetensors has been repl"):
        make("ppo", rows(), init=Start(folder=str(other), sha256="0" * 64))
    data = (other / "policy.safetensors").read_bytes()
    (other / "policy.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(InvalidSetting, match="it was cut or edited"):
        make("ppo", rows(), init=other)


ENV = tuple(part for name, value in WORD.items() for part in ("--env", f"{name}={value}"))


def test_pretrain_and_train_as_a_user_types_them(textgym: Textgym, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n".join([*TEXTS, *MORE, "xyz", "ab"]) + "\n", encoding="utf-8")
    command = ("pretrain", "texts.txt", "--task", "TextGen-v0", *ENV, "--set", "policy.d_model=16", "--fit", "epochs=4")
    status, out, err = textgym(*command, "--out", "start")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "texts.txt, line 13: 'xyz' does not fit the environment" in err
    status, out, err = textgym(*command, "--out", "start", "--skip")
    assert (status, err) == (0, "")
    assert "9 texts learned from, 1 held out, 3 duplicates removed, 1 skipped, which do not fit\n" in out
    assert "--init start" in out.splitlines()[-1]
    kept = json.loads((tmp_path / "start" / "config.json").read_text("utf-8"))["pretraining"]
    assert (kept["data"], kept["settings"]["epochs"], kept["skipped"]) == ("texts.txt", 4, 1)
    assert textgym(*command, "--out", "again", "--skip")[0] == 0
    policies = [(tmp_path / name / "policy.safetensors").read_bytes() for name in ("start", "again")]
    assert policies[0] == policies[1]
    status, _, err = textgym(*command, "--out", "start", "--skip")
    assert "start holds a run already. Choose another folder, pass --overwrite" in err
    assert textgym("eval", "start", "--json")[0] == 0
    train = ("train", "TextGen-v0", *ENV, "--init", "start", "--steps", "200", "--out", "run")
    assert textgym(*train)[0] == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["init"]["folder"] == "start"
    for again, why in (("--resume", "was fitted to text"), ("--config", "came of pretraining")):
        status, _, err = textgym("train", again, "start")
        assert status == 1
        assert why in err
    assert textgym("train", "--resume", "run", "--steps", "600")[0] == 0
    assert textgym("train", "--config", "run", "--out", "third")[0] == 0
    shutil.rmtree(tmp_path / "run")
    assert textgym(*command, "--out", "start", "--skip", "--overwrite", "--seed", "5")[0] == 0
    status, _, err = textgym("train", "--config", "third", "--out", "fourth")
    assert status == 1
    assert "start is not what this run began from" in err
    assert not (tmp_path / "fourth").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--fit", "epoch=3"), "Did you mean 'epochs'"),
        (("--fit", "held_out=2"), "pretraining: held_out=2 is refused"),
        (("--set", "policy.d_modell=8"), "Did you mean 'policy.d_model'"),
        (("--agent", "q-learning"), "q-learning has no policy"),
        (("--agent", "pp0"), "Did you mean 'ppo'"),
        (("--env", "target=ab"), "texts.txt, line 1"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    arguments: tuple[str, ...], message: str, textgym: Textgym, tmp_path: Path
) -> None:
    (tmp_path / "texts.txt").write_text("我爱你\n爱你\n", encoding="utf-8")
    status, _, err = textgym("pretrain", "texts.txt", "--task", "TextGen-v0", "--out", "start", *arguments)
    assert (status, err.count("\n")) == (1, 1)
    assert message in err
    assert not (tmp_path / "start").exists()


def test_a_strangers_run_makes_nobody_read_the_folder_that_it_names(start: Path, tmp_path: Path) -> None:
    save(make("ppo", rows(), init=start, seed=0, device="cpu"), tmp_path / "run")
    configure(tmp_path / "run", init={"folder": "/dev/zero", "sha256": None})
    assert load(tmp_path / "run").made.init.folder == "/dev/zero"
    for folder in ("\x1b[2J", "a\nb"):
        with pytest.raises(InvalidSetting, match=r"init: folder=.* is refused: it has characters that cannot be shown"):
            make("ppo", rows(), init=folder)
