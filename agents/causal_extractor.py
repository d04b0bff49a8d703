"""CausalLMExtractor: a language model's body, and its head over an environment's actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from textgym.errors import InvalidSetting, require_flag
from textgym.space import TokenBox

from .causal_loading import BaseModel, Loaded, load_causal_lm
from .causal_trunk import CausalTrunk, TrunkCache
from .causal_vocabulary import begin_id, model_ids, word_ids
from .features import PrefixExtractor
from .prefixes import require_tokens
from .settings import TuningSettings
from .tuning import store_halved, tune


class CausalLMExtractor(PrefixExtractor):
    """A pretrained model's body over token observations; the newest token's hidden vector is the feature vector.

    Args:
        observation_space: a row of tokens.
        model: what `load_causal_lm` takes.
        revision: of a name on the hub.
        use_cache: while nothing is learned from what it reads, read only tokens that are new.
        copies: how many of it there will be, for the estimate of memory.
        tuning: of `TuningSettings`: what of it learns, and how that is computed.
        action_words: see `CausalLMPolicy`.

    Raises:
        InvalidSetting, InvalidVocabulary: as `load_causal_lm`, `model_ids` and `word_ids` raise them; the model looks
            at later tokens, or its logits are no linear function of its last hidden vectors.
        UnknownName, ImportError: as `tune` raises them.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        model: str | Mapping[str, Any],
        revision: str | None = None,
        use_cache: bool = True,
        copies: float = 1,
        tuning: Mapping[str, Any] | None = None,
        action_words: Sequence[str] | None = None,
    ) -> None:
        require_flag(use_cache=use_cache)
        self.tuning = TuningSettings.read(tuning or {}, "policy")
        pad = require_tokens(observation_space, type(self).__name__)
        assert observation_space.shape is not None
        width = observation_space.shape[0]
        words = getattr(observation_space, "action_words", None) if action_words is None else action_words
        own = len(words or ()) if isinstance(model, Mapping) else 0  # a fresh model has tokens for them
        loaded = load_causal_lm(model, pad + own, width, revision, copies)
        whole: Any = loaded.model
        if whole.base_model is whole or not isinstance(whole.get_output_embeddings(), nn.Linear):
            raise InvalidSetting(f"{type(whole).__name__} is no body with a linear head. Give another model.")
        tune(whole, self.tuning)
        super().__init__(observation_space, int(whole.config.hidden_size), TrunkCache, use_cache=use_cache)
        self.base: BaseModel = loaded.base
        self.transformer: CausalTrunk = _trunk(observation_space, loaded, pad, width)
        if self.tuning.train_layers is not None and self.transformer.begin is None:
            self.transformer.vector.requires_grad_(False)  # or gradients would pass all blocks
        self.remembers = self.transformer.remembers
        pieces, size = getattr(observation_space, "pieces", ()), int(whole.config.vocab_size)
        self.word_ids = None if words is None else word_ids(words, pieces, pad, loaded.tokenizer, size)
        cap = getattr(whole.config, "final_logit_softcapping", None)
        self.head: ActionHead | None = ActionHead(
            whole.get_output_embeddings(), self.transformer.ids, 1 / self.scale, cap
        )
        self.eval()
        self._check(whole)
        self.train()
        if self.tuning.dtype == "bfloat16":
            self.transformer.halved = True
            if isinstance(self.base.source, str):  # others are kept in a run
                store_halved(whole.base_model)

    def take_head(self, size: int) -> ActionHead:
        """Return the language model's head over the environment's `size` actions; it is the caller's then.

        They are the environment's first tokens, or its actions' words.

        Raises:
            InvalidSetting: there are not as many words as actions.
        """
        assert self.head is not None
        head, ids = self.head, self.word_ids
        if ids is not None and len(ids) != size:
            raise InvalidSetting(
                f"{len(ids)} action words for {size} actions, which are no tokens here. Say what each is called, as "
                'action_words=[" left", " right"] (policy.action_words).'
            )
        taken, self.head = head.over(size) if ids is None else head.at(torch.tensor(ids)), None
        return taken

    @torch.no_grad()
    def _check(self, whole: Any) -> None:
        """Refuse a model that is not read as it reads itself."""
        trunk, many = self.transformer, min(2, self.transformer.width)
        tokens = torch.full((2, trunk.width), trunk.pad)
        tokens[:, :many] = torch.tensor([[0, 0], [0, trunk.pad - 1]])[:, 2 - many :]
        hidden = trunk(tokens)  # (2, many + 1, d), alike but for the newest
        if not torch.allclose(hidden[0, :-1], hidden[1, :-1], atol=1e-4):
            raise InvalidSetting(
                f"{type(whole).__name__} is not causal: what it makes of a token depends on later ones. Give a "
                "decoder, as GPT2LMHeadModel or LlamaForCausalLM."
            )
        assert self.head is not None
        logits = whole(inputs_embeds=trunk.embedded(tokens), use_cache=False).logits[..., trunk.ids]
        if not torch.allclose(self.head(hidden * self.scale), logits, rtol=1e-3, atol=1e-3):
            raise InvalidSetting(
                f"{type(whole).__name__}'s logits are no linear function of its last hidden vectors (a scale or a "
                "layer stands between), and only such heads can be read at a few tokens. Give another model."
            )
        if self.remembers:
            cache = TrunkCache(trunk, 2)
            self.remembers = torch.allclose(cache.read(tokens, cache.serves(tokens)), trunk.newest(tokens), atol=1e-3)


def _trunk(space: spaces.Space[Any], loaded: Loaded, pad: int, width: int) -> CausalTrunk:
    """Return a model's body, with what it begins rows with and which of its tokens the environment's are."""
    whole: Any = loaded.model
    pieces, eos = getattr(space, "pieces", ()), getattr(space, "eos", None)
    ids = model_ids(pieces, eos, pad, loaded.tokenizer, whole.config.vocab_size)
    begin = begin_id(loaded.tokenizer, whole.config)
    return CausalTrunk(whole.base_model, ids, width, begin, touching=isinstance(space, TokenBox))


class ActionHead(nn.Module):
    """A language model's head over an environment's tokens alone: no other logit is computed.

    Args:
        output: the model's own head, whose weights may be its embeddings.
        ids: `(size,)` the model's token for each of them.
        scale: what features are multiplied by, to be the model's hidden vectors again.
        cap: what logits are kept below, as cap tanh(logit / cap) (Gemma Team, 2024); None for no cap.
    """

    ids: Tensor

    def __init__(self, output: nn.Linear, ids: Tensor, scale: float, cap: float | None = None) -> None:
        super().__init__()
        self.output, self.scale, self.cap = output, scale, cap
        self.in_order = bool((ids == torch.arange(len(ids))).all())  # then no weight is copied
        self.register_buffer("ids", ids.clone(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits `(N, size)` of features `(N, d)`."""
        weight, bias = self.output.weight, self.output.bias
        chosen: Any = slice(len(self.ids)) if self.in_order else self.ids
        logits = nn.functional.linear(features * self.scale, weight[chosen], None if bias is None else bias[chosen])
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)

    def over(self, size: int) -> ActionHead:
        """Return the same head over the first `size` tokens."""
        return self.at(self.ids[:size])

    def at(self, ids: Tensor) -> ActionHead:
        """Return the same head over others of the model's tokens, `(size,)`."""
        return ActionHead(self.output, ids, self.scale, self.cap)
