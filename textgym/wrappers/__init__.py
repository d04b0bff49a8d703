"""What changes another environment: guidance in words, and text as observation."""

from __future__ import annotations

from textgym.wrappers.guidance import GuidanceWrapper, VectorGuidanceWrapper
from textgym.wrappers.text_observation import TextObservation, VectorTextObservation

__all__ = ["GuidanceWrapper", "TextObservation", "VectorGuidanceWrapper", "VectorTextObservation"]
