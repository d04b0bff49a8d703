"""Dates: write a date of the calendar."""

from __future__ import annotations

import numpy as np

from textgym.arrays import BoolArray, FloatArray, IntArray
from textgym.episodes import Episodes, Prompt
from textgym.errors import require_flag
from textgym.prompts import ListedPrompts
from textgym.task import Task
from textgym.vocabulary import Vocabulary

CHARACTERS = "0123456789-"
FORM = "YYYY-MM-DD"
IN_PLACE = np.array([[(one == "-") == (place == "-") for one in CHARACTERS] for place in FORM])  # (10, 11)
DAYS = np.array(
    [
        [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31],  # of the months of a common year, from 1
        [0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31],  # of a leap year
    ]
)


def dates(mask: bool = True) -> Task:
    """Write a date of the calendar, YYYY-MM-DD.

    ## Description
    RL4LMs' synthetic task (`dates`; Ramamurthy et al., 2023), made strict. RL4LMs pays 1 for a text that holds four
    digits, two and two with hyphens between them, whatever they say, and nothing for less; here the whole text must be
    a date. Months have 28 to 31 days and leap years are the Gregorian calendar's, so that whether a token is right
    depends on tokens long before it. Millions of texts are right.

    ## Prompts
    None.

    ## Actions
    A digit, or the hyphen: `Discrete(11)`.

    ## Observation
    `Box(0, pad, (10,), int32)`: what has been written, then pads.

    ## Reward
    1 with the last token if the text is a date from 0001-01-01 to 9999-12-31 of the Gregorian calendar, extended
    backwards over all years as in Python's `datetime`; else 0. There is no year 0000.

    ## Episode end
    Termination: 10 characters. `is_success` says whether they are a date.

    ## Arguments
    - `mask`: whether to bar, where agents sample, digits in the place of a hyphen and the hyphen in the place of a
      digit. 3.65 % of random texts are then dates; without, 1 of 7102. (Barring all that begins no date would leave
      nothing to learn: each text would be one.)

    Raises `InvalidSetting` (a mask that is neither True nor False).

    ## Version history
    v0: initial version.
    """
    require_flag(mask=mask)
    vocabulary = Vocabulary.from_characters(CHARACTERS)
    prompt = Prompt(np.zeros(0, np.int32), vocabulary.encode("2000-02-29"))
    return Task(
        vocabulary,
        ListedPrompts((prompt,)),
        reward=dated,
        horizon=len(FORM),
        metrics={"success": begins_date},
        mask=fits_form if mask else None,
        state_key=date_key,
    )


def fits_form(episodes: Episodes) -> BoolArray:
    """Which characters may stand in the next place, `(n, 11)`: digits, or the hyphen."""
    fits: BoolArray = IN_PLACE[np.minimum(episodes.length, len(FORM) - 1)]
    return fits


def begins_date(episodes: Episodes) -> BoolArray:
    """Whether what is written is the beginning of a date, or a whole one."""
    column = np.arange(len(FORM))
    written = column < episodes.length[:, None]
    formed = (IN_PLACE[column, np.where(written, episodes.completion, 0)] | ~written).all(axis=1)
    (year, last_year), (month, last_month), (day, last_day) = (_between(episodes, field) for field in "YMD")
    days = np.where(month == last_month, DAYS[_leap(year).astype(np.int64), np.minimum(month, 12)], 31)
    return formed & (last_year >= 1) & (last_month >= 1) & (month <= 12) & (last_day >= 1) & (day <= days)


def dated(episodes: Episodes) -> FloatArray:
    """1 with the last token if the text is a date, else 0."""
    return (episodes.finished & begins_date(episodes)).astype(np.float64)


def date_key(episodes: Episodes) -> IntArray:
    """-1 for what begins no date; else what the rest depends on: the year's place in 400 years, then leap or not."""
    (year, _), (month, _), (day, _) = (_between(episodes, field) for field in "YMD")
    place = year % 400 + 400 * (year == 0)  # 0000 is no year, though 0400 is one
    kind = np.where(episodes.length < 4, place, _leap(year))
    return np.where(begins_date(episodes), (kind * 100 + month) * 100 + day, -1)


def _between(episodes: Episodes, field: str) -> tuple[IntArray, IntArray]:
    """Return the lowest and the highest number that a field of the form may still become, `(n,)` each."""
    columns = np.array([place for place, name in enumerate(FORM) if name == field])
    worth = 10 ** np.arange(len(columns))[::-1]
    digits, written = episodes.completion[:, columns], columns < episodes.length[:, None]  # (n, digits)
    return np.where(written, digits, 0) @ worth, np.where(written, digits, 9) @ worth


def _leap(year: IntArray) -> BoolArray:
    """Whether a year has a 29 February, by the rule of 1582."""
    leap: BoolArray = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    return leap
