"""States as plain data beside arrays: what goes in comes out, what cannot is refused, and nonsense is no crash."""

from __future__ import annotations

import json
import math
from collections import OrderedDict, deque
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from agents.trees import pack, unpack

DTYPES = [np.dtype(code) for code in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")]
TENSORS = [np.dtype(code) for code in ("?", "i1", "i2", "i4", "i8", "u1", "f2", "f4", "f8")]
SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)

arrays = st.sampled_from(DTYPES).flatmap(lambda dtype: arrays_of.arrays(dtype, SHAPES))
tensors = st.sampled_from(TENSORS).flatmap(lambda dtype: arrays_of.arrays(dtype, SHAPES)).map(torch.from_numpy)
texts = st.text(st.characters(codec="utf-8"), max_size=4) | st.sampled_from(["$array", "$items", "$", "/", "0", "a/b"])
scalars = st.none() | st.booleans() | st.integers(-(2**130), 2**130) | st.floats() | texts
trees: st.SearchStrategy[Any] = st.recursive(
    scalars | arrays | tensors,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(texts, inner, max_size=4)
        | st.dictionaries(texts | st.integers() | st.none() | st.booleans(), inner, max_size=4)
    ),
    max_leaves=12,
)
json_data: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.sampled_from(["$array", "$tensor", "$tuple", "$items", "$float", "$x"]).flatmap(
            lambda kind: inner.map(lambda value: {kind: value})
        )
    ),
    max_leaves=8,
)


def stored(tree: Any) -> Any:
    """What comes back from a folder: through JSON's and safetensors' bytes."""
    plain, held = pack(tree)
    return unpack(json.loads(json.dumps(plain, allow_nan=False)), from_bytes(to_bytes(held)))


