"""Histories on the server: a stream for each group, and what must be known of it besides.

Of a group ``g`` there are three keys, in one slot of a cluster with its channel::

    {fullduplex:g}:window      nonce, first and last offset, bytes, and times: what a stream does not tell
    {fullduplex:g}:messages    the stream; the id of an entry is its offset and the time in milliseconds
    {fullduplex:g}:requests    offset by request, for what is asked for twice

Scripts keep, trim, publish and read, each as one step. Where one ends half-way (a write that the server refuses), what
it did before is not undone. So the window is written last but for publishing, and what does not fit it (the numbers of
entries tell) was never acknowledged, or was evicted: it is thrown away, and the window begins behind it.

The epoch is the nonce, which is made with the window, and a part of the server's replication id, which is another one
after each start and each promotion: both lose what was acknowledged, while the window says nothing of it. What is left
from earlier epochs is not read any more, and known by its requests: what is asked for again is not kept twice.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Callable
from typing import Any

from redis.crc import key_slot

from fullduplex.exceptions import ConfigurationError, LayerUnavailable
from fullduplex.layers.history import Keep, Kept, Missed, Position
from fullduplex.layers.redis.envelopes import PUBLISH_FUNCTION
from fullduplex.layers.redis.scripts import Repeatable, Script

logger = logging.getLogger("fullduplex.layers")

# A window may have more messages than it should for a while, so that not every append must trim; reading trims all.
_BEGIN = """
local server = string.match(redis.call('INFO', 'replication'), 'role:master.*master_replid:(%x+)')
if not server then return redis.error_reply('READONLY it is no master, or does not tell its master_replid') end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local window, messages, requests = KEYS[1], KEYS[2], KEYS[3]
local count, max_bytes, age = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

-- first, last: offsets; former: the last of earlier epochs; since: when the first was kept; gone: when the newest was
-- that is not kept any more.
local nonce, epoch_of, first, last, former, size, since, gone, expires = ARGV[4], server, 1, 0, 0, 0, now, 0, 0
local changed = true
local known = redis.call('GET', window)
if known then
  nonce, epoch_of, first, last, former, size, since, gone, expires = unpack(cjson.decode(known))
  local fit = last - first + 1
  changed = redis.call('XLEN', messages) ~= fit or redis.call('HLEN', requests) ~= fit
  if changed then first, size, since, gone, expires = last + 1, 0, now, now, 0 end
end
if changed then redis.call('DEL', messages, requests) end
if epoch_of ~= server then epoch_of, former, changed = server, last, true end
local epoch = nonce .. '-' .. string.sub(server, 1, 12)

local function is_beyond(count, oldest)
  return first <= last and (last - first >= count or size > max_bytes or since <= oldest)
end

local function trim(oldest)
  while is_beyond(count, oldest) do
    local heads, dropped = redis.call('XRANGE', messages, '-', '+', 'COUNT', 100), {}
    if #heads == 0 then error('a stream without entries') end
    for _, entry in ipairs(heads) do
      since = tonumber(string.match(entry[1], '%d+$'))
      if not is_beyond(count, oldest) then break end
      first, size, gone = first + 1, size - entry[2][4], since
      dropped[#dropped + 1] = entry[2][2]
    end
    if #dropped == 0 then return end
    redis.call('XTRIM', messages, 'MAXLEN', last - first + 1)
    redis.call('HDEL', requests, unpack(dropped))
    changed = true
  end
end

local function save()
  local line = string.format('["%s","%s",%.0f,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f]',
    nonce, epoch_of, first, last, former, size, since, gone, expires)
  redis.call('SET', window, line, 'PX', 2 * age + 120000)
end
"""

# KEYS[4]: the channel. ARGV: data, its bytes before it was sealed, request, the command that publishes. Answers
# {offset, epoch}; {0} when it was asked for before, and cannot know any more whether it was done.
APPEND = Script(
    PUBLISH_FUNCTION
    + _BEGIN
    + """
local data, bytes, request = ARGV[5], tonumber(ARGV[6]), ARGV[7]
local found = tonumber(redis.call('HGET', requests, request) or 0)
if found > 0 then trim(now - age) end
if found >= first then return {found, epoch} end
local waited = tonumber(ARGV[#ARGV])
if waited > 0 and gone >= now - waited then return {0, epoch} end
last = last + 1
if first == last then since, expires = now, 0 end
redis.call('XADD', messages, last .. '-' .. now, 'r', request, 'n', bytes, 'd', data)
redis.call('HSET', requests, request, last)
size = size + bytes
if is_beyond(count + math.min(count / 8, 64), now - age * 1.1) then trim(now - age) end
if expires < now + age then
  local rest = math.floor(age * 1.125) + 10000
  expires = now + rest
  redis.call('PEXPIRE', messages, rest)
  redis.call('PEXPIRE', requests, rest)
end
save()
publish(ARGV[8], KEYS[4], 'k' .. epoch .. ' ' .. last .. '\\n' .. data)
return {last, epoch}
"""
)

# ARGV: offset and epoch of the position behind which to read, or two empty ones; bounds of the answer in messages and
# bytes. Answers {epoch, last, 1 if recovered, entries}.
READ = Script(
    _BEGIN
    + """
trim(now - age)
if changed then save() end
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

    def append(self, name: bytes, data: Any, keep: Keep, key: str) -> Repeatable:
        """
        Args:
            name: of the channel.
        """
        request = hashlib.blake2b(key.encode(), digest_size=16).digest() if key else os.urandom(12)
        size_bytes = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
        arguments = (*_window(keep), self._close(data, key), size_bytes, request, self._publish)
        return Repeatable(APPEND, (*keys_of(name), name), arguments, self._deadline_s)

    def appended(self, answer: Any) -> Position:
        """
        Raises:
            LayerUnavailable: it is not known whether it was kept.
        """
        offset, epoch = answer
        if not offset:
            raise LayerUnavailable("Redis: the answer was lost, and what is kept by now does not tell whether it was")
        return Position(offset, epoch.decode())

    def read(self, name: bytes, keep: Keep, after: Position | None, max_count: int, max_bytes: int) -> Repeatable:
        behind = ("", "") if after is None else (after.offset, after.epoch)
        arguments = (*_window(keep), *behind, max_count, max_bytes)
        return Repeatable(READ, keys_of(name), arguments, self._deadline_s)

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


def _window(keep: Keep) -> tuple[int, int, int, str]:
    return keep.count, keep.max_bytes, max(int(keep.age_s * 1000), 1), os.urandom(5).hex()
