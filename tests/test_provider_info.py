from __future__ import annotations

import importlib
import json
import sys
from importlib.metadata import entry_points, metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import ANY

import airflow
import jsonschema
import pytest

from airflow_provider_chartmogul.get_provider_info import get_provider_info
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from tests.support.airflow_versions import AIRFLOW_VERSION, IS_AIRFLOW_3
from tests.support.processes import run_apart

INFO: dict[str, Any] = get_provider_info()
CONNECTION_TYPE = INFO["connection-types"][0]


def test_it_is_what_the_installed_airflow_expects() -> None:
    schema = Path(airflow.__file__).parent / "provider_info.schema.json"
    jsonschema.validate(INFO, json.loads(schema.read_text()))


def test_it_is_found_through_its_entry_point() -> None:
    points = [
        point
        for point in entry_points(group="apache_airflow_provider")
        if point.dist is not None and point.dist.name == "airflow-provider-chartmogul"
    ]
    assert {point.value for point in points} == {"airflow_provider_chartmogul.get_provider_info:get_provider_info"}
    assert points[0].load()() == INFO
    assert INFO["package-name"] == metadata("airflow-provider-chartmogul")["Name"]


def test_every_module_and_class_it_names_exists() -> None:
    for kind in ("hooks", "operators", "sensors", "triggers", "transfers"):
        for group in INFO.get(kind, []):
            for module in group.get("python-modules") or [group["python-module"]]:
                importlib.import_module(module)
    for name in (CONNECTION_TYPE["hook-class-name"], *INFO["extra-links"]):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute)


def test_names_agree_with_the_hook() -> None:
    assert CONNECTION_TYPE["connection-type"] == ChartMogulHook.conn_type
    assert CONNECTION_TYPE["hook-name"] == ChartMogulHook.hook_name
    hook = ChartMogulHook
    assert CONNECTION_TYPE["hook-class-name"] == f"{hook.__module__}.{hook.__qualname__}"


def test_the_form_says_the_true_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KEY_ALONE", json.dumps({"conn_type": "chartmogul", "password": "key"}))
    defaults = ChartMogulHook("key_alone").settings
    behaviour, fields = CONNECTION_TYPE["ui-field-behaviour"], CONNECTION_TYPE["conn-fields"]
    assert f"{behaviour['placeholders']['host']}/v1" == defaults.base_url
    assert behaviour["relabeling"] == {"password": "API key"}
    assert behaviour["hidden-fields"] == ["login", "schema"]
    assert f"Default: {defaults.timeout:.0f}." in fields["timeout"]["description"]
    assert f"Default: {defaults.max_retries}." in fields["max_retries"]["description"]


def known_hook() -> Any:
    if AIRFLOW_VERSION >= (3, 2):
        from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

        return ProvidersManagerTaskRuntime().hooks["chartmogul"]
    from airflow.providers_manager import ProvidersManager

    return ProvidersManager().hooks["chartmogul"]


def test_airflow_lists_connection_type_hook_and_link() -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    assert "airflow-provider-chartmogul" in manager.providers
    assert set(INFO["extra-links"]) <= set(manager.extra_links_class_names)
    hook = known_hook()
    assert hook.hook_name == "ChartMogul"
    assert hook.hook_class_name == CONNECTION_TYPE["hook-class-name"]
    assert hook.connection_id_attribute_name == "chartmogul_conn_id"


def form_of_the_api_server() -> Any:
    program = (
        "import json\n"
        "from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService\n"
        "forms = [hook.model_dump(mode='json') for hook in HookMetaService.hook_meta_data()]\n"
        "print(json.dumps(next(form for form in forms if form['connection_type'] == 'chartmogul')))"
    )
    # In a separate process like the API server's, since earlier imports change the result.
    return json.loads(run_apart(program))


def test_airflow_draws_the_form_that_is_declared() -> None:
    behaviour, extras = CONNECTION_TYPE["ui-field-behaviour"], CONNECTION_TYPE["conn-fields"]
    if not IS_AIRFLOW_3:
        from airflow.providers_manager import ProvidersManager

        manager = ProvidersManager()
        assert manager.field_behaviours["chartmogul"]["relabeling"] == behaviour["relabeling"]
        widgets = manager.connection_form_widgets
        assert {f"extra__chartmogul__{name}" for name in extras} <= set(widgets)
        return
    form = form_of_the_api_server()
    assert form["hook_name"] == "ChartMogul"
    if AIRFLOW_VERSION < (3, 1):
        # Without the form libraries of Airflow 2, it shows no fields of any provider.
        return
    fields = form["standard_fields"]
    assert fields["password"] == {"hidden": False, "title": "API key", "placeholder": ANY}
    assert fields["host"] == {"hidden": False, "title": None, "placeholder": behaviour["placeholders"]["host"]}
    for name in ("login", "url_schema"):
        assert fields[name]["hidden"]
    # The Test button of Airflow 3.3 refuses a connection without a port, and sends 0 for a hidden one.
    assert fields["port"] == {"hidden": False, "title": None, "placeholder": "443"}
    assert list(form["extra_fields"]) == list(extras)
    for name, declared in extras.items():
        shown = form["extra_fields"][name]
        assert shown["description"] == declared["description"]
        assert shown["schema"]["title"] == declared["label"]
        assert shown["schema"]["type"] == ["integer", "null"]


def test_both_declarations_of_the_standard_fields_are_equal() -> None:
    declared = CONNECTION_TYPE["ui-field-behaviour"]
    assert ChartMogulHook.get_ui_field_behaviour() == {
        name.replace("-", "_"): value for name, value in declared.items()
    }


@pytest.fixture
def form_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the form libraries of Airflow 2, which Airflow 3 lacks."""
    if IS_AIRFLOW_3:

        def module(name: str, **content: Any) -> None:
            stand_in = ModuleType(name)
            stand_in.__dict__.update(content)
            monkeypatch.setitem(sys.modules, name, stand_in)

        def integer_field(label: str, **options: Any) -> SimpleNamespace:
            return SimpleNamespace(args=(label,), kwargs=options)

        def number_range(*, min: int) -> SimpleNamespace:  # noqa: A002  # wtforms calls it that
            return SimpleNamespace(min=min)

        module("wtforms", IntegerField=integer_field)
        module("wtforms.validators", NumberRange=number_range, Optional=SimpleNamespace)
        module("flask_babel", lazy_gettext=str)
        module("flask_appbuilder")
        module("flask_appbuilder.fieldwidgets", BS3TextFieldWidget=SimpleNamespace)


@pytest.mark.usefixtures("form_libraries")
def test_both_declarations_of_the_extra_fields_are_equal() -> None:
    widgets = ChartMogulHook.get_connection_form_widgets()
    declared = CONNECTION_TYPE["conn-fields"]
    assert list(widgets) == list(declared)
    for name, field in widgets.items():
        (label,) = field.args
        assert str(label) == declared[name]["label"]
        assert field.kwargs["description"] == declared[name]["description"]
        minimum = [validator.min for validator in field.kwargs["validators"] if hasattr(validator, "min")]
        assert minimum == [declared[name]["schema"]["minimum"]]
        assert declared[name]["schema"]["type"] == ["integer", "null"]
