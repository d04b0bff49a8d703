"""Settings: what is out of range, of another type or unknown is refused, and layers of settings obey their laws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from agents import AGENTS, Config, load_agent
from agents.layers import nested
from agents.recipe import Recipe
from agents.settings import Settings, inside
from textgym.errors import InvalidSetting, UnknownName


def settings_of(name: str) -> type[Settings]:
    recipe = load_agent(name)
    assert isinstance(recipe, Recipe)
    kind: type[Settings] = recipe.settings
    return kind


ALL: dict[str, type[Settings]] = {**{name: settings_of(name) for name in AGENTS}, "config": Config}


def fields(kind: type[Settings]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield every field with its name with dots."""
    for name in kind.names():
        owner, (*path, last) = kind, name.split(".")
        for part in path:
            found = inside(owner.model_fields[part].annotation)
            assert found is not None
            owner = found
        yield name, owner.model_fields[last]


CASES = [(kind, name, field) for kind, settings in ALL.items() for name, field in fields(settings)]
LARGEST = {"d_model": 16_384, "n_layers": 1024, "n_heads": 1024, "n_envs": 65_536}
POSITIVE = (
    "alpha",
    "residual_scale",
    "value_alpha",
    "learning_rate",
    "max_grad_norm",
    "clip_range",
    "target_kl",
    "reward_scale",
    "kl_gain",
)
EPSILONS = ("epsilon", "exploration_fraction", "exploration_initial_eps", "exploration_final_eps")
SHARES = ("gamma", "gae_lambda", "tau", *EPSILONS)
UPDATES = ("n_epochs", "train_freq", "gradient_steps", "target_update_interval")
COUNTS = ("n_steps", "episodes", "batch_size", "buffer_size", "max_states", *UPDATES)


def wrong(name: str) -> list[Any]:
    """Return values that a setting of this name must refuse, whatever its agent."""
    last = name.rpartition(".")[2]
    if last in SHARES:
        return [-0.01, 1.01, "0.5", None, True, float("nan"), float("inf"), [1]]
    if last in POSITIVE:
        return [0, -1.0, "1", True, float("nan"), float("inf"), float("-inf")]
    if last in ("ent_coef", "vf_coef", "kl_coefficient"):
        return [-0.1, "0", None, True, float("nan"), float("inf")]
    if last == "micro_batch_size":  # none: a minibatch is read whole
        return [0, -1, 2**31, 1.0, "8", True]
    if last in COUNTS:
        return [0, -1, 2**31, 1.0, "8", None, True]
    if last in LARGEST:
        return [0, LARGEST[last] + 1, 1.5, "8", None, True]
    if last == "steps":
        return [0, -1, 1.0, "8", None, True]
    if last == "learning_starts":
        return [-1, 0.5, "1", None, True]
    if last == "seed":
        return [0.5, "1", True]
    if last == "kl":
        return ["k2", None, 1]
    if last == "reference":
        return ["", None, 1, ["start"]]
    if last == "kl_target":
        return [0, -1.0, "1", True, float("nan"), 1.0]  # 1.0: there is no coefficient that could adapt
    if last == "group_size":
        return [1, 0, 65_537, 2.0, "8", None, True]
    if last == "length_normalisation":
        return ["tokens", None, 1]
    if last in ("normalize_advantage", "normalise_std", "per_token", "baseline", "use_cache"):
        return [0, 1, "yes", None]
    if last == "learning_rate_schedule":
        return ["cosine", None, 1]
    if last in ("env_kwargs", "settings", "policy"):
        return [3, "x", [1], None]
    if last == "quantisation":
        return ["int4", 8, True]
    if last in ("pretraining", "distillation"):
        return [3, "x", [1]]
    assert last in ("env", "agent", "init", "folder", "sha256"), f"{name} has no case here"
    return [3, True, ["x"]]


