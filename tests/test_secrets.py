"""The API key, in clear or encoded, and email addresses never appear in a log, an error or a repr."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_chartmogul.exceptions import ChartMogulError
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.operators.opportunity import RetrieveOpportunityOperator
from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Fault, Sandbox
from airflow_provider_chartmogul.sensors.opportunity import OpportunityForecastCategorySensor
from tests.conftest import MAX_RETRIES
from tests.support.dag_runs import run_of
from tests.support.faults import CASES, TIMEOUT, Case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Connect, Logs

KEY = "k3y-that-0nly-we-know"
ENCODED = base64.b64encode(f"{KEY}:".encode()).decode()
ENCODED_ALONE = base64.b64encode(KEY.encode()).decode().rstrip("=")
OWNER = "grace+emea@example.com"
ESCAPED_KEY = "".join(f"\\u{ord(character):04x}" for character in KEY)
ESCAPED_OWNER = OWNER.replace("@", "\\u0040")
PRIVATE = [ESCAPED_KEY, quote(ENCODED), KEY, ENCODED, ENCODED_ALONE[:-1], OWNER, "grace"]

pytestmark = pytest.mark.usefixtures("waits")

ECHOES = [
    Fault("status", status=status, message=f"No {KEY}, no Basic {ENCODED}; {OWNER} and grace@example.com", times=None)
    for status in (400, 401, 403, 404, 422, 429, 500, 503)
] + [
    Fault("body", status=500, body=f"<h1>Authorization: Basic {ENCODED}</h1> {KEY} {OWNER}", times=None),
    Fault("body", status=422, body=json.dumps({"errors": {"owner": [f"{OWNER} has no seat"], "x": KEY}}), times=None),
    Fault("body", body=f"Authorization: Basic {ENCODED} {KEY} {OWNER}", times=None),
    Fault("redirect", location=f"https://{KEY}@example.com/{OWNER}", times=None),
    Fault("body", status=422, body=f"?owner={quote(OWNER)}&auth={quote(ENCODED)}&key={ESCAPED_KEY}", times=None),
    Fault("body", status=500, body=f'{{"message": "{ESCAPED_KEY} {ESCAPED_OWNER}", "x": "{OWNER}"', times=None),
    Fault("body", status=400, body=f'{{"message": "{ESCAPED_KEY}", "param": "{quote(OWNER)} {KEY}"}}', times=None),
]
EVERYTHING_WRONG = [*CASES, *(Case(f"echo {n}", fault, ChartMogulError, "", 0) for n, fault in enumerate(ECHOES))]


@pytest.fixture
def sandbox(connect: Connect, chartmogul_sandbox: Sandbox) -> Sandbox:
    chartmogul_sandbox.rotate_api_key(KEY)
    chartmogul_sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, owner=OWNER)
    connect(password=KEY, extra={"max_retries": MAX_RETRIES, "timeout": TIMEOUT})
    return chartmogul_sandbox


def errors_behind(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the errors of a chain, also those that `from None` leaves out of a traceback."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def truncated_repr(error: BaseException) -> str:
    """Return all text of an error, including suppressed causes."""
    parts = traceback.format_exception(error)
    for link in errors_behind(error):
        parts += [str(link), repr(link), repr(link.args), repr(vars(link))]
        if isinstance(link, ChartMogulError):
            parts.append(link.summary)
    return "\n".join(parts)


def assert_private(text: str) -> None:
    for secret in PRIVATE:
        assert secret not in text


def retrieve() -> Any:
    return ChartMogulHook().retrieve_opportunity(EXAMPLE_OPPORTUNITY_UUID)


def operate() -> Any:
    return RetrieveOpportunityOperator(task_id="retrieve", opportunity_uuid=EXAMPLE_OPPORTUNITY_UUID).execute({})


def sense() -> Any:
    sensor = OpportunityForecastCategorySensor(
        task_id="wait", opportunity_uuid=EXAMPLE_OPPORTUNITY_UUID, target_categories="won", timeout=0
    )
    return sensor.execute({})


def filter_by_owner() -> Any:
    return list(ChartMogulHook().list_opportunities(owner=OWNER))


def test_what_is_logged_is_seen_here_unmasked(sandbox: Sandbox, logs: Logs) -> None:
    retrieve()
    logging.getLogger("airflow.task.hooks.anything").info("The key is %s.", KEY)
    ChartMogulHook().log.warning("The owner is %s.", OWNER)
    assert f"The key is {KEY}." in logs.messages
    assert f"The owner is {OWNER}." in logs.messages
    assert "urllib3" in logs.everything
    assert sandbox.requests


@pytest.mark.parametrize(
    ("use", "case"),
    [
        pytest.param(use, case, id=f"{use.__name__}-{case.name}")
        for use in (retrieve, operate, sense)
        for case in (EVERYTHING_WRONG if use is retrieve else EVERYTHING_WRONG[len(CASES) :])
    ],
)
def test_a_failing_call_leaks_no_secret(case: Case, use: Any, sandbox: Sandbox, logs: Logs) -> None:
    case.begin(sandbox)
    with pytest.raises(Exception) as failure:  # noqa: PT011  # whichever it is
        use()
    assert_private(truncated_repr(failure.value))
    assert_private(logs.everything)


@pytest.mark.parametrize("case", EVERYTHING_WRONG, ids=lambda case: case.name)
def test_a_requested_owner_is_in_no_error(case: Case, sandbox: Sandbox, logs: Logs) -> None:
    if case.name == "JSON that is not an object":
        sandbox.inject_fault(Fault("body", body=json.dumps({"entries": OWNER, "key": KEY}), times=None))
    case.begin(sandbox)
    with pytest.raises(ChartMogulError) as failure:
        filter_by_owner()
    assert_private(truncated_repr(failure.value))
    for message in logs.messages:
        if '"GET /v1/opportunities?' not in message:  # urllib3's DEBUG line, which includes the query
            assert_private(message)


@pytest.mark.parametrize("use", [retrieve, operate])
def test_a_successful_call_leaks_no_secret(use: Any, sandbox: Sandbox, logs: Logs) -> None:
    assert use()["owner"] == OWNER
    assert_private(logs.everything)
    assert sandbox.requests[0].status == 200


@pytest.mark.parametrize("case", EVERYTHING_WRONG, ids=lambda case: case.name)
def test_the_messages_of_test_connection_leak_no_secret(case: Case, sandbox: Sandbox, logs: Logs) -> None:
    case.begin(sandbox)
    _, words = ChartMogulHook().test_connection()
    assert_private(words)
    assert_private(logs.everything)


def test_a_rejected_key_is_a_secret_too(sandbox: Sandbox, logs: Logs) -> None:
    sandbox.rotate_api_key("another")
    works, words = ChartMogulHook().test_connection()
    assert not works
    assert_private(words)
    assert_private(logs.everything)


def test_no_repr_leaks_a_secret(sandbox: Sandbox) -> None:
    hook = ChartMogulHook()
    hook.request("GET", "ping")
    assert hook.settings.api_key == KEY
    operator = RetrieveOpportunityOperator(task_id="retrieve", opportunity_uuid=EXAMPLE_OPPORTUNITY_UUID)
    sensor = OpportunityForecastCategorySensor(task_id="wait", opportunity_uuid=EXAMPLE_OPPORTUNITY_UUID)
    sensor.poke({})
    for thing in (hook, hook.get_conn(), hook.settings, operator, sensor):
        assert_private(repr(thing))
        assert_private(str(thing))
    assert sandbox.requests


def test_a_task_sends_no_secret_to_airflow(sandbox: Sandbox) -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:
            RetrieveOpportunityOperator(task_id="retrieve", opportunity_uuid=EXAMPLE_OPPORTUNITY_UUID)
        return dag

    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, owner="somebody@example.org")
    outcome = run_of(build).start("retrieve")
    # With MaskSecret, Airflow itself masks the values of a connection.
    told = [message for message in outcome.messages if type(message).__name__ != "MaskSecret"]
    assert_private(repr(told))
    assert outcome.result["owner"] == "somebody@example.org"


@pytest.mark.parametrize(
    "fields",
    [
        {"host": f"http://{KEY}@example.com"},
        {"host": f"https://:{KEY}@api.chartmogul.com"},
        {"password": "", "login": KEY},
        {"password": f"{KEY} {KEY}"},
        {"password": KEY, "extra": {"timeout": "soon"}},
    ],
)
def test_a_wrong_connection_leaks_no_secret(
    fields: dict[str, Any], connect: Connect, sandbox: Sandbox, logs: Logs
) -> None:
    connect(**fields)
    with pytest.raises(ChartMogulError) as failure:
        retrieve()
    assert_private(truncated_repr(failure.value))
    assert_private(logs.everything)
    assert sandbox.requests == []
