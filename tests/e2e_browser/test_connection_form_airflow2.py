"""The connection form of Airflow 2, filled in as a person would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import airflow.models.dag  # noqa: F401  # the model of connections cannot be used without it
import pytest
from playwright.sync_api import Page, expect

from tests.support.stored_connections import settings_of, stored_connection

if TYPE_CHECKING:
    from scripts.local_airflow import LocalAirflow

EXTRA_FIELDS = {
    "Timeout": "Seconds after which a request without a complete response fails. Default: 30.",
    "Retries": "How often a failed request is sent again, at most. Default: 5.",
}


@pytest.fixture
def form(page: Page) -> Page:
    """Open the form and choose the type."""
    page.get_by_role("link", name="Admin").hover()
    page.get_by_role("link", name="Connections").click()
    page.locator("a[href='/connection/add']").click()
    page.select_option("#conn_type", label="ChartMogul", force=True)
    return page


def test_it_shows_what_chartmogul_needs_and_nothing_else(form: Page) -> None:
    expect(form.get_by_label("API key")).to_have_attribute("placeholder", "made by a user with a CRM seat")
    expect(form.get_by_label("API key")).to_have_attribute("type", "password")
    expect(form.get_by_label("Host")).to_have_attribute("placeholder", "https://api.chartmogul.com")
    for hidden in ("login", "schema"):
        expect(form.locator(f"#{hidden}")).to_be_hidden()
    for label, description in EXTRA_FIELDS.items():
        expect(form.get_by_label(label)).to_be_visible()
        expect(form.get_by_text(description)).to_be_visible()


def test_what_is_filled_in_is_stored(form: Page, airflow: LocalAirflow) -> None:
    form.get_by_label("Connection Id").fill("chartmogul_production")
    form.get_by_label("API key").fill("k3y-that-0nly-we-know")
    form.get_by_label("Timeout").fill("12")
    form.get_by_label("Retries").fill("3")
    form.get_by_role("button", name="Save").click()
    expect(form.get_by_text("chartmogul_production")).to_be_visible()
    stored = stored_connection(airflow, "chartmogul_production")
    settings = settings_of(stored)
    assert (settings.timeout, settings.max_retries) == (12, 3)
    assert set(stored.pop("extra")) == {"timeout", "max_retries"}
    assert stored == {"conn_type": "chartmogul", "password": "k3y-that-0nly-we-know"}


def test_an_api_key_alone_is_enough(form: Page, airflow: LocalAirflow) -> None:
    form.get_by_label("Connection Id").fill("chartmogul_key_alone")
    form.get_by_label("API key").fill("another-k3y")
    form.get_by_role("button", name="Save").click()
    expect(form.get_by_text("chartmogul_key_alone")).to_be_visible()
    stored = stored_connection(airflow, "chartmogul_key_alone")
    settings = settings_of(stored)
    assert (settings.base_url, settings.api_key) == ("https://api.chartmogul.com/v1", "another-k3y")
    assert (settings.timeout, settings.max_retries) == (30, 5)
