"""The Python API of the sandbox."""

from __future__ import annotations

import contextlib
import datetime
import json
import socket
import subprocess
import sys
import threading
import time

import pytest
import requests

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Sandbox
from tests.support.sandbox_client import TIMEOUT, Client

EXAMPLE_PATH = f"/v1/opportunities/{EXAMPLE_OPPORTUNITY_UUID}"


class Clock:
    """Stands in for the module `time` of the sandbox's account."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("airflow_provider_chartmogul.sandbox._account.time", clock)
    return clock


def test_the_connection_is_what_airflow_reads_from_the_environment(sandbox: Sandbox) -> None:
    assert json.loads(sandbox.connection_json) == sandbox.connection
    assert sandbox.connection == {
        "conn_type": "chartmogul",
        "host": f"http://127.0.0.1:{sandbox.port}",
        "password": "sandbox-api-key",
    }


def test_the_same_seed_gives_the_same_opportunities() -> None:
    some, more = Sandbox(seed=7, opportunities=20), Sandbox(seed=7, opportunities=30)

    assert some.opportunities == more.opportunities[:20]
    assert Sandbox(seed=8, opportunities=20).opportunities[1:] != some.opportunities[1:]


@pytest.mark.parametrize("seed", range(5))
def test_the_example_is_the_newest_and_the_newest_ten_are_open(seed: int) -> None:
    opportunities = Sandbox(seed=seed, opportunities=300).opportunities
    categories = [opportunity["forecast_category"] for opportunity in opportunities]

    assert opportunities[0]["uuid"] == EXAMPLE_OPPORTUNITY_UUID
    assert not {"won", "lost"} & set(categories[:10])
    assert set(categories) == {"pipeline", "best_case", "committed", "lost", "won"}
    assert len({opportunity["uuid"] for opportunity in opportunities}) == 300
    assert len({opportunity["customer_uuid"] for opportunity in opportunities[:3]}) == 3


def test_a_large_account_starts_and_pages_quickly() -> None:
    started = time.monotonic()
    with Sandbox(opportunities=20_000, requests_per_second=None) as sandbox:
        client = Client(sandbox)
        assert len(client.walk()) == 20_000
        for number in range(200):
            assert client.walk(customer_uuid=f"cus_{number}") == []
        client.session.close()
    # Seconds, not minutes: no page scans the account.
    assert time.monotonic() - started < 60


def test_open_opportunities_are_listed_newest_first(sandbox: Sandbox) -> None:
    newest, middle, oldest = (opportunity["uuid"] for opportunity in sandbox.opportunities)
    assert sandbox.open_opportunity_uuids == [newest, middle, oldest]

    sandbox.set_opportunity(newest, forecast_category="won")
    sandbox.set_opportunity(oldest, forecast_category=None)
    assert sandbox.open_opportunity_uuids == [middle]
    sandbox.advance(middle, "lost", every=0)
    assert sandbox.open_opportunity_uuids == []


def test_an_added_opportunity_is_kept_as_it_is_given(client: Client, sandbox: Sandbox) -> None:
    added = sandbox.add_opportunity(
        uuid="00000000-0000-0000-0000-000000000000",
        owner=None,
        type="biennial",
        custom=None,
        created_at="2020-01-01T00:00:00Z",
        close_reason={"lost_to": ["nobody"]},
    )

    assert added["owner"] is None
    assert added["type"] == "biennial"
    assert added["close_reason"] == {"lost_to": ["nobody"]}
    assert added["updated_at"] == added["created_at"] == "2020-01-01T00:00:00Z"
    assert sandbox.opportunities[-1] == added
    assert client.get(f"/v1/opportunities/{added['uuid']}").json() == added


def test_defaults_of_an_added_opportunity_fit_what_is_given(sandbox: Sandbox) -> None:
    assert sandbox.add_opportunity(forecast_category="won")["pipeline_stage"] == "Closed Won"
    assert sandbox.add_opportunity(pipeline_stage="Verbal Commit")["forecast_category"] == "committed"
    plain = sandbox.add_opportunity()
    assert (plain["pipeline_stage"], plain["forecast_category"], plain["win_likelihood"]) == (
        "Discovery",
        "pipeline",
        10,
    )


def test_a_uuid_cannot_be_added_twice_nor_what_is_no_json(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match=EXAMPLE_OPPORTUNITY_UUID):
        sandbox.add_opportunity(uuid=EXAMPLE_OPPORTUNITY_UUID)
    with pytest.raises(TypeError):
        sandbox.add_opportunity(custom=object())
    assert len(sandbox.opportunities) == 3


def test_a_change_is_kept_as_it_is_given_and_bumps_updated_at(client: Client, sandbox: Sandbox) -> None:
    seen = [sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)["updated_at"]]
    for likelihood in range(20):
        changed = sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, win_likelihood=likelihood, novelty=None)
        seen.append(changed["updated_at"])

    assert client.get(EXAMPLE_PATH).json() == changed
    assert (changed["win_likelihood"], changed["novelty"]) == (19, None)
    assert seen == sorted(set(seen))


def test_a_change_may_name_updated_at_and_move_created_at(sandbox: Sandbox) -> None:
    moment = "2020-01-01T00:00:00.000Z"
    changed = sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, updated_at=moment, created_at=moment)

    assert changed["updated_at"] == moment
    assert sandbox.opportunities[-1] == changed
    assert len(sandbox.opportunities) == 3


def test_what_does_not_exist_is_a_key_error(sandbox: Sandbox) -> None:
    with pytest.raises(KeyError):
        sandbox.opportunity("nope")
    with pytest.raises(KeyError):
        sandbox.set_opportunity("nope", owner=None)
    with pytest.raises(KeyError):
        sandbox.remove_opportunity("nope")
    with pytest.raises(KeyError):
        sandbox.advance("nope", "won", every=0)


def test_what_is_handed_out_is_a_copy(sandbox: Sandbox) -> None:
    sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)["custom"]["seats"] = 99
    sandbox.opportunities[0]["custom"]["seats"] = 99

    assert sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)["custom"]["seats"] == 3
    assert sandbox.opportunities[0]["custom"]["seats"] == 3


def test_advance_moves_an_opportunity_step_by_step(client: Client, sandbox: Sandbox, clock: Clock) -> None:
    before = sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    sandbox.advance(EXAMPLE_OPPORTUNITY_UUID, "committed", "won", every=10)
    clock.seconds = 9.9
    assert client.get(EXAMPLE_PATH).json() == before
    clock.seconds = 10
    committed = sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    assert (committed["pipeline_stage"], committed["win_likelihood"]) == ("Verbal Commit", 90)
    clock.seconds = 20
    won = sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    assert won["pipeline_stage"] == "Closed Won"
    assert before["updated_at"] < committed["updated_at"] < won["updated_at"]
    assert client.get(EXAMPLE_PATH).json() == won


def test_advance_continues_without_requests_and_while_the_server_is_stopped(sandbox: Sandbox, clock: Clock) -> None:
    sandbox.advance(EXAMPLE_OPPORTUNITY_UUID, "committed", "lost", every=10)
    sandbox.stop()
    clock.seconds = 80
    requested = datetime.datetime.now(datetime.UTC)

    lost = sandbox.opportunity(EXAMPLE_OPPORTUNITY_UUID)
    assert lost["forecast_category"] == "lost"
    # It has the time of the step, not that of the request.
    age = requested - datetime.datetime.fromisoformat(lost["updated_at"])
    assert abs(age.total_seconds() - 60) < TIMEOUT


def test_advance_skips_an_opportunity_that_was_deleted(sandbox: Sandbox, clock: Clock) -> None:
    sandbox.advance(EXAMPLE_OPPORTUNITY_UUID, "won", every=10)
    sandbox.remove_opportunity(EXAMPLE_OPPORTUNITY_UUID)
    clock.seconds = 10
    assert len(sandbox.opportunities) == 2


@pytest.mark.parametrize(("category", "every"), [("Won", 1.0), ("won", -1.0), ("won", float("nan"))])
def test_advance_refuses_nonsense(sandbox: Sandbox, category: str, every: float) -> None:
    with pytest.raises(ValueError, match=r"Won|every"):
        sandbox.advance(EXAMPLE_OPPORTUNITY_UUID, category, every=every)


def test_requests_are_recorded_as_they_came(client: Client, sandbox: Sandbox) -> None:
    before = time.monotonic()
    client.get("/v1/opportunities", params={"owner": "a+b@example.com", "per_page": 1})
    client.send("PATCH", "/v1/opportunities/a%2Fb%20c", json={"win_likelihood": 1}, headers={"X-Trace": "7"})

    listed, patched = sandbox.requests
    assert (listed.method, listed.path, listed.status) == ("GET", "/v1/opportunities", 200)
    assert (listed.query, listed.body) == ({"owner": "a+b@example.com", "per_page": "1"}, None)
    assert (patched.method, patched.path, patched.status) == ("PATCH", "/v1/opportunities/a%2Fb%20c", 404)
    assert patched.body == {"win_likelihood": 1}
    assert patched.headers["x-trace"] == "7"
    assert patched.headers["authorization"].startswith("Basic ")
    assert before <= listed.at <= patched.at <= time.monotonic()
    sandbox.clear_requests()
    assert sandbox.requests == []


def test_a_restart_keeps_port_opportunities_and_key(sandbox: Sandbox) -> None:
    sandbox.rotate_api_key("another-key")
    sandbox.set_opportunity(EXAMPLE_OPPORTUNITY_UUID, forecast_category="won")
    port, before = sandbox.port, sandbox.opportunities

    client = Client(sandbox)
    assert client.get("/v1/ping").status_code == 200
    sandbox.stop()
    sandbox.stop()
    with pytest.raises(requests.ConnectionError):
        client.get("/v1/ping")
    sandbox.start()
    assert sandbox.port == port
    assert client.walk() == before
    client.session.close()


def test_a_running_sandbox_cannot_be_started_again(sandbox: Sandbox) -> None:
    with pytest.raises(RuntimeError, match="running"):
        sandbox.start()


def test_a_taken_port_is_an_os_error(sandbox: Sandbox) -> None:
    with pytest.raises(OSError, match="in use"):
        Sandbox(port=sandbox.port).start()


def test_a_stop_leaves_no_client_waiting_however_new_its_connection() -> None:
    for turns in range(6):
        with Sandbox() as sandbox:
            assert sandbox._server
            loop, turn = sandbox._server._loop, threading.Event()
            loop.call_soon_threadsafe(turn.wait, TIMEOUT)
            with socket.create_connection(("127.0.0.1", sandbox.port), timeout=TIMEOUT) as client:
                client.sendall(b"GET /v1/ping HTTP/1.1\r\n")
                for _ in range(turns):
                    loop.call_soon_threadsafe(turn.wait, 0.01)
                stop = threading.Thread(target=sandbox.stop)
                stop.start()
                turn.set()
                stop.join()
                with contextlib.suppress(ConnectionResetError):
                    assert client.recv(1) == b""


def test_starting_and_stopping_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    for _ in range(20):
        with Sandbox() as sandbox, requests.Session() as session:
            session.get(f"{sandbox.url}/v1/ping", timeout=TIMEOUT)

    assert threading.active_count() == before


def test_many_threads_can_steer_it_at_once(client: Client, sandbox: Sandbox) -> None:
    def steer() -> None:
        for _ in range(50):
            uuid = sandbox.add_opportunity()["uuid"]
            sandbox.set_opportunity(uuid, win_likelihood=50)
            sandbox.remove_opportunity(uuid)

    threads = [threading.Thread(target=steer) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        listed = [entry["uuid"] for entry in client.walk(per_page=2)]
        assert len(listed) == len(set(listed))
    assert len(sandbox.opportunities) == 3


def test_it_needs_neither_airflow_nor_requests() -> None:
    program = (
        "import sys, airflow_provider_chartmogul.sandbox as s\n"
        "with s.Sandbox(): pass\n"
        "sys.exit(', '.join({'airflow', 'requests', 'pytest'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)  # noqa: S603  # our own interpreter


def test_without_aiohttp_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['aiohttp'] = None; import airflow_provider_chartmogul.sandbox"
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 1
    assert 'pip install "airflow-provider-chartmogul[sandbox]"' in done.stderr
