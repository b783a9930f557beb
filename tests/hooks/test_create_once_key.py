"""Exactly-once creation by an idempotency key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_chartmogul.exceptions import (
    ChartMogulAmbiguousCreateError,
)
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from tests.hooks.creations import KEY, LOST_AFTER_ACTING, ago, assert_named, create, lose_and, posts, with_key
from tests.support.creations import created_in
from tests.support.opportunities import NEW

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Logs

pytestmark = pytest.mark.usefixtures("impatient_sandbox")


def test_the_key_is_stored_beside_other_attributes() -> None:
    assert create(key=KEY)["custom"] == {**NEW["custom"], KEY.attribute: KEY.value}
    assert create({**NEW, "custom": None}, key=KEY._replace(value="b"))["custom"] == {KEY.attribute: "b"}
    assert create({**NEW, "custom": '{"a": 1}'}, key=KEY._replace(value="c"))["custom"] == {"a": 1, KEY.attribute: "c"}


def test_the_attribute_of_the_key_cannot_be_given(sandbox: Sandbox) -> None:
    for name in (KEY.attribute, f" {KEY.attribute}\n"):
        with pytest.raises(ValueError, match=r"custom\['airflow_key'\]: is the idempotency_attribute"):
            create({**NEW, "custom": {name: "a"}}, key=KEY)
    assert sandbox.requests == []


@pytest.mark.parametrize("is_known_to_be_stored", [False, True])
def test_the_key_decides_whatever_was_edited_or_created_beside(
    is_known_to_be_stored: bool,  # noqa: FBT001
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if is_known_to_be_stored:
        sandbox.add_opportunity(custom={KEY.attribute: "10d6e2a8-6d38-5b0b-8a3c-0f4b9f6f9a11"})

    def act() -> None:
        (created,) = created_in(sandbox)
        sandbox.set_opportunity(created["uuid"], amount_in_cents=1, owner="grace@example.com")
        sandbox.add_opportunity(**NEW)

    lose_and(act, sandbox, monkeypatch, acted=True)
    result = create(key=KEY)
    assert result["amount_in_cents"] == 1
    assert len(created_in(sandbox)) == 2


def test_an_equal_one_without_the_key_is_anothers_if_the_attribute_is_stored(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.add_opportunity(custom={KEY.attribute: "10d6e2a8-6d38-5b0b-8a3c-0f4b9f6f9a11"})
    lose_and(lambda: sandbox.add_opportunity(**NEW), sandbox, monkeypatch, acted=False)
    result = create(key=KEY)
    assert result["custom"][KEY.attribute] == KEY.value
    assert len(created_in(sandbox)) == 2


@pytest.mark.parametrize("value", [None, "", 3, "10d6e2a8-6d38", True])
def test_an_equal_one_without_the_key_is_named_if_the_attribute_may_not_be_stored(
    value: Any, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.add_opportunity(custom={KEY.attribute: value})
    lose_and(lambda: sandbox.add_opportunity(**NEW), sandbox, monkeypatch, acted=False)
    with pytest.raises(
        ChartMogulAmbiguousCreateError, match="check that custom attribute 'airflow_key' is defined in ChartMogul"
    ) as raised:
        create(key=KEY)
    assert_named(raised.value, created_in(sandbox))


def test_two_with_the_key_are_named(sandbox: Sandbox) -> None:
    for _ in range(2):
        sandbox.add_opportunity(**with_key())
    with pytest.raises(ChartMogulAmbiguousCreateError, match="have its idempotency key") as raised:
        create(key=KEY)
    assert_named(raised.value, created_in(sandbox))
    assert posts(sandbox) == 0


def test_the_key_is_searched_for_before_the_first_request(sandbox: Sandbox, logs: Logs) -> None:
    # Airflow deletes the tries with a run; another run can have the same name.
    existing = sandbox.add_opportunity(**with_key(), created_at=ago(days=300))
    for _ in range(3):
        sandbox.add_opportunity(**NEW)
    assert create({**NEW, "amount_in_cents": 5}, key=KEY) == existing
    assert posts(sandbox) == 0
    assert f"Opportunity {existing['uuid']} has the idempotency key of this task." in logs.messages


def test_a_key_that_chartmogul_rewrites_is_recognised(sandbox: Sandbox) -> None:
    existing = sandbox.add_opportunity(**{**NEW, "custom": {KEY.attribute: f" {KEY.value.upper()}"}})
    assert create(key=KEY) == existing


@pytest.mark.parametrize("is_stored", [False, True])
def test_it_is_said_when_chartmogul_does_not_store_the_attribute(
    is_stored: bool,  # noqa: FBT001
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    logs: Logs,
) -> None:
    original = ChartMogulHook.create_opportunity

    def drop(hook: ChartMogulHook, **fields: Any) -> dict[str, Any]:
        created = original(hook, **fields)
        return sandbox.set_opportunity(created["uuid"], custom=NEW["custom"])

    if not is_stored:
        monkeypatch.setattr(ChartMogulHook, "create_opportunity", drop)
    result = create(key=KEY)
    assert created_in(sandbox) == [result]
    warnings = [message for message in logs.messages if "did not store custom attribute 'airflow_key'" in message]
    assert bool(warnings) is not is_stored


def test_nothing_private_is_logged(sandbox: Sandbox, logs: Logs) -> None:
    sandbox.inject_fault(LOST_AFTER_ACTING)
    result = create(key=KEY)
    assert f"Opportunity {result['uuid']} has the idempotency key of this task." in logs.messages
    sandbox.inject_fault(LOST_AFTER_ACTING)
    result = create()
    assert f"Opportunity {result['uuid']} was created by an attempt whose response was lost." in logs.messages
    assert "ada@example.com" not in logs.everything.replace("%40", "@")
    assert "120000" not in logs.everything
