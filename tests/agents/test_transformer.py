"""The causal transformer, recomputed by hand with NumPy, one row and one position at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from agents.transformer import CausalSelfAttention, CausalTransformer

Array = npt.NDArray[np.float64]

PAD = 5
ROWS = [[], [3], [0, 4], [1, 1, 2], [2, 0, 3, 4, 1, 2]]  # the tokens of each row


def table(left: int = 0, width: int = 6) -> torch.Tensor:
    """ROWS as ids, padded on both sides, `left` pads before each row's first token."""
    return torch.tensor([[PAD] * left + row + [PAD] * (width - len(row)) for row in ROWS])


def transformer(max_length: int = 12, n_layers: int = 2, n_heads: int = 2, **kwargs: Any) -> CausalTransformer:
    torch.manual_seed(0)
    return CausalTransformer(PAD, max_length, 8, n_layers, n_heads, **kwargs).double()


def array(tensor: torch.Tensor) -> Array:
    values: Array = tensor.detach().numpy()
    return values


def linear(layer: nn.Module, x: Array) -> Array:
    parts: Any = layer
    moved: Array = x @ array(parts.weight).T + array(parts.bias)
    return moved


def normal(layer: nn.LayerNorm, x: Array) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + layer.eps)
    scaled: Array = centred / spread * array(layer.weight)
    return scaled + array(layer.bias)


def attend(layer: CausalSelfAttention, x: Array, n_heads: int) -> Array:
    """softmax(Q K^T / sqrt(d_k)) V of each head over what lies before, side by side, projected: `(L, d)`."""
    q, k, v = np.split(linear(layer.project, x), 3, axis=1)
    d_k = x.shape[1] // n_heads
    mixed = np.zeros_like(x)
    for head in range(n_heads):
        part = slice(head * d_k, (head + 1) * d_k)
        for i in range(len(x)):
            scores = [q[i, part] @ k[j, part] / math.sqrt(d_k) for j in range(i + 1)]
            weights = np.exp(scores) / np.exp(scores).sum()
            mixed[i, part] = sum(weight * v[j, part] for j, weight in enumerate(weights))
    return linear(layer.output, mixed)


def by_hand(model: CausalTransformer, row: list[int], n_heads: int, left: int = 0, added: float = 0.1) -> Array:
    """The hidden vectors of a row whose first token stands in column `left`, `(len(row) + 1, d_model)`."""
    token, position = array(model.token.weight), array(model.position.weight)
    x = np.array([array(model.begin) + position[0], *[token[t] + position[i + 1] for i, t in enumerate(row)]])
    if model.column is not None:
        x[1:] += array(model.column.weight)[left : left + len(row)]
    for block in model.blocks:
        parts: Any = block
        x = x + added * attend(parts.attention, normal(parts.norm_attention, x), n_heads)
        inner = linear(parts.feed_forward[0], normal(parts.norm_feed_forward, x))
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))  # GELU
        x = x + added * linear(parts.feed_forward[2], inner)
    return normal(model.norm, x)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("n_heads", [1, 2, 3])
def test_attention_is_scaled_softmax_over_what_lies_before(n_heads: int, fused: bool) -> None:
    torch.manual_seed(0)
    layer = CausalSelfAttention(6, n_heads).double()
    x = 3 * torch.randn(2, 5, 6, dtype=torch.float64)
    got = array(layer(x.flatten(0, 1), 2, fused)).reshape(2, 5, 6)
    np.testing.assert_allclose(got, [attend(layer, array(row), n_heads) for row in x], atol=1e-12)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("left", [0, 4])
@pytest.mark.parametrize(("n_layers", "n_heads", "anchored"), [(1, 1, False), (1, 4, True), (3, 2, False)])
def test_the_whole_network_agrees_with_numpy_at_every_prefix(
    n_layers: int, n_heads: int, anchored: bool, left: int, fused: bool
) -> None:
    model = transformer(n_layers=n_layers, n_heads=n_heads, anchored=anchored)
    got = array(model(table(left), fused))
    for hidden, row in zip(got, ROWS):
        np.testing.assert_allclose(hidden[: len(row) + 1], by_hand(model, row, n_heads, left), atol=1e-12)


