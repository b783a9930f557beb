"""Serve a local ChartMogul API until Ctrl-C."""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import shlex
import signal
import sys
import threading

from airflow_provider_chartmogul.opportunity import ForecastCategory
from airflow_provider_chartmogul.sandbox import Sandbox
from airflow_provider_chartmogul.sandbox.account import as_if_moved_to

_NEXT = {
    ForecastCategory.PIPELINE: ForecastCategory.BEST_CASE,
    ForecastCategory.BEST_CASE: ForecastCategory.COMMITTED,
    ForecastCategory.COMMITTED: ForecastCategory.WON,
}
_ONE_STEP_IN_SO_MANY_LOSES = 6


def main(arguments: list[str] | None = None) -> int:
    """
    Run the sandbox from the command line.

    :param arguments: what stands behind the command; default: this process's own
    :return: the exit code
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    try:
        sandbox = Sandbox(
            port=options.port, api_key=options.api_key, opportunities=options.opportunities, seed=options.seed
        )
    except ValueError as error:
        parser.error(f"--api-key: {error}")
    try:
        sandbox.start()
    except OSError as error:
        reason = "it is in use" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
        sys.stderr.write(f"Cannot listen on port {options.port}: {reason}. Choose another with --port.\n")
        return 1
    try:
        _introduce(sandbox)
        dice = random.Random(options.seed)
        while not stopping.wait(options.advance_every):
            _advance_one(sandbox, dice)
    finally:
        sandbox.stop()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_chartmogul.sandbox",
        description="Serve a local ChartMogul API on 127.0.0.1 until Ctrl-C.",
    )
    parser.add_argument("--port", type=_port, default=8765, help="0 for any free port (default: %(default)s)")
    parser.add_argument("--api-key", default="sandbox-api-key", help="the key to accept (default: %(default)s)")
    parser.add_argument(
        "--opportunities", type=_count, default=25, metavar="N", help="to start with (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed, the same opportunities (default: 0)"
    )
    parser.add_argument(
        "--advance-every",
        type=_seconds,
        metavar="SECONDS",
        help="move an open opportunity a step towards won or lost, again and again (default: off)",
    )
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not between 0 and 65535")
    return port


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise argparse.ArgumentTypeError("a number of opportunities cannot be negative")
    return count


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{text} is not a length of time")
    return seconds


def _introduce(sandbox: Sandbox) -> None:
    opportunities = sandbox.opportunities
    lines = [
        f"ChartMogul sandbox on {sandbox.url}, {len(opportunities)} opportunities. Ctrl-C stops it.",
        "",
        "Connect Airflow to it:",
        f"  export AIRFLOW_CONN_CHARTMOGUL_DEFAULT={shlex.quote(sandbox.connection_json)}",
        "",
        "API keys:",
        f"  {sandbox.api_key}  (everything)",
        f"  {sandbox.read_only_api_key}  (no create, update, delete)",
        f"  {sandbox.seatless_api_key}  (no CRM seat: ping and account only)",
    ]
    if opportunities:
        lines += [
            "",
            "Win an opportunity:",
            f"  curl -X PATCH {sandbox.url}/v1/opportunities/{opportunities[0]['uuid']} \\",
            f"    -u {shlex.quote(sandbox.api_key + ':')} -H 'Content-Type: application/json' \\",
            f"    -d {shlex.quote(json.dumps(as_if_moved_to(ForecastCategory.WON)))}",
        ]
    _say("\n".join(lines))


def _advance_one(sandbox: Sandbox, dice: random.Random) -> None:
    still_open = [opportunity for opportunity in sandbox.opportunities if opportunity["forecast_category"] in _NEXT]
    if not still_open:
        return
    chosen = dice.choice(still_open)
    loses = dice.randrange(_ONE_STEP_IN_SO_MANY_LOSES) == 0
    category = ForecastCategory.LOST if loses else _NEXT[chosen["forecast_category"]]
    sandbox.advance(chosen["uuid"], category, every=0)
    _say(f"{chosen['uuid']}: {chosen['forecast_category']} -> {category}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
