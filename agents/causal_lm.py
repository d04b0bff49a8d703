"""CausalLMPolicy: any Hugging Face causal language model as actor and critic, under the plain SB3 API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from textgym.errors import InvalidSetting, require_positive

from .candidates import Candidates
from .causal_extractor import CausalLMExtractor
from .causal_loading import BaseModel
from .policies import PrefixPolicy, with_flat_adam
from .q_policies import CachedQNetwork, PrefixDQNPolicy
from .sampling import Sampling
from .settings import TuningSettings
from .sharing import OwnParameters, OwnQParameters, copied, shares

FROZEN = 0.25  # of what a copy takes that is learned: no gradient, no moments
TUNING = tuple(TuningSettings.model_fields)
CUTTING = ("temperature", "top_k", "top_p", "candidates")
NEAR_ZERO = 0.01  # the deviation of a new head's weights, of features whose norm is near 1


def _near_zero(layer: nn.Linear) -> None:
    nn.init.normal_(layer.weight, std=NEAR_ZERO)
    nn.init.zeros_(layer.bias)


class LanguageModel(OwnParameters):
    """What both policies share: which model they began as, and networks that hold once what does not learn."""

    @property
    def base_model(self) -> BaseModel:
        """Which model the policy began as."""
        return self._readers()[0].base

    def make_features_extractor(self) -> BaseFeaturesExtractor:
        """Return an extractor of its own; SB3 asks for a critic's or a target's, too, which begin as copies."""
        made = self._readers()
        return copied(made[0]) if made else super().make_features_extractor()

    def _readers(self) -> list[CausalLMExtractor]:
        return [module for module in self.modules() if isinstance(module, CausalLMExtractor)]


class CausalLMPolicy(LanguageModel, PrefixPolicy):
    """A `PrefixPolicy` over a causal language model, as `PPO(CausalLMPolicy, env, policy_kwargs={"model": DIR})`.

    Action logits are those of the model's own head at the environment's tokens; values are a linear function, near zero
    at first, of the same hidden vectors, or of another copy of the model. The environment's tokens are the model's own
    where it was made with the model's tokenizer (`tokenizer=DIR`); others are found by their text. A row holds prompt
    and completion, with no mark between them but what the task writes there.

    Where actions are no tokens, as in control tasks and behind a `TextObservation`, a row is what is seen, and an
    action's logit is that of its word's first token, next behind the row; no other logit is computed.

    Args:
        observation_space: a row of tokens.
        action_space: discrete.
        lr_schedule: the step size at the share of learning that is still ahead.
        model: a folder that `save_pretrained` wrote, a name on the hub, or a configuration with its `model_type`, for a
            fresh model. Weights are read from safetensors alone, in float32, and no remote code is run.
        revision: of a name on the hub; None for the newest.
        critic: `"shared"`: the values come from the actor's hidden vectors; `"separate"`: from a copy of the model.
        use_cache: False for the plain path with the same parameters.
        temperature: see `Sampling`, of which `top_k` and `top_p` are parts too. SB3's own PPO does not remember what a
            distribution was cut to, and recomputes it in updates; `agents.make`'s does.
        top_k: how many tokens stay; None for all.
        top_p: the share of probability that stays; 1 for all.
        candidates: how many tokens can be written after a text: the likeliest of what the policy begins as, and the end
            token, see `Candidates`; None for all. It takes another copy of what learns of the model.
        lora: of `LoRASettings`, as `{"r": 8}`: adapters in the model's layers and the heads that are new alone learn
            (see `add_adapters`); None to learn all parameters. Whatever is a copy of the model (a separate critic,
            candidates, a reference) then shares all but its adapters with it.
        train_layers: how many of the last blocks learn, with what is behind them (see `freeze`); None for all
            parameters. Copies share the rest, as above.
        gradient_checkpointing: an update keeps what blocks read alone, and computes the rest of them twice.
        dtype: `"bfloat16"`: the model's blocks compute in it, where the device gains from that (GPUs; a CPU is mostly
            slower), and what does not learn of them is held in it; heads, logits and losses are float32.
        action_words: a word for each action, as it is written behind a text: `(" left", " right")`; None for those that
            the environment says.
        kwargs: as `ActorCriticPolicy` has them; the optimiser is `FlatAdam` if none is given.

    Raises:
        InvalidSetting: the model cannot be read, or a setting is out of its range.
        InvalidVocabulary: the environment's tokens are not the model's, or two action words begin with the same token.
        UnknownName: there is no such layer for an adapter.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        model: str | Mapping[str, Any],
        revision: str | None = None,
        critic: Literal["shared", "separate"] = "shared",
        use_cache: bool = True,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        candidates: int | None = None,
        lora: Mapping[str, Any] | None = None,
        train_layers: int | None = None,
        gradient_checkpointing: bool = False,
        dtype: Literal["float32", "bfloat16"] = "float32",
        action_words: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        sampling = Sampling(temperature, top_k, top_p)
        if candidates is not None:
            require_positive(candidates=candidates)
        if critic not in ("shared", "separate"):
            raise InvalidSetting(f"critic={critic!r} is neither 'shared' nor 'separate'.")
        reading: dict[str, Any] = {"model": model, "revision": revision, "use_cache": use_cache}
        tuning = dict(zip(TUNING, (lora, train_layers, gradient_checkpointing, dtype)))
        cutting = dict(zip(CUTTING, (temperature, top_k, top_p, candidates)))
        words = _words(action_words)
        self._own = {**reading, "critic": critic, **tuning, **cutting, "action_words": words}
        copies = (1 if critic == "shared" else 2) + (FROZEN if candidates else 0)
        copies = FROZEN if shares(tuning) else copies
        own: dict[str, Any] = {
            "ortho_init": False,
            "features_extractor_class": CausalLMExtractor,
            "features_extractor_kwargs": {**reading, "copies": copies, "tuning": tuning, "action_words": words},
            "share_features_extractor": critic == "shared",
        }
        kwargs = with_flat_adam(_linear(kwargs, action_space, own), eps=1e-5)
        super().__init__(observation_space, action_space, lr_schedule, **kwargs, **own)
        self.sampling = sampling

    @property
    def sizes(self) -> dict[str, Any]:
        """What makes another like it in these spaces, as plain data."""
        return dict(self._own)

    def _build(self, lr_schedule: Schedule) -> None:
        """Make heads and optimiser; the language model brings its own head for the actions."""
        self._build_mlp_extractor()
        assert isinstance(self.action_space, spaces.Discrete)
        self.action_net: Any = _read_by(self.pi_features_extractor).take_head(int(self.action_space.n))
        _read_by(self.vf_features_extractor).head = None
        self.value_net = nn.Linear(self.mlp_extractor.latent_dim_vf, 1)
        _near_zero(self.value_net)
        self.borrow(self.base_model.source, self.base_model.sha256)
        if (most := self._own["candidates"]) is not None:
            end = getattr(self.observation_space, "eos", None)
            pieces, words = getattr(self.observation_space, "pieces", ()), _read_by(self.pi_features_extractor).word_ids
            end_id = pieces.index(end) if end in pieces and words is None else None
            self._modules["start"] = Candidates(self.pi_features_extractor, self.action_net, most, end_id)
        make: Any = self.optimizer_class
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        self.optimizer = make(learned, lr=lr_schedule(1), **self.optimizer_kwargs)

    @property
    def start(self) -> Candidates | None:
        """What the candidates come from, where the policy has some."""
        found = self._modules.get("start")
        return found if isinstance(found, Candidates) else None

    def begin(self) -> None:
        """Let the policy as it is now be what it begins as: candidates are its likeliest tokens."""
        if self.start is not None:
            self.start.take(self.pi_features_extractor, self.action_net)

    def twin(self, sizes: Mapping[str, Any] | None = None) -> CausalLMPolicy | None:
        """Return a copy without candidates and optimiser, which shares what does not learn.

        Args:
            sizes: of the copy; None for its own. They may differ in how it samples; None is returned where more does.
        """
        sizes = self._own if sizes is None else sizes
        if any(self._own.get(name) != value for name, value in sizes.items() if name not in CUTTING):
            return None
        copy = copied(self, without=self.optimizer)
        copy._modules.pop("start", None)
        copy._own = {**self._own, **sizes, "candidates": None}
        copy.sampling = Sampling(*(copy._own[name] for name in CUTTING if name != "candidates"))
        return copy

    def _get_constructor_parameters(self) -> dict[str, Any]:
        """Return what SB3's `policy.save` keeps to make it again."""
        data = super()._get_constructor_parameters()
        for name in ("features_extractor_class", "features_extractor_kwargs", "ortho_init"):
            del data[name]
        return {**data, **self._own}


