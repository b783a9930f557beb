"""
Measure retrieves, beside a bare requests session, the HTTP provider's hook, the official client and asyncio.

One retrieve: the calls of all clients take turns in one process, with the connections open where a client keeps them.
The first one in a process includes the client's imports and, of Airflow's hooks, the look-up of the connection.
Many retrieves: 500 opportunities of an account of 5,000, whose limits are enforced; each in a new process.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.harness.account import API_KEY, LATENCIES, REQUESTS_PER_SECOND, Account, latency_name
from benchmarks.harness.processes import in_new_process
from benchmarks.harness.report import Report, Row, main, progress, table
from benchmarks.harness.rounds import interleaved, ratio

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = "make bench-retrieve"
REMARKS = """\
The latency is that of the response; opening a connection takes none here, which favours the official client: it opens
one for each call. Of the first retrieve, most is the import of `requests`, which the bare session pays too. Of many
opportunities, this provider finds most on pages of the list, 200 with one request, and sends half as many requests a
second by default, so that the account's other clients keep theirs; one GET each cannot be faster than the limit."""
OURS, BARE, HTTP_HOOK, OFFICIAL = "this provider", "bare requests session", "HttpHook", "official client"
AIOHTTP = "aiohttp, 20 connections"
MANY, ACCOUNT = 500, 5_000


# Each returns a function that retrieves one opportunity.


def ours(_url: str) -> Callable[[str], Any]:
    from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook

    hook = ChartMogulHook()
    # As for ChartMogul's own host: on loopback the hook does not look for proxies, which would flatter it.
    hook.get_conn().trust_env = True
    return hook.retrieve_opportunity


def bare(url: str) -> Callable[[str], Any]:
    import requests

    session = requests.Session()
    session.auth = (API_KEY, "")
    return lambda uuid: session.get(f"{url}/v1/opportunities/{uuid}", timeout=30).json()


def http_hook(_url: str) -> Callable[[str], Any]:
    from airflow.providers.http.hooks.http import HttpHook

    hook = HttpHook(method="GET")
    return lambda uuid: hook.run(f"v1/opportunities/{uuid}").json()


def official(url: str) -> Callable[[str], Any]:
    import chartmogul

    config = chartmogul.Config(API_KEY)
    config.uri = f"{url}/v1"
    return lambda uuid: vars(chartmogul.Opportunity.retrieve(config, uuid=uuid).get())


CLIENTS = {OURS: ours, BARE: bare, HTTP_HOOK: http_hook, OFFICIAL: official}


# Each retrieves many opportunities.


def many_ours(_url: str, uuids: list[str]) -> list[dict[str, Any]]:
    from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook

    return ChartMogulHook().retrieve_opportunities(uuids)


def many_bare(url: str, uuids: list[str]) -> list[dict[str, Any]]:
    retrieve = bare(url)
    found = []
    for uuid in uuids:
        begin = time.monotonic()
        found.append(retrieve(uuid))
        time.sleep(max(0.0, 1 / 38 - (time.monotonic() - begin)))
    return found


def many_aiohttp(url: str, uuids: list[str]) -> list[dict[str, Any]]:
    import asyncio

    import aiohttp

    async def run() -> list[dict[str, Any]]:
        connector = aiohttp.TCPConnector(limit=20)
        async with aiohttp.ClientSession(auth=aiohttp.BasicAuth(API_KEY, ""), connector=connector) as session:

            async def retrieve(uuid: str) -> dict[str, Any]:
                async with session.get(f"{url}/v1/opportunities/{uuid}") as response:
                    found: dict[str, Any] = await response.json()
                    return found

            tasks = []
            for uuid in uuids:
                tasks.append(asyncio.create_task(retrieve(uuid)))
                await asyncio.sleep(1 / 38)
            return await asyncio.gather(*tasks)

    return asyncio.run(run())


MANY_CLIENTS = {OURS: many_ours, AIOHTTP: many_aiohttp, BARE: many_bare}


