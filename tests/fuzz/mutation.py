"""Made-up input that still looks like input: good examples, cut, joined, repeated, and sprinkled with words."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

MAX_INPUT_BYTES = 20_000
_REPEATS = (2, 2, 3, 8, 40, 300)


def mutate(random: Random, vectors: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """One vector with up to five changes; a quarter have none or one, so that most of what is read still goes deep."""
    data = random.choice(vectors)
    for _ in range(random.choice((0, 1, 1, 2, 2, 3, 4, 5))):
        data = random.choice(_CHANGES)(random, data, vectors, words)
    return data[:MAX_INPUT_BYTES]


def _span(random: Random, data: bytes) -> tuple[int, int]:
    """A part of the data, short more often than long."""
    start = int(random.random() * (len(data) + 1))
    size = int((len(data) - start + 1) * random.random() ** 3)
    return start, start + size


def _insert_word(random: Random, data: bytes, vectors: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    place = int(random.random() * (len(data) + 1))
    return data[:place] + random.choice(words) + data[place:]


def _replace_by_word(random: Random, data: bytes, vectors: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    start, end = _span(random, data)
    return data[:start] + random.choice(words) + data[end:]


def _swap_words(random: Random, data: bytes, vectors: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Put another word in the place of one that is there: the change most likely to keep the rest valid."""
    old = random.choice(words)
    place = data.find(old) if old else -1
    return data if place < 0 else data[:place] + random.choice(words) + data[place + len(old) :]


def _delete(random: Random, data: bytes, vectors: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    start, end = _span(random, data)
    return data[:start] + data[end:]


def _repeat(random: Random, data: bytes, vectors: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    start, end = _span(random, data)
    return data[:start] + data[start:end] * random.choice(_REPEATS) + data[end:]


def _flip_bit(random: Random, data: bytes, vectors: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    if not data:
        return data
    place = int(random.random() * len(data))
    return data[:place] + bytes((data[place] ^ 1 << random.randrange(8),)) + data[place + 1 :]


def _set_byte(random: Random, data: bytes, vectors: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    place = int(random.random() * (len(data) + 1))
    return data[:place] + bytes((random.getrandbits(8),)) + data[place + 1 :]


def _splice(random: Random, data: bytes, vectors: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """The beginning of this and the end of another."""
    other = random.choice(vectors)
    return data[: int(random.random() * (len(data) + 1))] + other[int(random.random() * (len(other) + 1)) :]


def _append(random: Random, data: bytes, vectors: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    return data + random.choice(vectors)


def _truncate(random: Random, data: bytes, vectors: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    return data[: int(random.random() * (len(data) + 1))]


_CHANGES = (
    _insert_word,
    _replace_by_word,
    _swap_words,
    _swap_words,
    _swap_words,
    _delete,
    _repeat,
    _flip_bit,
    _set_byte,
    _splice,
    _append,
    _truncate,
)
