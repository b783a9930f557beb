"""Measurements that take turns, so that other load on the machine affects all alike."""

from __future__ import annotations

import random
import statistics
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def interleaved(rounds: int, measurements: Mapping[_Key, Callable[[], _Value]]) -> dict[_Key, list[_Value]]:
    """Take each measurement once per round, in an order that changes; return the values of each, by round."""
    values: dict[_Key, list[_Value]] = {key: [] for key in measurements}
    dice = random.Random(0)
    for _ in range(rounds):
        for key in dice.sample(list(measurements), len(measurements)):
            values[key].append(measurements[key]())
    return values


def ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """Return how many times the others one is: the median of the ratios within a round."""
    return statistics.median(value / other for value, other in zip(values, others, strict=True))
