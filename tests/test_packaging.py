from __future__ import annotations

import configparser
import email
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flit_core import buildapi  # type: ignore[import-untyped]  # it has no types
from packaging.requirements import Requirement
from packaging.version import Version

import airflow_provider_chartmogul

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).parents[1]
PACKAGE = Path(airflow_provider_chartmogul.__file__).parent


def package_files() -> set[str]:
    return {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def build(backend: Callable[[str], str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(REPOSITORY)
    return folder / backend(str(folder))


def test_the_wheel_is_the_package_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = package_files()
    with zipfile.ZipFile(build(buildapi.build_wheel, tmp_path, monkeypatch)) as wheel:
        information = {name for name in wheel.namelist() if ".dist-info/" in name}
        files = set(wheel.namelist()) - information
        # Whatever is edited while this test runs.
        assert before & package_files() <= files <= before | package_files()
        assert "airflow_provider_chartmogul/py.typed" in files
        (prefix,) = {name.split("/")[0] for name in information}
        points = configparser.ConfigParser()
        points.read_string(wheel.read(f"{prefix}/entry_points.txt").decode())
        said = email.message_from_bytes(wheel.read(f"{prefix}/METADATA"))
        assert any(name.endswith("LICENSE") for name in information)
    assert dict(points["apache_airflow_provider"]) == {
        "provider_info": "airflow_provider_chartmogul.get_provider_info:get_provider_info"
    }
    assert said["Name"] == "airflow-provider-chartmogul"
    assert said["Version"] == airflow_provider_chartmogul.__version__
    assert said["Requires-Python"] == ">=3.11"
    assert said["License-Expression"] == "Apache-2.0"


def test_the_sdist_is_the_package_and_what_describes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = package_files()
    with tarfile.open(build(buildapi.build_sdist, tmp_path, monkeypatch)) as sdist:
        files = {member.name.partition("/")[2] for member in sdist if member.isfile()}
    beside = {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    assert before & package_files() <= files - beside <= before | package_files()
    assert beside <= files


def project() -> dict[str, object]:
    content = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    found = content["project"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("installed", ["apache-airflow==2.11.0", "apache-airflow-providers-common-compat==1.12.0"])
def test_the_oldest_supported_versions_are_allowed(installed: str) -> None:
    name, _, version = installed.partition("==")
    requirements = project()["dependencies"]
    assert isinstance(requirements, list)
    (requirement,) = [entry for entry in map(Requirement, requirements) if entry.name == name]
    assert Version(version) in requirement.specifier


def test_the_sandboxs_web_framework_is_not_forced_on_anybody() -> None:
    requirements = project()["dependencies"]
    assert isinstance(requirements, list)
    assert "aiohttp" not in {Requirement(entry).name for entry in requirements}
    extras = project()["optional-dependencies"]
    assert isinstance(extras, dict)
    assert {Requirement(entry).name for entry in extras["sandbox"]} == {"aiohttp"}
