"""Triggers that resume sensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers import base as triggers_base
from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from airflow_provider_chartmogul.exceptions import ChartMogulError
from airflow_provider_chartmogul.opportunity._conditions import WaitCondition
from airflow_provider_chartmogul.opportunity._values import check_baseline_category, check_opportunity_uuid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PUBLIC_MODULE = "airflow_provider_chartmogul.triggers.opportunity"


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
    :param silent_fail: go on after an unexpected error
    :param starts_wait: no worker has looked yet, so that the baseline is what a user wrote
    :param end_from_trigger: let the task succeed without returning to a worker
    """

    __module__ = _PUBLIC_MODULE  # so that stored triggers survive a move of this code
    CLASSPATH: ClassVar[str] = f"{_PUBLIC_MODULE}.OpportunityForecastCategoryTrigger"

    def __init__(
        self,
        *,
        opportunity_uuid: str,
        target_categories: str | list[str] | None = None,
        failure_categories: str | list[str] | None = None,
        baseline_category: str | None = None,
        poll_interval: float = 60.0,
        chartmogul_conn_id: str = "chartmogul_default",
        silent_fail: bool = False,
        starts_wait: bool = False,
        end_from_trigger: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's is not typed
        self.opportunity_uuid = opportunity_uuid
        self.target_categories = target_categories
        self.failure_categories = failure_categories
        self.baseline_category = baseline_category
        self.poll_interval = poll_interval
        self.chartmogul_conn_id = chartmogul_conn_id
        self.silent_fail = silent_fail
        self.starts_wait = starts_wait
        self.end_from_trigger = end_from_trigger

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer makes this trigger anew from."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "opportunity_uuid": self.opportunity_uuid,
            "target_categories": self.target_categories,
            "failure_categories": self.failure_categories,
            "baseline_category": self.baseline_category,
            "poll_interval": self.poll_interval,
            "chartmogul_conn_id": self.chartmogul_conn_id,
            "silent_fail": self.silent_fail,
            "starts_wait": self.starts_wait,
            "end_from_trigger": self.end_from_trigger,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the one event that ends the wait."""
        # What was a template when the DAG was parsed is checked here when the task started from the trigger.
        try:
            awaited = WaitCondition.parse(self.target_categories, self.failure_categories)
            if self.starts_wait:
                check_baseline_category(self.baseline_category)
                if awaited.targets is None and self.baseline_category is None:
                    raise ValueError("baseline_category: rendered to nothing, so there is nothing to measure from.")
            opportunity_uuid = check_opportunity_uuid(self.opportunity_uuid)
            opportunity = await self._wait(opportunity_uuid, awaited)
        except (ChartMogulError, ValueError) as error:
            yield _WaitEvent(payload={"error": str(error)})
            return
        event: TriggerEvent | None = None
        if self.end_from_trigger and opportunity.get("forecast_category") not in awaited.failures:
            try:
                event = await self._success(opportunity)
            except Exception as error:  # noqa: BLE001  # whatever Airflow's API server and XCom backend raise
                self.log.warning("The result could not be stored from the triggerer, so a worker does it: %s", error)
        yield event or _WaitEvent(payload={"opportunity": opportunity, "baseline_category": self.baseline_category})

    async def _success(self, opportunity: dict[str, Any]) -> TaskSuccessEvent:
        # Imported here, since they bring half of Airflow's database along.
        from airflow.providers.common.compat.sdk import XCOM_RETURN_KEY, XCom
        from asgiref.sync import sync_to_async

        ti = self.task_instance
        if ti is None or not hasattr(triggers_base, "BaseEventTrigger"):
            return TaskSuccessEvent(xcoms={XCOM_RETURN_KEY: opportunity})
        # Airflow 3 stores what the event brings along as JSON within JSON, and tasks that pull it get a string.
        await sync_to_async(XCom.set)(
            XCOM_RETURN_KEY,
            opportunity,
            dag_id=ti.dag_id,
            task_id=ti.task_id,
            run_id=ti.run_id,
            map_index=ti.map_index,
        )
        return TaskSuccessEvent()

    async def _wait(self, opportunity_uuid: str, awaited: WaitCondition) -> dict[str, Any]:
        # Imported here, since DAG files that import the sensor import this module too.
        from airflow_provider_chartmogul._polling.engine import Waiter

        with Waiter(
            opportunity_uuid, chartmogul_conn_id=self.chartmogul_conn_id, interval=self.poll_interval
        ) as waiter:
            while True:
                news = await waiter.news()
                if isinstance(news, ChartMogulError) and news.transient:
                    self.log.warning("%s The wait goes on.", news.summary)
                elif isinstance(news, Exception):
                    if not self.silent_fail or isinstance(news, ChartMogulError):
                        raise news
                    self.log.error("Unexpected error; the wait goes on.", exc_info=news)
                else:
                    category = news.get("forecast_category")
                    if awaited.is_met(category, self.baseline_category):
                        return news
                    self.log.info(
                        "Opportunity %s: forecast category %s, waiting for %s.", opportunity_uuid, category, awaited
                    )
