"""Our DAGs in the web UI of Airflow 3.3."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import Page, expect

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Sandbox
from tests.support.airflow_runs import Runs, wait_until

if TYPE_CHECKING:
    from scripts.local_airflow import LocalAirflow
    from tests.e2e_browser.conftest import Screenshot

SECONDS_UNTIL_A_RUN_HAS_ENDED = 120


def test_a_run_that_is_triggered_there_shows_the_json_and_links_to_the_customer(
    page: Page, airflow: LocalAirflow, sandbox: Sandbox, screenshot: Screenshot
) -> None:
    dag_id, runs = "example_wait_until_won", Runs(airflow)
    wait_until(lambda: runs.of(dag_id) == [], "the DAG is there")
    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="best_case")

    page.get_by_role("link", name="Dags", exact=True).click()
    page.get_by_role("link", name=dag_id, exact=True).click()
    # The list page has such buttons too.
    expect(page.get_by_role("navigation", name="breadcrumb")).to_contain_text(dag_id)
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_role("dialog").get_by_text("Opportunity UUID").wait_for()
    page.get_by_role("dialog").get_by_role("button", name="Trigger", exact=True).click()
    (run,) = wait_until(lambda: runs.of(dag_id), "the run has begun")
    run_id = run["dag_run_id"]
    runs.wait_until_deferred(dag_id, run_id, "wait_until_won")
    won = sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
    assert runs.outcome(dag_id, run_id, seconds=SECONDS_UNTIL_A_RUN_HAS_ENDED) == "success"

    page.goto(f"{airflow.url}/dags/{dag_id}/runs/{run_id}/")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    expect(page.get_by_role("row").get_by_role("link", name="retrieve_opportunity", exact=True)).to_be_visible()
    screenshot(page, "finished-run", height=700)

    page.get_by_role("row").get_by_role("link", name="wait_until_won", exact=True).click()
    page.get_by_role("link", name="Storage", exact=True).click()
    page.get_by_role("link", name="XCom", exact=True).click()
    page.get_by_role("button", name="Expand all extra JSON").click()
    shown = page.get_by_role("row").filter(has_text="return_value")
    for field in ("uuid", "customer_uuid", "forecast_category"):
        expect(shown).to_contain_text(re.compile(rf'"{field}":\s*"{won[field]}"'), use_inner_text=True)
    screenshot(page.get_by_role("table"), "xcom", width=1180, height=860)

    page.get_by_role("link", name="Details", exact=True).click()
    link = page.get_by_role("link", name="ChartMogul customer")
    expect(link).to_have_attribute("href", f"https://app.chartmogul.com/#/customers/{won['customer_uuid']}")


def test_the_test_button_works_for_a_connection_with_a_port(
    page: Page, airflow: LocalAirflow, sandbox: Sandbox
) -> None:
    stored = {"connection_id": "chartmogul_with_port", "port": sandbox.port, **sandbox.connection}
    airflow.api("POST", "connections", stored)
    page.goto(f"{airflow.url}/connections")
    row = page.get_by_role("row").filter(has_text="chartmogul_with_port")
    with page.expect_response("**/connections/test") as answered:
        row.get_by_role("button", name="Test Connection").click()
    assert answered.value.json() == {
        "status": True,
        "message": "Connected to ChartMogul account 'ChartMogul Sandbox'; its opportunities are accessible.",
    }


def test_the_asset_shows_its_watcher_and_its_events(
    page: Page, airflow: LocalAirflow, sandbox: Sandbox, screenshot: Screenshot
) -> None:
    wait_until(lambda: Runs(airflow).of("example_on_opportunity_won") is not None, "the DAG is there")
    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="best_case")
    sandbox.clear_requests()
    lists = "/v1/opportunities"
    wait_until(lambda: sum(request.path == lists for request in sandbox.requests) > 1, "the watcher has its baseline")
    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
    wait_until(lambda: airflow.api("GET", "assets/events")["total_entries"], "the asset has an event")
    page.get_by_role("link", name="Assets", exact=True).click()
    page.get_by_role("link", name="chartmogul_opportunities_won", exact=True).click()
    expect(page.get_by_role("link", name="example_on_opportunity_won").first).to_be_visible()
    expect(page.get_by_text("No Asset Events found.")).to_have_count(0)
    page.get_by_role("button", name="Fit View").click()
    screenshot(page, "asset-and-watcher", width=1180, height=720)
    page.get_by_role("button", name="1 Watcher").click()
    expect(page.get_by_role("dialog")).to_contain_text("opportunity_won")
