"""What a reward model's training can be told."""

from __future__ import annotations

from pydantic import Field, model_validator

from .reward_losses import LOSSES
from .settings import Count, NotNegative, Positive, Settings

SMALL = ("d_model", "n_layers", "n_heads", "dropout", "window", "min_count")
"""Settings of a model that is made; one that is loaded has its own."""


class RewardSettings(Settings):
    """How a reward model is fitted, and made where none is loaded."""

    loss: str = Field("bradley-terry", description=f"what is minimised: {', '.join(LOSSES)}")
    margin: Positive = Field(1.0, description="of bradley-terry-margin: the margin of a pair that names none")
    label_smoothing: float = Field(
        0.1, ge=0, lt=0.5, description="of bradley-terry-smoothed: the probability that a label is wrong"
    )
    learning_rate: Positive | None = Field(
        None, description="the step size of AdamW; None for 1e-3 of a model that is made, 2e-5 of one that is loaded"
    )
    weight_decay: NotNegative = Field(0.01, description="the share of a parameter that decays, times the step size")
    batch_size: Count = Field(32, description="the records of a minibatch")
    epochs: Count = Field(30, description="how often the records are read at most")
    patience: Count = Field(3, description="the epochs without a lower held-out loss that end the fit")
    held_out: float = Field(0.1, gt=0, lt=1, description="the share of the records that is held out")
    max_grad_norm: Positive = Field(1.0, description="the norm that gradients are clipped to")
    seed: int = Field(0, ge=0, lt=2**31, description="of the split, the first parameters, dropout and order")
    d_model: int = Field(64, ge=1, le=16_384, description="the width of the model that is made")
    n_layers: int = Field(2, ge=1, le=1024, description="its blocks")
    n_heads: int = Field(4, ge=1, le=1024, description="its attention heads; they divide d_model")
    dropout: float = Field(0.1, ge=0, lt=1, description="the share of its activations left out while it learns")
    window: int = Field(128, ge=3, le=2**20, description="the most characters that it reads, and two")
    min_count: Count = Field(1, description="how often a character must stand in what is learned to be known to it")

    @model_validator(mode="after")
    def _fit_together(self) -> RewardSettings:
        if self.d_model % self.n_heads:
            raise ValueError(f"n_heads={self.n_heads} does not divide d_model={self.d_model}")
        for name, loss in (("margin", "bradley-terry-margin"), ("label_smoothing", "bradley-terry-smoothed")):
            if name in self.model_fields_set and self.loss != loss:
                raise ValueError(f"{name} is of loss={loss}, and the loss is {self.loss}")
        return self
