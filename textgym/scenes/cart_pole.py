"""CartPole in words: where the cart is and moves, how the pole leans and falls."""

from __future__ import annotations

import numpy as np

from textgym.arrays import FloatArray, IntArray
from textgym.describing import Describer, even
from textgym.scenes.scene import Scene, phrased
from textgym.speech import Speech

PLACE, SPEED = (-1.6, -0.8, -0.2, 0.2, 0.8, 1.6), (-1.0, -0.4, -0.1, 0.1, 0.4, 1.0)
LEAN, FALL = (-0.12, -0.06, -0.02, 0.0, 0.02, 0.06, 0.12), (-1.2, -0.6, -0.2, 0.0, 0.2, 0.6, 1.2)

COMPACT = Describer((even("x", -2.4, 2.4), even("v", -2, 2), even("a", -0.21, 0.21), even("w", -2, 2)))

ENGLISH = Describer(
    (
        phrased(
            PLACE,
            "The cart is at the left edge|The cart is far left|The cart is left of the middle|"
            "The cart is in the middle|The cart is right of the middle|The cart is far right|"
            "The cart is at the right edge",
        ),
        phrased(
            SPEED,
            "runs left fast|runs left|drifts left|hardly moves|drifts right|runs right|runs right fast",
        ),
        phrased(
            LEAN,
            "the pole leans far left|the pole leans left|the pole leans a little left|the pole is upright to the left|"
            "the pole is upright to the right|the pole leans a little right|the pole leans right|"
            "the pole leans far right",
        ),
        phrased(
            FALL,
            "turning left very fast|turning left fast|turning left|turning left slowly|turning right slowly|"
            "turning right|turning right fast|turning right very fast",
        ),
    ),
    between=", ",
    end=".",
)

CHINESE = Describer(
    (
        phrased(PLACE, "小车在左边缘|小车在左侧远处|小车偏左|小车居中|小车偏右|小车在右侧远处|小车在右边缘"),
        phrased(SPEED, "快速左行|左行|缓缓左移|几乎不动|缓缓右移|右行|快速右行"),
        phrased(
            LEAN,
            "杆子严重左倾|杆子左倾|杆子略微左倾|杆子直立稍左|杆子直立稍右|杆子略微右倾|杆子右倾|杆子严重右倾",
        ),
        phrased(
            FALL,
            "正极快地向左倒|正很快地向左倒|正向左倒|正慢慢向左倒|正慢慢向右倒|正向右倒|正很快地向右倒|正极快地向右倒",
        ),
    ),
    between="，",
    end="。",
    spaced=False,
)


def rule(numbers: FloatArray) -> IntArray:
    """Push to where the pole falls, by a linear feedback on all four numbers."""
    push: FloatArray = numbers @ np.array([0.1, 0.3, 6.0, 1.0])
    return (push > 0).astype(np.int64)


def worth(numbers: FloatArray) -> FloatArray:
    """Return how far from failing states are, 1 at rest in the middle, 0 at an edge or where the pole lies."""
    room = 1 - np.abs(numbers[:, [0, 2]] + 0.1 * numbers[:, [1, 3]]) / np.array([2.4, 0.21])
    part: FloatArray = np.clip(room.min(axis=1), 0.0, 1.0)
    return part


SCENE = Scene(
    {"compact": COMPACT, "english": ENGLISH, "chinese": CHINESE},
    {
        "english": Speech(
            (("push left", "leftward", "leftwards", "left"), ("push right", "rightward", "rightwards", "right"))
        ),
        "chinese": Speech(
            (("向左推", "向左", "左"), ("向右推", "向右", "右")), "{action}。满分十分得{points}分。", "{action}。"
        ),
    },
    rule,
    worth,
    opposite=(1, 0),
)