def measure(is_smoke: bool) -> Report:  # noqa: FBT001  # the command line's
    """Retrieve with every client at every latency."""
    one_rows, many_rows, readme = [], [], []
    number = 20 if is_smoke else MANY
    for latency in LATENCIES[-1:] if is_smoke else LATENCIES:
        name = latency_name(latency)
        progress(f"one retrieve, {name} ...")
        with Account(200, latency=latency, limited=False) as account:
            settings, uuid = _environment(account), account.uuids[0]
            starts = {c: partial(in_new_process, first_call, c, settings, account.url, uuid) for c in CLIENTS}
            first = interleaved(1 if is_smoke else 3, starts)
            rounds = 2 if is_smoke else 400 if latency == LATENCIES[0] else 20
            later = in_new_process(later_calls, rounds, settings, account.url, uuid)
        one_rows += [
            [
                name,
                client,
                f"{statistics.median(first[client]) * 1000:.1f} ms",
                f"{ratio(first[client], first[BARE]):.2f}",
                f"{statistics.median(later[client]) * 1000:.2f} ms",
                f"{ratio(later[client], later[BARE]):.2f}",
            ]
            for client in CLIENTS
        ]
        seconds = {client: _many(client, latency, number) for client in MANY_CLIENTS}
        many_rows += [[name, c, f"{taken:.1f} s", f"{taken / seconds[AIOHTTP]:.2f}"] for c, taken in seconds.items()]
        many_rows.append([name, "limit: a GET each / 40 a second", f"{number / REQUESTS_PER_SECOND:.1f} s", ""])
        if latency == LATENCIES[-1]:
            readme = [
                Row(
                    f"{MANY} retrieves of {ACCOUNT:,} opportunities, {name}",
                    f"{seconds[OURS]:.1f} s",
                    f"{seconds[AIOHTTP]:.1f} s ({AIOHTTP})",
                    f"{seconds[OURS] / seconds[AIOHTTP]:.2f}",
                ),
            ]
    one_header = ["latency", "client", "first in a process", "of the bare one's", "later", "of the bare one's"]
    many_header = ["latency", "client", f"{MANY} retrieves", "of aiohttp's"]
    return Report(
        title="Retrieves",
        body=f"{table(one_header, one_rows)}\n\n{table(many_header, many_rows)}",
        remarks=REMARKS,
        readme=readme,
    )


def first_call(client: str, environment: dict[str, str], url: str, uuid: str) -> float:
    """Return the seconds from nothing to the opportunity."""
    os.environ.update(environment)
    start = time.perf_counter()
    _check(CLIENTS[client](url)(uuid), uuid)
    return time.perf_counter() - start


def later_calls(rounds: int, environment: dict[str, str], url: str, uuid: str) -> dict[str, list[float]]:
    """Return the seconds of calls that take turns."""
    os.environ.update(environment)
    retrieves = {client: make(url) for client, make in CLIENTS.items()}
    for retrieve in retrieves.values():
        _check(retrieve(uuid), uuid)
    return interleaved(rounds, {client: partial(_timed, call, uuid) for client, call in retrieves.items()})


def many_calls(client: str, environment: dict[str, str], url: str, uuids: list[str]) -> float:
    """Return the seconds of many retrieves."""
    os.environ.update(environment)
    start = time.perf_counter()
    found = MANY_CLIENTS[client](url, uuids)
    if [opportunity["uuid"] for opportunity in found] != uuids:
        raise RuntimeError(f"{client} did not retrieve all opportunities in their order.")
    return time.perf_counter() - start


def _many(client: str, latency: tuple[float, float], number: int) -> float:
    progress(f"{number} retrieves, {latency_name(latency)}, {client} ...")
    with Account(10 * number, latency=latency) as account:
        seconds: float = in_new_process(many_calls, client, _environment(account), account.url, account.uuids[::10])
    return seconds


def _timed(call: Callable[[str], Any], uuid: str) -> float:
    start = time.perf_counter()
    call(uuid)
    return time.perf_counter() - start


def _check(opportunity: dict[str, Any], uuid: str) -> None:
    if opportunity["uuid"] != uuid:
        raise RuntimeError("That is not the opportunity.")


def _environment(account: Account) -> dict[str, str]:
    address = urlsplit(account.url)
    theirs = {"conn_type": "http", "schema": address.scheme, "host": address.hostname, "port": address.port}
    return {
        "AIRFLOW_CONN_CHARTMOGUL_DEFAULT": account.connection_json,
        "AIRFLOW_CONN_HTTP_DEFAULT": json.dumps({**theirs, "login": API_KEY, "password": ""}),
    }


if __name__ == "__main__":
    sys.exit(main(COMMAND, __doc__, measure))
