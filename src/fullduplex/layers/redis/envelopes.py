"""What a message looks like on its channel.

::

    t, b, e, or a Fernet token                  a sealed message (sealing.py)
    k<epoch> <offset>\\n<sealed message>         the same, with its position in a history
    <, = and >, each with a part of the above   one that is too long for a whole, in the order of its parts

Valkey 9 does not count a message of 16 KiB and more in the output buffer of a subscriber: one that stands still would
never be cut off, and the server's memory grow without a bound. So nothing that long is published: a script publishes
the parts, and nothing of others comes in between.
"""

from __future__ import annotations

from fullduplex.layers.history import Position
from fullduplex.layers.redis.commands import Once, Script, Scripted, pack
from fullduplex.layers.redis.connecting import Refused

#: Of what is published as one.
MAX_BYTES = 16_000

_KEPT = ord("k")
_FIRST, _NEXT, _LAST = b"<=>"

#: ``publish(command, channel, data)`` in Lua; returns how many subscribers there are.
PUBLISH_FUNCTION = f"""
local function publish(command, channel, data)
  if #data <= {MAX_BYTES} then return redis.call(command, channel, data) end
  redis.call(command, channel, '<' .. string.sub(data, 1, {MAX_BYTES}))
  local from = 1 + {MAX_BYTES}
  while from + {MAX_BYTES} <= #data do
    redis.call(command, channel, '=' .. string.sub(data, from, from + {MAX_BYTES} - 1))
    from = from + {MAX_BYTES}
  end
  return redis.call(command, channel, '>' .. string.sub(data, from))
end
"""

# KEYS[1]: the channel. ARGV: the command, the data.
_PUBLISH = Script(PUBLISH_FUNCTION + "return publish(ARGV[1], KEYS[1], ARGV[2])")


def publishing(command: str, channel: bytes, data: bytes) -> Once:
    return Once(command, channel, data) if len(data) <= MAX_BYTES else _InParts(command, channel, data)


class _InParts(Scripted):
    """Where a user may not run scripts, it is published as a whole."""

    def __init__(self, command: str, channel: bytes, data: bytes) -> None:
        super().__init__(_PUBLISH, (channel,), (command,), data)
        self._plain = (command, channel, data)
        self._is_refused = False

    def packed(self) -> bytes:
        return pack(*self._plain) if self._is_refused else super().packed()

    def can_spell_out(self, problem: Exception) -> bool:
        if isinstance(problem, Refused) and not self._is_refused:
            self._is_refused = True
            return True
        return super().can_spell_out(problem)


def with_position(sealed: bytes, position: Position) -> bytes:
    return b"k%b %d\n%b" % (position.epoch.encode(), position.offset, sealed)


def read_position(data: bytes) -> tuple[Position | None, bytes]:
    """Return the position that is in front of a sealed message, and that message.

    Raises:
        ValueError: there is none where one should be.
    """
    if not data or data[0] != _KEPT:
        return None, data
    head, mark, sealed = data.partition(b"\n")
    epoch, _, offset = head[1:].partition(b" ")
    if not mark:
        raise ValueError("not a message of this layer: another program uses this prefix")
    return Position(int(offset), epoch.decode()), sealed


class Parts:
    """Puts together what comes in parts on one channel."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def take(self, data: bytes) -> bytes | None:
        """Return a whole message; None: more of it is to come, or its beginning was missed."""
        kind = data[0] if data else 0
        if kind == _FIRST:
            self._parts = [data[1:]]
        elif kind == _NEXT:
            if self._parts:
                self._parts.append(data[1:])
        elif kind == _LAST:
            if self._parts:
                parts, self._parts = self._parts, []
                return b"".join([*parts, data[1:]])
        else:
            return data
        return None