@pytest.mark.parametrize("added", [0.3, 1.0])
def test_what_is_added_of_a_block_can_be_chosen(added: float) -> None:
    model = transformer(residual_scale=added)
    np.testing.assert_allclose(array(model(table()))[-1], by_hand(model, ROWS[-1], 2, added=added), atol=1e-12)


def test_rows_of_several_offsets_stand_side_by_side() -> None:
    model = transformer(anchored=True)
    rows = torch.cat([table(left, 11 - left) for left in range(5)])
    got = array(model(rows, fused=True))
    for hidden, (left, row) in zip(got, [(left, row) for left in range(5) for row in ROWS]):
        np.testing.assert_allclose(hidden[: len(row) + 1], by_hand(model, row, 2, left), atol=1e-12)


@pytest.mark.parametrize("anchored", [False, True])
def test_changing_a_token_changes_its_own_position_and_later_ones_only(anchored: bool) -> None:
    model = transformer(anchored=anchored)
    tokens = torch.tensor([[0, 1, 2, 3, 4, 0]])
    for column in range(6):
        changed = tokens.clone()
        changed[0, column] = 4 - tokens[0, column] + (column == 2)
        moved = np.abs(array(model(changed) - model(tokens))[0]).max(axis=1) > 1e-9
        assert moved.tolist() == [j > column for j in range(7)]


def test_newest_is_the_full_forward_at_each_rows_newest_token() -> None:
    model = transformer()
    full, newest = array(model(table(3))), array(model.newest(table(3)))
    np.testing.assert_allclose(newest, full[np.arange(len(ROWS)), [len(row) for row in ROWS]], atol=1e-12)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("anchored", [False, True])
def test_of_no_rows_there_are_no_vectors(anchored: bool, fused: bool) -> None:
    model, nothing = transformer(anchored=anchored), table()[:0]
    assert model(nothing, fused).shape == (0, 1, array(model.begin).size)
    assert model.newest(nothing).shape == (0, array(model.begin).size)


def test_the_plain_attention_can_be_differentiated_twice() -> None:
    model = transformer()
    weight = model.blocks[0].attention.project.weight  # type: ignore[union-attr]
    (gradient,) = torch.autograd.grad(model(table()).pow(2).sum(), weight, create_graph=True)  # type: ignore[arg-type]
    (second,) = torch.autograd.grad(gradient.pow(2).sum(), weight)  # type: ignore[arg-type]
    assert second.any()


def test_pads_on_either_side_change_nothing() -> None:
    model = transformer()
    for left, width in ((1, 6), (6, 6), (0, 11), (3, 9)):
        np.testing.assert_allclose(array(model.newest(table(left, width))), array(model.newest(table())), atol=1e-12)


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    model = transformer()
    for row, hidden in zip(table(2), array(model.newest(table(2)))):
        np.testing.assert_allclose(array(model.newest(row[None]))[0], hidden, atol=1e-12)


def test_an_empty_row_has_the_hidden_vector_of_the_begin_vector_alone() -> None:
    model = transformer()
    for tokens in (torch.full((2, 4), PAD), torch.empty((2, 0), dtype=torch.long)):
        np.testing.assert_allclose(array(model.newest(tokens)), [by_hand(model, [], 2)[0]] * 2, atol=1e-12)


def test_the_gradient_reaches_every_parameter() -> None:
    model = transformer(max_length=6, anchored=True)
    loss = (model.newest(table()) * torch.randn(len(ROWS), 8, dtype=torch.float64)).sum()
    torch.autograd.backward(loss)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        if name.endswith("project.bias"):  # a key's moves all scores of a query alike, which softmax does not see
            continue
        assert (parameter.grad.flatten(1) if parameter.ndim > 1 else parameter.grad[None]).any(dim=1).all(), name


@pytest.mark.parametrize("sizes", [(65, 2, 4), (0, 2, 4), (-8, 2, 4), (8, 2, 0), (8, 0, 2), (8, -1, 2)])
def test_sizes_that_make_no_network_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"d_model|n_layers|n_heads"):
        CausalTransformer(PAD, 4, *sizes)
