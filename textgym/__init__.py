"""TextGym: writing text as a Markov decision process, one token an action.

Importing it registers the environments; `gymnasium.make("TextGen-v0")` then works.
"""

from __future__ import annotations

import textgym.envs as envs  # importing it registers the environments
from textgym.checking import check_task
from textgym.env import TextGenEnv
from textgym.episodes import Episodes, Prompt
from textgym.evaluating import evaluate
from textgym.hardness import difficulty
from textgym.registration import env_ids, load_task, register
from textgym.solving import solve
from textgym.task import Task
from textgym.variants import variant
from textgym.vector_env import TextGenVectorEnv
from textgym.vocabulary import Vocabulary

__version__ = "0.1.0"

__all__ = [
    "Episodes",
    "Prompt",
    "Task",
    "TextGenEnv",
    "TextGenVectorEnv",
    "Vocabulary",
    "check_task",
    "difficulty",
    "env_ids",
    "envs",
    "evaluate",
    "load_task",
    "register",
    "solve",
    "variant",
]
