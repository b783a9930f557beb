from __future__ import annotations

import configparser
import contextlib
import email
import re
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hatchling.build import build_sdist, build_wheel
from packaging.requirements import Requirement
from packaging.version import Version

import airflow_provider_chartmogul

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

REPOSITORY = Path(__file__).parents[1]
PACKAGE = Path(airflow_provider_chartmogul.__file__).parent


def package_files() -> set[str]:
    return {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    with contextlib.chdir(REPOSITORY), zipfile.ZipFile(folder / build_wheel(str(folder))) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return email.message_from_bytes(wheel.read(name))


def test_the_wheel_is_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert files == package_files()
    assert "airflow_provider_chartmogul/py.typed" in files
    assert any(name.endswith("LICENSE") for name in wheel.namelist())


def test_the_wheel_has_the_entry_point_of_the_provider_info(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]
    points = configparser.ConfigParser()
    points.read_string(wheel.read(name).decode())
    assert dict(points["apache_airflow_provider"]) == {
        "provider_info": "airflow_provider_chartmogul.get_provider_info:get_provider_info"
    }


def test_the_wheel_says_what_it_is(metadata: Message) -> None:
    assert metadata["Name"] == "airflow-provider-chartmogul"
    assert metadata["Version"] == airflow_provider_chartmogul.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_index_page_is_the_readme_with_absolute_links(metadata: Message) -> None:
    address = project()["urls"]["source"]
    readme = (REPOSITORY / "README.md").read_text()
    page = str(metadata.get_payload())
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", readme)
    expected = [
        target if target.startswith("https://") else f"{address}/{'raw' if image else 'blob'}/main/{target}"
        for image, target in links
    ]
    assert [target for _, target in re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", page)] == expected
    assert re.sub(r"\]\([^)]+\)", "", page) == re.sub(r"\]\([^)]+\)", "", readme)


def test_the_sdist_has_what_builds_the_docs_and_runs_the_tests(tmp_path: Path) -> None:
    with contextlib.chdir(REPOSITORY), tarfile.open(tmp_path / build_sdist(str(tmp_path))) as sdist:
        files = {member.name.partition("/")[2] for member in sdist if member.isfile()}
    assert package_files() <= files
    for name in (
        *("Makefile", "pyproject.toml", "README.md", "docs/conf.py", "docs/images/how-it-works.svg"),
        *("tests/conftest.py", "constraints/airflow-3.3.2.txt", "example_dags/example_wait_until_won.py"),
    ):
        assert name in files


def test_the_address_of_the_repository_stands_in_one_place() -> None:
    address = project()["urls"]["source"].removeprefix("https://")
    files = {
        path
        for pattern in ("*.md", "*.toml", "*.yaml", "docs/*", "scripts/*", "airflow_provider_chartmogul/**/*.py")
        for path in REPOSITORY.glob(pattern)
        if path.is_file() and path.suffix != ".png"
    }
    assert {path.name for path in files if address in path.read_text()} == {"pyproject.toml"}


def project() -> dict[str, Any]:
    return dict(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"])


@pytest.mark.parametrize("installed", ["apache-airflow==2.11.0", "apache-airflow-providers-common-compat==1.12.0"])
def test_the_oldest_supported_versions_are_allowed(installed: str) -> None:
    name, _, version = installed.partition("==")
    requirements = project()["dependencies"]
    (requirement,) = [entry for entry in map(Requirement, requirements) if entry.name == name]
    assert Version(version) in requirement.specifier


def test_the_sandboxs_web_framework_is_not_forced_on_anybody() -> None:
    requirements = project()["dependencies"]
    assert "aiohttp" not in {Requirement(entry).name for entry in requirements}
    extras = project()["optional-dependencies"]
    assert {Requirement(entry).name for entry in extras["sandbox"]} == {"aiohttp"}
