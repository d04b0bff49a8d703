"""MountainCar in words: where in the valley the car is, and how it rolls."""

from __future__ import annotations

import numpy as np

from textgym.arrays import FloatArray, IntArray
from textgym.describing import Describer, even
from textgym.scenes.scene import Scene, phrased
from textgym.speech import Speech

PLACE, SPEED = (-1.0, -0.7, -0.55, -0.45, -0.2, 0.2), (-0.04, -0.015, 0.0, 0.015, 0.04)

COMPACT = Describer((even("x", -1.2, 0.6), even("v", -0.07, 0.07)))

ENGLISH = Describer(
    (
        phrased(
            PLACE,
            "The car is high on the left slope|The car is on the left slope|The car is left of the bottom|"
            "The car is at the bottom|The car is right of the bottom|The car is on the right slope|"
            "The car is near the flag",
        ),
        phrased(
            SPEED,
            "rolling left fast|rolling left|rolling left slowly|rolling right slowly|rolling right|rolling right fast",
        ),
    ),
    between=", ",
    end=".",
)

CHINESE = Describer(
    (
        phrased(
            PLACE, "小车在左坡高处|小车在左坡上|小车在谷底左边|小车在谷底|小车在谷底右边|小车在右坡上|小车快到旗子"
        ),
        phrased(SPEED, "快速向左滚|向左滚|缓缓向左滚|缓缓向右滚|向右滚|快速向右滚"),
    ),
    between="，",
    end="。",
    spaced=False,
)


def rule(numbers: FloatArray) -> IntArray:
    """Push where the car rolls: each swing then ends higher."""
    return np.where(numbers[:, 1] >= 0, 2, 0)


def worth(numbers: FloatArray) -> FloatArray:
    """Return the energy of states, 0 at rest at the bottom, 1 where it suffices for the flag.

    The car's acceleration is -0.0025 cos(3 x), which is minus the slope of 0.0025 sin(3 x) / 3.
    """
    x, v = numbers.T
    energy = v**2 / 2 + 0.0025 / 3 * (np.sin(3 * x) + 1)
    part: FloatArray = np.clip(energy / (0.0025 / 3 * (np.sin(1.5) + 1)), 0.0, 1.0)
    return part


SCENE = Scene(
    {"compact": COMPACT, "english": ENGLISH, "chinese": CHINESE},
    {
        "english": Speech((("push left", "left"), ("coast", "do nothing", "wait"), ("push right", "right"))),
        "chinese": Speech(
            (("向左推", "向左", "左"), ("滑行", "不推", "等待"), ("向右推", "向右", "右")),
            "{action}。满分十分得{points}分。",
            "{action}。",
        ),
    },
    rule,
    worth,
    opposite=(2, 1, 0),
)
