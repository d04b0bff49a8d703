"""TextGym: writing text as a Markov decision process, one token an action.

Importing it registers the environments; `gymnasium.make("TextGen-v0")` then works.
"""

from __future__ import annotations

import textgym.envs as envs  # importing it registers the environments
from textgym.advising import LanguageModelAdvisor
from textgym.checking import check_task
from textgym.control import Control, load_control, register_control
from textgym.control.env import ControlEnv
from textgym.control.vector_env import ControlVectorEnv
from textgym.describing import Describer, describe_features
from textgym.env import TextGenEnv
from textgym.episodes import Episodes, Prompt
from textgym.evaluating import evaluate
from textgym.guiding import guidance_to_reward
from textgym.hardness import difficulty
from textgym.registration import control_ids, env_ids, load_task, register, task_ids
from textgym.solving import solve
from textgym.task import Task
from textgym.variants import variant
from textgym.vector_env import TextGenVectorEnv
from textgym.vocabulary import Vocabulary
from textgym.wrappers import GuidanceWrapper, TextObservation, VectorGuidanceWrapper, VectorTextObservation

__version__ = "0.1.0"

__all__ = [
    "Control",
    "ControlEnv",
    "ControlVectorEnv",
    "Describer",
    "Episodes",
    "GuidanceWrapper",
    "LanguageModelAdvisor",
    "Prompt",
    "Task",
    "TextGenEnv",
    "TextGenVectorEnv",
    "TextObservation",
    "VectorGuidanceWrapper",
    "VectorTextObservation",
    "Vocabulary",
    "check_task",
    "control_ids",
    "describe_features",
    "difficulty",
    "env_ids",
    "envs",
    "evaluate",
    "guidance_to_reward",
    "load_control",
    "load_task",
    "register",
    "register_control",
    "solve",
    "task_ids",
    "variant",
]
