"""Operators for ChartMogul's opportunities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_chartmogul.exceptions import permanent_errors_fail_without_retry
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.links.chartmogul import ChartMogulCustomerLink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context


class RetrieveOpportunityOperator(BaseOperator):
    """
    Return an opportunity's JSON, as ChartMogul sends it, to XCom.

    The task fails without retries where none can help: a malformed UUID, a rejected API key, an opportunity that
    does not exist. See https://dev.chartmogul.com/reference/retrieve-an-opportunity for the fields, and
    :class:`~airflow_provider_chartmogul.opportunity.Opportunity` for a typed view of them.

    :param opportunity_uuid: the opportunity's UUID (templated)
    :param chartmogul_conn_id: the Airflow connection to use (templated)
    """

    template_fields: Sequence[str] = ("opportunity_uuid", "chartmogul_conn_id")
    operator_extra_links = (ChartMogulCustomerLink(),)
    ui_color = "#d8ecf5"

    def __init__(
        self,
        *,
        opportunity_uuid: str,
        chartmogul_conn_id: str = ChartMogulHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.opportunity_uuid = opportunity_uuid
        self.chartmogul_conn_id = chartmogul_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Retrieve the opportunity."""
        with permanent_errors_fail_without_retry():
            opportunity = ChartMogulHook(self.chartmogul_conn_id).retrieve_opportunity(self.opportunity_uuid)
        self.log.info(
            "Opportunity %s: forecast category %s, stage %s.",
            opportunity["uuid"],
            opportunity.get("forecast_category"),
            opportunity.get("pipeline_stage"),
        )
        return opportunity
