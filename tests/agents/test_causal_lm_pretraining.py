"""A Hugging Face model fitted to text, what a run then begins with, and perplexity under a model's folder."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_models import GPT2, LLAMA, saved
from transformers import AutoModelForCausalLM, AutoTokenizer

from agents import load, make, make_vec_env, pretrain, save
from agents.evaluation import write
from agents.likelihood import perplexity_under
from textgym import load_task
from textgym.errors import InvalidSetting, InvalidVocabulary

TEXTS = ["我爱你", "你爱我", "我我你", "你你爱", "爱我", "爱你", "你我", "我你"]
Textgym = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("model"), LLAMA, [*"我爱你"])


def rows_of(model: str, n: int = 4, **more: Any) -> Any:
    return make_vec_env("TextGen-v0", n, seed=0, **{"tokenizer": model, "eos": True, **more})


def test_a_fit_lowers_perplexity_and_what_begins_with_it_may_be_of_another_width(model: str, tmp_path: Path) -> None:
    agent = make("ppo", rows_of(model), policy={"model": model}, seed=0)
    fit = pretrain(agent, TEXTS, epochs=15, held_out=0.25)
    assert fit.cross_entropy < fit.before - 1
    assert agent.made.pretraining["settings"]["learning_rate"] == pytest.approx(5e-3 * 8 / 32, rel=0.05)
    save(agent, tmp_path / "start")
    longer = make("ppo", rows_of(model, target="我爱你爱我", prompt="你"), init=str(tmp_path / "start"), seed=1)
    assert longer.made.settings["policy"]["model"] == model
    ids = agent.env.get_attr("task")[0].vocabulary.encode("我爱")
    scores = []
    for one in (agent, longer):
        row = torch.full((1, one.observation_space.shape[0]), int(one.observation_space.high[0]))
        row[0, : len(ids)] = torch.as_tensor(ids)
        with torch.no_grad():
            scores.append(one.policy.scores(row))
    assert torch.allclose(scores[0], scores[1], atol=1e-5)
    dqn = make("dqn", rows_of(model), init=str(tmp_path / "start"), seed=1)
    trunk = dqn.policy.q_net.features_extractor.transformer.state_dict()
    assert all(
        torch.equal(a, trunk[name]) for name, a in agent.policy.features_extractor.transformer.state_dict().items()
    )
    assert load(tmp_path / "start").made.pretraining["epochs"] == fit.epochs
    with pytest.raises(InvalidSetting, match="vocabulary"):
        make("ppo", rows_of(model, eos=False), init=str(tmp_path / "start"))


def test_perplexity_under_a_models_folder_is_that_of_the_model_itself(model: str) -> None:
    task = load_task("TextGen-v0", tokenizer=model, eos=True, prompt="我爱", horizon=6)
    agent = make("ppo", make_vec_env(task, 4), policy={"model": model, "temperature": 3.0}, seed=0)
    episodes, _ = write(agent, task, 5, deterministic=False)
    maker: Any = AutoModelForCausalLM
    whole, tokenizer = maker.from_pretrained(model).eval(), AutoTokenizer.from_pretrained(model)
    total, count = 0.0, 0
    for prompt, completion, length in zip(episodes.prompt, episodes.completion, episodes.length):
        ids = [tokenizer.bos_token_id, *prompt.tolist(), *completion[:length].tolist()]
        with torch.no_grad():
            logs = torch.log_softmax(whole(torch.tensor([ids])).logits[0], dim=-1)
        for place in range(1 + len(prompt), len(ids)):
            total, count = total - float(logs[place - 1, ids[place]]), count + 1
    assert perplexity_under(model, task, episodes) == pytest.approx(math.exp(total / count), rel=1e-4)


def test_perplexity_under_what_cannot_say_it(model: str, tmp_path: Path) -> None:
    task = load_task("TextGen-v0", target="hello")
    episodes = task.blank(1)
    episodes.begin(..., task.draw([np.random.default_rng(0)]))
    for token in range(5):
        task.step(episodes, np.array([min(token, 3)]))
    words = load_task("TextGen-v0", target="ab", alphabet=["hello", "ab"])
    blank = words.blank(1)
    blank.begin(..., words.draw([np.random.default_rng(0)]))
    words.step(blank, np.array([1]))
    assert perplexity_under(model, task, episodes) > 1  # letters are tokens of the model
    with pytest.raises(InvalidVocabulary, match="are no single tokens of the model"):
        perplexity_under(model, words, blank)
    with pytest.raises(FileNotFoundError):
        perplexity_under(tmp_path / "nowhere", task, episodes)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "vocab_size": 9}))
    with pytest.raises(InvalidSetting, match="no weights as safetensors"):
        perplexity_under(tmp_path, task, episodes)


def test_the_command_line_from_texts_to_rewards(model: str, textgym: Textgym, tmp_path: Path) -> None:
    Path("texts.jsonl").write_text(
        "\n".join(json.dumps({"prompt": text[0], "completion": text[1:]}) for text in TEXTS), encoding="utf-8"
    )
    status, out, error = textgym("pretrain", "texts.jsonl", "--model", model, "--out", "start", "--fit", "epochs=3")
    assert (status, "perplexity" in out) == (0, True), error
    config = json.loads(Path("start/config.json").read_text(encoding="utf-8"))
    assert config["env_kwargs"] == {"tokenizer": model, "target": "爱你", "eos": True, "prompt": "我"}
    task = ("--env", f"tokenizer={model}", "--env", "eos=true", "--env", "target=我爱你")
    more = ("--set", "policy.candidates=4", "--set", "n_steps=8", "--steps", "64", "--texts", "0")
    status, _, error = textgym("train", "TextGen-v0", *task, *more, "--init", "start", "--out", "run")
    assert status == 0, error
    names = "distinct,self-bleu,repetition,length,entropy,perplexity"
    for under in (model, "start", "run"):
        status, out, error = textgym("eval", "run", "--sample", "--metrics", names, "--under", under, "--json")
        assert status == 0, error
        figures = json.loads(out)["metrics"]
        assert figures["perplexity"] >= 1
        assert 0 <= figures["self-bleu-4"] <= 1
    fresh = ("--set", f"policy.model={json.dumps(GPT2)}", "--env", f"tokenizer={model}", "--fit", "epochs=1")
    assert textgym("pretrain", "texts.jsonl", *fresh, "--out", "fresh")[0] == 0


def test_nothing_says_what_the_tokens_are(textgym: Textgym, model: str) -> None:
    Path("texts.txt").write_text("ab\ncd\n")
    status, _, error = textgym("pretrain", "texts.txt", "--out", "start")
    assert (status, "nothing says what the tokens are" in error) == (1, True)
    Path("texts.txt").write_text("")
    status, _, error = textgym("pretrain", "texts.txt", "--model", model, "--out", "start")
    assert (status, "there is no text to learn from" in error) == (1, True)
