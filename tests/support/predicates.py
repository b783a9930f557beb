"""Functions that a sensor's ``condition`` names."""

from __future__ import annotations

from typing import Any


def is_large(opportunity: dict[str, Any]) -> bool:
    return bool(opportunity["amount_in_cents"] >= 5000)


def fails_on_small_ones(opportunity: dict[str, Any]) -> bool:
    return bool(1 / (opportunity["amount_in_cents"] // 5000))
