"""TransformerExtractor: which spaces it reads, and what it makes of them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

from agents import TransformerExtractor, make_vec_env
from textgym import ControlEnv, TextGenEnv, env_ids
from textgym.errors import InvalidSetting
from textgym.space import TokenBox

PAD = 7
TOKENS = spaces.Box(0, PAD, (9,), np.int32)


def extractor(space: spaces.Space[Any] = TOKENS, **settings: Any) -> TransformerExtractor:
    torch.manual_seed(0)
    return TransformerExtractor(space, d_model=8, n_heads=2, **settings)


def features(model: TransformerExtractor, rows: list[list[int]]) -> npt.NDArray[np.float32]:
    """The features of rows, handed over as floats, as SB3 does."""
    out: npt.NDArray[np.float32] = model(torch.tensor(rows, dtype=torch.float32)).detach().numpy()
    return out


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0.0, 7.0, (9,), np.float32),
        spaces.Box(0, 7, (3, 3), np.int32),
        spaces.Box(1, 7, (9,), np.int32),
        spaces.Box(0, np.array([7, 6]), (2,), np.int32),
        spaces.Discrete(7),
        spaces.MultiDiscrete([7, 7]),
        spaces.Dict({"tokens": spaces.Discrete(7)}),
    ],
)
def test_a_space_that_holds_no_tokens_is_refused(space: spaces.Space[Any]) -> None:
    with pytest.raises(InvalidSetting, match=r"holds no tokens.*Box\(0, pad, \(length,\), int32\)"):
        extractor(space)


def test_a_dict_without_the_key_is_refused_with_its_keys_and_the_argument() -> None:
    with pytest.raises(InvalidSetting, match=r"no entry 'tokens'; it has \['text'\].*token_key"):
        extractor(spaces.Dict({"text": TOKENS}))


@pytest.mark.parametrize("sizes", [{"d_model": 10, "n_heads": 4}, {"d_model": 0}, {"n_heads": 0}, {"n_layers": 0}])
def test_sizes_that_make_no_network_are_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"d_model|n_heads|n_layers"):
        TransformerExtractor(TOKENS, **sizes)


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), "1", True])
def test_a_residual_scale_that_is_none_is_refused(scale: Any) -> None:
    with pytest.raises(InvalidSetting, match=r"residual_scale=.* is no number above 0\. Leave it out for 0\.1"):
        TransformerExtractor(TOKENS, residual_scale=scale)


@pytest.mark.parametrize("id", env_ids())
def test_every_environment_can_be_read(id: str) -> None:
    env = gymnasium.make(id).unwrapped
    assert isinstance(env, (TextGenEnv, ControlEnv))
    out = features(extractor(env.observation_space), [env.reset(seed=0)[0].tolist()])
    assert out.shape == (1, 8)
    assert np.isfinite(out).all()


def test_a_row_has_the_same_features_at_any_offset() -> None:
    model = extractor()
    rows = [[PAD] * left + [3, 0, 6, 1] + [PAD] * (5 - left) for left in range(6)]
    np.testing.assert_allclose(features(model, rows), np.repeat(features(model, rows[:1]), 6, axis=0), atol=1e-6)


def test_a_token_box_tells_a_prompt_from_what_was_written_after_it() -> None:
    asked_ab, asked_a_wrote_b = [0, 1, PAD, PAD], [PAD, 0, 1, PAD]
    one, other = features(extractor(TokenBox(PAD, 2, 2)), [asked_ab, asked_a_wrote_b])
    assert np.abs(one - other).max() > 1e-2


def test_features_tell_prefixes_apart() -> None:
    rows = [[], [0], [1], [6], [0, 1], [1, 0], [0, 0], [0, 0, 0]]
    out = features(extractor(), [row + [PAD] * (9 - len(row)) for row in rows])
    distances = np.abs(out[:, None] - out[None]).max(axis=2) + np.eye(len(rows))
    assert distances.min() > 1e-3


def test_features_have_norm_one_before_learning() -> None:
    out = features(extractor(), [[1, 2, 3] + [PAD] * 6, [PAD] * 9])
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, atol=1e-3)


def test_the_other_entries_of_a_dict_stand_beside_the_features() -> None:
    parts: dict[str, spaces.Space[Any]] = {
        "mood": spaces.Box(-1, 1, (2, 2), np.float32),
        "text": TOKENS,
        "weight": spaces.Box(-1, 1, (1,)),
    }
    model = extractor(spaces.Dict(parts), token_key="text")
    rows = torch.tensor([[1.0, 2.0] + [PAD] * 7, [PAD] * 9])
    mood, weight = torch.arange(8.0).reshape(2, 2, 2), torch.tensor([[0.5], [-0.5]])
    out = model({"mood": mood, "text": rows, "weight": weight}).detach()
    assert model.features_dim == 8 + 4 + 1
    torch.testing.assert_close(out[:, :8], extractor()(rows).detach())
    torch.testing.assert_close(out[:, 8:], torch.cat([mood.flatten(1), weight], dim=1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_features_on_a_gpu_are_those_on_the_cpu() -> None:
    model = extractor()
    rows = torch.tensor([[1.0, 2.0] + [PAD] * 7, [PAD] * 9])
    on_cpu = model(rows).detach()
    torch.testing.assert_close(model.to("cuda")(rows.to("cuda")).detach().cpu(), on_cpu, atol=1e-5, rtol=1e-5)


def test_normalised_tokens_are_refused() -> None:
    env = VecNormalize(make_vec_env("TextGen-v0", 2))
    model = PPO(
        "MlpPolicy", env, n_steps=4, batch_size=8, policy_kwargs={"features_extractor_class": TransformerExtractor}
    )
    with pytest.raises(InvalidSetting, match="norm_obs=False"):
        model.learn(8)
