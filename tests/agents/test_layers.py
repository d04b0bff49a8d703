"""Layers of settings: names with dots become nested, later layers stand over earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.layers import merged, nested
from textgym.errors import InvalidSetting

NAMES = st.sampled_from(["a", "b", "c"])
TREES = st.recursive(
    st.dictionaries(NAMES, st.integers(0, 9), min_size=1, max_size=3),
    lambda inner: st.dictionaries(NAMES, st.integers(0, 9) | inner, min_size=1, max_size=3),
    max_leaves=8,
)


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a tree's values by their names with dots."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


@given(TREES, st.randoms())
def test_names_with_dots_are_the_nested_settings_in_whatever_order(tree: dict[str, Any], chance: Any) -> None:
    dotted = list(leaves(tree).items())
    chance.shuffle(dotted)
    assert nested(dict(dotted)) == nested(tree) == tree


@given(TREES, st.randoms())
def test_some_names_may_have_dots_and_others_be_nested(tree: dict[str, Any], chance: Any) -> None:
    parts = [(name, value) for name, value in leaves(tree).items() if chance.random() < 0.5]
    taken = {name for name, _ in parts}
    rest = nested({name: value for name, value in leaves(tree).items() if name not in taken})
    mixed = [*parts, *rest.items()]
    if len({name for name, _ in mixed}) == len(mixed):
        chance.shuffle(mixed)
        assert nested(dict(mixed)) == tree


@given(st.lists(TREES, max_size=4))
def test_merging_layers_is_merging_them_one_by_one_and_changes_none(layers: list[dict[str, Any]]) -> None:
    before = deepcopy(layers)
    assert merged(*layers) == reduce(lambda one, other: merged(one, other), layers, dict[str, Any]())
    assert layers == before
    if layers:
        assert leaves(layers[-1]).items() <= leaves(merged(*layers)).items()
        assert merged(*layers).keys() == {name for layer in layers for name in layer}


@given(TREES)
def test_a_layer_over_itself_or_over_nothing_is_itself(tree: dict[str, Any]) -> None:
    assert merged(tree, tree) == merged({}, tree) == merged(tree, {}) == tree


def test_a_value_and_settings_replace_each_other() -> None:
    assert merged({"x": {"a": 1}}, {"x": 2}) == {"x": 2}
    assert merged({"x": 2}, {"x": {"a": 1}}) == {"x": {"a": 1}}
    assert merged({"x": {"a": 1, "b": {"c": 1}}}, {"x": {"b": {"c": 2}}}) == {"x": {"a": 1, "b": {"c": 2}}}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"a": 1, "a.b": 2}, "a"),
        ({"a.b": 2, "a": 1}, "a"),
        ({"a.b": 2, "a": {"b": 3}}, r"a\.b"),
        ({"a": {"b": {"c": 1}}, "a.b.c": 1}, r"a\.b\.c"),
        ({"a.b": 1, "a.b.c": 1}, r"a\.b"),
    ],
)
def test_what_is_given_twice_is_refused(given: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidSetting, match=f"'{name}' is given twice: .* Give it once"):
        nested(given)


def test_what_was_given_is_not_changed() -> None:
    inner = {"d_model": 8}
    nested({"policy": inner, "policy.n_heads": 2})
    assert inner == {"d_model": 8}
