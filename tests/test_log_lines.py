"""What others sent, in a log line."""

from __future__ import annotations

import logging

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fullduplex.exceptions import Disconnected
from fullduplex.log_lines import Spate, address, enable_loggers, escape, escape_line
from fullduplex.testing.transport import FakeClock


@given(st.text())
@example("\r\n\x00\x1b[2J\x7f\x85\x9b\xa0")
@example("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
@example("\ud800\U000e0041")
def test_a_value_is_one_printable_line_that_tells_what_it_was(text: str) -> None:
    escaped = escape(text)
    assert escaped.isprintable()
    assert '"' not in escaped
    escaped.encode()
    literal = escaped.encode("ascii", "backslashreplace").decode()
    assert literal.encode().decode("unicode_escape") == text, "nothing else looks like it"


@pytest.mark.parametrize("text", ["", "/rooms/tea/?page=2", "Grüße, 世界 🌍"])
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert escape(text) is text
    assert escape_line(text) is text


def test_a_line_keeps_what_is_escaped_already() -> None:
    assert escape_line(r'"GET /\x0a" 200') == r'"GET /\x0a" 200'
    assert escape_line("a\nb\u202ec") == r"a\x0ab\u202ec"


def test_the_error_of_a_client_that_left_shows_its_reason_in_one_line() -> None:
    error = Disconnected(4000, "bye\nforged \u202e")
    assert str(error) == r"the peer is gone (4000, bye\x0aforged \u202e)"
    assert error.reason == "bye\nforged \u202e"


@pytest.mark.parametrize(
    ("peer", "shown"),
    [
        (("192.0.2.1", 80), "192.0.2.1:80"),
        (("2001:db8::1", 80), "[2001:db8::1]:80"),
        (("/tmp/a\nb", None), r"/tmp/a\x0ab"),
        (None, "-"),
    ],
)
def test_addresses(peer: tuple[str, int | None] | None, shown: str) -> None:
    assert address(peer) == shown


def test_of_a_spate_so_many_lines_a_second_are_written_and_the_rest_is_counted() -> None:
    lines: list[str] = []
    clock = FakeClock()
    spate = Spate(lambda text, *args: lines.append(text % args), "%d more came", clock, most_count=2)
    for number in range(5):
        spate.tell("%d came", number)
    spate.sum_up()
    assert lines == ["0 came", "1 came"], "the second is not over"
    clock.advance(1)
    spate.sum_up()
    spate.sum_up()
    assert lines == ["0 came", "1 came", "3 more came"]
    for number in (5, 6):
        spate.tell("%d came", number)
    clock.advance(10)
    spate.tell("%d came", 7)
    assert lines[3:] == ["5 came", "6 came", "7 came"]
    clock.advance(1)
    spate.sum_up()
    assert len(lines) == 6, "there were no others"


def test_our_loggers_are_enabled_and_no_others() -> None:
    names = ("fullduplex", "fullduplex.server", "fullduplex_of_others", "others")
    loggers = [logging.getLogger(name) for name in names]
    try:
        for logger in loggers:
            logger.disabled = True
        enable_loggers()
        assert [logger.disabled for logger in loggers] == [False, False, True, True]
    finally:
        for logger in loggers:
            logger.disabled = False
