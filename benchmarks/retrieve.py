"""
Measure one retrieve, beside a bare requests session, the HTTP provider's hook and ChartMogul's official client.

The first one in a process includes what the client imports then and opening the connection; the process is forked from
one that has Airflow imported, as a task's is. The later ones take turns in one process. With TLS the server has a
certificate made for the run. A round trip of 50 ms holds for opening connections and for TLS's handshake too.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.harness.network import AnsweringServer, write_certificate
from benchmarks.harness.processes import in_new_process
from benchmarks.harness.report import Answer, InShort, main, progress, table
from benchmarks.harness.rounds import interleaved, ratio

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = "make bench-retrieve"
REMARKS = """\
Of the first, most is the import of `requests`, which the bare session pays too; the rest is Airflow's look-up of the
connection. Of a later one, the hook's own share is about 1 %: what remains is `requests` and the round trip. The
official client opens a connection for each call, so that it waits for three round trips with TLS, and for two
without."""
UUID = "4ee13ca4-e7fe-11ee-fa7f-f303abf41acc"
OURS, BARE, HTTP_HOOK, OFFICIAL = "this provider", "bare requests session", "HttpHook", "official client"
ROUND_TRIP = 0.05  # seconds
FIRST_CALLS = 3
LATER_CALLS = {0.0: 400, ROUND_TRIP: 20}


def make_answer() -> Callable[[str], bytes]:
    """Answer any request with the opportunity of ChartMogul's documentation."""
    from airflow_provider_chartmogul.sandbox import Sandbox

    (opportunity,) = Sandbox(opportunities=1).opportunities
    body = json.dumps(opportunity, separators=(",", ":")).encode()
    return lambda _: body


# Each returns what retrieves the opportunity once.


def ours(_url: str) -> Callable[[], Any]:
    from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook

    hook = ChartMogulHook()
    # As with ChartMogul's own host: on loopback the hook does not look for proxies, which would flatter it.
    hook.get_conn().trust_env = True
    return lambda: hook.retrieve_opportunity(UUID)


def bare(url: str) -> Callable[[], Any]:
    import requests

    session = requests.Session()
    session.auth = ("api-key", "")
    return lambda: session.get(f"{url}/v1/opportunities/{UUID}", timeout=30).json()


def http_hook(_url: str) -> Callable[[], Any]:
    from airflow.providers.http.hooks.http import HttpHook

    hook = HttpHook(method="GET")
    return lambda: hook.run(f"v1/opportunities/{UUID}").json()


def official(url: str) -> Callable[[], Any]:
    import chartmogul

    config = chartmogul.Config("api-key")
    config.uri = f"{url}/v1"
    return lambda: vars(chartmogul.Opportunity.retrieve(config, uuid=UUID).get())


CLIENTS = {OURS: ours, BARE: bare, HTTP_HOOK: http_hook, OFFICIAL: official}


@dataclass(frozen=True)
class Case:
    """Seconds that the first and the later retrieves took through a certain network, by client."""

    network: str
    first: dict[str, list[float]]
    later: dict[str, list[float]]

    def rows(self) -> list[list[str]]:
        """Return the case as rows of a table."""
        return [
            [
                self.network,
                client,
                f"{statistics.median(self.first[client]) * 1000:.1f} ms",
                f"{ratio(self.first[client], self.first[BARE]):.2f}",
                f"{statistics.median(self.later[client]) * 1000:.2f} ms",
                f"{ratio(self.later[client], self.later[BARE]):.2f}",
            ]
            for client in CLIENTS
        ]


def answer(is_smoke: bool) -> Answer:  # noqa: FBT001  # what the command line says, and nothing else
    """Retrieve in every way through every network."""
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "certificate.pem"
        write_certificate(certificate)
        for with_tls in (False, True):
            for round_trip, calls in LATER_CALLS.items():
                network = f"{'TLS' if with_tls else 'plain'}, {round_trip * 1000:.0f} ms"
                progress(f"retrieves, {network} ...")
                with AnsweringServer(
                    make_answer, round_trip=round_trip, certificate=certificate if with_tls else None
                ) as server:
                    settings = _environment(server.url, certificate)
                    first = {
                        client: partial(in_new_process, first_call, client, settings, server.url) for client in CLIENTS
                    }
                    cases.append(
                        Case(
                            network,
                            interleaved(1 if is_smoke else FIRST_CALLS, first),
                            in_new_process(later_calls, 2 if is_smoke else calls, settings, server.url),
                        )
                    )
    far = cases[-1].later
    return Answer(
        title="What one retrieve takes",
        body=table(
            ["network, round trip", "client", "first in a process", "of the bare one's", "later", "of the bare one's"],
            [row for case in cases for row in case.rows()],
        ),
        remarks=REMARKS,
        in_short=InShort(
            "one more retrieve, TLS, 50 ms round trip",
            f"{statistics.median(far[OURS]) * 1000:.0f} ms",
            f"{statistics.median(far[OFFICIAL]) * 1000:.0f} ms (official client)",
            f"{ratio(far[OURS], far[OFFICIAL]):.2f}",
        ),
    )


def first_call(client: str, environment: dict[str, str], url: str) -> float:
    """Return the seconds from nothing to the opportunity."""
    os.environ.update(environment)
    start = time.perf_counter()
    _check(CLIENTS[client](url)())
    return time.perf_counter() - start


def later_calls(rounds: int, environment: dict[str, str], url: str) -> dict[str, list[float]]:
    """Return the seconds of calls that take turns."""
    os.environ.update(environment)
    retrieves = {client: make(url) for client, make in CLIENTS.items()}
    for retrieve in retrieves.values():
        _check(retrieve())
    return interleaved(rounds, {client: partial(_timed, call) for client, call in retrieves.items()})


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _check(opportunity: dict[str, Any]) -> None:
    if opportunity["uuid"] != UUID:
        raise RuntimeError("That is not the opportunity.")


def _environment(url: str, certificate: Path) -> dict[str, str]:
    address = urlsplit(url)
    theirs = {"conn_type": "http", "schema": address.scheme, "host": address.hostname, "port": address.port}
    return {
        "AIRFLOW_CONN_CHARTMOGUL_DEFAULT": json.dumps({"conn_type": "chartmogul", "host": url, "password": "api-key"}),
        "AIRFLOW_CONN_HTTP_DEFAULT": json.dumps({**theirs, "login": "api-key", "password": ""}),
        "REQUESTS_CA_BUNDLE": str(certificate),
    }


if __name__ == "__main__":
    sys.exit(main(COMMAND, __doc__, answer))
