"""Triggers for ChartMogul's opportunities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from airflow_provider_chartmogul.exceptions import ChartMogulError
from airflow_provider_chartmogul.opportunity import AwaitedChange, check_opportunity_uuid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class _WaitEvent(TriggerEvent):
    """The end of a wait, without personal data in the line that Airflow logs for each event."""

    def __repr__(self) -> str:
        payload = self.payload
        if isinstance(payload, dict) and isinstance(payload.get("opportunity"), dict):
            opportunity = payload["opportunity"]
            payload = {name: opportunity.get(name) for name in ("uuid", "forecast_category", "updated_at")}
        return f"TriggerEvent<{payload!r}>"

    __str__ = __repr__


class OpportunityForecastCategoryTrigger(BaseTrigger):
    """
    Resume a deferred :class:`~airflow_provider_chartmogul.sensors.opportunity.OpportunityForecastCategorySensor`.

    The event's payload is ``{"opportunity": the JSON, "baseline_category": …}`` once the wait is over, or
    ``{"error": message}`` if it ended with an error that no retry can help.

    :param opportunity_uuid: the opportunity's UUID
    :param target_categories: end the wait when the category is this one, or one of these; None: when it is any other
        than the baseline
    :param failure_categories: end the wait, as a failure, when the category is this one, or one of these
    :param baseline_category: the category that a change is measured from
    :param poll_interval: seconds between two looks at the opportunity
    :param chartmogul_conn_id: the Airflow connection to use
    :param end_from_trigger: let the task succeed without returning to a worker
    """

    CLASSPATH: ClassVar[str] = f"{__name__}.OpportunityForecastCategoryTrigger"

    def __init__(
        self,
        *,
        opportunity_uuid: str,
        target_categories: str | list[str] | None = None,
        failure_categories: str | list[str] | None = None,
        baseline_category: str | None = None,
        poll_interval: float = 60.0,
        chartmogul_conn_id: str = "chartmogul_default",
        end_from_trigger: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's is not typed
        self.opportunity_uuid = opportunity_uuid
        self.target_categories = target_categories
        self.failure_categories = failure_categories
        self.baseline_category = baseline_category
        self.poll_interval = poll_interval
        self.chartmogul_conn_id = chartmogul_conn_id
        self.end_from_trigger = end_from_trigger

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer makes this trigger anew from."""
        return self.CLASSPATH, {
            "opportunity_uuid": self.opportunity_uuid,
            "target_categories": self.target_categories,
            "failure_categories": self.failure_categories,
            "baseline_category": self.baseline_category,
            "poll_interval": self.poll_interval,
            "chartmogul_conn_id": self.chartmogul_conn_id,
            "end_from_trigger": self.end_from_trigger,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the one event that ends the wait."""
        # What was a template when the DAG was parsed is checked here when the task started from the trigger.
        try:
            awaited = AwaitedChange.check(self.target_categories, self.failure_categories)
            opportunity_uuid = check_opportunity_uuid(self.opportunity_uuid)
            opportunity = await self._wait(opportunity_uuid, awaited)
        except (ChartMogulError, ValueError) as error:
            yield _WaitEvent(payload={"error": str(error)})
            return
        if self.end_from_trigger and opportunity.get("forecast_category") not in awaited.failures:
            yield TaskSuccessEvent(xcoms={"return_value": opportunity})
        else:
            yield _WaitEvent(payload={"opportunity": opportunity, "baseline_category": self.baseline_category})

    async def _wait(self, opportunity_uuid: str, awaited: AwaitedChange) -> dict[str, Any]:
        # Imported here, since DAG files that import the sensor import this module too.
        from airflow_provider_chartmogul.watch import Waiter

        with Waiter(
            opportunity_uuid, chartmogul_conn_id=self.chartmogul_conn_id, interval=self.poll_interval
        ) as waiter:
            while True:
                news = await waiter.news()
                if isinstance(news, ChartMogulError) and news.transient:
                    self.log.warning("%s The wait goes on.", news.summary)
                elif isinstance(news, Exception):
                    raise news
                else:
                    category = news.get("forecast_category")
                    if awaited.is_over(category, self.baseline_category):
                        return news
                    self.log.info(
                        "Opportunity %s: forecast category %s, waiting for %s.", opportunity_uuid, category, awaited
                    )
