"""Links from Airflow's UI to ChartMogul's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey


class ChartMogulCustomerLink(BaseOperatorLink):
    """
    Link to the customer of the opportunity that a task returned.

    ChartMogul has no page of its own for an opportunity; it is shown on its customer's page.
    """

    name = "ChartMogul customer"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL of the customer's page, or an empty string if the task has not returned an opportunity."""
        opportunity = XCom.get_value(ti_key=ti_key, key="return_value")
        customer_uuid = opportunity.get("customer_uuid") if isinstance(opportunity, dict) else None
        return f"https://app.chartmogul.com/#/customers/{customer_uuid}" if customer_uuid else ""
