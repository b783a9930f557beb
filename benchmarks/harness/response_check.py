"""What a user of HttpEventTrigger writes. It is a module of its own, since that trigger reloads it at every poll."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests


async def is_won(response: requests.Response) -> bool:
    return bool(response.json()["forecast_category"] == "won")
