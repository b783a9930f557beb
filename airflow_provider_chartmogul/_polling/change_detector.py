"""What changed among all opportunities of an account, or some of them, from one round of polling to the next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow_provider_chartmogul._polling.engine import Observer
from airflow_provider_chartmogul.exceptions import ChartMogulNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_chartmogul._polling.snapshot_store import ForecastMemory


class Overview(Observer):
    """
    Compare what the polling loop sees with what is remembered.

    :param memory: the forecast category in which each opportunity was last seen; what is seen for the first time
        goes there silently
    :param opportunity_uuids: the opportunities to look at; None: all of the account
    :param chartmogul_conn_id: the Airflow connection to use
    :param interval: seconds between two looks
    """

    __slots__ = ("_changed", "_error", "_has_round_ended", "_missing", "_seen", "_troubles", "_wake_up", "memory")

    def __init__(
        self,
        memory: ForecastMemory,
        *,
        opportunity_uuids: Sequence[str] | None,
        chartmogul_conn_id: str,
        interval: float,
    ) -> None:
        super().__init__(opportunity_uuids, chartmogul_conn_id, interval)
        self.memory = memory
        self._changed: dict[str, dict[str, Any]] = {}
        self._seen: set[str] = set()
        self._missing: set[str] = set()
        self._troubles: dict[str | None, type[Exception]] = {}
        self._error: Exception | None = None
        self._has_round_ended = False
        self._wake_up = asyncio.Event()

    async def changes(self) -> tuple[list[tuple[str | None, dict[str, Any]]], bool]:
        """
        Wait for changes, or for the end of a round.

        What is returned is remembered from then on, but not saved.

        :return: the changed opportunities, each after its category before, and whether a round has ended since the
            last time
        :raises Exception: what keeps the loop from looking, when it begins
        """
        await self._wake_up.wait()
        if self._error:
            error, self._error = self._error, None
            raise error
        self._wake_up.clear()
        changed, self._changed = self._changed, {}
        changes = [(self.memory.get(uuid), opportunity) for uuid, opportunity in changed.items()]
        for uuid, opportunity in changed.items():
            self.memory[uuid] = opportunity.get("forecast_category")
        has_round_ended, self._has_round_ended = self._has_round_ended, False
        return changes, has_round_ended

    def see(self, opportunity: dict[str, Any]) -> bool:
        """Note the opportunity if it changed since it was remembered."""
        uuid, category = opportunity.get("uuid"), opportunity.get("forecast_category")
        if not uuid:
            return False
        self._seen.add(uuid)
        if self._troubles:
            self._troubles.pop(uuid, None)
            self._troubles.pop(None, None)
        if uuid in self.memory:
            if self.memory[uuid] == category:
                self._changed.pop(uuid, None)
                return False
        elif self.opportunity_uuids is not None or self.memory.is_first_sight(uuid):
            self.memory[uuid] = category
            return False
        self._changed[uuid] = opportunity
        self._wake_up.set()
        return True

    def fail(self, error: Exception, opportunity_uuid: str | None) -> bool:
        """Note the error unless it is one more of the same trouble."""
        if isinstance(error, ChartMogulNotFoundError) and opportunity_uuid is not None:
            self.memory.pop(opportunity_uuid, None)
        if opportunity_uuid is None:
            self._has_round_ended = True
        if self._troubles.get(opportunity_uuid) is type(error):
            return False
        self._troubles[opportunity_uuid] = type(error)
        self._error = error
        self._wake_up.set()
        return True

    def end_round(self) -> None:
        """Forget what is no longer there."""
        if self.opportunity_uuids is None:
            missing = {uuid for uuid in self.memory if uuid not in self._seen}
            # Only what two rounds did not find is gone: forgotten by mistake, it would come back as new.
            for uuid in missing & self._missing:
                del self.memory[uuid]
                self._changed.pop(uuid, None)
            self._missing = missing
            self._seen.clear()
        self.memory.end_baseline()
        self._troubles.pop(None, None)
        self._has_round_ended = True
        self._wake_up.set()
