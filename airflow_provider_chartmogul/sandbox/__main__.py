"""Serve a local ChartMogul API until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
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
from airflow_provider_chartmogul.sandbox._stages import stage_fields

_NEXT_CATEGORY = {
    ForecastCategory.PIPELINE: ForecastCategory.BEST_CASE,
    ForecastCategory.BEST_CASE: ForecastCategory.COMMITTED,
    ForecastCategory.COMMITTED: ForecastCategory.WON,
}
_LOST_ONE_IN = 6


def main(arguments: list[str] | None = None) -> int:
    """
    Run the sandbox from the command line.

    :param arguments: command-line arguments; default: those of this process
    :return: the exit code
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    try:
        sandbox = Sandbox(
            port=options.port,
            api_key=options.api_key,
            opportunities=options.opportunities,
            seed=options.seed,
            latency=options.latency,
            list_latency=options.list_latency,
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
        _print_banner(sandbox)
        dice = random.Random(options.seed)
        while not stopping.wait(options.advance_every):
            with contextlib.suppress(KeyError):  # a request won, lost or deleted it meanwhile
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
    parser.add_argument(
        "--api-key", default="sandbox-api-key", metavar="KEY", help="key with all permissions (default: %(default)s)"
    )
    parser.add_argument(
        "--opportunities",
        type=_count,
        default=25,
        metavar="N",
        help="number of opportunities at the start (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the generated opportunities; the same seed gives the same ones (default: %(default)s)",
    )
    parser.add_argument(
        "--latency",
        type=_duration,
        default=0.0,
        metavar="SECONDS",
        help="time that each response takes, such as 0.1 (default: %(default)s)",
    )
    parser.add_argument(
        "--list-latency",
        type=_duration,
        metavar="SECONDS",
        help="time that a page of the list takes, such as 0.3 (default: that of --latency)",
    )
    parser.add_argument(
        "--advance-every",
        type=_interval,
        metavar="SECONDS",
        help="move a random open opportunity one step towards won or lost at this interval (default: off)",
    )
    return parser


def _port(text: str) -> int:
    port = int(text) if text.isdecimal() else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 65535")
    return port


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of opportunities")
    return int(text)


def _duration(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _interval(text: str) -> float:
    seconds = _duration(text)
    if seconds == 0:
        raise argparse.ArgumentTypeError("must be greater than 0")
    return seconds


def _print_banner(sandbox: Sandbox) -> None:
    opportunities = sandbox.opportunities
    lines = [
        f"ChartMogul sandbox on {sandbox.url}, {len(opportunities)} opportunities. Press Ctrl-C to stop.",
        "",
        "Airflow connection:",
        f"  export AIRFLOW_CONN_CHARTMOGUL_DEFAULT={shlex.quote(sandbox.connection_json)}",
        "",
        "API keys:",
        f"  {sandbox.api_key}  (all permissions)",
        f"  {sandbox.read_only_api_key}  (read-only)",
        f"  {sandbox.seatless_api_key}  (no CRM seat: ping and account only)",
    ]
    if opportunities:
        lines += [
            "",
            "Win an opportunity:",
            f"  curl -X PATCH {sandbox.url}/v1/opportunities/{opportunities[0]['uuid']} \\",
            f"    -u {shlex.quote(sandbox.api_key + ':')} -H 'Content-Type: application/json' \\",
            f"    -d {shlex.quote(json.dumps(stage_fields(ForecastCategory.WON)))}",
        ]
    _print("\n".join(lines))


def _advance_one(sandbox: Sandbox, dice: random.Random) -> None:
    open_uuids = sandbox.open_opportunity_uuids
    if not open_uuids:
        return
    uuid = dice.choice(open_uuids)
    previous = sandbox.opportunity(uuid)["forecast_category"]
    is_lost = dice.randrange(_LOST_ONE_IN) == 0
    category = ForecastCategory.LOST if is_lost else _NEXT_CATEGORY[previous]
    sandbox.advance(uuid, category, every=0)
    _print(f"{uuid}: {previous} -> {category}")


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
