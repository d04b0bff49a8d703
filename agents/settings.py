"""Settings: what an agent can be told, each with its range and what it means; unknown and mistyped ones are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, TypeAlias, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from textgym.errors import InvalidSetting, unknown

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Positive: TypeAlias = Annotated[float, Field(gt=0)]
Pair: TypeAlias = Annotated[
    tuple[Share, Share], BeforeValidator(lambda given: tuple(given) if isinstance(given, list) else given)
]
"""Two shares; JSON and YAML know lists alone."""
Words: TypeAlias = Annotated[
    list[str], BeforeValidator(lambda given: list(given) if isinstance(given, tuple) else given)
]
NotNegative: TypeAlias = Annotated[float, Field(ge=0)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=2**31 - 1)]
Name: TypeAlias = Annotated[str, BeforeValidator(lambda given: str(given) if isinstance(given, PurePath) else given)]
"""A text, or a path."""
Estimate: TypeAlias = Literal["k1", "exact", "k3"]


class Choice(NamedTuple):
    """A value that a probe speaks for, and why."""

    value: Any
    reason: str


class Settings(BaseModel):
    """Plain values, validated together; every field has a default and a description."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @classmethod
    def read(cls, given: Mapping[str, Any], owner: str) -> Self:
        """Return settings from what a user gave.

        Args:
            given: values by name; nested settings as mappings.
            owner: whose settings they are, for errors.

        Raises:
            UnknownName: there is no such setting; the nearest one is suggested.
            InvalidSetting: a value of another type, or out of its range.
        """
        try:
            return cls.model_validate(dict(given))
        except ValidationError as error:
            first, *others = error.errors(include_url=False)
            # where a value may be of several kinds, the kind that it came nearest to
            first = max([first, *[e for e in others if e["loc"][0] == first["loc"][0]]], key=lambda e: len(e["loc"]))
            path = [str(part) for part in first["loc"]]
            if first["type"] == "extra_forbidden":
                inner = ".".join(path[:-1])
                beside = [name for name in cls.names() if name.rpartition(".")[0] == inner]
                raise unknown(f"setting of {owner}", ".".join(path), beside) from None
            known = set(cls.names())
            places = [".".join(path[:end]) for end in range(len(path), 0, -1)]  # a union's branches come after a name
            place = next((place for place in places if place in known), owner)
            value: Any = given  # as the user wrote it
            for part in place.split("."):
                value = value.get(part, first["input"]) if isinstance(value, Mapping) else value
            fault = first["msg"].removeprefix("Value error, ")
            raise InvalidSetting(f"{owner}: {place}={value!r} is refused: {fault}.{cls._meaning(path)}") from None

    @classmethod
    def names(cls, prefix: str = "") -> Iterator[str]:
        """Yield all names, nested ones with dots: `learning_rate`, `policy`, `policy.d_model`."""
        for name, field in cls.model_fields.items():
            yield prefix + name
            if (inner := inside(field.annotation)) is not None:
                yield from inner.names(f"{prefix}{name}.")

    @classmethod
    def _meaning(cls, path: list[str]) -> str:
        field = cls.model_fields.get(path[0]) if path else None
        if field is None:
            return ""
        if len(path) > 1 and (inner := inside(field.annotation)) is not None:
            return inner._meaning(path[1:])
        return f" It is {field.description}." if field.description else ""

    def flat(self, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
        """Yield (name with dots, value, description) of every setting."""
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Settings):
                yield from value.flat(f"{prefix}{name}.")
            else:
                yield prefix + name, value, field.description or ""

    def replaced(self, name: str, value: Any) -> Self:
        """Return a copy with another value of one setting, by its name with dots."""
        first, _, rest = name.partition(".")
        return self.model_copy(update={first: getattr(self, first).replaced(rest, value) if rest else value})

    def given(self, prefix: str = "") -> Iterator[str]:
        """Yield the names with dots of the settings that were given, not left to their defaults."""
        for name in self.model_fields_set:
            value = getattr(self, name)
            if isinstance(value, Settings):
                yield from value.given(f"{prefix}{name}.")
            else:
                yield prefix + name


def inside(annotation: Any) -> type[Settings] | None:
    """Return the settings that a field holds, or may hold; None where it holds none."""
    kinds = get_args(annotation) or (annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)), None)


class TransformerSettings(Settings):
    """The causal transformer."""

    d_model: int = Field(64, ge=1, le=16_384, description="the width of the transformer's hidden vectors")
    n_layers: int = Field(2, ge=1, le=1024, description="the number of the transformer's blocks")
    n_heads: int = Field(4, ge=1, le=1024, description="the attention heads; they divide d_model")
    residual_scale: Positive = Field(
        0.1, description="what of a block's output is added: little, so that what is solved stays so; 1 is usual"
    )
    use_cache: bool = Field(True, description="whether each token is read once; false reads every prefix anew")

    @model_validator(mode="after")
    def _heads_divide_the_model(self) -> Self:
        if self.d_model % self.n_heads:
            raise ValueError(f"n_heads={self.n_heads} does not divide d_model={self.d_model}")
        return self


