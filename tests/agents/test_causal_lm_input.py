"""What makes no policy of a language model is refused in words that say what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from language_models import END, GPT2, LLAMA, QWEN2, bpe, saved
from stable_baselines3 import DQN, PPO
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from agents import CausalLMDQNPolicy, CausalLMPolicy, causal_loading, make, make_vec_env
from agents.causal_extractor import CausalLMExtractor
from agents.causal_loading import load_causal_lm, read_config
from agents.causal_vocabulary import begin_id, model_ids
from agents.sampling import Sampling
from textgym.errors import InvalidSetting, InvalidSize, InvalidVocabulary, UnknownName
from textgym.space import TokenBox

BERT: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def written(folder: Path, kind: str, maker: Any, **sizes: Any) -> str:
    """Write a model of transformers' with some other head."""
    maker.from_config(AutoConfig.for_model(kind, vocab_size=9, pad_token_id=0, **sizes)).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("model", ["", None, 3, ["gpt2"], True])
def test_what_names_no_model_is_refused(model: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"names no model|policy.model"):
        PPO(CausalLMPolicy, make_vec_env("TextGen-v0", 2), policy_kwargs={"model": model}, device="cpu")
    with pytest.raises(InvalidSetting, match=r"ppo: policy.model="):
        make("ppo", make_vec_env("TextGen-v0", 2), policy={"model": model})


@pytest.mark.parametrize("model", ["/nowhere/gpt2", "./gpt2", "~/nowhere", "a/b/c"])
def test_a_folder_that_is_not_there_is_never_asked_of_the_hub(model: str) -> None:
    with pytest.raises(InvalidSetting, match="is no folder here"):
        load_causal_lm(model, 3, 3)


def test_a_name_is_asked_of_the_hub_for_no_pickles_and_no_code(monkeypatch: Any, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def download(name: str, **how: Any) -> str:
        asked.update(name=name, **how)
        return saved(tmp_path / "0123abc", GPT2, vocab_size=5)

    monkeypatch.setattr(causal_loading, "snapshot_download", download)
    loaded = load_causal_lm("someone/tiny", 5, 4, "main")
    assert (loaded.base.source, loaded.base.revision) == ("someone/tiny", "0123abc")
    assert (asked["name"], asked["revision"]) == ("someone/tiny", "main")
    assert not any(pattern.endswith((".py", ".bin", ".pt")) for pattern in asked["allow_patterns"])
    agent = make("ppo", make_vec_env("TextGen-v0", 2), policy={"model": "someone/tiny"}, device="cpu")
    assert agent.made.settings["policy"]["revision"] == "0123abc"

    def fail(name: str, **how: Any) -> str:
        raise OSError("no network")

    monkeypatch.setattr(causal_loading, "snapshot_download", fail)
    with pytest.raises(
        InvalidSetting, match="neither a folder here nor a name that the hub could be asked for: no net"
    ):
        load_causal_lm("someone/tiny", 5, 4)


def test_a_folder_without_a_configuration_or_without_weights(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"has no config\.json"):
        load_causal_lm(str(tmp_path), 3, 3)
    folder = Path(saved(tmp_path / "m"))
    (folder / "model.safetensors").unlink()
    with pytest.raises(InvalidSetting, match=r"no weights as safetensors: there is a config alone"):
        load_causal_lm(str(folder), 3, 3)
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InvalidSetting, match=r"'pytorch_model\.bin'\] are pickles"):
        load_causal_lm(str(folder), 3, 3)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model_type": "nothing"}', '{"model_type": 3}'])
def test_a_configuration_that_is_none(content: str, tmp_path: Path) -> None:
    folder = Path(saved(tmp_path / "m"))
    (folder / "config.json").write_text(content)
    with pytest.raises(InvalidSetting, match="describes no model"):
        load_causal_lm(str(folder), 3, 3)