def same(one: Any, other: Any) -> bool:
    """Whether two trees agree in types, order, dtypes, shapes and every bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and same(one.numpy(), other.numpy())
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


@given(trees)
@settings(max_examples=300, deadline=None)
def test_what_goes_in_comes_out(tree: Any) -> None:
    assert same(stored(tree), tree)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3)])
def test_every_dtype_and_shape_comes_back(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    array = np.full(shape, 1, dtype)
    assert same(stored(array), array)
    assert same(stored({"x": [array]}), {"x": [array]})
    if dtype in TENSORS:
        assert same(stored(torch.from_numpy(array)), torch.from_numpy(array))


def test_an_example_by_hand() -> None:
    array, tensor = np.array([[1, 2]], np.int32), torch.tensor(0.5)
    plain, held = pack({"a": [array, (1, None)], "b": {3: tensor}, "c": math.inf, "$d": "$array"})
    assert plain == {
        "$items": [
            ["a", [{"$array": "/a/0"}, {"$tuple": [1, None]}]],
            ["b", {"$items": [[3, {"$tensor": "/b/3"}]]}],
            ["c", {"$float": "inf"}],
            ["$d", "$array"],
        ]
    }
    assert held.keys() == {"/a/0", "/b/3"}
    assert held["/a/0"] is array or np.array_equal(held["/a/0"], array)
    assert held["/b/3"].shape == ()


def test_places_that_read_alike_keep_their_own_arrays() -> None:
    one, two, three = np.zeros(1), np.ones(2), np.arange(3)
    for tree in ({"a/b": one, "a": {"b": two}}, {0: one, "0": two}, {"a": {"/b": one, "": {"b": two}}, "a//b": three}):
        assert same(stored(tree), tree)


def test_arrays_of_any_layout_come_back_and_subclasses_as_what_they_are_of() -> None:
    grid = np.arange(12.0).reshape(3, 4)
    for view in (grid.T, grid[::2, ::-1], np.broadcast_to(np.float32(1), (2, 2)), grid.astype(">f8")):
        assert np.array_equal(stored(view), view)
    parameter = torch.nn.Parameter(torch.ones(2, 2).t())
    assert torch.equal(stored(parameter), torch.ones(2, 2))

    class Pair(NamedTuple):
        left: int
        right: int

    assert same(stored(Pair(1, 2)), (1, 2))
    assert same(stored(OrderedDict(a=np.float32(0.5), b=np.int8(3), c=np.bool_(True))), {"a": 0.5, "b": 3, "c": True})


def test_what_came_back_is_its_own_memory() -> None:
    plain, held = pack({"t": torch.zeros(2)})
    unpack(plain, held)["t"][0] = 5
    assert held["/t"][0] == 0


@pytest.mark.parametrize(
    ("tree", "place"),
    [
        (object(), "the state"),
        ({"a": [1, {2}]}, "/a/1"),
        ({"a": {"b": (None, lambda: 0)}}, "/a/b/1"),
        ({"buffer": deque([1])}, "/buffer"),
        ({"x": b"bytes"}, "/x"),
        ({"x": 1j}, "/x"),
        ({"x": np.complex64(1)}, "/x"),
        ({"x": np.datetime64("2020-01-01")}, "/x"),
        ([np.array(["text"])], "/0"),
        ([np.array([None])], "/0"),
        ([np.zeros(1, np.complex64)], "/0"),
        ([np.zeros(1, np.longdouble)], "/0"),
        ([np.zeros(1, [("a", "i4")])], "/0"),
        ({"deep": [torch.zeros(1, dtype=torch.bfloat16)]}, "/deep/0"),
        ({"deep": [torch.zeros(1, dtype=torch.complex64)]}, "/deep/0"),
        ({"deep": torch.eye(2).to_sparse()}, "/deep"),
        ({"deep": {(1, 2): 3}}, "/deep has the key (1, 2)"),
        ({"deep": {0.5: 3}}, "/deep has the key 0.5"),
        ({"deep": {np.int64(1): 3}}, "/deep has the key"),
        ({b"x": 3}, "the state has the key b'x'"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_place(tree: Any, place: str) -> None:
    with pytest.raises(TypeError) as refused:
        pack(tree)
    assert place in str(refused.value)


@given(json_data)
@settings(max_examples=500, deadline=None)
def test_nonsense_is_a_typed_error_or_plain_data(plain: Any) -> None:
    held: dict[str, Any] = {"a": np.zeros(2), "": np.ones((), np.int32)}
    try:
        tree = unpack(plain, held)
    except (KeyError, TypeError, ValueError):
        return
    assert same(stored(tree), tree)


@pytest.mark.parametrize(
    "plain",
    [
        *({"$array": "missing"}, {"$array": None}, {"$array": ["a"]}, {"$array": {"$array": "a"}}, {"$array": 0}),
        *({"$tensor": "missing"}, {"$tensor": 1}, {"$tensor": ["a"]}, {"$tensor": {}}),
        *({"$tuple": "abc"}, {"$tuple": 3}, {"$tuple": None}, {"$tuple": {"a": 1}}),
        *({"$items": 3}, {"$items": "ab"}, {"$items": ["ab", "cd"]}, {"$items": [["a"]]}, {"$items": [["a", 1, 2]]}),
        *({"$items": [[["list"], 1]]}, {"$items": [[{"a": 1}, 1]]}, {"$items": {"a": 1}}, {"$items": [None]}),
        *({"$items": [[0.0, None]]}, {"$items": [[]]}),
        *({"$float": 3}, {"$float": "three"}, {"$float": None}, {"$float": ["1"]}, {"$float": ""}),
        *({"$": 1}, {"$object": "os.system"}, {"$reduce": ["os.system", ["true"]]}, {"$x": []}),
    ],
)
def test_references_to_nothing_and_kinds_of_nothing_are_refused(plain: Any) -> None:
    for nested in (plain, [plain], {"x": {"$tuple": [1, plain]}}, {"$items": [["key", plain]]}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            unpack(nested, {"a": np.zeros(2)})
