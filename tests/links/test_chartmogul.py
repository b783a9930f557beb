from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_chartmogul.links.chartmogul import ChartMogulCustomerLink
from airflow_provider_chartmogul.operators.opportunity import RetrieveOpportunityOperator
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID
from airflow_provider_chartmogul.sensors.opportunity import OpportunityForecastCategorySensor
from tests.support.dag_runs import run_of


class Returns(RetrieveOpportunityOperator):
    """Return a given result without a request."""

    def __init__(self, *, result: Any, **kwargs: Any) -> None:
        super().__init__(opportunity_uuid=EXAMPLE_OPPORTUNITY_UUID, **kwargs)
        self.result = result

    def execute(self, context: Any) -> Any:
        return self.result


def link_for(result: Any, **options: Any) -> str | None:
    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:
            Returns(task_id="task", result=result, **options)
        return dag

    outcome = run_of(build).start("task")
    assert outcome.state == "success"
    return outcome.link


def test_it_leads_to_the_customer_of_the_returned_opportunity() -> None:
    assert link_for({"uuid": "a", "customer_uuid": "cus_1"}) == "https://app.chartmogul.com/#/customers/cus_1"


@pytest.mark.parametrize("result", [{"uuid": "a"}, {"customer_uuid": None}, {"customer_uuid": ""}, {}, "text", 5, [1]])
def test_it_leads_nowhere_without_a_customer(result: Any) -> None:
    assert link_for(result) == ""


def test_it_leads_nowhere_before_there_is_a_result() -> None:
    assert link_for({"customer_uuid": "cus_1"}, do_xcom_push=False) == ""


def test_operator_and_sensor_have_it_under_one_name() -> None:
    for kind in (RetrieveOpportunityOperator, OpportunityForecastCategorySensor):
        (link,) = kind.operator_extra_links
        assert isinstance(link, ChartMogulCustomerLink)
        assert link.name == "ChartMogul customer"


def test_it_can_be_made_without_arguments_as_airflow_does() -> None:
    assert ChartMogulCustomerLink() == ChartMogulCustomerLink()
