"""The check of the remembered positions in the list: a scan page by page, compared with the segments."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from operator import methodcaller
from typing import TYPE_CHECKING

from airflow_provider_chartmogul._polling.page_requests import page_request
from airflow_provider_chartmogul.exceptions import ChartMogulNotFoundError

if TYPE_CHECKING:
    from airflow_provider_chartmogul._polling.list_positions import ListPositions
    from airflow_provider_chartmogul._polling.rate_limited_client import RateLimitedClient

_SECONDS_BETWEEN_PAGES = 2.0
_MOST_RETRIEVED = 20


async def find_missed(client: RateLimitedClient, positions: ListPositions, seconds_until_read: float) -> str | None:
    """
    Read the list one page after another, slowly, and compare it with the segments.

    :param client: sends the requests
    :param positions: the segments
    :param seconds_until_read: the longest time until each segment was read again; opportunities that were created with
        a time in the past are on segments that may not have been read since
    :return: the UUID of an opportunity that exists and is on no segment, if there is one
    :raises ChartMogulError: if a request fails
    """
    unknown: set[str] = set()
    cursor = None
    while True:
        page = (await client.call(page_request(cursor))).value
        uuids = (entry.get("uuid") for entry in page.entries if isinstance(entry, dict))
        unknown.update(uuid for uuid in uuids if isinstance(uuid, str) and uuid not in positions.owners)
        cursor = page.cursor
        if cursor is None:
            break
        await asyncio.sleep(_SECONDS_BETWEEN_PAGES)
    await asyncio.sleep(seconds_until_read)
    for uuid in [uuid for uuid in unknown if uuid not in positions.owners][:_MOST_RETRIEVED]:
        with suppress(ChartMogulNotFoundError):
            await client.call(methodcaller("retrieve_opportunity", uuid))
            return uuid
    return None
