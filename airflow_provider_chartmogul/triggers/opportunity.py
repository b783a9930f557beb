"""Triggers for ChartMogul's opportunities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class OpportunityForecastCategoryTrigger(BaseTrigger):
    CLASSPATH: ClassVar[str] = f"{__name__}.OpportunityForecastCategoryTrigger"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        self.kwargs = kwargs

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return self.CLASSPATH, self.kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield TriggerEvent({})
