"""Waits that start and end in the triggerer, without a worker."""

from __future__ import annotations

import datetime
import json
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator, TaskDeferred

try:
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:  # before Airflow 3.2
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization  # type: ignore[attr-defined, assignment]

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID as UUID
from airflow_provider_chartmogul.sensors.opportunity import OpportunityFieldSensor, OpportunityForecastCategorySensor
from airflow_provider_chartmogul.triggers.opportunity import OpportunityFieldTrigger, OpportunityForecastCategoryTrigger
from tests.airflow.stand_ins import pretend_airflow_before_3_3
from tests.support.airflow_versions import AIRFLOW_VERSION

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox
    from tests.conftest import Logs

CLASSPATH = "airflow_provider_chartmogul.triggers.opportunity.OpportunityForecastCategoryTrigger"
STARTS_IN_TRIGGERER = AIRFLOW_VERSION >= (3, 3)
starts_in_triggerer = pytest.mark.skipif(not STARTS_IN_TRIGGERER, reason="this Airflow starts no task in the triggerer")


def sensor(**options: Any) -> OpportunityForecastCategorySensor:
    settings = {
        "task_id": "wait",
        "opportunity_uuid": UUID,
        "target_categories": ["won"],
        "deferrable": True,
        "start_from_trigger": True,
    }
    return OpportunityForecastCategorySensor(**{**settings, **options})


def started_with(waiting: OpportunityForecastCategorySensor) -> Any:
    """Return the arguments from which Airflow creates the trigger."""
    assert waiting.start_from_trigger
    return waiting.start_trigger_args


def new_dag() -> DAG:
    return DAG("waits", start_date=datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), schedule=None)


def as_the_scheduler_sees_it(dag: DAG) -> Any:
    """Return the DAG as serialized to the database and deserialized."""
    return DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))


@starts_in_triggerer
def test_the_triggerer_gets_all_it_needs_without_a_poll_on_a_worker() -> None:
    waiting = sensor(failure_categories={"lost"}, poke_interval=30, timeout=3600, end_from_trigger=True)
    arguments = started_with(waiting)
    assert arguments.trigger_cls == CLASSPATH
    assert arguments.next_method == "execute_complete"
    assert arguments.timeout == datetime.timedelta(hours=1)
    trigger = OpportunityForecastCategoryTrigger(**arguments.trigger_kwargs)
    assert trigger.serialize()[1] == {
        "opportunity_uuid": UUID,
        "opportunity_uuids": None,
        "wait_for": "all",
        "target_categories": ["won"],
        "failure_categories": ["lost"],
        "baseline_category": None,
        "baseline_values": None,
        "met_values": None,
        "poll_interval": 30,
        "chartmogul_conn_id": "chartmogul_default",
        "silent_fail": False,
        "starts_wait": True,
        "end_from_trigger": True,
        "stores_result": True,
    }


@starts_in_triggerer
def test_sensors_do_not_share_what_they_start_with() -> None:
    one = sensor(timeout=1)
    other = sensor(task_id="other", opportunity_uuid=UUID.replace("4", "5"), timeout=2)
    assert started_with(one).trigger_kwargs["opportunity_uuid"] == UUID
    assert started_with(other).trigger_kwargs["opportunity_uuid"] != UUID
    assert sensor(start_from_trigger=False).start_from_trigger is False


@starts_in_triggerer
def test_every_template_field_is_an_attribute_of_the_trigger_where_airflow_renders_it() -> None:
    trigger = OpportunityForecastCategoryTrigger(opportunity_uuid=UUID)
    kwargs = started_with(sensor()).trigger_kwargs
    for name in OpportunityForecastCategorySensor.template_fields:
        assert hasattr(trigger, name)
        assert name in kwargs


@pytest.mark.parametrize(
    "templated",
    [
        {"opportunity_uuid": "{{ params.uuid }}"},
        {"target_categories": ["lost", "{{ params.target }}"]},
        {"baseline_category": "{% if 1 %}lost{% endif %}"},
        {"chartmogul_conn_id": "{{ params.conn_id }}"},
    ],
    ids=lambda templated: next(iter(templated)),
)
@starts_in_triggerer
def test_templates_start_in_the_triggerer(templated: dict[str, Any]) -> None:
    assert started_with(sensor(**templated)).trigger_kwargs.items() >= templated.items()


@starts_in_triggerer
def test_nothing_is_warned_of_where_airflow_starts_tasks_in_the_triggerer() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        sensor()


@pytest.mark.parametrize("uuid", ["another task's result", "{{ ti.xcom_pull(task_ids='create')['uuid'] }}"])
def test_what_another_task_returns_is_not_for_the_triggerer(uuid: str) -> None:
    with new_dag():
        upstream = BaseOperator(task_id="upstream")
        with pytest.warns(UserWarning, match="start_from_trigger .*, and is ignored"):
            waiting = sensor(opportunity_uuid=uuid if "{{" in uuid else upstream.output)
    assert waiting.start_from_trigger is False


