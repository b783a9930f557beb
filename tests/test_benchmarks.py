"""The arithmetic and the servers that the benchmarks rely on; what they measure is no matter of tests."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
import requests

from benchmarks.__main__ import BEGIN, END, REPOSITORY, short_table
from benchmarks.harness.listing import ListOf
from benchmarks.harness.network import AnsweringServer, write_certificate
from benchmarks.harness.report import Answer, InShort, table
from benchmarks.harness.rounds import interleaved, ratio
from scripts.readme_block import write_block

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROUND_TRIP = 0.05


def test_a_table_aligns_all_but_its_first_column_to_the_right_and_keeps_empty_cells() -> None:
    assert table(["way", "time"], [["ours", "1 ms"], ["theirs", ""]]) == (
        "| way | time |\n| --- | --: |\n| ours | 1 ms |\n| theirs | |"
    )


def test_every_round_takes_each_measurement_once_and_not_always_in_the_same_order() -> None:
    taken: list[str] = []

    def take(name: str) -> int:
        taken.append(name)
        return len(taken)

    values = interleaved(20, {name: partial(take, name) for name in "abc"})
    rounds = [taken[start : start + 3] for start in range(0, 60, 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len(set(map(tuple, rounds))) > 1
    assert all(3 * number < value <= 3 * number + 3 for number, value in enumerate(values["b"]))


def test_a_ratio_is_that_of_a_typical_round_whatever_happened_in_another() -> None:
    assert ratio([2.0, 2.0, 90.0], [1.0, 1.0, 1.0]) == 2.0
    assert ratio([2.0, 200.0, 20.0], [1.0, 100.0, 10.0]) == 2.0


@pytest.mark.parametrize(
    ("opportunities", "different", "sizes"), [(10, None, [10]), (401, None, [200, 200, 1]), (600, 200, [200, 200, 200])]
)
def test_a_list_is_read_by_its_cursors_to_the_end(opportunities: int, different: int | None, sizes: list[int]) -> None:
    listing = ListOf(opportunities, different)
    answer = listing()
    pages = [json.loads(answer("/v1/opportunities?per_page=200"))]
    while pages[-1]["has_more"]:
        pages.append(json.loads(answer(f"/v1/opportunities?per_page=200&cursor={pages[-1]['cursor']}")))
    assert [len(page["entries"]) for page in pages] == sizes
    assert listing.pages == len(sizes)
    assert len({entry["uuid"] for page in pages for entry in page["entries"]}) == (different or opportunities)


def echo() -> Callable[[str], bytes]:
    return lambda target: json.dumps(target).encode()


@pytest.mark.parametrize(("scheme", "round_trips"), [("http", 2), ("https", 3)])
def test_a_new_connection_takes_the_round_trips_that_it_takes_elsewhere(
    scheme: str, round_trips: int, tmp_path: Path
) -> None:
    certificate = tmp_path / "certificate.pem"
    write_certificate(certificate)
    with AnsweringServer(echo, round_trip=ROUND_TRIP, certificate=certificate if scheme == "https" else None) as server:
        assert server.url.startswith(f"{scheme}:")
        start = time.monotonic()
        assert requests.get(f"{server.url}/v1/ping", verify=str(certificate), timeout=30).json() == "/v1/ping"
        assert time.monotonic() - start >= round_trips * ROUND_TRIP


def test_the_short_table_has_a_line_for_each_answer() -> None:
    answers = [Answer(title="", body="", remarks="", in_short=InShort("import", "8 ms", "160 ms (HTTP)", "0.05"))]
    assert short_table(answers).splitlines()[-1] == "| import | 8 ms | 160 ms (HTTP) | 0.05 |"


def test_the_readme_has_a_place_for_the_short_table(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text((REPOSITORY / "README.md").read_text())
    before, _, rest = readme.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    write_block(readme, BEGIN, END, "the table")
    assert readme.read_text() == f"{before}{BEGIN}\nthe table\n{END}{after}"


@pytest.mark.parametrize("text", ["", "a b b", "b a", "a a b"])
def test_a_readme_without_one_place_for_a_block_is_left_alone(text: str, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(ValueError, match="needs these two lines"):
        write_block(readme, "a", "b", "x")
    assert readme.read_text() == text
