"""What importing costs, and which module may know of which."""

from __future__ import annotations

import ast
import graphlib
import json
from pathlib import Path

import pytest

import airflow_provider_chartmogul
from tests.processes import run_apart

PACKAGE = Path(airflow_provider_chartmogul.__file__).parent
NAME = PACKAGE.name
HTTP_LIBRARIES = {"requests", "urllib3", "httpx", "aiohttp", "http"}


def modules_after_importing(*modules: str) -> set[str]:
    program = (
        "import sys, json\n"
        "from airflow.providers.common.compat import sdk\n"
        # What DAG files import anyway; Airflow's own share of the cost is not the matter here.
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
    # The base of our link is all that is not there anyway.
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


def imports_of(path: Path) -> set[str]:
    """Return the modules that a file imports, those within functions and for type checkers too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


# Which rooms these may enter; what is not listed here lies between the hooks and what DAG authors import.
MAY_ENTER: dict[str, set[str]] = {
    "get_provider_info": set(),
    "opportunity": set(),
    "exceptions": set(),
    "links": set(),
    "sandbox": {"opportunity"},
    "connection": {"exceptions"},
    "opportunity_request": {"opportunity"},
    "hooks": {"connection", "exceptions", "get_provider_info", "opportunity", "opportunity_request"},
}
DAG_FACING = {"operators", "sensors", "transfers", "links"}


def arrows() -> dict[str, set[str]]:
    """Return which other rooms each room of the package enters."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room != "__init__":
            entered = {module.split(".")[1] for module in imports_of(path) if module.startswith(f"{NAME}.")}
            found.setdefault(room, set()).update(entered - {room, "__version__"})
    return found


def test_arrows_between_modules_point_one_way() -> None:
    order = list(graphlib.TopologicalSorter(arrows()).static_order())
    assert order.index("opportunity") < order.index("hooks") < order.index("sensors")


@pytest.mark.parametrize("room", MAY_ENTER)
def test_inner_rooms_know_nothing_of_outer_ones(room: str) -> None:
    assert arrows()[room] <= MAY_ENTER[room]


def test_nothing_but_dag_authors_imports_what_is_for_them_and_nobody_the_sandbox() -> None:
    for room, entered in arrows().items():
        assert "sandbox" not in entered
        assert not entered & DAG_FACING - {"links"}, room
        assert "links" not in entered or room in DAG_FACING


def test_only_the_hooks_import_an_http_library() -> None:
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0]
        entered = {module.split(".")[0] for module in imports_of(path)} & HTTP_LIBRARIES
        if room == "sandbox":
            assert entered <= {"aiohttp", "http"}
        elif room == "hooks":
            assert entered <= {"requests", "urllib3"}
        else:
            assert not entered, f"{path} imports {entered}"
