from __future__ import annotations

import uuid
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator

from airflow_provider_chartmogul._airflow.task_tries import earlier_tries, is_retry, task_instance_key
from tests.support.dag_runs import DagRun, run_of


class Observe(BaseOperator):
    """Return the task's identity and tries, or fail."""

    def __init__(self, *, fails: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fails = fails

    def execute(self, context: Any) -> dict[str, Any]:
        tries = earlier_tries(context)
        seen = {
            "key": task_instance_key(context),
            "is_retry": is_retry(context),
            "tries": tries and [moment.isoformat() for moment in tries],
        }
        if self.fails:
            raise RuntimeError(str(seen["is_retry"]))
        return seen


def observe(run: DagRun, **options: Any) -> dict[str, Any]:
    return run.start("observe", **options).result  # type: ignore[no-any-return]  # see Observe


def run(dag_id: str = "dag", task_id: str = "observe", **options: Any) -> DagRun:
    def build() -> DAG:
        with DAG(dag_id, schedule=None) as dag:
            Observe(task_id=task_id, **options)
        return dag

    return run_of(build)


def test_the_key_stays_the_same_in_retries_after_clears_and_in_backfills() -> None:
    one = run(retries=1)
    key = observe(one)["key"]
    assert str(uuid.UUID(key)) == key
    for again in (one.lose_worker, one.clear, one.backfill_again):
        again("observe")
        assert observe(one)["key"] == key


def test_each_task_instance_has_a_key_of_its_own() -> None:
    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:
            Observe(task_id="observe")
            Observe(task_id="other")
            Observe.partial(task_id="mapped").expand(fails=[False, False])
        return dag

    one = run_of(build)
    keys = [
        observe(one)["key"],
        one.start("other").result["key"],
        *(one.start("mapped", map_index=index).result["key"] for index in range(2)),
        observe(run_of(build))["key"],
        observe(run("another_dag"))["key"],
    ]
    assert len(set(keys)) == len(keys)


def test_parts_of_a_key_cannot_be_mistaken_for_each_other() -> None:
    def key(**names: Any) -> str:
        ti = SimpleNamespace(**{"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, **names})
        return task_instance_key({"ti": ti})  # type: ignore[typeddict-item]  # the part that matters

    assert key(dag_id="a.b", task_id="c") != key(dag_id="a", task_id="b.c")
    assert key(task_id="t", map_index=1) != key(task_id="t1", map_index=-1)
    assert key(map_index=None) == key(map_index=-1)
    # Opportunities keep it for good, so it may not change from version to version.
    assert key() == "5002a40a-05f8-5715-9d11-537e10b58779"


def test_a_first_try_has_no_earlier_ones() -> None:
    seen = observe(run())
    assert (seen["tries"], seen["is_retry"]) == (None, False)
    assert earlier_tries({}) is None  # an operator that is called by hand
    assert is_retry({}) is False
    without_retries: Any = SimpleNamespace(try_number=1, max_tries=0, task=SimpleNamespace(retries=None))
    assert is_retry({"ti": without_retries}) is False


def test_a_retry_is_one_and_keeps_both_times() -> None:
    one = run(retries=2)
    seen = []
    for _ in range(2):
        one.start("observe")
        one.lose_worker("observe")
        seen.append(observe(one))
        one.lose_worker("observe")
    assert [each["is_retry"] for each in seen] == [True, True]
    assert seen[0]["tries"] == seen[1]["tries"]


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("way", ["clear", "backfill_again"])
def test_a_run_that_starts_again_starts_later_but_is_due_as_before(way: str, retries: int) -> None:
    one = run(retries=retries)
    before = datetime.now(UTC)
    one.start("observe")
    middle = datetime.now(UTC)
    getattr(one, way)("observe")
    not_before, run_started = map(datetime.fromisoformat, observe(one)["tries"])
    assert not_before <= before
    assert run_started >= middle


def test_a_cleared_task_is_no_retry_until_it_is_retried() -> None:
    fails = True

    def build() -> DAG:
        with DAG("dag", schedule=None) as dag:
            Observe(task_id="observe", fails=fails, retries=1)
        return dag

    one = run_of(build)
    for _ in range(2):
        results = [str(one.start("observe").error) for _ in range(2)]
        assert results == ["False", "True"]
        one.clear("observe")


def moment(day: int) -> datetime:
    return datetime(2030, 1, day, tzinfo=UTC)


@pytest.mark.parametrize(
    ("facts", "not_before"),
    [
        pytest.param({"run_after": moment(5), "start_date": moment(6)}, 5, id="manual, Airflow 3"),
        pytest.param(
            {
                "run_after": moment(5),
                "logical_date": moment(4),
                "data_interval_end": moment(5),
                "start_date": moment(6),
            },
            4,
            id="scheduled, Airflow 3",
        ),
        pytest.param(
            {"logical_date": moment(4), "data_interval_end": moment(5), "start_date": moment(6)}, 4, id="Airflow 2"
        ),
        # An interval of a custom timetable that has not ended yet.
        pytest.param(
            {"logical_date": moment(7), "data_interval_end": moment(9), "start_date": moment(6)}, 6, id="early"
        ),
        pytest.param({"run_after": moment(5), "logical_date": None, "start_date": None}, 5, id="not started"),
    ],
)
def test_no_earlier_try_can_have_started_before_any_of_the_runs_times(facts: dict[str, Any], not_before: int) -> None:
    context: Any = {"ti": SimpleNamespace(try_number=2), "dag_run": SimpleNamespace(**facts)}
    tries = earlier_tries(context)
    assert tries is not None
    assert tries.not_before == moment(not_before)
    assert tries.run_started == (facts["start_date"] or moment(5))
