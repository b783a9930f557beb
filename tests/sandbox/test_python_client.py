"""ChartMogul's own Python client works against the sandbox."""

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


def test_it_lists_with_all_filters_in_pages_of_one(config: Any, sandbox: Sandbox) -> None:
    wanted = sandbox.opportunities[1]
    names = ("customer_uuid", "owner", "pipeline", "pipeline_stage")
    twin = sandbox.add_opportunity(**{name: wanted[name] for name in (*names, "estimated_close_date")})
    filters = {
        **{name: wanted[name] for name in names},
        "estimated_close_date_on_or_after": wanted["estimated_close_date"],
        "estimated_close_date_on_or_before": wanted["estimated_close_date"],
        "per_page": 1,
    }
    first = chartmogul.Opportunity.all(config, **filters).get()
    second = chartmogul.Opportunity.all(config, **filters, cursor=first.cursor).get()

    assert [[entry.uuid for entry in page.entries] for page in (first, second)] == [[twin["uuid"]], [wanted["uuid"]]]
    assert [first.has_more, second.has_more] == [True, False]
    empty = chartmogul.Opportunity.all(config, owner="nobody@example.com").get()
    assert (empty.entries, empty.cursor, empty.has_more) == ([], None, False)


def test_it_reads_ping_and_account(config: Any) -> None:
    assert chartmogul.Ping.ping(config).get().data == "pong!"
    assert chartmogul.Account.retrieve(config).get().name == "ChartMogul Sandbox"


def test_it_understands_that_a_key_is_bad(config: Any) -> None:
    config.auth = ("wrong", "")

    with pytest.raises(chartmogul.APIError, match="No valid API key provided"):
        chartmogul.Ping.ping(config).get()