def test_weights_that_are_damaged_or_another_models(tmp_path: Path) -> None:
    folder = Path(saved(tmp_path / "m"))
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(InvalidSetting, match="holds no model's weights"):
        load_causal_lm(str(folder), 3, 3)
    (folder / "model.safetensors").write_bytes(weights)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_layer": 3}))
    with pytest.raises(InvalidSetting, match="lack"):
        load_causal_lm(str(folder), 3, 3)


def test_remote_code_is_not_run(tmp_path: Path) -> None:
    folder = Path(saved(tmp_path / "m"))
    config = json.loads((folder / "config.json").read_text())
    del config["model_type"]
    auto = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": auto}))
    (folder / "evil.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(InvalidSetting, match="without code of its own"):
        load_causal_lm(str(folder), 3, 3)


def test_models_without_a_causal_head(tmp_path: Path) -> None:
    body = written(tmp_path / "body", "gpt2", AutoModel, n_layer=1, n_embd=32, n_head=2)
    labels = written(tmp_path / "labels", "gpt2", AutoModelForSequenceClassification, n_layer=1, n_embd=32, n_head=2)
    both = written(tmp_path / "both", "bert", AutoModelForMaskedLM, **BERT)
    for folder in (body, labels, both):
        with pytest.raises(InvalidSetting, match="a model without a causal head"):
            load_causal_lm(folder, 3, 3)


def test_a_model_that_looks_ahead() -> None:
    with pytest.raises(InvalidSetting, match="BertLMHeadModel is not causal"):
        CausalLMExtractor(TokenBox(9, 2, 4), {"model_type": "bert", **BERT})


def test_a_head_that_is_not_linear() -> None:
    with pytest.raises(InvalidSetting, match="no linear function of its last hidden"):
        CausalLMExtractor(TokenBox(9, 2, 4), {"model_type": "bert", **BERT, "is_decoder": True})
    kind = {"model_type": "cohere", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    with pytest.raises(InvalidSetting, match="no linear function of its last hidden"):
        CausalLMExtractor(TokenBox(9, 2, 4), {**kind, "intermediate_size": 32, "logit_scale": 7.0})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"n_layer": 1}, "model_type=None is no causal"),
        ({"model_type": "vit"}, "model_type='vit' is no causal"),
        ({"model_type": 3}, "model_type=3 is no causal"),
        ({**GPT2, "n_layers": 3}, r"\['n_layers'\] are no settings of gpt2"),
        ({**GPT2, "n_layer": "two"}, "is no configuration of gpt2|makes no model"),
        ({**GPT2, "n_head": 3}, "model"),
    ],
)
def test_configurations_of_no_model(kind: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        load_causal_lm(kind, 3, 3)


def test_fewer_tokens_or_positions_than_the_environment_needs(tmp_path: Path) -> None:
    with pytest.raises(InvalidVocabulary, match="the environment has 4 tokens and symbols, the model 3"):
        load_causal_lm({**GPT2, "vocab_size": 3}, 4, 3)
    folder = saved(tmp_path / "m", vocab_size=3)
    with pytest.raises(InvalidSetting, match="an observation has 64 tokens and one begins the row; the model has 64"):
        load_causal_lm(folder, 3, 64)
    load_causal_lm(folder, 3, 63)
    with pytest.raises(InvalidSetting, match=r"revision='main' is a hub's"):
        load_causal_lm(folder, 3, 3, revision="main")


def test_too_little_memory_is_said_before_any_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    giant = {"model_type": "gpt2", "n_layer": 4, "n_embd": 40_000, "n_head": 2}
    with pytest.raises(InvalidSetting, match=r"too little memory: \d+ million parameters take \d+\.\d GB"):
        load_causal_lm(giant, 3, 3)
    small = load_causal_lm(GPT2, 3, 3).model
    exact = 16 * sum(parameter.numel() for parameter in small.parameters())
    monkeypatch.setattr(causal_loading, "free_memory", lambda: exact)
    load_causal_lm(GPT2, 3, 3)
    with pytest.raises(InvalidSetting, match="too little memory"):
        load_causal_lm(GPT2, 3, 3, copies=2)
    monkeypatch.setattr(causal_loading, "free_memory", lambda: None)
    load_causal_lm(GPT2, 3, 3, copies=2)


def test_a_fresh_model_takes_the_environments_sizes_where_it_has_none() -> None:
    for kind in (GPT2, LLAMA, QWEN2):
        model: Any = load_causal_lm(kind, 7, 11).model
        assert (model.config.vocab_size, model.config.max_position_embeddings) == (7, 12)
        assert begin_id(None, model.config) is None
    assert load_causal_lm({**GPT2, "n_positions": 30, "vocab_size": 9}, 7, 11).model.config.n_positions == 30  # type: ignore[union-attr]
    assert read_config(GPT2).hidden_size == 32


class TestTokens:
    """Which of the model's tokens are the environment's."""

    tokenizer = bpe([*"我爱你"])

    def test_by_text_where_the_environment_has_tokens_of_its_own(self) -> None:
        ids = model_ids(("你", "我", "a", "$"), "$", 4, self.tokenizer, 300)
        assert self.tokenizer.convert_ids_to_tokens(ids)[2:] == ["a", END]
        assert self.tokenizer.decode(ids[:2]) == "你我"

    def test_by_the_tokenizers_own_names(self) -> None:
        assert model_ids(("Ġ", "çĪ±"), None, 2, self.tokenizer, 300) == self.tokenizer.convert_tokens_to_ids(
            ["Ġ", "çĪ±"]
        )

    def test_its_own_ids_where_it_was_made_with_the_tokenizer(self) -> None:
        pieces = tuple(self.tokenizer.convert_ids_to_tokens(list(range(len(self.tokenizer)))))
        assert model_ids(pieces, END, len(pieces), self.tokenizer, 300) == list(range(len(pieces)))
        assert model_ids((*pieces, "?"), END, len(pieces) + 1, self.tokenizer, 300) == list(range(len(pieces) + 1))
        with pytest.raises(InvalidVocabulary, match="it is another model's"):
            model_ids(pieces, END, len(pieces), self.tokenizer, 100)

    def test_texts_of_several_tokens_are_refused(self) -> None:
        with pytest.raises(InvalidVocabulary, match=r"\['他', 'ab'\] are no single tokens of the model \('他' is \["):
            model_ids(("我", "他", "ab"), None, 3, self.tokenizer, 300)

    def test_two_that_are_one_token_are_refused(self) -> None:
        with pytest.raises(InvalidVocabulary, match=r"\['我', 'æĪĳ'\] are one token of the model"):
            model_ids(("我", "æĪĳ"), None, 2, self.tokenizer, 300)

    def test_a_row_begins_with_the_begin_token_else_the_end_token(self) -> None:
        config = AutoConfig.for_model("gpt2", vocab_size=300, bos_token_id=7, eos_token_id=[8, 9])
        assert begin_id(self.tokenizer, config) == self.tokenizer.bos_token_id == 0
        assert begin_id(None, config) == 7
        config.bos_token_id = None
        assert begin_id(None, config) == 8
        config.eos_token_id = 300
        assert begin_id(None, config) is None


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"critic": "both"}, InvalidSetting, "critic"),
        ({"temperature": 0}, InvalidSetting, "temperature"),
        ({"temperature": float("nan")}, InvalidSetting, "temperature"),
        ({"top_k": 0}, (InvalidSize, InvalidSetting), "top_k"),
        ({"top_p": 0.0}, InvalidSetting, "top_p"),
        ({"top_p": 1.5}, InvalidSetting, "top_p"),
        ({"use_cache": 1}, InvalidSetting, "use_cache"),
        ({"d_model": 3}, (UnknownName, TypeError), "d_model"),
    ],
)
def test_settings_out_of_their_range(settings: dict[str, Any], error: Any, message: str) -> None:
    env = make_vec_env("TextGen-v0", 2)
    with pytest.raises(error, match=message):
        PPO(CausalLMPolicy, env, policy_kwargs={"model": GPT2, **settings}, device="cpu")
    with pytest.raises(error, match=message):
        make("ppo", env, policy={"model": GPT2, **settings}, device="cpu")


