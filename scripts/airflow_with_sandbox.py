"""Run a complete Airflow and the sandbox until Ctrl-C: ``make airflow``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from airflow_provider_chartmogul.sandbox import EXAMPLE_OPPORTUNITY_UUID, Sandbox
from scripts.isolation import REPOSITORY, interrupt_on_signals
from scripts.local_airflow import LocalAirflow, LocalAirflowError

if TYPE_CHECKING:
    from collections.abc import Sequence

POLL_INTERVAL = 10
CATEGORY_INTERVAL = 20
WON, LOST = ("committed", "won", "best_case"), ("committed", "lost", "best_case")
LOST_PER_WON = 9

BANNER = """
Airflow         {airflow.url}   (no login)
Sandbox         {sandbox.url}   (ChartMogul's API for the connection chartmogul_default)
Component logs  {airflow.logs}

API keys        {sandbox.api_key}   (all permissions)
                {sandbox.read_only_api_key}   (read-only)
                {sandbox.seatless_api_key}   (no CRM seat: ping and account only)

Trigger the DAG example_wait_until_won: its task wait_until_won ends when the opportunity is won. The JSON is
on the XCom tab of a finished task, a link to the customer beside it. The sandbox advances each open opportunity
every {seconds} s, and sensors and watchers poll every {poll_interval} s. DAGs with a cron schedule are paused.

Win the opportunity yourself:
  curl -X PATCH {sandbox.url}/v1/opportunities/{uuid} \\
    -u {sandbox.api_key}: -H 'Content-Type: application/json' -d '{{"forecast_category": "won"}}'

Airflow commands in another terminal:
  AIRFLOW_HOME={airflow.home} {bin}/airflow connections test chartmogul_default
"""


def advance_all(sandbox: Sandbox, opportunity_uuids: Sequence[str]) -> None:
    """
    Advance opportunities once through all categories, each starting at another one.

    :param sandbox: the sandbox
    :param opportunity_uuids: those to advance; the first and a few others are won, the rest are lost
    """
    for number, uuid in enumerate(opportunity_uuids):
        categories = LOST if number % (LOST_PER_WON + 1) else WON
        start = number % len(categories)
        sandbox.advance(uuid, *categories[start:], *categories[:start], every=CATEGORY_INTERVAL)


def main() -> int:
    """Run Airflow and the sandbox until Ctrl-C, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="of the web page (default: %(default)s)")
    port = parser.parse_args().port

    interrupt_on_signals()
    print(f"Starting Airflow {version('apache-airflow')}; this takes about 20 s. Press Ctrl-C to stop.", flush=True)
    try:
        with Sandbox(opportunities=25) as sandbox:
            # Airflow 3.3's Test button sends port 0 for a connection without one, which its API refuses.
            connection = json.dumps({**sandbox.connection, "port": sandbox.port})
            with LocalAirflow(
                REPOSITORY / ".airflow",
                port=port,
                connections={"chartmogul_default": connection},
                poke_interval=POLL_INTERVAL,
                pause_scheduled=True,
            ) as airflow:
                print(
                    BANNER.format(
                        airflow=airflow,
                        sandbox=sandbox,
                        uuid=EXAMPLE_OPPORTUNITY_UUID,
                        seconds=CATEGORY_INTERVAL,
                        poll_interval=POLL_INTERVAL,
                        bin=Path(sys.executable).parent,
                    ),
                    flush=True,
                )
                run_until_interrupted(airflow, sandbox)
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0
    except LocalAirflowError as error:
        print(error, file=sys.stderr)
        return 1


def run_until_interrupted(airflow: LocalAirflow, sandbox: Sandbox) -> NoReturn:
    """
    Advance the opportunities in a loop.

    :raises LocalAirflowError: if a component ends
    """
    opportunity_uuids = sandbox.open_opportunity_uuids
    while True:
        advance_all(sandbox, opportunity_uuids)
        next_round = time.monotonic() + len(WON) * CATEGORY_INTERVAL
        while time.monotonic() < next_round:
            airflow.check()
            time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
