"""``python -m airflow_provider_chartmogul.sandbox``, run as a process of its own."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import requests

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID
from airflow_provider_chartmogul.sandbox.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = [sys.executable, "-m", "airflow_provider_chartmogul.sandbox"]
TIMEOUT = 60


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield the process and its banner."""
    with subprocess.Popen(  # noqa: S603  # our own interpreter
        [*COMMAND, "--port", "0", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        # So that a silent process fails the test instead of blocking it.
        too_long = threading.Timer(TIMEOUT, process.kill)
        too_long.start()
        try:
            yield process, read_until(process, "Closed Won")
        finally:
            too_long.cancel()
            process.kill()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    said = ""
    while text not in said:
        line = process.stdout.readline()
        assert line, f"ended after: {said}"
        said += line
    return said


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own interpreter
        [*COMMAND, *arguments], check=False, capture_output=True, text=True, timeout=TIMEOUT
    )


def test_the_line_to_copy_leads_to_the_sandbox() -> None:
    with running("--api-key", "it's a key", "--opportunities", "7", "--seed", "5") as (_, said):
        [line] = [line for line in said.splitlines() if "export " in line]
        name, _, value = shlex.split(line)[1].partition("=")
        connection = json.loads(value)
        response = requests.get(
            f"{connection['host']}/v1/opportunities", auth=(connection["password"], ""), timeout=TIMEOUT
        )

    assert name == "AIRFLOW_CONN_CHARTMOGUL_DEFAULT"
    assert connection["conn_type"] == "chartmogul"
    assert connection["password"] == "it's a key"
    assert re.match(r"http://127\.0\.0\.1:\d+$", connection["host"])
    assert len(response.json()["entries"]) == 7


def test_the_curl_example_wins_an_opportunity() -> None:
    with running() as (_, said):
        words = shlex.split(said[said.index("curl") :])
        method, url = words[words.index("-X") + 1], next(word for word in words if word.startswith("http"))
        user, _, password = words[words.index("-u") + 1].partition(":")
        body = words[words.index("-d") + 1]
        response = requests.request(method, url, auth=(user, password), data=body, timeout=TIMEOUT)

    assert response.status_code == 200
    assert response.json()["uuid"] == EXAMPLE_OPPORTUNITY_UUID
    assert response.json()["forecast_category"] == "won"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_cleanly(number: signal.Signals) -> None:
    with running() as (process, said):
        url = re.findall(r"http://127\.0\.0\.1:\d+", said)[0]
        with requests.Session() as session:
            assert session.get(f"{url}/v1/ping", timeout=TIMEOUT).status_code == 401
            process.send_signal(number)
            _, complaints = process.communicate(timeout=TIMEOUT)

        assert process.returncode == 0
        assert complaints == ""
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=TIMEOUT)


def test_a_port_in_use_is_one_line_and_exit_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--port", str(port))

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"Cannot listen on port {port}: it is in use. Choose another with --port.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--port", "65536"),
        ("--port", "http"),
        ("--api-key", ""),
        ("--api-key", "a:b"),
        ("--opportunities", "-1"),
        ("--advance-every", "0"),
        ("--advance-every", "nan"),
        ("--latency", "-1"),
        ("--list-latency", "long"),
    ],
)
def test_nonsense_is_explained(
    arguments: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process keeps its own handlers
    with pytest.raises(SystemExit) as ended:
        main([*arguments])

    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"{arguments[0]}: " in said
    assert " _" not in said  # names of our functions


def test_latency_delays_responses_and_pages() -> None:
    with running("--latency", "0.05", "--list-latency", "0.3") as (_, said), requests.Session() as session:
        url = re.findall(r"http://127\.0\.0\.1:\d+", said)[0]
        session.auth = ("sandbox-api-key", "")
        ping, page = (session.get(f"{url}/v1/{path}", timeout=TIMEOUT) for path in ("ping", "opportunities"))

    assert ping.elapsed.total_seconds() >= 0.05
    assert page.elapsed.total_seconds() >= 0.3


def test_advance_every_moves_open_opportunities_on() -> None:
    with running("--opportunities", "5", "--advance-every", "0.01") as (process, _):
        said = read_until(process, "committed -> won")

    assert re.search(r"^[0-9a-f-]{36}: committed -> won$", said, re.MULTILINE)
