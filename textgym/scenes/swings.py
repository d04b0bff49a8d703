"""Acrobot and Pendulum in words: arms that hang and are to be swung up."""

from __future__ import annotations

import numpy as np

from textgym.arrays import FloatArray, IntArray
from textgym.describing import TURN, Describer, Scale, angle_of, even
from textgym.scenes.scene import Scene, phrased
from textgym.speech import Speech

ANGLE, SPIN = (-2.4, -1.2, -0.4, 0.0, 0.4, 1.2, 2.4), (-2.0, -0.5, 0.0, 0.5, 2.0)


def _angle(subject: str, zero: str, turned: str) -> Scale:
    """Return an English scale of one angle, `zero` where it is 0 and `turned` where it is half a turn."""
    sides = [f"{turned} to the left", "far left", "left", f"{zero} to the left"]
    both = [*sides, *(side.replace("left", "right") for side in reversed(sides))]
    return Scale(ANGLE, tuple(f"{subject} {side}" for side in both))


def _angle_zh(subject: str, zero: str, turned: str) -> Scale:
    sides = [f"{turned}偏左", "在最左边", "在左边", f"{zero}偏左"]
    both = [*sides, *(side.replace("左", "右") for side in reversed(sides))]
    return Scale(ANGLE, tuple(f"{subject}{side}" for side in both))


def _spin(subject: str = "") -> Scale:
    ways = (
        "swinging left fast|swinging left|swinging left slowly|swinging right slowly|swinging right|swinging right fast"
    )
    return Scale(SPIN, tuple(f"{subject}{way}" for way in ways.split("|")))


SPIN_ZH = phrased(SPIN, "快速左摆|左摆|缓缓左摆|缓缓右摆|右摆|快速右摆")


def acrobot_numbers(states: FloatArray) -> FloatArray:
    """Return both angles, the second one against the first, and both speeds, `(n, 4)`."""
    c1, s1, c2, s2, v1, v2 = states.T
    return np.stack([angle_of(c1, s1), angle_of(c2, s2), v1, v2], axis=1)


def acrobot_rule(numbers: FloatArray) -> IntArray:
    """Turn the second joint against the first arm's swing, which pumps energy into it."""
    return np.where(numbers[:, 2] >= 0, 0, 2)


def acrobot_worth(numbers: FloatArray) -> FloatArray:
    """Return how high the free end is, 0 where it hangs, 1 where both arms stand."""
    first, second = numbers[:, 0], numbers[:, 0] + numbers[:, 1]
    return np.clip((2 - np.cos(first) - np.cos(second)) / 4, 0.0, 1.0)


ACROBOT = Scene(
    {
        "compact": Describer(
            (even("a", -TURN, TURN), even("b", -TURN, TURN), even("v", -8, 8), even("w", -16, 16)),
            numbers=acrobot_numbers,
        ),
        "english": Describer(
            (
                _angle("The upper arm", "hangs", "stands"),
                _angle("the lower arm", "is straight", "is folded back"),
                _spin("the upper one "),
                _spin("the lower one "),
            ),
            between=", ",
            end=".",
            numbers=acrobot_numbers,
        ),
        "chinese": Describer(
            (_angle_zh("上臂", "下垂", "竖直"), _angle_zh("下臂", "伸直", "折回"), SPIN_ZH, SPIN_ZH),
            between="，",
            end="。",
            numbers=acrobot_numbers,
            spaced=False,
        ),
    },
    {
        "english": Speech((("turn left", "left"), ("let go", "do nothing", "wait"), ("turn right", "right"))),
        "chinese": Speech(
            (("向左转", "向左", "左"), ("放松", "等待"), ("向右转", "向右", "右")),
            "{action}。满分十分得{points}分。",
            "{action}。",
        ),
    },
    acrobot_rule,
    acrobot_worth,
    opposite=(2, 1, 0),
)


def pendulum_numbers(states: FloatArray) -> FloatArray:
    """Return the angle from upright and the speed, `(n, 2)`."""
    return np.stack([angle_of(states[:, 0], states[:, 1]), states[:, 2]], axis=1)


def pendulum_rule(numbers: FloatArray) -> IntArray:
    """Balance near the top, pump energy below: of torques that rise from action 0 to 2, 1 being none.

    The rod's energy is v^2 / 2 + 15 cos(angle) in Gymnasium's units (g = 10, m = l = 1), 15 at rest on top.
    """
    angle, speed = numbers.T
    low = np.where(speed**2 / 2 + 15 * np.cos(angle) < 15, np.sign(speed), -np.sign(speed))
    torque = np.where(np.abs(angle) < 0.5, -np.sign(4 * angle + speed), low)
    action: IntArray = torque.astype(np.int64) + 1
    return action


def pendulum_worth(numbers: FloatArray) -> FloatArray:
    """Return 1 at rest upright, 0 where it hangs or turns at full speed."""
    cost = numbers[:, 0] ** 2 + 0.1 * numbers[:, 1] ** 2  # the environment's own, without the torque's
    return np.clip(1 - cost / TURN**2, 0.0, 1.0)


PENDULUM = Scene(
    {
        "compact": Describer((even("a", -TURN, TURN), even("v", -8, 8)), numbers=pendulum_numbers),
        "english": Describer(
            (_angle("The rod", "stands", "hangs"), _spin()), between=", ", end=".", numbers=pendulum_numbers
        ),
        "chinese": Describer(
            (_angle_zh("杆子", "竖直", "下垂"), SPIN_ZH), between="，", end="。", numbers=pendulum_numbers, spaced=False
        ),
    },
    {
        "english": Speech((("turn right", "right"), ("let go", "do nothing", "wait"), ("turn left", "left"))),
        "chinese": Speech(
            (("向右转", "向右", "右"), ("放松", "等待"), ("向左转", "向左", "左")),
            "{action}。满分十分得{points}分。",
            "{action}。",
        ),
    },
    pendulum_rule,
    pendulum_worth,
    opposite=(2, 1, 0),
)
"""With three torques: `gymnasium.wrappers.DiscretizeAction(gymnasium.make("Pendulum-v1"), bins=3)`."""
