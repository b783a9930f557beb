"""The connection form of Airflow 3, filled in as a person would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.stored_connections import settings_of, stored_connection

if TYPE_CHECKING:
    from scripts.local_airflow import LocalAirflow
    from tests.e2e_browser.conftest import Screenshot

EXTRA_FIELDS = {
    "Timeout": "Seconds after which a request without a complete response fails. Default: 30.",
    "Retries": "How often a failed request is sent again, at most. Default: 5.",
}


@pytest.fixture
def form(page: Page) -> Locator:
    """Open the form and choose the type."""
    page.get_by_role("button", name="Admin").click()
    page.get_by_role("menuitem", name="Connections").click()
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_role("combobox", name="Connection Type").click()
    page.keyboard.type("ChartM")
    page.keyboard.press("Enter")
    expect(form).to_contain_text("ChartMogul")
    return form


def section(form: Locator, name: str) -> Locator:
    """Open a section of the form, which closes the one that was open."""
    button = form.get_by_role("button", name=name, exact=True)
    if button.get_attribute("aria-expanded") != "true":
        button.click()
    expect(button).to_have_attribute("aria-expanded", "true")
    return form


def test_it_has_a_field_for_the_api_key_and_nothing_that_chartmogul_has_no_use_for(form: Locator) -> None:
    section(form, "Standard Fields")
    expect(form.get_by_label("API key")).to_have_attribute("placeholder", "made by a user with a CRM seat")
    expect(form.get_by_label("API key")).to_have_attribute("type", "password")
    expect(form.get_by_label("Host")).to_have_attribute("placeholder", "https://api.chartmogul.com")
    # Airflow 3.3's Test button refuses a connection that was stored without a port.
    expect(form.get_by_label("Port")).to_have_attribute("placeholder", "443")
    for hidden in ("login", "schema"):
        expect(form.locator(f"[name={hidden}]")).to_have_count(0)
    for hidden in ("Password", "Login", "Schema"):
        expect(form.get_by_text(hidden, exact=True)).to_have_count(0)


def test_it_explains_its_extra_fields(form: Locator) -> None:
    section(form, "Extra Fields")
    for label, description in EXTRA_FIELDS.items():
        expect(form.get_by_role("spinbutton", name=label)).to_have_value("")
        expect(form.get_by_text(description)).to_be_visible()


def save(page: Page, form: Locator) -> None:
    form.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_what_is_filled_in_is_stored(form: Locator, page: Page, airflow: LocalAirflow, screenshot: Screenshot) -> None:
    form.get_by_label("Connection ID").fill("chartmogul_production")
    section(form, "Standard Fields").get_by_label("API key").fill("k3y-that-0nly-we-know")
    form.get_by_label("Port").fill("443")
    page.mouse.move(0, 0)
    screenshot(form, "connection-form", height=900)
    section(form, "Extra Fields").get_by_role("spinbutton", name="Timeout").fill("12")
    form.get_by_role("spinbutton", name="Retries").fill("3")
    save(page, form)
    expect(page.get_by_text("chartmogul_production")).to_be_visible()
    stored = stored_connection(airflow, "chartmogul_production")
    settings = settings_of(stored)
    assert (settings.timeout, settings.max_retries) == (12, 3)
    assert set(stored.pop("extra")) == {"timeout", "max_retries"}
    assert stored == {"conn_type": "chartmogul", "password": "k3y-that-0nly-we-know", "port": "443"}


def test_an_api_key_alone_is_enough(form: Locator, page: Page, airflow: LocalAirflow) -> None:
    form.get_by_label("Connection ID").fill("chartmogul_key_alone")
    section(form, "Standard Fields").get_by_label("API key").fill("another-k3y")
    save(page, form)
    stored = stored_connection(airflow, "chartmogul_key_alone")
    settings = settings_of(stored)
    assert (settings.base_url, settings.api_key) == ("https://api.chartmogul.com/v1", "another-k3y")
    assert (settings.timeout, settings.max_retries) == (30, 5)
