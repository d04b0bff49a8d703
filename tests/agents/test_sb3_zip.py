"""SB3's zip files are read only when asked for by name of trust, and loudly."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from agents import import_sb3_zip, make, make_vec_env
from textgym.errors import InvalidSetting, UnknownName

SMALL = {"policy": {"d_model": 8, "n_layers": 1, "n_heads": 1}}


def saved(name: str, folder: Path) -> Path:
    model = make(name, make_vec_env("TextGen-v0", 2, seed=0), seed=0, device="cpu", **SMALL)
    model.learn(64)
    model.save(folder / "model.zip")
    return folder / "model.zip"


@pytest.mark.parametrize(("name", "kind"), [("ppo", PPO), ("a2c", A2C), ("dqn", DQN)])
def test_a_trusted_file_is_read_with_a_warning(name: str, kind: type[BaseAlgorithm], tmp_path: Path) -> None:
    path = saved(name, tmp_path)
    env = make_vec_env("TextGen-v0", 4, seed=1)
    with pytest.warns(UserWarning, match="model.zip is being unpickled: whatever code it holds runs now"):
        model = import_sb3_zip(path, trust=True, env=env, device="cpu")
    assert isinstance(model, kind)
    own = kind.load(path, device="cpu")
    observations = env.reset()
    assert isinstance(observations, np.ndarray)
    expected = own.predict(observations, deterministic=True)[0]
    np.testing.assert_array_equal(model.predict(observations, deterministic=True)[0], expected)
    model.learn(8)


@pytest.mark.parametrize("trust", [False, None, 1, "yes"])
def test_a_file_that_is_not_trusted_is_not_opened(trust: bool, tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"would fail if it were opened")
    with pytest.raises(
        InvalidSetting, match=r"any code that its writer put into it.*import_sb3_zip\(path, trust=True\)"
    ):
        import_sb3_zip(tmp_path / "model.zip", trust=trust)


def test_an_algorithm_may_be_named_or_given(tmp_path: Path) -> None:
    MaskablePPO("MlpPolicy", make_vec_env("TextGen-v0", 1)).save(tmp_path / "masked.zip")
    with pytest.warns(UserWarning, match="unpickled"):
        assert isinstance(import_sb3_zip(tmp_path / "masked.zip", trust=True, algorithm=MaskablePPO), MaskablePPO)
    with pytest.warns(UserWarning, match="unpickled"):
        assert isinstance(import_sb3_zip(saved("a2c", tmp_path), trust=True, algorithm="A2C"), A2C)
    with pytest.raises(UnknownName, match="Did you mean 'PPO'"):
        import_sb3_zip(tmp_path / "masked.zip", trust=True, algorithm="PP0")


def test_what_is_no_file_of_sb3s_is_refused_before_anything_is_unpickled(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.zip"):
        import_sb3_zip(tmp_path / "nowhere.zip", trust=True)
    (tmp_path / "text.zip").write_text("text")
    with pytest.raises(InvalidSetting, match=r"text\.zip is no zip file of SB3's model\.save"):
        import_sb3_zip(tmp_path / "text.zip", trust=True)
    for data, message in (
        ('{"n_envs": 1}', "says not whose it is. Give algorithm="),
        ("[]", "is no zip file of SB3's"),
    ):
        with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
            archive.writestr("data", data)
        with pytest.raises(InvalidSetting, match=message):
            import_sb3_zip(tmp_path / "other.zip", trust=True)
