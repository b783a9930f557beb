"""The modules that an import loads; pyproject.toml holds the rules between packages."""

from __future__ import annotations

import ast
import json

from tests.support.processes import run_apart

NAME = "airflow_provider_chartmogul"
HTTP_LIBRARIES = {"requests", "urllib3", "httpx", "aiohttp", "http"}


def modules_after_importing(*modules: str) -> set[str]:
    program = (
        "import sys, json\n"
        "from airflow.providers.common.compat import sdk\n"
        # Modules that DAG files import anyway, to exclude Airflow's own cost.
        "sdk.BaseOperator, sdk.BaseSensorOperator, sdk.BaseHook, sdk.XCom, sdk.XComArg, sdk.conf\n"
        "import airflow.triggers.base\n"
        "before = set(sys.modules)\n"
        f"import {', '.join(modules)}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    return set(json.loads(run_apart(program)))


def test_dag_facing_modules_import_no_http_library_and_no_sandbox() -> None:
    imported = modules_after_importing(
        f"{NAME}.operators.opportunity",
        f"{NAME}.sensors.opportunity",
        f"{NAME}.hooks.chartmogul",
        f"{NAME}.links.chartmogul",
        f"{NAME}.transfers.object_storage",
        f"{NAME}.triggers.opportunity",
        f"{NAME}.opportunity",
    )
    assert f"{NAME}.sensors.opportunity" in imported
    assert not {name for name in imported if name.split(".")[0] in HTTP_LIBRARIES - {"http"}}
    assert not {name for name in imported if name.startswith(f"{NAME}.sandbox")}
    # Only the base class of our link is not loaded anyway.
    links = {"airflow.sdk.bases.operatorlink", "airflow.models.baseoperatorlink"}
    assert {name for name in imported if name.split(".")[0] != NAME} <= links


def test_provider_info_imports_nothing() -> None:
    program = (
        "import sys; before = set(sys.modules)\n"
        f"import {NAME}.get_provider_info\n"
        "print(sorted(set(sys.modules) - before))"
    )
    assert ast.literal_eval(run_apart(program)) == [NAME, f"{NAME}.get_provider_info"]


def test_the_domain_imports_neither_airflow_nor_http() -> None:
    program = f"import sys, {NAME}.opportunity; print([name.split('.')[0] for name in sys.modules])"
    assert not set(ast.literal_eval(run_apart(program))) & {"airflow", "requests", "urllib3", "httpx", "aiohttp"}
