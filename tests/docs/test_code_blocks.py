"""
Every block of code in the documentation is executed, each by the rule for its language.

A block in a language without a rule fails, and so does a command without one.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]  # it comes with Airflow, its types do not
from airflow.cli.cli_parser import get_parser
from airflow.providers.common.compat.sdk import conf

from airflow_provider_chartmogul import __version__
from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook
from airflow_provider_chartmogul.sandbox import Fault
from airflow_provider_chartmogul.transfers.object_storage import ChartMogulToObjectStorageOperator
from tests.support.airflow_versions import HAS_TASK_STATE_STORE, IS_AIRFLOW_3
from tests.support.docs_dags import run_all_tasks
from tests.support.docs_pages import BLOCKS, PAGES, REPOSITORY, Block, name_of, prose_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from airflow_provider_chartmogul.sandbox import Sandbox

LANGUAGES = {"python", "bash", "console", "json", "text", "ini", "yaml", "dockerfile"}
MAKEFILE = (REPOSITORY / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))
TARGETS |= {f"bench-{path.stem.replace('_', '-')}" for path in REPOSITORY.glob("benchmarks/*.py")}
VARIABLES = set(re.findall(r"^([A-Z]+) [:?]=", MAKEFILE, re.MULTILINE))
DAG_IDS = {dag_id for block in BLOCKS for dag_id in re.findall(r'\bDAG\("(\w+)"', block.text)}
NEWEST = "3.3.2"
CUSTOMER = "cus_f466e33d-ff2b-4a11-8f85-417eb02157a7"
WHEEL = f"airflow_provider_chartmogul-{__version__}-py3-none-any.whl"
OTHER_ENDPOINTS = {
    "customers": {"entries": [{"uuid": CUSTOMER}], "cursor": "a", "has_more": False},
    "customer_notes": {"uuid": "note_1", "entries": [{"uuid": "note_1"}], "cursor": "a", "has_more": False},
    "metrics/mrr": {"entries": [{"date": "2025-01-31", "mrr": 30000}], "summary": {}},
}
SANDBOX = ["python", "-m", "airflow_provider_chartmogul.sandbox"]


def in_language(language: str) -> pytest.MarkDecorator:
    blocks = [block for block in BLOCKS if block.language == language]
    return pytest.mark.parametrize("block", blocks, ids=str)


def test_there_is_a_rule_for_each_language() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES


# python: a DAG file, whose tasks are run; a script; or a file of a test suite, which begins with its name (e2e_docs/).


def is_dag(block: Block) -> bool:
    return "DAG(" in block.text


def file_name(block: Block) -> str | None:
    found = re.match(r"# ((?:\w+/)*\w+\.py)\n", block.text)
    return found[1] if found else None


def written(block: Block, folder: Path) -> Path:
    path = folder / (file_name(block) or "example.py")
    path.parent.mkdir(exist_ok=True)
    path.write_text(block.text.replace("file:///tmp/", f"file://{folder}/"))
    return path


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python" and is_dag(block)], ids=str)
def test_dags_are_parsed_and_all_their_tasks_succeed(block: Block, sandbox: Sandbox, tmp_path: Path) -> None:
    for opportunity, category in zip(sandbox.opportunities, ("best_case", "committed", "pipeline"), strict=True):
        sandbox.set_opportunity(opportunity["uuid"], pipeline="New Business", forecast_category=category)
    for endpoint, answer in OTHER_ENDPOINTS.items():
        sandbox.inject_fault(Fault("body", path=f"^/v1/{endpoint}$", body=json.dumps(answer), times=None))
    path = written(block, tmp_path)
    if "airflow.sdk import" in block.text and not IS_AIRFLOW_3:
        with pytest.raises(AssertionError, match=r"airflow\.sdk"):
            run_all_tasks(path, sandbox)
        return
    outcomes = run_all_tasks(path, sandbox)
    assert outcomes
    for task_id, of_each in outcomes.items():
        assert [outcome.state for outcome in of_each] == ["success"] * max(len(of_each), 1), task_id


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.language == "python" and not is_dag(block) and not file_name(block)],
    ids=str,
)
@pytest.mark.usefixtures("sandbox")
def test_scripts_run(block: Block, tmp_path: Path) -> None:
    runpy.run_path(str(written(block, tmp_path)), run_name="__main__")


# json: a connection, the extra of one, or a result of this provider.


@in_language("json")
@pytest.mark.usefixtures("sandbox")
def test_json_is_what_the_page_says(block: Block, tmp_path: Path) -> None:
    content = json.loads(block.text)
    if "schema_version" in content:
        return  # tests/triggers/test_event_triggers.py compares it with an event
    if "rows" in content:
        operator = ChartMogulToObjectStorageOperator(task_id="export", path=f"file://{tmp_path}/file.jsonl.gz")
        assert content.keys() == operator.execute({}).keys()
    else:
        connection = (
            content if "conn_type" in content else {"conn_type": "chartmogul", "password": "k", "extra": content}
        )
        check_connection(connection)


def check_connection(connection: dict[str, Any]) -> None:
    extra = connection.get("extra", {})
    # The placeholder for the reader's key.
    connection = {**connection, "password": connection["password"].replace("<your API key>", "key")}
    assert connection.keys() <= {"conn_type", "host", "password", "extra"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_DOCUMENTED", json.dumps(connection))
        settings = ChartMogulHook("documented").settings
    for name, value in extra.items():
        assert getattr(settings, name) == value


# bash: commands, each checked by the rule for its program.


def commands_in(text: str) -> Iterable[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        if command := shlex.split(line, comments=True):
            yield command


def check_make(targets: list[str]) -> None:
    for word in targets:
        name, is_variable, _ = word.partition("=")
        assert name in (VARIABLES if is_variable else TARGETS)


def check_pip(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["install", "wheel"])
    parser.add_argument("packages", nargs="+")
    parser.add_argument("--constraint")
    parser.add_argument("--wheel-dir")
    parser.add_argument("--no-cache-dir", "--no-deps", action="store_true")
    given = parser.parse_intermixed_args(arguments)
    for package in given.packages:
        check_package(package)
    if given.constraint:
        found = re.search(r"constraints-([\d.]+)/constraints-3\.\d+\.txt$", given.constraint)
        assert found
        assert f"apache-airflow=={found[1]}" in given.packages


def check_package(package: str) -> None:
    if package.startswith("apache-airflow=="):
        version = package.removeprefix("apache-airflow==").replace("${AIRFLOW_VERSION}", NEWEST)
        assert (REPOSITORY / f"constraints/airflow-{version}.txt").exists()
        return
    if package.endswith(".whl"):
        assert fnmatch(WHEEL, PurePosixPath(package).name)
        return
    found = re.fullmatch(r"(\.|airflow-provider-chartmogul==[\d.]+)(\[(\w+)\])?", package)
    assert found, f"{package} is not this repository"
    assert found[1] in {".", f"airflow-provider-chartmogul=={__version__}"}
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert found[3] is None or found[3] in extras


def check_export(arguments: list[str]) -> None:
    (assignment,) = arguments
    name, _, value = assignment.partition("=")
    assert name == "AIRFLOW_CONN_CHARTMOGUL_DEFAULT"
    if value.startswith("{"):
        check_connection(json.loads(value))
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_DOCUMENTED", value.replace("<your API key>", "key"))
        settings = ChartMogulHook("documented").settings
    assert (settings.api_key, settings.timeout, settings.base_url) == ("key", 30, "https://api.chartmogul.com/v1")


def check_airflow(arguments: list[str]) -> None:
    options = get_parser().parse_args(arguments)
    assert callable(options.func)
    if arguments[:2] == ["dags", "test"]:
        assert options.dag_id in DAG_IDS


def check_python(arguments: list[str]) -> None:
    output_of_sandbox(["python", *arguments])


PROGRAMS = {
    "make": check_make,
    "pip": check_pip,
    "export": check_export,
    "airflow": check_airflow,
    "python": check_python,
}


def output_of_sandbox(command: list[str]) -> str:
    """Run the command that starts a sandbox, on a free port; return its output."""
    assert command[:3] == SANDBOX
    with (
        subprocess.Popen(  # noqa: S603  # the documented command
            [sys.executable, *command[1:], "--port", "0"], stdout=subprocess.PIPE, text=True, env={**os.environ}
        ) as process
    ):
        assert process.stdout is not None
        first = process.stdout.readline()
        process.terminate()
        output = first + process.stdout.read()
    assert process.returncode == 0
    found = re.search(r"127\.0\.0\.1:(\d+)", first)
    assert found
    return output.replace(found[1], "8765")


@in_language("bash")
def test_commands_are_right(block: Block) -> None:
    commands = list(commands_in(block.text))
    assert commands
    for program, *arguments in commands:
        PROGRAMS[program](arguments)


# console: a command, followed by the beginning of its output.


@in_language("console")
def test_commands_print_what_is_shown(block: Block) -> None:
    first, shown = block.text.split("\n", 1)
    assert first.startswith("$ ")
    beginning, _, rest = shown.partition("...\n")
    assert not rest
    assert output_of_sandbox(shlex.split(first.removeprefix("$ "))).startswith(beginning)


# ini: options of Airflow's configuration.


@in_language("ini")
def test_options_exist(block: Block) -> None:
    options = configparser.ConfigParser()
    options.read_string(block.text)
    for section in options.sections():
        for option in options[section]:
            name = "default_capacity" if option == "capacity" and not IS_AIRFLOW_3 else option
            assert conf.has_option(section, name), name


@pytest.mark.skipif(not HAS_TASK_STATE_STORE, reason="the pages name the options of the newest Airflow")
def test_options_in_sentences_exist() -> None:
    named = {found for page in PAGES for found in re.findall(r"`\[(\w+)\] (\w+)`", prose_of(page))}
    assert ("triggerer", "capacity") in named
    assert [option for option in named if not conf.has_option(*option)] == []


# yaml: variables in a file of Docker Compose, or alerts on metrics.


@in_language("yaml")
def test_variables_hold_connections_and_alerts_use_documented_metrics(block: Block) -> None:
    ((key, value),) = yaml.safe_load(block.text).items()
    if key.startswith("x-"):
        for name, connection in value["environment"].items():
            check_export([f"{name}={connection}"])
        return
    expressions = [rule["expr"] for group in value for rule in group["rules"]]
    for expression in expressions:
        (metric,) = re.findall(r"airflow_chartmogul_(\w+?)(?:_count)?[{\[]", expression)
        assert f"`chartmogul.{metric}`" in block.page.read_text()


# dockerfile: an image with the wheel.


@in_language("dockerfile")
def test_images_install_the_wheel(block: Block) -> None:
    *image, copy, run = block.text.splitlines()
    assert image in ([], [f"FROM apache/airflow:{NEWEST}"])
    assert copy == "COPY dist/*.whl /tmp/"
    assert run.startswith("RUN pip ")
    check_pip(shlex.split(run)[2:])


# text: a tree of files, which begins with the package, or lines of a requirements.txt.


@in_language("text")
def test_each_file_of_a_tree_exists_and_each_required_package_is_this_one(block: Block) -> None:
    lines = block.text.splitlines()
    if not lines[0].endswith("/"):
        for line in lines:
            check_package(line)
        return
    folders: list[str] = []
    for line in lines:
        depth = (len(line) - len(line.lstrip())) // 2
        for name in re.split(r"  +", line.strip())[0].split():
            assert (REPOSITORY / "".join([*folders[:depth], name])).exists(), name
            if name.endswith("/"):
                folders[depth:] = [name]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_target_of_make_that_is_mentioned_exists(page: Path) -> None:
    for words in re.findall(r"`make ([^`]+)`", prose_of(page)):
        check_make(shlex.split(words))


def test_the_main_uses_in_the_readme_take_15_lines_each() -> None:
    dags = [block for block in BLOCKS if block.page == REPOSITORY / "README.md" and is_dag(block)]
    assert [len(block.text.splitlines()) <= 15 for block in dags] == [True] * 4
