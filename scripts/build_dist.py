"""Build the sdist and the wheel, check them, and try the wheel in an environment of its own."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from isolation import REPOSITORY, airflow_environment

DIST = REPOSITORY / "dist"
DISTRIBUTION = "airflow-provider-chartmogul"
PACKAGE = "airflow_provider_chartmogul"
BESIDE_THE_PACKAGE = {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
DAG_FACING_MODULES = ("hooks.chartmogul", "operators.opportunity", "sensors.opportunity", "opportunity")


def run(*command: str, environment: dict[str, str] | None = None) -> str:
    """Run a command and return what it prints; end with everything it said if it fails."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}{done.stderr}\nFailed: {' '.join(command)}")
    return done.stdout


def build(folder: Path) -> dict[str, bytes]:
    """Build into an empty folder, dated by the last commit, and return the files' content by name."""
    shutil.rmtree(folder, ignore_errors=True)
    last_commit = run("git", "-C", str(REPOSITORY), "log", "-1", "--format=%ct").strip()
    run(
        *(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)),
        environment={**os.environ, "SOURCE_DATE_EPOCH": last_commit},
    )
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def files_in(archive: Path) -> set[str]:
    """List the files in a wheel, without its metadata, or in an sdist, without its top folder."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name for name in wheel.namelist() if ".dist-info/" not in name}
    with tarfile.open(archive) as sdist:
        return {member.name.partition("/")[2] for member in sdist if member.isfile()}


def check_content(archive: Path) -> None:
    """Make sure that an archive holds the whole package and nothing else, tests in particular."""
    package = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / PACKAGE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    if difference := (files_in(archive) - BESIDE_THE_PACKAGE) ^ package:
        sys.exit(f"{archive.name} and {PACKAGE}/ differ in {', '.join(sorted(difference))}")


def try_wheel(wheel: Path, constraints: str) -> None:
    """Install the wheel without extras, and see whether it can be imported and Airflow lists it."""
    with tempfile.TemporaryDirectory(prefix="chartmogul-dist-") as scratch:
        venv.create(Path(scratch) / "venv", with_pip=True)
        python = str(Path(scratch) / "venv" / "bin" / "python")
        run(python, "-m", "pip", "install", "--constraint", constraints, str(wheel))
        environment = airflow_environment(Path(scratch) / "airflow")
        imports = "; ".join(f"import {PACKAGE}.{name}" for name in DAG_FACING_MODULES)
        run(python, "-c", imports, environment=environment)
        airflow_providers = (python, "-m", "airflow", "providers")
        listed = run(*airflow_providers, "list", "--output", "json", environment=environment)
        if DISTRIBUTION not in {provider["package_name"] for provider in json.loads(listed)}:
            sys.exit(f"`airflow providers list` does not show {DISTRIBUTION}:\n{listed}")
        print(run(*airflow_providers, "get", DISTRIBUTION, environment=environment))


def main() -> None:
    """Fill dist/ with what can be published."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--constraint", required=True, help="the constraints to install the wheel with")
    constraints = parser.parse_args().constraint

    with tempfile.TemporaryDirectory() as again:
        if build(DIST) != build(Path(again) / "dist"):
            sys.exit("Two builds of the same commit differ.")
    archives = sorted(DIST.iterdir())
    print(run(sys.executable, "-m", "twine", "check", "--strict", *map(str, archives)))
    for archive in archives:
        check_content(archive)
    try_wheel(next(DIST.glob("*.whl")), constraints)
    print("\n".join(f"{archive.relative_to(REPOSITORY)}" for archive in archives))


if __name__ == "__main__":
    main()
