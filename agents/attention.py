"""How much each token looks at those before it, read beside what is sampled and without a change to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor, nn

from textgym.arrays import FloatArray

from .features import PrefixExtractor
from .transformer import CausalTransformer


def reader_of(network: Any) -> nn.Module | None:
    """Return the causal network by which a policy reads tokens to act; None where it has none."""
    extractor: Any = None
    if isinstance(network, DQNPolicy):
        extractor = network.q_net.features_extractor
    elif isinstance(network, ActorCriticPolicy):
        shared = network.share_features_extractor
        extractor = network.features_extractor if shared else network.pi_features_extractor
    if not isinstance(extractor, PrefixExtractor):
        return None
    found: Any = extractor.transformer
    assert isinstance(found, nn.Module)
    return found


@torch.no_grad()
def attention(reader: nn.Module, tokens: Tensor) -> FloatArray | None:
    """Return what each position of one row looks at, the mean of each layer's heads.

    Our own transformer's weights are computed from the queries and keys of a pass of their own. A language model makes
    a pass of its own, too, with Hugging Face's `eager` attention, since faster kernels do not say what they looked at;
    the policy's own kernel is back in place after it.

    Args:
        reader: what `reader_of` returned.
        tokens: the row, `(1, L)`, W of them no pads.

    Returns:
        `(layers, W + 1, W + 1)` float64, query by key: place 0 is what the row begins with, place j its j-th token.
        Each query's weights sum to 1, and are 0 for what comes later. None where the network says no such thing.
    """
    layers = _own(reader, tokens) if isinstance(reader, CausalTransformer) else _pretrained(reader, tokens)
    if not layers:
        return None
    found = torch.stack([layer[0].mean(dim=0) for layer in layers]).double().cpu().numpy()
    whole: FloatArray = found / found.sum(axis=2, keepdims=True)  # a mean of float32 sums to 1 but nearly
    return whole


def _own(reader: CausalTransformer, tokens: Tensor) -> list[Tensor]:
    """Return the weights of each block, `(1, h, W + 1, W + 1)`."""
    found: list[Tensor] = []

    def note(layer: Any, given: tuple[Any, ...]) -> None:
        q, k, _ = layer.heads(*given[:2])
        found.append(layer.weights(q, k))

    blocks: Any = reader.blocks
    hooks = [block.attention.register_forward_pre_hook(note) for block in blocks]
    try:
        reader(tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _pretrained(reader: Any, tokens: Tensor) -> list[Tensor]:
    """Return the weights of each layer of a language model, `(1, h, W + 1, W + 1)`; none where it has none."""
    body: Any = reader.body
    kernel = getattr(body.config, "_attn_implementation", None)
    if kernel is None or not hasattr(body, "set_attn_implementation"):
        return []
    body.set_attn_implementation("eager")
    try:
        with reader.precision():
            said = body(inputs_embeds=reader.embedded(tokens), use_cache=False, output_attentions=True)
    finally:
        body.set_attn_implementation(kernel)
    layers = getattr(said, "attentions", None) or ()
    wide = reader.embedded(tokens).shape[1]
    return [layer for layer in layers if layer is not None and layer.shape[-2:] == (wide, wide)]


def looked_at(weights: FloatArray | None, prompt: int, written: int) -> FloatArray | None:
    """Return what a policy looked at as it chose each token, `(layers, T, P + T)`, of what `attention` returned.

    The newest token before it is what asks: the choice is made from that token's hidden vector.

    Args:
        weights: `(layers, W + 1, W + 1)`.
        prompt: P, the prompt's tokens.
        written: T, the completion's.
    """
    if weights is None:
        return None
    found = np.zeros((len(weights), written, prompt + written))
    seen = weights[:, prompt : prompt + written, : prompt + written]
    found[:, : seen.shape[1], : seen.shape[2]] = seen
    return found
