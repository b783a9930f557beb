"""ChartMogul's own Node client works against the sandbox."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent
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
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(opportunities=300, requests_per_second=None) as sandbox:
        yield sandbox


def call(sandbox: Sandbox, *calls: list[Any], key: str | None = None) -> list[Any]:
    """Make calls with the client that ``make e2e-clients`` has installed, and return their results."""
    done = subprocess.run(  # noqa: S603  # our own program
        ["node", str(FOLDER / "client.js"), sandbox.url, key or sandbox.api_key],  # noqa: S607  # from the PATH
        input=json.dumps(calls),
        env={"PATH": os.environ["PATH"], "NODE_PATH": os.environ["NODE_PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    results: list[Any] = json.loads(done.stdout)
    return results


def test_ping_and_account(sandbox: Sandbox) -> None:
    ping, account = call(sandbox, ["Ping", "ping"], ["Account", "retrieve"])

    assert ping == {"data": "pong!"}
    assert account["name"] == "ChartMogul Sandbox"
    assert {request.headers["user-agent"].partition("/")[0] for request in sandbox.requests} == {"chartmogul-node"}


def test_an_opportunity_from_create_to_destroy(sandbox: Sandbox) -> None:
    uuid = {"result": 0, "field": "uuid"}
    created, retrieved, patched, modified, destroyed, missing = call(
        sandbox,
        ["Opportunity", "create", NEW],
        ["Opportunity", "retrieve", uuid],
        ["Opportunity", "patch", uuid, {"forecast_category": "won", "win_likelihood": 100}],
        ["Opportunity", "modify", uuid, {"custom": [{"key": "seats", "value": 3}]}],
        ["Opportunity", "destroy", uuid],
        ["Opportunity", "retrieve", uuid],
    )

    assert created == retrieved
    assert {name: created[name] for name in NEW} == {**NEW, "custom": {"from_campaign": True}}
    assert (patched["forecast_category"], patched["win_likelihood"]) == ("won", 100)
    assert patched["updated_at"] > created["updated_at"]
    assert modified["custom"] == {"seats": 3}
    assert destroyed == {}
    assert missing["status"] == 404
    assert "does not exist" in missing["text"]
    methods = [(request.method, request.status) for request in sandbox.requests]
    assert methods == [("POST", 201), ("GET", 200), ("PATCH", 200), ("PATCH", 200), ("DELETE", 200), ("GET", 404)]


def test_a_list_with_all_filters_in_pages_of_one(sandbox: Sandbox) -> None:
    wanted = sandbox.opportunity(sandbox.opportunities[20]["uuid"])
    names = ("customer_uuid", "owner", "pipeline", "pipeline_stage")
    filters = {name: wanted[name] for name in names}
    filters["estimated_close_date_on_or_after"] = wanted["estimated_close_date"]
    filters["estimated_close_date_on_or_before"] = wanted["estimated_close_date"]
    twin = sandbox.add_opportunity(**{name: wanted[name] for name in (*names, "estimated_close_date")})
    first, second = call(
        sandbox,
        ["Opportunity", "all", {**filters, "per_page": 1}],
        ["Opportunity", "all", {**filters, "per_page": 1, "cursor": {"result": 0, "field": "cursor"}}],
    )

    assert [first["entries"], second["entries"]] == [[twin], [wanted]]
    assert [first["has_more"], second["has_more"]] == [True, False]


def test_a_whole_list_and_what_the_client_sends_for_no_cursor(sandbox: Sandbox) -> None:
    page, again, empty = call(
        sandbox,
        ["Opportunity", "all"],
        ["Opportunity", "all", {"cursor": None}],
        ["Opportunity", "all", {"owner": "nobody@example.com"}],
    )

    assert page == again
    assert page["entries"] == sandbox.opportunities[:200]
    assert empty == {"entries": [], "cursor": None, "has_more": False}
    everything, without_cursor, _ = sandbox.requests
    assert "gzip" in everything.headers["accept-encoding"]
    assert without_cursor.query == {"cursor": ""}


def test_a_bad_key(sandbox: Sandbox) -> None:
    (refused,) = call(sandbox, ["Ping", "ping"], key="wrong")

    assert refused["status"] == 401
    assert "No valid API key provided" in refused["text"]
