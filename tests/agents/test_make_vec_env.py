"""make_vec_env: from an id or a task to rows that an SB3 agent can use."""

from __future__ import annotations

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest

from agents import SB3VecEnv, make_vec_env
from textgym import TextGenVectorEnv, load_task, register
from textgym.errors import InvalidSize


def episodes(env: SB3VecEnv, steps: int = 40) -> npt.NDArray[np.int32]:
    """The observations of some steps with fixed actions."""
    rng = np.random.default_rng(0)
    size = int(env.action_space.n)  # type: ignore[attr-defined]
    return np.array([env.reset(), *[env.step(rng.integers(size, size=env.num_envs))[0] for _ in range(steps)]])


def test_an_id_becomes_one_batch_with_its_settings() -> None:
    env = make_vec_env("TextGen-v0", 3, target="hello", alphabet="helo")
    assert isinstance(env.env, TextGenVectorEnv)
    assert env.num_envs == 3
    assert env.observation_space == gymnasium.spaces.Box(0, 4, (5,), np.int32)
    assert env.action_space == gymnasium.spaces.Discrete(4)


def test_a_task_becomes_one_batch() -> None:
    env = make_vec_env(load_task("TextGym/Copy-v0", max_length=2), 3, seed=5)
    by_id = make_vec_env("TextGym/Copy-v0", 3, seed=5, max_length=2)
    np.testing.assert_array_equal(episodes(env), episodes(by_id))


def test_an_id_that_a_user_registered_becomes_a_batch() -> None:
    register("Tests/Bridge-v0", "textgym.envs.text_gen:text_gen", target="ab")
    try:
        assert isinstance(make_vec_env("Tests/Bridge-v0", 2).env, TextGenVectorEnv)
    finally:
        del gymnasium.registry["Tests/Bridge-v0"]


def test_a_foreign_id_becomes_rows_that_reset_in_the_same_step() -> None:
    env = make_vec_env("CartPole-v1", 2, seed=3, sutton_barto_reward=True)
    first = env.reset()
    single = gymnasium.make("CartPole-v1")
    np.testing.assert_array_equal(first, [single.reset(seed=3)[0], single.reset(seed=4)[0]])
    for _ in range(20):
        observations, rewards, dones, infos = env.step(np.zeros(2, np.int64))
        if dones[0]:
            assert (np.abs(infos[0]["terminal_observation"]) > np.abs(np.asarray(observations)[0])).all()
            assert (rewards[0], infos[0]["episode"]["r"]) == (-1.0, -1.0)
            return
    raise AssertionError("pushing one way ends an episode within 20 steps")


@pytest.mark.parametrize(
    ("id", "near"), [("TextGem-v0", "TextGen"), ("TextGym/Copi-v0", "Copy"), ("CartPol-v1", "CartPole")]
)
def test_an_unknown_id_is_refused_with_the_nearest_name(id: str, near: str) -> None:
    with pytest.raises(gymnasium.error.NameNotFound, match=f"Did you mean: `{near}`"):
        make_vec_env(id, 2)


@pytest.mark.parametrize("n_envs", [0, -1, 1.5, True])
def test_a_number_of_rows_that_is_no_size_is_refused(n_envs: int) -> None:
    with pytest.raises(InvalidSize, match=f"n_envs={n_envs}"):
        make_vec_env("TextGen-v0", n_envs)


def test_settings_of_a_finished_task_are_refused() -> None:
    with pytest.raises(TypeError, match="a finished Task takes no arguments"):
        make_vec_env(load_task("TextGen-v0"), 2, target="a")


def test_the_same_seed_gives_the_same_episodes_and_another_seed_others() -> None:
    one, same, other, chance = (episodes(make_vec_env("TextGym/Copy-v0", 4, seed=seed)) for seed in (1, 1, 2, None))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert (one != chance).any()
    np.testing.assert_array_equal(one[0, 1:], other[0, :-1])  # row i begins with seed + i
