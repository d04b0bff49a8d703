"""The embedded language model: very small, taught by what the experts say, so that advice needs no download.

A GPT-2 of two layers, 48 wide, with a tokenizer of whole words and of Chinese characters; `make.py` beside it makes it.
One state in eight was kept from it. There it advises the expert's action in 95 of 100 states of CartPole that are told
compactly, in 94 told in English and 91 in Chinese; in all of MountainCar; and on FrozenLake, where a square says
nothing about another one, in 3 to 5 of 7 squares of the large map and not in the one of the small (`make.py --judge`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from textgym.describing import Describer
from textgym.errors import InvalidSetting, Names
from textgym.scenes import cart_pole, mountain_car
from textgym.scenes.grids import frozen_lake
from textgym.scenes.scene import Scene
from textgym.speech import Speech

FOLDER = Path(__file__).parent
POINTS = range(11)  # of ten, that an advice gives a state

KNOWN: Names[Callable[[], Scene]] = Names(
    "scene of the embedded language model",
    **{
        "CartPole": lambda: cart_pole.SCENE,
        "MountainCar": lambda: mountain_car.SCENE,
        "FrozenLake 4x4": lambda: frozen_lake("4x4")[1],
        "FrozenLake 8x8": lambda: frozen_lake("8x8")[1],
        "FrozenLake 4x4 without slipping": lambda: frozen_lake("4x4", False)[1],
        "FrozenLake 8x8 without slipping": lambda: frozen_lake("8x8", False)[1],
    },
)
"""What it was taught, by the titles that its prompts begin with."""


def title_of(scene: Scene, describer: Describer) -> str:
    """Return the title under which the model knows a scene.

    Raises:
        InvalidSetting: it was taught nothing about it, or not in what the describer says.
    """
    for title, known in KNOWN.items():
        if known() == scene:
            if describer not in scene.describers.values():
                raise InvalidSetting(
                    f"the embedded language model was taught {title} as the describers {', '.join(scene.describers)} "
                    "tell it, and not as this one does. Take one of them, or give model=, a folder or a model's name."
                )
            return title
    raise InvalidSetting(
        f"the embedded language model was taught {', '.join(KNOWN)}, and this is none of them. Give model=, a folder "
        "or a model's name."
    )


def prompt_of(title: str) -> str:
    """Return the template of a prompt, with `{state}` in it."""
    return f"{title}: {{state}}"


def candidates_of(speech: Speech) -> tuple[str, ...]:
    """Return all that the model may say in a language: each action, and each number of points for the state."""
    return tuple(speech.say(action, points / 10) for action in range(len(speech.actions)) for points in POINTS)