def test_sampling_is_not_for_action_values() -> None:
    with pytest.raises(UnknownName, match=r"policy\.temperature"):
        make("dqn", make_vec_env("TextGen-v0", 2), policy={"model": GPT2, "temperature": 2.0})


@pytest.mark.parametrize("kwargs", [{"net_arch": [8]}, {"features_extractor_class": None}, {"ortho_init": True}])
def test_nothing_else_is_put_around_the_model(kwargs: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting, match=next(iter(kwargs))):
        PPO(CausalLMPolicy, make_vec_env("TextGen-v0", 2), policy_kwargs={"model": GPT2, **kwargs}, device="cpu")


def test_it_reads_tokens_and_writes_tokens_alone() -> None:
    with pytest.raises(InvalidSetting, match="language model reads rows of tokens"):
        make("ppo", make_vec_env("CartPole-v1", 2), policy={"model": GPT2})
    with pytest.raises(InvalidSetting, match="holds no tokens"):
        PPO(CausalLMPolicy, make_vec_env("CartPole-v1", 2), policy_kwargs={"model": GPT2}, device="cpu")
    with pytest.raises(InvalidSetting, match="needs Discrete actions"):
        CausalLMPolicy(TokenBox(3, 0, 3), spaces.Box(0, 1, (2,)), lambda _: 1e-3, GPT2)


