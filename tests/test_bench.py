"""The arithmetic of the benchmarks: a wrong ratio would be worse than none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import inside
from bench.figures import Spread, human, percentile, ratios
from bench.load import frames
from bench.load.http import Request, _end_of_response
from bench.load.patient import KINDS, Kind
from bench.report import Table, markdown, text
from bench.scenario import Column, Measurement, Scenario
from bench.server import CPU, Peer
from bench.workers import Row as WorkersRow
from bench.workers import table as workers_table
from bench.worst import Row
from fullduplex.limits import WebSocketLimits
from fullduplex.wire.events import Message
from fullduplex.wire.websocket import WebSocketCodec


class Example(Scenario):
    name = "example"
    title = "An example"
    columns = (Column("per_s", "things/s"), Column("p99_ms", "p99 ms"))
    goals = {"theirs": 2.0}  # noqa: RUF012


OURS = Peer("ours", lambda port: [], ours=True)
THEIRS = Peer("theirs", lambda port: [])


def table(ours: list[Measurement], theirs: list[Measurement]) -> Table:
    return Table(Example(), [OURS, THEIRS], {"ours": ours, "theirs": theirs})


def rates(*values: float) -> list[Measurement]:
    return [Measurement({"per_s": value, "p99_ms": 1.0}) for value in values]


def test_spread() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(median=2.0, low=1.0, high=3.0)


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (0, 1)])
def test_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], percent) == expected


def test_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_ratios_compare_round_by_round() -> None:
    # Both become ten times slower in the second round: medians of each would say 2, and so do the rounds.
    assert ratios([100.0, 10.0], [50.0, 5.0]) == Spread(2.0, 2.0, 2.0)


def test_ratios_leave_out_rounds_that_failed() -> None:
    assert ratios([100.0, None, 90.0], [50.0, 1.0, None]) == Spread(2.0, 2.0, 2.0)
    assert ratios([None], [1.0]) is None


@pytest.mark.parametrize(("value", "shown"), [(83_120.4, "83,120"), (512.4, "512"), (14.23, "14.2"), (0.868, "0.87")])
def test_human(value: float, shown: str) -> None:
    assert human(value) == shown


def test_cost_of_one_operation() -> None:
    figures = (CPU(user_s=1.5, system_s=0.9) - CPU(user_s=0.5, system_s=0.4)).figures(operations=1000, elapsed_s=2.0)
    assert figures == {"cpu_us": 1500.0, "user_us": 1000.0, "server_busy": 0.75}


def test_a_table_shows_medians_ratios_and_goals() -> None:
    shown = text(table(rates(100, 300, 200), rates(50, 100, 100)))
    assert "200   100 - 300" in shown
    assert "2.00 (2.00 - 3.00)  2: reached" in shown
    assert "2: missed" in text(table(rates(100), rates(90)))


@pytest.mark.parametrize(("kib", "shown"), [(4.9, "5: reached"), (5.1, "5: missed")])
def test_a_goal_may_be_a_figure_of_our_own(kib: float, shown: str) -> None:
    class Small(Example):
        columns = (Column("kib", "KiB"),)
        less_is_better = True
        goals = {}  # noqa: RUF012
        own_goal = 5

    assert shown in text(Table(Small(), [OURS], {"ours": [Measurement({"kib": kib})]}))


def test_errors_leave_no_figure() -> None:
    shown = table(rates(100, 100), [*rates(50), Measurement({"per_s": 999_999.0}, errors=3, note="wrong answers")])
    assert not shown.good(THEIRS)
    assert shown.ratio(THEIRS) is None
    for form in (text(shown), markdown(shown)):
        assert "failed" in form
        assert "not measured" in form
        assert "theirs: wrong answers" in form
        assert "999,999" not in form


def test_a_server_that_was_not_busy_is_marked() -> None:
    waiting = Measurement({"per_s": 1.0, "server_busy": 0.3, "load_busy": 0.97})
    assert "theirs: used 30% of its core: the load generator was the limit" in text(table(rates(1), [waiting]))


def test_frames_of_the_load_generator_are_understood() -> None:
    payload = b"x" * 300
    codec = WebSocketCodec(WebSocketLimits(), deflate=None, now_s=0.0)
    (event,) = codec.receive_data(frames.client_frame(payload), 0.0)
    assert isinstance(event, Message)
    assert event.data == payload.decode()
    codec.send(Message(payload.decode()))
    sent = codec.data_to_send()
    assert sent == frames.server_frame(payload)
    reader = frames.FrameReader()
    got = [frame for index in range(len(sent)) for frame in reader.feed(sent[index : index + 1])]
    assert got == [(0x81, payload)]


def test_the_accept_of_the_handshake_is_checked() -> None:
    assert not frames.accepts(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: c29tZXRoaW5nIGVsc2U=")


def test_the_size_of_a_response() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    assert _end_of_response(head + b"hell") is None
    assert _end_of_response(head + b"hello, and more") == len(head) + 5
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    assert _end_of_response(chunked) == len(chunked)


@pytest.mark.parametrize("name", inside.SCENARIOS)
async def test_inside_measures_requests_that_are_answered(name: str) -> None:
    assert await inside.measure(name, turns=8) > 0


def test_a_request_is_whole() -> None:
    encoded = Request("/json/", "POST", b"{}", {"Content-Type": "application/json"}).encode(80)
    assert encoded == (
        b"POST /json/ HTTP/1.1\r\nHost: 127.0.0.1:80\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )


def test_clients_that_the_server_takes_nothing_from_are_measured() -> None:
    kind = Kind("example", "", b"", keeps=True)
    row = Row(kind, 10, 40_000_000, 60_000_000, 10, 0, quiet_ms=1.0, arriving_ms=9.0, meanwhile_ms=1.9, open_count=10)
    assert row.beside_bytes == 2_000_000
    assert row.misses == ["memory of each"]
    assert replace(row, kind=replace(kind, keeps=False)).beside_bytes == 6_000_000
    worse = replace(row, held_bytes=0, most_bytes=500 * 2**20, meanwhile_ms=2.1)
    assert worse.misses == ["memory of all", "p99"]
    dropped = replace(row, open_count=9)
    assert dropped.beside_bytes is None
    assert dropped.misses == []
    assert dropped.cells()[2] == "10, 9 stay"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_kinds_of_patient_clients_say_what_the_codecs_understand(kind: Kind) -> None:
    head = kind.head.partition(b"\r\n\r\n")[0]
    assert head.startswith((b"GET /", b"POST /"))
    assert len(head) < 65_536
    assert kind.data or not kind.again


def test_workers_compare_round_by_round() -> None:
    ours = [WorkersRow(1.0, 40.0, 80.0, 0.1), WorkersRow(2.0, 40.0, 80.0, 0.1)]
    theirs = [WorkersRow(4.0, 100.0, 160.0, 0.5), WorkersRow(8.0, 100.0, 160.0, 0.5)]
    *_, line = workers_table({"fullduplex": ours, "uvicorn": theirs})
    assert "6.00 (4.00 - 8.00); ours is 0.25 of 0.5: reached" in line
    assert "ours is 0.40 of 0.35: missed" in line
