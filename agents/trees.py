"""Nested states as JSON beside arrays: what a run's folder can hold without a pickle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

ARRAY, TENSOR, TUPLE, ITEMS, FLOAT = "$array", "$tensor", "$tuple", "$items", "$float"


def pack(tree: Any) -> tuple[Any, dict[str, Array]]:
    """Return a tree of dictionaries, lists, tuples, numbers, texts, arrays and tensors as plain data and arrays.

    Returns:
        Data for JSON, in which every array is a reference, and the arrays by their references.

    Raises:
        TypeError: something else stands in the tree.
    """
    arrays: dict[str, Array] = {}
    return _pack(tree, "", arrays), arrays


def _pack(tree: Any, place: str, arrays: dict[str, Array]) -> Any:
    if isinstance(tree, np.generic) and tree.dtype.kind in "biuf":
        tree = tree.item()
    if isinstance(tree, float) and not math.isfinite(tree):  # JSON has no such number
        return {FLOAT: str(tree)}
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    if isinstance(tree, np.ndarray) or hasattr(tree, "detach"):
        return _refer(tree, place, arrays)
    if isinstance(tree, Mapping):
        for key in tree:
            if not _is_key(key):
                raise TypeError(f"{place or 'the state'} has the key {key!r}; a state's keys are texts and integers.")
        plain = all(isinstance(key, str) and not key.startswith("$") for key in tree)
        parts = [(key, _pack(value, f"{place}/{key}", arrays)) for key, value in tree.items()]
        return dict(parts) if plain else {ITEMS: [list(part) for part in parts]}
    if isinstance(tree, (list, tuple)):
        items = [_pack(value, f"{place}/{i}", arrays) for i, value in enumerate(tree)]
        return {TUPLE: items} if isinstance(tree, tuple) else items
    raise TypeError(f"{place or 'the state'} is {tree!r}; a state holds numbers, texts, arrays, and lists of them.")


def _is_key(key: Any) -> bool:
    return key is None or isinstance(key, (bool, int, str))


def _refer(tree: Any, place: str, arrays: dict[str, Array]) -> dict[str, str]:
    """Keep an array or tensor under its place, and return the reference."""
    name = place or "value"
    while name in arrays:  # a key may look like a place
        name += "'"
    arrays[name] = as_array(tree, name)
    return {ARRAY if isinstance(tree, np.ndarray) else TENSOR: name}


def unpack(plain: Any, arrays: Mapping[str, Array]) -> Any:
    """Return the tree that `pack` took apart.

    Raises:
        KeyError: it refers to an array that is not there.
        TypeError, ValueError: it is nothing that `pack` returned.
    """
    if isinstance(plain, list):
        return [unpack(value, arrays) for value in plain]
    if not isinstance(plain, dict):
        return plain
    if len(plain) != 1 or not (kind := next(iter(plain))).startswith("$"):
        return {key: unpack(value, arrays) for key, value in plain.items()}
    value = plain[kind]
    fits = isinstance(value, list if kind in (TUPLE, ITEMS) else str)
    if not fits:
        raise TypeError(f"{kind} stands before a {type(value).__name__}")
    if kind == ARRAY:
        return arrays[value]
    if kind == TENSOR:
        import torch

        return torch.from_numpy(arrays[value].copy())
    if kind == TUPLE:
        return tuple(unpack(part, arrays) for part in value)
    if kind == FLOAT:
        return float(value)
    if kind == ITEMS and all(isinstance(part, list) and part and _is_key(part[0]) for part in value):
        return {key: unpack(part, arrays) for key, part in value}
    raise ValueError(f"{kind} is no kind of value, or stands before none")


def as_array(value: Any, name: str) -> Array:
    """Return a tensor or array as an array whose memory is one piece, as safetensors wants it.

    Raises:
        TypeError: its numbers are none that numpy and safetensors both know; the message says its name.
    """
    try:
        array: Array = np.ascontiguousarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)
    except TypeError as error:  # torch's bfloat16, sparse tensors
        raise TypeError(f"{name} cannot be kept: {error}") from error
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(f"{name} cannot be kept: its dtype is {array.dtype}, no real number of at most 64 bits.")
    return array.reshape(np.shape(value))  # ascontiguousarray makes a row of a single number
