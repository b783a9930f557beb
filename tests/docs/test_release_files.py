from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it comes with Airflow, its types do not
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator
from airflow.triggers.base import BaseTrigger

import airflow_provider_chartmogul
from airflow_provider_chartmogul.get_provider_info import get_provider_info
from tests.support.docs_pages import REPOSITORY

REGISTRY: dict[str, Any] = yaml.safe_load((REPOSITORY / ".airflow-registry.yaml").read_text())
KINDS = ("hooks", "operators", "sensors", "triggers", "transfers")


def public_classes(kind: str) -> set[str]:
    groups: Any = get_provider_info()[kind]
    modules = {module for group in groups for module in group.get("python-modules") or [group["python-module"]]}
    found = {module: vars(importlib.import_module(module)) for module in modules}
    return {
        f"{module}.{name}"
        for module, names in found.items()
        for name, value in names.items()
        if isinstance(value, type) and (name in names.get("__all__", ()) or value.__module__ == module)
        if not name.startswith("_")
    }


def test_provider_info_names_each_module_that_users_import() -> None:
    named = {name.rpartition(".")[0] for kind in KINDS for name in public_classes(kind)}
    package = Path(airflow_provider_chartmogul.__file__).parent
    modules = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts)
        for kind in KINDS
        for path in package.glob(f"{kind}/[!_]*.py")
    }
    bases = (BaseHook, BaseOperator, BaseTrigger)
    for module in modules - named:
        for value in vars(importlib.import_module(module)).values():
            assert not (isinstance(value, type) and issubclass(value, bases) and value.__module__ == module), value


@pytest.mark.parametrize("kind", KINDS)
def test_the_registry_names_each_class_that_users_have(kind: str) -> None:
    assert {entry["module"] for entry in REGISTRY[kind]} == public_classes(kind)
    assert all(entry["description"] for entry in REGISTRY[kind])


def test_the_registry_names_this_package() -> None:
    assert REGISTRY["package-name"] == get_provider_info()["package-name"]
    assert REGISTRY["display-name"] == get_provider_info()["name"]


def test_the_changelog_has_the_version_that_the_package_has() -> None:
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+)\]( - \d{4}-\d\d-\d\d)?$", changelog, re.MULTILINE)
    assert versions[0] == ("Unreleased", "")
    assert all(date for _, date in versions[1:])
    if len(versions) > 1:
        assert versions[1][0] == airflow_provider_chartmogul.__version__
    assert set(re.findall(r"^### (.+)$", changelog, re.MULTILINE)) <= {
        *("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"),
    }


def test_pre_commit_runs_what_make_lint_runs() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    (recipe,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    (checked,) = re.findall(r"^CHECKED := \$\(wildcard (.+)\)$", makefile, re.MULTILINE)
    (repository,) = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    # pre-commit itself appends the changed files.
    expected = [
        line.replace("$(BIN)", ".venv/bin").replace("$(CHECKED)", checked).removesuffix(" .")
        for line in recipe.replace("\t", "").splitlines()
    ]
    assert [hook["entry"] for hook in repository["hooks"]] == expected
