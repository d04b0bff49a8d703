"""LunarLander in words: where the craft is, how it falls and tilts, and what touches the ground."""

from __future__ import annotations

import numpy as np

from textgym.arrays import FloatArray, IntArray
from textgym.describing import Describer, even, whole
from textgym.scenes.scene import Scene, phrased
from textgym.speech import Speech

FIVE, SPEED, TILT = (-0.5, -0.1, 0.1, 0.5), (-0.6, -0.15, 0.15, 0.6), (-0.4, -0.1, 0.1, 0.4)

COMPACT = Describer(
    (
        *(even("x", -1.5, 1.5), even("y", -0.5, 1.5), even("v", -2, 2), even("u", -2, 2)),
        *(even("a", -1.5, 1.5), even("w", -2, 2), whole("l", 2), whole("r", 2)),
    )
)

ENGLISH = Describer(
    (
        phrased(
            FIVE,
            "The craft is far left|The craft is left|The craft is above the pad|"
            "The craft is right|The craft is far right",
        ),
        phrased((0.1, 0.4, 0.8, 1.2), "at the ground|low|half way down|high|very high"),
        phrased(SPEED, "flying left fast|flying left|keeping its place|flying right|flying right fast"),
        phrased((-0.6, -0.3, -0.1, 0.1), "falling fast|falling|sinking|hovering|rising"),
        phrased(TILT, "tilted far right|tilted right|level|tilted left|tilted far left"),
        phrased(SPEED, "turning right fast|turning right|not turning|turning left|turning left fast"),
        phrased((0.5,), "the left leg in the air|the left leg on the ground"),
        phrased((0.5,), "the right leg in the air|the right leg on the ground"),
    ),
    between=", ",
    end=".",
)

CHINESE = Describer(
    (
        phrased(FIVE, "飞船远在左方|飞船在左方|飞船在平台上方|飞船在右方|飞船远在右方"),
        phrased((0.1, 0.4, 0.8, 1.2), "已到地面|很低|在半空|较高|很高"),
        phrased(SPEED, "快速左飞|左飞|左右不动|右飞|快速右飞"),
        phrased((-0.6, -0.3, -0.1, 0.1), "快速下落|下落|缓缓下沉|悬停|上升"),
        phrased(TILT, "严重右倾|右倾|水平|左倾|严重左倾"),
        phrased(SPEED, "快速右转|右转|不转|左转|快速左转"),
        phrased((0.5,), "左腿悬空|左腿着地"),
        phrased((0.5,), "右腿悬空|右腿着地"),
    ),
    between="，",
    end="。",
    spaced=False,
)


def rule(numbers: FloatArray) -> IntArray:
    """Steer as the heuristic of Gymnasium's `lunar_lander.py` does: tilt towards the pad, brake the fall."""
    x, y, vx, vy, angle, turning, left, right = numbers.T
    landed = (left > 0.5) | (right > 0.5)
    wanted = np.clip(0.5 * x + vx, -0.4, 0.4)
    turn = np.where(landed, 0.0, 0.5 * (wanted - angle) - turning)
    lift = np.where(landed, -0.5 * vy, 0.5 * (0.55 * np.abs(x) - y) - 0.5 * vy)
    sideways = np.where(turn < -0.05, 3, np.where(turn > 0.05, 1, 0))
    return np.where((lift > np.abs(turn)) & (lift > 0.05), 2, sideways)


def worth(numbers: FloatArray) -> FloatArray:
    """Return 1 at rest on the pad, less the farther, faster and more tilted the craft is."""
    x, y, vx, vy, angle = numbers[:, :5].T
    part: FloatArray = np.clip(1 - (np.hypot(x, y) + np.hypot(vx, vy) + np.abs(angle)) / 3, 0.0, 1.0)
    return part


SCENE = Scene(
    {"compact": COMPACT, "english": ENGLISH, "chinese": CHINESE},
    {
        "english": Speech(
            (
                *(("do nothing", "wait"), ("fire the left engine", "left engine")),
                *(("fire the main engine", "main engine"), ("fire the right engine", "right engine")),
            )
        ),
        "chinese": Speech(
            (("不点火", "等待"), ("点左引擎", "左引擎"), ("点主引擎", "主引擎"), ("点右引擎", "右引擎")),
            "{action}。满分十分得{points}分。",
            "{action}。",
        ),
    },
    rule,
    worth,
    opposite=(2, 3, 0, 1),
)
