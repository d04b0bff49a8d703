"""Every law, for every registered id."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode

import textgym
from textgym.checking import LAWS, Case
from textgym.errors import InvalidSetting
from textgym.frontier import paid_on_average
from textgym.prompts import ListedPrompts
from textgym.registration import env_spec, load_factory, load_task
from textgym.rollouts import likely_actions, random_return, rollout, write_target

IDS = [id for id in textgym.env_ids() if id == "TextGen-v0" or id.startswith("TextGym/")]
CONTROLS = [id for id in IDS if id in textgym.control_ids()]
TASKS = [id for id in IDS if id in textgym.task_ids()]
"""Control tasks have states and actions, and no Task: what is said of texts, prompts, targets, masks and optima is said
of the others alone. What is said of every environment is checked on these too, below and in test_control_laws.py."""
SECTIONS = ("Description", "Prompts", "Actions", "Observation", "Reward", "Episode end", "Arguments", "Version history")
HISTORY = """
import pickle, sys
import gymnasium, numpy as np, textgym
envs = gymnasium.make_vec(sys.argv[1], num_envs=3, vectorization_mode="vector_entry_point", autoreset_mode="SameStep")
rng = np.random.default_rng(0)
history = [envs.reset(seed=7)[0]]
for _ in range(50):
    history += envs.step(rng.integers(envs.single_action_space.n, size=3))[:2]
print(pickle.dumps([array.tobytes() for array in history]).hex())
"""


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("id", TASKS)
def test_every_law_holds(id: str, law: object) -> None:
    assert callable(law)
    assert law(Case(load_task(id))) is None  # a broken law raises


@pytest.mark.parametrize("id", TASKS)
def test_the_target_earns_the_optimum_and_random_writing_what_is_computed(id: str) -> None:
    task = paid_on_average(load_task(id))
    prompts = tuple(task.draw([np.random.default_rng(0)] * 40))  # those that rollout(seed=0) draws
    try:
        solution, found = textgym.solve(task, prompts=prompts), textgym.difficulty(task, prompts=prompts)
    except InvalidSetting as error:
        pytest.skip(f"no optimum: {error}")
    if task.prompts.max_target:
        np.testing.assert_allclose(rollout(task, write_target, 40, seed=0)[0], solution.values[0], atol=1e-9)
    mean, error_of_mean = random_return(replace(task, prompts=ListedPrompts(prompts)), 4000)
    assert abs(mean - found.random_return) < 4 * error_of_mean + 1e-9
    assert found.random_return <= found.optimal_return + 1e-9 == solution.optimal_return + 1e-9


@pytest.mark.parametrize("id", TASKS)
def test_gymnasium_makes_both_forms_and_they_agree_over_hundreds_of_steps(id: str) -> None:
    singles = gymnasium.make_vec(
        id, num_envs=3, vectorization_mode="sync", vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP}
    )
    batch = gymnasium.make_vec(id, num_envs=3, vectorization_mode="vector_entry_point", autoreset_mode="SameStep")
    assert isinstance(batch, textgym.TextGenVectorEnv)
    assert batch.single_observation_space == singles.single_observation_space
    assert batch.action_space == singles.action_space
    assert np.array_equal(batch.reset(seed=3)[0], singles.reset(seed=3)[0])
    rng = np.random.default_rng(3)
    learned = bool(getattr(batch.task.reward, "fingerprints", ()))
    for _ in range(300):
        actions = likely_actions(batch.task, batch.episodes, rng)
        for mine, theirs in zip(batch.step(actions)[:4], singles.step(actions)[:4]):
            assert np.allclose(mine, theirs, rtol=0, atol=1e-5) if learned else np.array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype


@pytest.mark.parametrize("id", IDS)
def test_another_process_writes_the_same_episodes(id: str) -> None:
    runs = [
        subprocess.run([sys.executable, "-c", HISTORY, id], capture_output=True, check=True, text=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1] != ""


@pytest.mark.parametrize("id", IDS)
def test_a_spec_survives_json(id: str) -> None:
    for env in (
        gymnasium.make(id),
        gymnasium.make_vec(id, num_envs=2, vectorization_mode="vector_entry_point", autoreset_mode="SameStep"),
    ):
        spec = env.spec
        assert spec is not None
        again = EnvSpec.from_json(spec.to_json())
        assert (again.id, again.kwargs) == (spec.id, spec.kwargs)
    remade = gymnasium.make(EnvSpec.from_json(gymnasium.make(id).spec.to_json()))  # type: ignore[union-attr]
    assert remade.observation_space == gymnasium.make(id).observation_space


@pytest.mark.parametrize("id", TASKS)
def test_a_task_pickles_small(id: str) -> None:
    assert len(pickle.dumps(load_task(id))) < 100_000


@pytest.mark.parametrize("id", IDS)
def test_the_page_has_every_section_and_names_every_argument(id: str) -> None:
    kwargs, control = env_spec(id).kwargs, id in CONTROLS
    factory = load_factory(kwargs["control" if control else "task"])
    page = inspect.getdoc(factory) or ""
    assert all(f"## {section}\n" in page for section in SECTIONS if not control or section != "Prompts")
    arguments = page.partition("## Arguments")[2].partition("## Version")[0]
    assert all(f"`{name}`" in arguments for name in inspect.signature(factory).parameters)


@pytest.mark.parametrize("id", IDS)
def test_the_readme_lists_it(id: str) -> None:
    assert f"| `{id}` |" in (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