class LoRASettings(Settings):
    """Adapters beside a language model's linear layers, which alone learn (see `lora.add_adapters`)."""

    r: int = Field(8, ge=1, le=16_384, description="the rank of an adapter")
    alpha: Positive = Field(16.0, description="what an adapter adds is multiplied by alpha / r")
    targets: list[str] | None = Field(
        None, min_length=1, description="the linear layers that have one, by name; none for the architecture's default"
    )


class TuningSettings(Settings):
    """Which of a language model's parameters learn, and what learning takes in memory and time."""

    lora: LoRASettings | None = Field(
        None, description='adapters that alone learn: write policy.lora.r=8, or {"r": 8}; none to learn all parameters'
    )
    train_layers: int | None = Field(
        None, ge=0, le=1024, description="how many of the last blocks learn, with what is behind them; none for all"
    )
    gradient_checkpointing: bool = Field(
        False, description="whether an update keeps what blocks read alone, and computes the rest of them twice"
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="what the model's blocks compute in; heads, logits and losses are float32"
    )

    @model_validator(mode="after")
    def _learns_one_or_the_other(self) -> Self:
        if self.lora is not None and self.train_layers is not None:
            raise ValueError("with lora, adapters learn in the place of blocks. Leave train_layers or lora out")
        return self


class TrunkSettings(TuningSettings):
    """A Hugging Face causal language model in the transformer's place."""

    model: Name | dict[str, Any] = Field(
        min_length=1, description="a model's folder or name on the hub, or a configuration with its model_type"
    )
    revision: str | None = Field(None, description="of a name on the hub: which commit")
    use_cache: bool = Field(True, description="whether each token is read once; false reads every prefix anew")


class CausalLMSettings(TrunkSettings):
    """A causal language model as actor and critic."""

    critic: Literal["shared", "separate"] = Field(
        "shared", description="whether values come from the actor's hidden vectors, or a copy of the model"
    )
    temperature: Positive = Field(1.0, description="what logits are divided by")
    top_k: Count | None = Field(None, description="how many of the likeliest tokens can be written; none for all")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="the share of probability that can be written")
    candidates: Count | None = Field(
        None, description="how many tokens can be written after a text: the likeliest of the first policy; none for all"
    )
    action_words: Words | None = Field(
        None, description="a word for each action, as written behind a text; none for those that the environment says"
    )


class DeepSettings(Settings):
    """What all agents with a transformer have."""

    learning_rate: Positive = Field(2e-3, description="the step size of Adam")
    learning_rate_schedule: Literal["constant", "linear"] = Field(
        "constant", description="whether the step size stays, or falls to 0 at the last step"
    )
    gamma: Share = Field(1.0, description="the discount")
    max_grad_norm: Positive = Field(0.5, description="the norm that gradients are clipped to")
    reward_scale: Positive = Field(1.0, description="what rewards are multiplied by before the agent sees them")
    policy: TransformerSettings = Field(
        TransformerSettings(),
        description='the transformer: write policy.d_model=128, or {"d_model": 128}; policy.model=DIR for a '
        "pretrained language model",
    )
    trunk: ClassVar[type[TrunkSettings]] = CausalLMSettings  # what `policy` holds where it names a model

    @classmethod
    def read(cls, given: Mapping[str, Any], owner: str) -> Self:
        """Return settings from what a user gave, as `Settings.read` does; `policy` with a model is a language model."""
        policy = given.get("policy")
        if not isinstance(policy, Mapping) or "model" not in policy or _has_trunk(cls):
            return super().read(given, owner)
        found: Self = _with_trunk(cls).read(given, owner)
        return found


def _has_trunk(settings: type[DeepSettings]) -> bool:
    kind = settings.model_fields["policy"].annotation
    return isinstance(kind, type) and issubclass(kind, TrunkSettings)


@cache
def _with_trunk(settings: type[DeepSettings]) -> Any:
    """Return an agent's settings whose policy is a language model."""
    policy = (settings.trunk, Field(description="the language model"))
    return create_model(settings.__name__, __base__=settings, __doc__=settings.__doc__, policy=policy)


class ControlledSettings(DeepSettings):
    """What on-policy agents have: updates in parts, and a reference to stay near to."""

    micro_batch_size: Count | None = Field(
        None, description="the transitions of a minibatch that are read at once, their gradients added up; none for all"
    )
    kl_coefficient: NotNegative = Field(
        0.0, description="what a nat of divergence from the reference costs, in the environment's rewards; 0 for none"
    )
    reference: Name = Field(
        "start", min_length=1, description="what to stay near to: 'start', the first policy; 'uniform'; a run's folder"
    )
    kl: Estimate = Field("k1", description='how divergence is estimated: "k1" in the reward, "exact" or "k3" as a loss')
    kl_target: Positive | None = Field(
        None, description="the nats of a completion that the coefficient adapts to; None for a fixed coefficient"
    )
    kl_gain: Positive = Field(
        0.1, description="how fast the coefficient adapts: a rollout moves it by at most a fifth of this share"
    )

    @field_validator("kl_target")
    @classmethod
    def _adapts_from_something(cls, target: float | None, info: ValidationInfo) -> float | None:
        if target is not None and info.data.get("kl_coefficient") == 0:
            raise ValueError("it adapts a kl_coefficient, and that is 0. Give one above 0 to start from, as 0.1")
        return target
