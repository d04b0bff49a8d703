"""Memory: what learning takes beyond the model itself, estimated before it begins."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy

from textgym.errors import InvalidSetting

from .causal_extractor import CausalLMExtractor
from .causal_loading import free_memory
from .fitting import LAYERS
from .masked import masks_of
from .policies import LOGITS

BYTES = 4
WIDTHS, INNER = 9, 5  # what a block keeps of a token for its gradients: numbers for each of d, and of its inner width
HALVED = 0.65  # of that, where it computes in bfloat16
ADAPTED = 0.8  # of that, where its own weights do not learn
LOGIT_COPIES = 5  # that a loss takes
LEARNED = 3  # numbers for each parameter that learns: its gradient, Adam's two moments

HINTS = {
    **dict.fromkeys(
        ("gradients", "gathered"), "adapters (policy.lora.r=8) or fewer blocks that learn (policy.train_layers=2)"
    ),
    "reference": "reference='uniform', or adapters (policy.lora.r=8)",
    "activations": "policy.gradient_checkpointing=true, a smaller micro_batch_size or batch_size",
    "logits": "a smaller batch_size, or kl='k1'",
    "cache": "fewer rows (n_envs)",
    "masks": "fewer rows (n_envs) or steps",
}


@dataclass(frozen=True)
class Need:
    """Bytes that learning takes beyond the model itself."""

    gradients: int  # and Adam's moments
    gathered: int  # gradients side by side, for a step: when activations and logits are gone
    reference: int  # parameters of it that are not the policy's own
    activations: int  # that an update keeps of what it reads at once, for its gradients
    logits: int
    cache: int  # keys and values of the rows
    masks: int  # what was drawn from, of a rollout

    @property
    def total(self) -> int:
        """All that is there at once."""
        held: int = sum(asdict(self).values())
        return held - min(self.gathered, self.activations + self.logits)


def estimate(agent: Any) -> Need:
    """Return what an agent with a language model will take, in bytes, as it learns.

    With d the model's width, f its blocks' inner width, L its blocks, of which gradients pass k (`train_layers`, else
    L); rows of W tokens, of which H are written; N transitions that are read at once; n rows; A actions; T parameters
    that learn; and M = ceil(N / H) (W + 1), the tokens of those transitions' rows, if episodes are full:

        gradients     3 * 4 T                           gradient, Adam's two moments
        gathered      4 T                               gradients side by side, for a step; what is learned from, below,
                                                        is gone then: the larger one counts
        reference     4 T with the start as a reference (what is frozen is shared); 0 without
        activations   4 M ((k + 1) b + 2 d)             with b = 9 d + 5 f, what a block keeps of a token (measured:
                                                        8 d + 5 f for GPT-2, 9 d + 4 f for Llama), 0.65 of it in
                                                        bfloat16, 0.8 with LoRA; and one block's gradients
                      4 M (k d + 2 b + 2 d)             with gradient checkpointing
        logits        5 * 4 min(N A, 2^22)              they are made in parts; all of them where kl='exact'
        cache         2 * 4 L n (W + 1) d_kv            keys and values; 2 bytes each in bfloat16
        masks         steps * n * A / 8                 where the distribution is cut, or the environment has masks

    A separate critic doubles activations and cache; candidates have a cache, too. What libraries hold besides is not in
    it.
    """
    policy: Any = agent.policy
    reader = next(module for module in policy.modules() if isinstance(module, CausalLMExtractor))
    body: Any = reader.transformer.body
    config, tuning, n = body.config, reader.tuning, agent.n_envs
    d, size = int(config.hidden_size), int(agent.action_space.n)
    steps = int(getattr(agent, "n_steps", 0))
    at_once, width = _read_at_once(agent), reader.transformer.width
    written = width - getattr(agent.observation_space, "max_prompt", 0)
    layers = min(int(getattr(config, "num_hidden_layers", LAYERS)), LAYERS)
    passed = layers if tuning.train_layers is None else tuning.train_layers
    halved = tuning.dtype == "bfloat16"
    less = (HALVED if halved else 1) * (ADAPTED if tuning.lora is not None else 1)
    block = less * (WIDTHS * d + INNER * _inner(config, d))
    kept = passed * d + 2 * block if tuning.gradient_checkpointing else (passed + 1) * block
    tokens = -(-at_once // max(1, written)) * (width + 1)
    separate = isinstance(policy, ActorCriticPolicy) and not policy.share_features_extractor
    readers, candidates = 1 + separate, getattr(policy, "start", None) is not None
    learned = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    control = getattr(agent, "kl_control", None)
    exact = control is not None and control.estimate == "exact"
    masked = getattr(policy, "cuts", False) or masks_of(agent.env) is not None
    return Need(
        gradients=BYTES * LEARNED * learned,
        gathered=BYTES * learned,
        reference=BYTES * learned if control is not None and control.name == "start" else 0,
        activations=int(BYTES * readers * tokens * (kept + 2 * d)),
        logits=BYTES * LOGIT_COPIES * (at_once * size if exact else min(at_once * size, LOGITS)),
        cache=(BYTES - 2 * halved) * 2 * layers * n * (width + 1) * _keys(config, d) * (readers + candidates),
        masks=steps * n * -(-size // 8) if masked else 0,
    )


def require_memory(agent: Any) -> None:
    """Refuse to learn where what it takes does not fit into what is free, on the agent's device.

    Raises:
        InvalidSetting: it does not.
    """
    need, free = estimate(agent), free_on(agent.policy.device)
    if free is None or need.total <= free:
        return
    parts = sorted(asdict(need).items(), key=lambda part: -part[1])
    told = ", ".join(f"{name} {number / 1e9:.2g}" for name, number in parts if number)
    at_once, device = _read_at_once(agent), agent.policy.device
    raise InvalidSetting(
        f"too little memory: learning from {at_once} transitions at once takes some {need.total / 1e9:.3g} GB beside "
        f"the model (in GB: {told}), and {free / 1e9:.3g} GB are free on {device}. Give {HINTS[parts[0][0]]}."
    )


def free_on(device: torch.device) -> int | None:
    """Return the bytes that are free on a device; None where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_memory() if device.type == "cpu" else None


def _read_at_once(agent: Any) -> int:
    """Return the transitions whose activations are held at once."""
    minibatch = int(getattr(agent, "batch_size", 0) or agent.n_steps * agent.n_envs)
    return min(minibatch, getattr(agent, "micro_batch_size", None) or minibatch)


def _inner(config: Any, d: int) -> int:
    """Return the inner width of a model's blocks."""
    named = (getattr(config, name, None) for name in ("intermediate_size", "n_inner", "ffn_dim"))
    return next((int(one) for one in named if isinstance(one, int)), 4 * d)


def _keys(config: Any, d: int) -> int:
    """Return the width of a token's keys, all heads together."""
    heads = int(config.num_attention_heads)
    groups = getattr(config, "num_key_value_heads", None) or heads
    return int(groups * (getattr(config, "head_dim", None) or d // heads))
