"""Histories on the server: a stream for each group, and what must be known of it besides.

Of a group ``g`` there are three keys, in one slot of a cluster with its channel::

    {fullduplex:g}:window      nonce, first and last offset, bytes, and times: what a stream does not tell
    {fullduplex:g}:messages    the stream; the id of an entry is its offset and the time in milliseconds
    {fullduplex:g}:requests    offset by request, for what is asked for twice

Scripts keep, trim, publish and read, each as one step. Where one ends half-way (a write that the server refuses), what
it did before is not undone. So the window is written before anything is trimmed or published, and what does not fit it
(the numbers of entries tell) was never acknowledged, or was evicted: all is thrown away, and the window begins anew.

The epoch is the nonce, which is made with the window, and a part of the server's replication id, which is another one
after each start and each promotion: both lose what was acknowledged, while the window says nothing of it. What is left
from earlier epochs is not read any more, and known by its requests: what is asked for again is not kept twice.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from redis.crc import key_slot

from fullduplex.exceptions import ConfigurationError
from fullduplex.layers.history import Keep, Kept, Missed, Position
from fullduplex.layers.redis.commands import Argument, Repeatable, Script
from fullduplex.layers.redis.envelopes import PUBLISH_FUNCTION

logger = logging.getLogger("fullduplex.layers")

# A window may have more messages than it should for a while, so that not every append must trim; reading trims all.
_BEGIN = """
local info = redis.call('INFO', 'replication')
local _, before = string.find(info, 'master_replid:', 1, true)
if not before or not string.find(info, 'role:master', 1, true) then
  return redis.error_reply('READONLY it is no master, or does not tell its master_replid')
end
local server = string.sub(info, before + 1, before + 12)
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local window, messages, requests = KEYS[1], KEYS[2], KEYS[3]
local count, max_bytes, age = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

-- first, last: offsets; former: the last of earlier epochs; since: when the first was kept; gone: when the newest was
-- that is not kept any more.
local nonce, epoch_of, first, last, former, size, since, gone, expires = ARGV[4], server, 1, 0, 0, 0, now, 0, 0
local changed, known = true, redis.call('GET', window)
if known then
  nonce, epoch_of, first, last, former, size, since, gone, expires = cmsgpack.unpack(known)
  local fit = last - first + 1
  changed = redis.call('XLEN', messages) ~= fit or redis.call('HLEN', requests) ~= fit
  if changed then first, size, since, gone, expires = last + 1, 0, now, now, 0 end
end
if changed then redis.call('DEL', messages, requests) end
if epoch_of ~= server then epoch_of, former, changed = server, last, true end
local epoch = nonce .. '-' .. server

local function is_beyond(count, oldest)
  return first <= last and (last - first >= count or size > max_bytes or since <= oldest)
end