@pytest.mark.parametrize(("kind", "name", "field"), CASES, ids=[f"{kind}-{name}" for kind, name, _ in CASES])
def test_a_value_out_of_range_or_of_another_type_is_refused_with_its_name_and_meaning(
    kind: str, name: str, field: FieldInfo
) -> None:
    assert field.description
    for value in wrong(name):
        with pytest.raises(InvalidSetting) as refused:
            ALL[kind].read(nested({name: value}), kind)
        message = str(refused.value)
        assert message.startswith(f"{kind}: {name}={value!r} is refused: ")
        assert message.endswith(f". It is {field.description}.")


@pytest.mark.parametrize("kind", sorted(ALL))
def test_defaults_and_bounds_are_taken(kind: str) -> None:
    settings = ALL[kind]
    assert settings.read({}, kind) == settings()
    for name, value, meaning in settings().flat():
        last = name.rpartition(".")[2]
        assert meaning
        assert settings.read(nested({name: value}), kind) == settings()
        edges = {**dict.fromkeys(SHARES, (0, 1, 0.5)), **dict.fromkeys(COUNTS, (1, 2**31 - 1))}
        for edge in edges.get(last, ()):
            assert dict((n, v) for n, v, _ in settings.read({name: edge}, kind).flat())[name] == edge


def test_a_tabular_step_size_above_one_is_refused_where_it_would_overshoot() -> None:
    for name in ("q-learning", "sarsa", "expected-sarsa"):
        with pytest.raises(InvalidSetting, match=r"alpha=1\.5 is refused: Input should be less than or equal to 1"):
            settings_of(name).read({"alpha": 1.5}, name)


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [
        ("ppo", "learning_rte", "learning_rate"),
        ("ppo", "policy.d_modle", "policy.d_model"),
        ("dqn", "buffersize", "buffer_size"),
        ("q-learning", "alfa", "alpha"),
        ("config", "agnt", "agent"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest(kind: str, name: str, near: str) -> None:
    with pytest.raises(UnknownName, match=f"no setting of {kind} is called '{name}'. Did you mean '{near}'"):
        ALL[kind].read(nested({name: 1}), kind)


def test_nested_settings_are_named_with_dots() -> None:
    kind = settings_of("ppo")
    read = kind.read(nested({"policy.d_model": 12, "policy": {"n_heads": 3}, "gamma": 0.5}), "ppo")
    found = {name: value for name, value, _ in read.flat()}
    assert (found["policy.d_model"], found["policy.n_heads"], found["policy.n_layers"]) == (12, 3, 2)
    assert set(read.given()) == {"policy.d_model", "policy.n_heads", "gamma"}
    assert set(kind.names()) - {"policy"} == set(found)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(InvalidSetting, match=r"ppo: policy=.* is refused: n_heads=3 does not divide d_model=8\. It is"):
        settings_of("ppo").read({"policy": {"d_model": 8, "n_heads": 3}}, "ppo")


@pytest.mark.parametrize("pair", [[0.5, 0.1], (0.5, 0.1)])
def test_a_pair_may_be_a_list_as_json_and_yaml_have_it(pair: Any) -> None:
    assert dict((n, v) for n, v, _ in settings_of("sarsa").read({"epsilon": pair}, "x").flat())["epsilon"] == (0.5, 0.1)


@pytest.mark.parametrize(
    ("epsilon", "fault"),
    [
        ([1, 2], r"epsilon=\[1, 2\] is refused: Input should be less than or equal to 1"),
        ([-1, 1], r"epsilon=\[-1, 1\] is refused: Input should be greater"),
    ],
)
def test_of_a_pair_the_fault_of_its_part_is_named(epsilon: Any, fault: str) -> None:
    with pytest.raises(InvalidSetting, match=f"q-learning: {fault}.*It is the chance of a random action"):
        settings_of("q-learning").read({"epsilon": epsilon}, "q-learning")


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings_of("ppo")().gamma = 0.5  # type: ignore[attr-defined]
