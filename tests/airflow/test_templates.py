from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_chartmogul._airflow.templates import is_templated, non_templated


@pytest.mark.parametrize("text", ["{{ ds }}", "a {{ ds }} b", "{% if True %}a{% endif %}", "{# nothing #}"])
def test_jinja_is_templated(text: str) -> None:
    assert is_templated(text)


@pytest.mark.parametrize("value", ["", "won", "{ }", "{'a': {'b': 1}}", 0, None, [], {"a": "{{ ds }}"}])
def test_other_values_are_known(value: Any) -> None:
    assert not is_templated(value)


def test_the_output_of_a_task_is_templated() -> None:
    with DAG("dag", schedule=None):

        @task
        def one() -> int:
            return 1

        output = one()
    assert is_templated(output)
    assert non_templated({"a": output, "b": 1, "c": {"d": output, "e": "{{ ds }}", "f": None}}) == {
        "b": 1,
        "c": {"f": None},
    }