-- Take what is beyond the bounds out of the window; return the requests of it, for drop().
local function trim(oldest)
  local dropped = {}
  while is_beyond(count, oldest) do
    local some = math.max(1, math.min(last - first - count + 2, 100))
    local heads = redis.call('XRANGE', messages, first, '+', 'COUNT', some)
    if #heads == 0 then error('a stream without entries') end
    for _, entry in ipairs(heads) do
      since = tonumber(string.match(entry[1], '%d+$'))
      if not is_beyond(count, oldest) then break end
      first, size, gone, changed = first + 1, size - entry[2][4], since, true
      dropped[#dropped + 1] = entry[2][2]
    end
  end
  return dropped
end

local function save()
  local told = cmsgpack.pack(nonce, epoch_of, first, last, former, size, since, gone, expires)
  redis.call('SET', window, told, 'PX', 2 * age + 120000)
end

local function drop(dropped)
  if #dropped == 0 then return end
  redis.call('XTRIM', messages, 'MAXLEN', last - first + 1)
  for from = 1, #dropped, 1000 do
    redis.call('HDEL', requests, unpack(dropped, from, math.min(from + 999, #dropped)))
  end
end
"""

# KEYS[4]: the channel. ARGV: the command that publishes; then of each message data, its bytes before it was sealed, and
# the request, which begins with k where somebody else may have made the same. Answers the epoch and the offsets; 0: it
# was asked for before, and cannot be known any more whether it was done.
APPEND = Script(
    PUBLISH_FUNCTION
    + _BEGIN
    + """
local waited = tonumber(ARGV[#ARGV])
local answer, added, dropped = {epoch}, {}, {}

local function find(request)
  if waited == 0 and string.byte(request) ~= 107 then return nil end
  local found = tonumber(redis.call('HGET', requests, request) or 0)
  if found > 0 then
    for _, old in ipairs(trim(now - age)) do dropped[#dropped + 1] = old end
  end
  if found >= first then return found end
  if waited > 0 and gone >= now - waited then return 0 end
end

local stamp = '-' .. now
for at = 6, #ARGV - 1, 3 do
  local request = ARGV[at + 2]
  local offset = find(request)
  if not offset then
    offset = last + 1
    local text = tostring(offset)
    redis.call('XADD', messages, text .. stamp, 'r', request, 'n', ARGV[at + 1], 'd', ARGV[at])
    redis.call('HSET', requests, request, text)
    if first > last then since, expires = now, 0 end
    last, size, changed = offset, size + ARGV[at + 1], true
    added[#added + 1] = ' ' .. text .. '\\n' .. ARGV[at]
  end
  answer[#answer + 1] = offset
end

if is_beyond(count + math.min(count / 8, 64), now - age * 1.1) then
  for _, old in ipairs(trim(now - age)) do dropped[#dropped + 1] = old end
end
if #added > 0 and expires < now + age then
  local rest = math.floor(age * 1.125) + 10000
  expires = now + rest
  redis.call('PEXPIRE', messages, rest)
  redis.call('PEXPIRE', requests, rest)
end
if changed then save() end
drop(dropped)
for _, message in ipairs(added) do publish(ARGV[5], KEYS[4], 'k' .. epoch .. message) end
return answer
"""
)

# ARGV: offset and epoch of the position behind which to read, or two empty ones; bounds of the answer in messages and
# bytes. Answers {epoch, last, 1 if recovered, entries}.
READ = Script(
    _BEGIN
    + """
local dropped = trim(now - age)
if changed then save() end
drop(dropped)
if ARGV[5] == '' then return {epoch, last, 1, {}} end
local after, max_count, rest = tonumber(ARGV[5]), tonumber(ARGV[7]), tonumber(ARGV[8])
local from = math.max(first, former + 1)
local recovered = ARGV[6] == epoch and after <= last and after + 1 >= from
if recovered then from = after + 1 end
local entries = {}
while from <= last and #entries < max_count do
  local fit = math.ceil(rest * (last - first + 1) / math.max(size, 1)) + 1
  local some = redis.call('XRANGE', messages, from, '+', 'COUNT', math.min(fit, max_count - #entries, 100))
  if #some == 0 then error('a stream without entries') end
  for _, entry in ipairs(some) do
    rest = rest - entry[2][4]
    if rest < 0 and #entries > 0 then return {epoch, last, recovered and 1 or 0, entries} end
    entries[#entries + 1] = entry
  end
  from = from + #some
end
return {epoch, last, recovered and 1 or 0, entries}
"""
)


class Entry(NamedTuple):
    """A message on its way into a history.

    Attributes:
        data: sealed.
        size_bytes: before it was sealed.
        request: what it is known by.
    """

    data: bytes
    size_bytes: int
    request: bytes


class Histories:
    """Makes the calls of a layer, and reads the answers.

    Args:
        publish: the command that publishes on servers of this kind.
        deadline_s: of each call.
        close, open: seal a message with its idempotency key, and undo it.
    """

    def __init__(
        self,
        publish: str,
        deadline_s: float,
        close: Callable[[Any, str], bytes],
        open: Callable[[bytes], tuple[Any, str]],
    ) -> None:
        self._publish = publish
        self._deadline_s = deadline_s
        self._close = close
        self._open = open
        self.begin()

    def begin(self) -> None:
        """At first, and again in each process that is forked: nonces must differ."""
        self._prefix = os.urandom(6).hex().encode()
        self._numbers = itertools.count()

    def entry(self, data: Any, key: str) -> Entry:
        request = b"k" + hashlib.blake2b(key.encode(), digest_size=16).digest() if key else self._nonce()
        size_bytes = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
        return Entry(self._close(data, key), size_bytes, request)

    def append(self, name: bytes, keep: Keep, entries: Sequence[Entry]) -> Repeatable:
        """
        Args:
            name: of the channel.
        """
        arguments = (argument for entry in entries for argument in entry)
        return self._call(APPEND, (*keys_of(name), name), keep, self._nonce(), self._publish, *arguments)

    def appended(self, answer: Any) -> list[Position | None]:
        """None: it is not known whether that one was kept."""
        epoch = answer[0].decode()
        return [Position(offset, epoch) if offset else None for offset in answer[1:]]

    def read(self, name: bytes, keep: Keep, after: Position | None, max_count: int, max_bytes: int) -> Repeatable:
        behind = ("", "") if after is None else (after.offset, after.epoch)
        return self._call(READ, keys_of(name), keep, self._nonce(), *behind, max_count, max_bytes)

    def missed(self, answer: Any, asked: bool) -> Missed:
        """
        Args:
            asked: for what came after a position.
        """
        epoch, last, recovered, entries = answer[0].decode(), answer[1], bool(answer[2]), answer[3]
        messages: list[Kept] = []
        reached = last
        for entry_id, (*_, data) in entries:
            reached = int(entry_id.partition(b"-")[0])
            try:
                message, key = self._open(data)
            except ValueError as error:
                logger.error("A message of a history cannot be read: %s", error)
                messages.clear()
                recovered = False
            else:
                messages.append(Kept(message, Position(reached, epoch), key))
        return Missed(messages, Position(last, epoch), recovered, not asked or reached == last)

    def _call(self, script: Script, keys: tuple[bytes, ...], keep: Keep, *arguments: Argument) -> Repeatable:
        bounds = (keep.count, keep.max_bytes, max(int(keep.age_s * 1000), 1))
        return Repeatable(script, keys, bounds, *arguments, deadline_s=self._deadline_s)

    def _nonce(self) -> bytes:
        return b"%b%x" % (self._prefix, next(self._numbers))


@functools.lru_cache(1024)
def keys_of(name: bytes) -> tuple[bytes, bytes, bytes]:
    """Names of the keys of a group, in the slot of its channel.

    Raises:
        ConfigurationError: braces in the prefix make that impossible.

    Source: Redis Cluster specification, hash tags.
    """
    base = name if b"{" in name else b"{" + name + b"}"
    keys = base + b":window", base + b":messages", base + b":requests"
    if key_slot(keys[0]) != key_slot(name):
        raise ConfigurationError(f"prefix: histories need one without braces, or with a hash tag, not {name!r}.")
    return keys
