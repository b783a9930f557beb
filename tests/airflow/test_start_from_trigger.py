from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from airflow_provider_chartmogul._airflow import start_from_trigger

UUID = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize("value", [UUID, "{{ params.uuid }}", None, [UUID]])
def test_an_airflow_before_3_3_starts_no_task_in_the_triggerer(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_from_trigger, "IS_AIRFLOW_3_3", False)
    with pytest.warns(UserWarning, match=r"^start_from_trigger needs Airflow 3\.3 or later, and is ignored\.$"):
        assert start_from_trigger.start_trigger_args(object, {"opportunity_uuid": value}, 60) is None


@pytest.mark.parametrize(
    ("value", "is_obstacle"),
    [
        (UUID, False),
        ("{{ params.uuid }}", False),
        (["{{ params.uuid }}", UUID], False),
        ("{{ ti.xcom_pull(task_ids='create')['uuid'] }}", True),
        ([UUID, "{{ ti.xcom_pull(task_ids='create')['uuid'] }}"], True),
    ],
)
def test_only_the_result_of_another_task_is_an_obstacle_since_3_3(
    value: Any, monkeypatch: pytest.MonkeyPatch, *, is_obstacle: bool
) -> None:
    monkeypatch.setattr(start_from_trigger, "IS_AIRFLOW_3_3", True)
    expected: AbstractContextManager[Any] = nullcontext()
    if is_obstacle:
        expected = pytest.warns(UserWarning, match="results of other tasks")
    with expected:
        arguments = start_from_trigger.start_trigger_args(object, {"opportunity_uuid": value}, 60)
    assert (arguments is None) is is_obstacle