def _linear(kwargs: dict[str, Any], action_space: spaces.Space[Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return a policy's arguments; refuse those that would put something else around the model."""
    if not isinstance(action_space, spaces.Discrete):
        raise InvalidSetting(f"{action_space} holds no tokens to write. A language model needs Discrete actions.")
    for name in kwargs.keys() & own.keys():
        raise InvalidSetting(f"{name} is not to be chosen here: the language model reads and is read as it is.")
    if kwargs.get("net_arch"):
        raise InvalidSetting(f"net_arch={kwargs['net_arch']!r}: the language model's heads are linear. Leave it out.")
    return kwargs


def _words(given: Any) -> list[str] | None:
    """Return the words of actions as a list; refuse what is none."""
    if given is not None and (isinstance(given, str) or not isinstance(given, Sequence)):
        raise InvalidSetting(f"action_words={given!r} is no list of words, one for each action.")
    return None if given is None else list(given)


def _read_by(extractor: Any) -> CausalLMExtractor:
    assert isinstance(extractor, CausalLMExtractor)
    return extractor


class CausalQNetwork(OwnQParameters, CachedQNetwork):
    """A `CachedQNetwork` over a language model."""


class CausalLMDQNPolicy(LanguageModel, PrefixDQNPolicy):
    """A `PrefixDQNPolicy` over a causal language model, as `DQN(CausalLMDQNPolicy, env, policy_kwargs={"model": DIR})`.

    Action values are a linear function, near zero at first, of the model's hidden vectors; the model's own head is left
    out. The target network is a second copy of what learns.

    Args:
        observation_space: a row of tokens.
        action_space: discrete.
        lr_schedule: as `DQNPolicy` has it.
        model: see `CausalLMPolicy`.
        revision: likewise.
        use_cache: likewise.
        lora: likewise.
        train_layers: likewise.
        gradient_checkpointing: likewise.
        dtype: likewise.
        kwargs: as `DQNPolicy` has them.

    Raises:
        InvalidSetting, InvalidVocabulary: as `CausalLMPolicy` raises them.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        model: str | Mapping[str, Any],
        revision: str | None = None,
        use_cache: bool = True,
        lora: Mapping[str, Any] | None = None,
        train_layers: int | None = None,
        gradient_checkpointing: bool = False,
        dtype: Literal["float32", "bfloat16"] = "float32",
        **kwargs: Any,
    ) -> None:
        reading: dict[str, Any] = {"model": model, "revision": revision, "use_cache": use_cache}
        tuning = dict(zip(TUNING, (lora, train_layers, gradient_checkpointing, dtype)))
        self._own: dict[str, Any] = {**reading, **tuning}
        copies = FROZEN if shares(tuning) else 2
        own: dict[str, Any] = {
            "features_extractor_class": CausalLMExtractor,
            "features_extractor_kwargs": {**reading, "copies": copies, "tuning": tuning},
        }
        kwargs = with_flat_adam(_linear(kwargs, action_space, own))
        super().__init__(observation_space, action_space, lr_schedule, **kwargs, **own)  # type: ignore[arg-type]

    def _build(self, lr_schedule: Schedule) -> None:
        """Make the networks and the optimiser."""
        super()._build(lr_schedule)
        self.borrow(self.base_model.source, self.base_model.sha256)

    def make_q_net(self) -> CachedQNetwork:
        """Return a network of its own, with a new head; it shares what does not learn with the one before."""
        arguments = self._update_features_extractor(self.net_args, features_extractor=None)
        network = CausalQNetwork(**arguments).to(self.device)
        _read_by(network.features_extractor).head = None
        _near_zero(network.q_net[0])  # type: ignore[arg-type]
        return network

    def _get_constructor_parameters(self) -> dict[str, Any]:
        """Return what SB3's `policy.save` keeps to make it again."""
        data = super()._get_constructor_parameters()
        for name in ("features_extractor_class", "features_extractor_kwargs"):
            del data[name]
        return {**data, **self._own}
