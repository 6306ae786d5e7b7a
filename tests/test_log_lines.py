"""What others sent, in a log line."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fullduplex.exceptions import Disconnected
from fullduplex.log_lines import escape, escape_line


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
