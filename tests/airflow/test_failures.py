from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_chartmogul._airflow.failures import fail_fast_on_permanent_errors
from airflow_provider_chartmogul.exceptions import ChartMogulError

ERRORS = [error("wrong") for error in ChartMogulError.__subclasses__()]


@pytest.mark.parametrize("error", [*(error for error in ERRORS if not error.transient), ValueError("wrong")])
def test_an_error_that_no_retry_can_help_fails_the_task_without_retries(error: Exception) -> None:
    with pytest.raises(AirflowFailException) as raised, fail_fast_on_permanent_errors():
        raise error
    assert str(raised.value) == str(error)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [*(error for error in ERRORS if error.transient), OSError("disk full"), KeyError("x")]
)
def test_other_errors_are_left_to_airflows_retries(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, fail_fast_on_permanent_errors():
        raise error
    assert raised.value is error
