"""The one shape of every codec. Bytes and time go in, events come out, and the other way round.

Codecs know no clock, socket, loop or thread. Rules that all of them keep:

- What events come out does not depend on how the bytes were cut (except where ``Data`` is cut).
- Bad input never raises: it becomes one :class:`~fullduplex.wire.events.ProtocolFailed`, after the
  events of the valid input before it.
- Wrong use by our own side raises :class:`~fullduplex.exceptions.LocalProtocolError`, and changes nothing.
- ``receive_data(b"", now_s)`` lets time pass: call it when ``next_deadline_s()`` is reached. It also
  hands out the requests that were held back while an earlier one was being answered (HTTP/1.1 pipelining).
"""

from __future__ import annotations

from typing import Protocol

from fullduplex.wire.events import Event


class Codec(Protocol):
    """Sans-I/O protocol state of one connection."""

    def receive_data(self, data: bytes, now_s: float) -> list[Event]:
        """Take bytes from the peer and return what they mean."""

    def receive_eof(self) -> list[Event]:
        """Take note that the peer sends no more."""

    def send(self, event: Event) -> None:
        """Queue an event for the peer.

        Raises:
            LocalProtocolError: the event is malformed, or not allowed now.
        """

    def data_to_send(self) -> bytes:
        """Return and forget the bytes queued for the peer."""

    def next_deadline_s(self) -> float | None:
        """The time at which ``receive_data(b"", now_s)`` must be called, if any."""