def test_a_cut_keeps_the_likeliest_within_the_masks() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    masks = torch.tensor([[False, True, True, True]])

    def stay(**how: Any) -> list[bool]:
        found = Sampling(**how).candidates(logits, masks)
        assert found is not None
        kept: list[bool] = found[0].tolist()
        return kept

    assert stay(top_k=2) == [False, True, True, False]
    assert stay(top_k=9) == [False, True, True, True]
    assert stay(top_p=0.5) == [False, True, False, False]  # 0.3 of 0.5 that the mask leaves
    assert stay(top_p=0.61) == [False, True, True, False]
    assert stay(top_k=2, top_p=0.7) == [False, True, True, False]  # 0.3 of 0.45 that are left
    assert stay(top_k=2, top_p=0.6) == [False, True, False, False]
    assert Sampling().candidates(logits, masks) is masks
    taken = Sampling(top_k=1).candidates(logits, None, torch.tensor([3]))
    assert taken is not None
    assert taken[0].tolist() == [True, False, False, True]
    heated = Sampling(temperature=2.0).log_probabilities(logits).exp()[0]
    root = np.sqrt([0.5, 0.3, 0.15, 0.05])
    np.testing.assert_allclose(heated.numpy(), root / root.sum(), rtol=1e-5)


def test_what_is_cut_is_never_written_and_predicted_alike() -> None:
    env = make_vec_env("TextGym/Copy-v0", 8, seed=0)
    policy = make("ppo", env, policy={"model": GPT2, "top_k": 2, "temperature": 3.0}, device="cpu", seed=0).policy
    policy.set_training_mode(False)
    obs = torch.as_tensor(env.reset())
    probabilities = policy.scores(obs).exp()
    assert ((probabilities > 0).sum(dim=1) == 2).all()
    torch.testing.assert_close(policy.get_distribution(obs).distribution.probs, probabilities, atol=1e-5, rtol=0)
    for _ in range(20):
        actions = torch.as_tensor(policy.predict(obs.numpy())[0])
        assert (probabilities.gather(1, actions[:, None]) > 0).all()


def test_dqns_policy_by_itself() -> None:
    env = make_vec_env("TextGen-v0", 2)
    model = DQN(CausalLMDQNPolicy, env, policy_kwargs={"model": GPT2}, device="cpu", learning_starts=8)
    assert model.policy.q_net(torch.tensor([[0, 1, 3]])).abs().max() < 0.1
    model.learn(32)
