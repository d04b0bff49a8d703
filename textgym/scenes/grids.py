"""FrozenLake and Taxi in words: squares of a grid, and an expert who has solved the table."""

from __future__ import annotations

import functools

import numpy as np
from gymnasium.envs.toy_text.frozen_lake import MAPS, FrozenLakeEnv
from gymnasium.envs.toy_text.taxi import TaxiEnv

from textgym.describing import Describer, Scale, whole
from textgym.errors import Names
from textgym.scenes.scene import Grid, Scene, Table, TableRule, solve_table
from textgym.speech import Speech

GAMMA = 0.99  # the experts': a way that is shorter is better

ENGLISH_GO = (
    ("go left", "west", "left"),
    ("go down", "south", "down"),
    ("go right", "east", "right"),
    ("go up", "north", "up"),
)
CHINESE_GO = (("向左走", "西", "左"), ("向下走", "南", "下"), ("向右走", "东", "右"), ("向上走", "北", "上"))


def _counted(first: str, last: str, count: int) -> Scale:
    """Return a scale of the integers from 0, said with a number counted from 1 in the middle."""
    return Scale(tuple(k - 0.5 for k in range(1, count)), tuple(f"{first}{k + 1}{last}" for k in range(count)))


def _listed(subject: str, names: tuple[str, ...]) -> Scale:
    return Scale(tuple(k - 0.5 for k in range(1, len(names))), tuple(f"{subject}{name}" for name in names))


def _experts(table: Table, sizes: tuple[int, ...]) -> tuple[TableRule, TableRule]:
    """Return the rule and the worth of a table's optimal policy: values are scaled to between 0 and 1."""
    values, action_values = solve_table(table, GAMMA)
    best = np.round(action_values, 9).argmax(axis=1)  # the first of equals
    span = max(float(np.ptp(values)), 1e-9)
    return TableRule(sizes, tuple(best.tolist())), TableRule(sizes, tuple(((values - values.min()) / span).tolist()))


def lake_scene(lake: FrozenLakeEnv) -> Scene:
    """Return the scene of one lake: its squares are told by row and column."""
    sizes = (lake.nrow, lake.ncol)
    grid = Grid(sizes)
    rule, worth = _experts(lake.P, sizes)
    english = _counted("You stand in row ", "", sizes[0]), _counted("column ", "", sizes[1])
    chinese = _counted("你在第", "行", sizes[0]), _counted("第", "列", sizes[1])
    return Scene(
        {
            "compact": Describer((whole("r", sizes[0]), whole("c", sizes[1])), numbers=grid),
            "english": Describer(english, between=", ", end=".", numbers=grid),
            "chinese": Describer(chinese, between="，", end="。", numbers=grid, spaced=False),
        },
        {
            "english": Speech(ENGLISH_GO),
            "chinese": Speech(CHINESE_GO, "{action}。满分十分得{points}分。", "{action}。"),
        },
        rule,
        worth,
        opposite=(2, 3, 0, 1),
    )


@functools.cache
def frozen_lake(map_name: str = "4x4", slippery: bool = True) -> tuple[FrozenLakeEnv, Scene]:
    """Return Gymnasium's lake of a name, whose table is the physics, and its scene.

    Raises:
        UnknownName: Gymnasium has no such map.
    """
    Names("map of FrozenLake", **dict.fromkeys(MAPS))[map_name]
    lake = FrozenLakeEnv(map_name=map_name, is_slippery=slippery)
    return lake, lake_scene(lake)


STANDS = ("red", "green", "yellow", "blue")
STANDS_ZH = ("红", "绿", "黄", "蓝")


@functools.cache
def taxi() -> Scene:
    """Return the scene of Gymnasium's Taxi."""
    sizes = (5, 5, 5, 4)
    grid = Grid(sizes)
    rule, worth = _experts(TaxiEnv().P, sizes)
    english = (
        _counted("The taxi is in row ", "", 5),
        _counted("column ", "", 5),
        _listed("the passenger ", (*(f"waits at {stand}" for stand in STANDS), "is inside")),
        _listed("wants to go to ", STANDS),
    )
    chinese = (
        _counted("出租车在第", "行", 5),
        _counted("第", "列", 5),
        _listed("乘客", (*(f"在{stand}站" for stand in STANDS_ZH), "在车里")),
        _listed("要去", tuple(f"{stand}站" for stand in STANDS_ZH)),
    )
    drive = (("go south", "south"), ("go north", "north"), ("go east", "east"), ("go west", "west"))
    drive_zh = (("向南开", "南"), ("向北开", "北"), ("向东开", "东"), ("向西开", "西"))
    return Scene(
        {
            "compact": Describer((whole("r", 5), whole("c", 5), whole("p", 5), whole("d", 4)), numbers=grid),
            "english": Describer(english, between=", ", end=".", numbers=grid),
            "chinese": Describer(chinese, between="，", end="。", numbers=grid, spaced=False),
        },
        {
            "english": Speech((*drive, ("pick up", "collect"), ("drop off", "deliver"))),
            "chinese": Speech(
                (*drive_zh, ("接客", "上客"), ("下客", "放下")), "{action}。满分十分得{points}分。", "{action}。"
            ),
        },
        rule,
        worth,
        opposite=(1, 0, 3, 2, 5, 4),
    )
