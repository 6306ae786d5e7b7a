"""Conformance of codecs: what comes out must not depend on how the input was cut.

For any implementation of :class:`fullduplex.wire.codec.Codec`, ours or a third party's::

    def test_my_codec():
        events = assert_cut_independent(MyCodec, b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
        assert events == [...]
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator

from fullduplex.wire.codec import Codec
from fullduplex.wire.events import Data, Event

#: Called with the codec and the events it just returned; may send events, as an application would.
React = Callable[[Codec, list[Event]], None]


def feed(
    codec: Codec, pieces: Iterable[bytes], *, eof: bool = False, react: React | None = None, now_s: float = 0.0
) -> list[Event]:
    """Give pieces to a codec, one call each, and return all events with adjoining ``Data`` merged.

    Args:
        codec: a fresh codec.
        pieces: the input; time stands still at ``now_s``.
        eof: whether the input ends after the last piece.
        react: sends what an application would; afterwards the codec may hand out what it held back.
    """
    events: list[Event] = []
    for piece in pieces:
        fresh = codec.receive_data(piece, now_s)
        while fresh:
            events += fresh
            if react is not None:
                react(codec, fresh)
            elif not getattr(codec, "holds_data", False):
                break
            fresh = codec.receive_data(b"", now_s)
    if eof:
        events += codec.receive_eof()
    return merged(events)


def merged(events: Iterable[Event]) -> list[Event]:
    """Merge adjoining ``Data`` events of one stream: only their cuts may depend on the input's."""
    result: list[Event] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, Data) and isinstance(last, Data) and last.stream_id == event.stream_id:
            result[-1] = Data(last.data + event.data, event.end_stream, event.stream_id)
        else:
            result.append(event)
    return result


def cuts(data: bytes, *, seed: int = 0, random_count: int = 10) -> Iterator[list[bytes]]:
    """Yield ``data`` whole, byte by byte, and ``random_count`` times cut at random places."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    generator = random.Random(seed)
    for _ in range(random_count):
        count = generator.randint(0, min(8, len(data)))
        places = [0, *sorted(generator.sample(range(len(data)), count)), len(data)]
        yield [data[start:end] for start, end in itertools.pairwise(places)]


def assert_cut_independent(
    make_codec: Callable[[], Codec],
    data: bytes,
    *,
    eof: bool = False,
    react: React | None = None,
    seed: int = 0,
    random_count: int = 10,
) -> list[Event]:
    """Feed ``data`` in every cut to fresh codecs; the events and the bytes they send must be equal.

    Returns:
        The events, adjoining ``Data`` merged.

    Raises:
        AssertionError: a cut gives other events; the message shows the cut.
    """
    expected: tuple[list[Event], bytes] | None = None
    for pieces in cuts(data, seed=seed, random_count=random_count):
        codec = make_codec()
        result = feed(codec, pieces, eof=eof, react=react), codec.data_to_send()
        if expected is None:
            expected = result
        elif result != expected:
            raise AssertionError(f"cut as {pieces!r} this gives\n  {result!r}\nbut whole\n  {expected!r}")
    assert expected is not None
    return expected[0]