@pytest.mark.parametrize("options", [{}, {"opportunity_uuid": "{{ params.uuid }}"}, {"end_from_trigger": True}])
def test_an_airflow_before_3_3_ignores_it_with_one_warning_that_points_at_the_dag(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_airflow_before_3_3(monkeypatch)
    with pytest.warns(UserWarning, match="start_from_trigger needs Airflow 3.3") as warned:
        waiting = OpportunityForecastCategorySensor(
            **{"opportunity_uuid": UUID, **options},
            task_id="wait",
            target_categories="won",
            deferrable=True,
            start_from_trigger=True,
        )
    assert [warning.filename for warning in warned] == [__file__]
    assert waiting.start_from_trigger is False


def test_the_warning_points_at_the_dag() -> None:
    with pytest.warns(UserWarning, match="start_from_trigger") as warned:
        OpportunityForecastCategorySensor(
            task_id="wait",
            opportunity_uuid="{{ ti.xcom_pull('create')['uuid'] }}",
            target_categories="won",
            deferrable=True,
            start_from_trigger=True,
        )
    assert [warning.filename for warning in warned] == [__file__]


@pytest.mark.filterwarnings("ignore:start_from_trigger:UserWarning")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"end_from_trigger": True},
        {"start_from_trigger": False},
        {"start_from_trigger": False, "deferrable": False},
        {"target_categories": {"won", "committed"}, "failure_categories": ("lost",), "baseline_category": "pipeline"},
    ],
)
def test_a_dag_with_such_sensors_passes_through_the_database(options: dict[str, Any]) -> None:
    with new_dag() as dag:
        waiting = sensor(**options)
    DagSerialization.validate_schema(DagSerialization.to_dict(dag))
    task = as_the_scheduler_sees_it(dag).get_task("wait")
    assert task.start_from_trigger is waiting.start_from_trigger
    if waiting.start_from_trigger:
        arguments = task.start_trigger_args
        assert arguments.trigger_cls == CLASSPATH
        assert arguments.next_method == "execute_complete"
        assert arguments.timeout == started_with(waiting).timeout


@pytest.mark.filterwarnings("ignore:start_from_trigger:UserWarning")
def test_a_uuid_from_another_task_passes_through_the_database() -> None:
    with new_dag() as dag:
        upstream = BaseOperator(task_id="upstream")
        sensor(opportunity_uuid=upstream.output)
    task = as_the_scheduler_sees_it(dag).get_task("wait")
    assert task.upstream_task_ids == {"upstream"}
    assert task.start_from_trigger is False


def serialized_field_sensor(**options: Any) -> str:
    with new_dag() as dag:
        OpportunityFieldSensor(
            task_id="wait", field="owner", opportunity_uuids=[UUID], target_values="x", deferrable=True, **options
        )
    return json.dumps(DagSerialization.to_dict(dag), default=str)


@pytest.mark.filterwarnings("ignore:start_from_trigger:UserWarning")
@pytest.mark.parametrize("options", [{}, {"baseline_value": None}, {"start_from_trigger": True}])
def test_a_dag_with_field_sensors_is_the_same_at_every_parse(options: dict[str, Any]) -> None:
    # Airflow creates a new DAG version when the serialized DAG differs.
    assert serialized_field_sensor(**options) == serialized_field_sensor(**options)


@starts_in_triggerer
def test_a_baseline_that_is_not_given_is_absent_where_airflow_makes_the_trigger() -> None:
    settings: dict[str, Any] = {"task_id": "wait", "field": "owner", "opportunity_uuid": UUID, "deferrable": True}
    with_target = OpportunityFieldSensor(**settings, target_values="x", start_from_trigger=True)
    with_baseline = OpportunityFieldSensor(**settings, baseline_value=None, start_from_trigger=True)
    arguments: Any = [with_target.start_trigger_args, with_baseline.start_trigger_args]
    assert "baseline_value" not in arguments[0].trigger_kwargs
    assert arguments[1].trigger_kwargs["baseline_value"] is None
    for name in OpportunityFieldSensor.template_fields:
        assert hasattr(OpportunityFieldTrigger(**arguments[0].trigger_kwargs), name)
        assert name in arguments[1].trigger_kwargs


# Mapped


def mapped_dag(**options: Any) -> DAG:
    settings = {"task_id": "wait", "target_categories": ["won"], "deferrable": True, **options}
    with new_dag() as dag:
        OpportunityForecastCategorySensor.partial(**settings).expand(opportunity_uuid=[UUID, UUID.replace("4", "5")])
    return dag


def test_mapped_sensors_defer(sandbox: Sandbox) -> None:
    sandbox.set_opportunity(UUID, forecast_category="pipeline")
    task = mapped_dag().get_task("wait")
    waiting = task.unmap(
        {"task_id": "wait", "target_categories": ["won"], "deferrable": True, "opportunity_uuid": UUID}
    )
    with pytest.raises(TaskDeferred) as deferral:
        waiting.execute({})
    assert deferral.value.trigger.serialize()[1]["opportunity_uuid"] == UUID


@pytest.mark.parametrize("options", [{}, {"end_from_trigger": True}, {"start_from_trigger": True}])
def test_mapped_sensors_pass_through_the_database(options: dict[str, Any]) -> None:
    dag = mapped_dag(**options)
    DagSerialization.validate_schema(DagSerialization.to_dict(dag))
    task = as_the_scheduler_sees_it(dag).get_task("wait")
    # Airflow would start the trigger with the class's arguments, which name no opportunity.
    assert task.start_trigger_args is None


@starts_in_triggerer
def test_mapped_sensors_that_should_start_in_the_triggerer_take_their_first_poll_on_a_worker_and_say_so(
    sandbox: Sandbox, logs: Logs
) -> None:
    sandbox.set_opportunity(UUID, forecast_category="pipeline")
    task = mapped_dag(start_from_trigger=True).get_task("wait")
    waiting = task.unmap(
        {
            "task_id": "wait",
            "target_categories": ["won"],
            "deferrable": True,
            "start_from_trigger": True,
            "opportunity_uuid": UUID,
        }
    )
    with pytest.raises(TaskDeferred) as deferral:
        waiting.execute({})
    assert deferral.value.trigger.serialize()[1]["opportunity_uuid"] == UUID
    assert len(sandbox.requests) == 1
    assert any("start_from_trigger has no effect" in message for message in logs.messages)
