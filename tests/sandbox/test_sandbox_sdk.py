"""ChartMogul's own Python SDK, which knows nothing of the sandbox, works against it."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import chartmogul
import pytest

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox

NEW = {
    "customer_uuid": "cus_f466e33d-ff2b-4a11-8f85-417eb02157a7",
    "owner": "owner@example.com",
    "pipeline": "New Business",
    "pipeline_stage": "Discovery",
    "estimated_close_date": "2024-03-30",
    "currency": "USD",
    "amount_in_cents": 10000,
    "type": "recurring",
    "forecast_category": "pipeline",
    "win_likelihood": 3,
    "custom": [{"key": "from_campaign", "value": True}],
}


@pytest.fixture
def config(sandbox: Sandbox) -> Any:
    config = chartmogul.Config(sandbox.api_key)
    config.uri = f"{sandbox.url}/v1"
    return config


def test_it_takes_an_opportunity_from_create_to_destroy(config: Any, sandbox: Sandbox) -> None:
    created = chartmogul.Opportunity.create(config, data=NEW).get()
    retrieved = chartmogul.Opportunity.retrieve(config, uuid=created.uuid).get()
    assert retrieved.owner == "owner@example.com"
    assert retrieved.custom == {"from_campaign": True}
    assert retrieved.estimated_close_date == datetime.date(2024, 3, 30)
    assert retrieved.created_at == retrieved.updated_at
    assert retrieved.created_at.utcoffset() == datetime.timedelta(0)

    changes = {"forecast_category": "won", "win_likelihood": 100}
    modified = chartmogul.Opportunity.modify(config, uuid=created.uuid, data=changes).get()
    assert modified.forecast_category == "won"
    assert modified.updated_at > created.updated_at

    chartmogul.Opportunity.destroy(config, uuid=created.uuid).get()
    with pytest.raises(chartmogul.APIError, match="does not exist"):
        chartmogul.Opportunity.retrieve(config, uuid=created.uuid).get()
    methods = [(request.method, request.status) for request in sandbox.requests]
    assert methods == [("POST", 201), ("GET", 200), ("PATCH", 200), ("DELETE", 200), ("GET", 404)]


def test_it_reads_all_pages_of_the_list(config: Any, sandbox: Sandbox) -> None:
    listed: list[Any] = []
    page = chartmogul.Opportunity.all(config, per_page=2).get()
    listed += page.entries
    while page.has_more:
        page = chartmogul.Opportunity.all(config, per_page=2, cursor=page.cursor).get()
        listed += page.entries

    assert [entry.uuid for entry in listed] == [o["uuid"] for o in sandbox.opportunities]
    assert len(sandbox.requests) == 2


def test_it_reads_ping_and_account(config: Any) -> None:
    assert chartmogul.Ping.ping(config).get().data == "pong!"
    assert chartmogul.Account.retrieve(config).get().name == "ChartMogul Sandbox"


def test_it_understands_that_a_key_is_bad(config: Any) -> None:
    config.auth = ("wrong", "")

    with pytest.raises(chartmogul.APIError, match="No valid API key provided"):
        chartmogul.Ping.ping(config).get()
