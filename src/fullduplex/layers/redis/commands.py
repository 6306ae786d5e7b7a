"""What servers are asked to do: a plain command, a script, or a script that may be asked for again."""

from __future__ import annotations

import functools
import hashlib
import math

from fullduplex.layers.redis.connecting import Lost, NotSent, UnknownScript

Argument = str | bytes | int


def pack(*arguments: Argument) -> bytes:
    """A command as it goes over the wire. (That of redis-py takes three times as long.)

    Source: RESP, arrays of bulk strings.
    """
    return b"*%d\r\n%b" % (len(arguments), _pack(arguments))


def _pack(arguments: tuple[Argument, ...]) -> bytes:
    packed = []
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        packed.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(packed)


class Script:
    """A script in Lua; servers know it by its hash once they have seen it."""

    def __init__(self, body: str) -> None:
        self.body = body
        self.sha = hashlib.sha1(body.encode(), usedforsecurity=False).hexdigest()


class Once:
    """A command that is done at most once."""

    def __init__(self, *command: Argument) -> None:
        self._command = command

    def packed(self) -> bytes:
        """What is sent now; asked for with each attempt."""
        return pack(*self._command)

    def may_repeat(self, problem: Exception) -> bool:
        """Whether to try again after a failure."""
        return isinstance(problem, NotSent)

    def can_spell_out(self, problem: Exception) -> bool:
        """Whether to try again at once, as the server only asks to be told all of it."""
        return False


class Scripted(Once):
    """A call of a script that is done at most once.

    Args:
        keys: of the script.
        constants: its first arguments, which are the same in many calls.
        arguments: the others.
    """

    def __init__(
        self, script: Script, keys: tuple[bytes, ...], constants: tuple[Argument, ...], *arguments: Argument
    ) -> None:
        super().__init__(*arguments)
        self._script = script
        self._keys = keys
        self._constants = constants
        self._in_full = False

    def packed(self) -> bytes:
        return self._packed_with()

    def can_spell_out(self, problem: Exception) -> bool:
        if self._in_full or not isinstance(problem, UnknownScript):
            return False
        self._in_full = True
        return True

    def _packed_with(self, *more: Argument) -> bytes:
        count, head = _head(self._script, self._in_full, self._keys, self._constants)
        arguments = self._command + more
        return b"*%d\r\n%b%b" % (count + len(arguments), head, _pack(arguments))


class Repeatable(Scripted):
    """A call of a script that does the same work once, however often it is asked: also when an answer was lost.

    The last argument (``ARGV[#ARGV]``) is how many milliseconds ago it may have been asked for the same; 0: never.

    Args:
        deadline_s: of the call; nobody waits for the answer to a request that is older than twice that (a thread may
            send its last one at the end of it).
    """

    def __init__(
        self,
        script: Script,
        keys: tuple[bytes, ...],
        constants: tuple[Argument, ...],
        *arguments: Argument,
        deadline_s: float,
    ) -> None:
        super().__init__(script, keys, constants, *arguments)
        self._deadline_s = deadline_s
        self._asked = False

    def packed(self) -> bytes:
        asked, self._asked = self._asked, True
        return self._packed_with(math.ceil(2000 * self._deadline_s) + 1000 if asked else 0)

    def may_repeat(self, problem: Exception) -> bool:
        return isinstance(problem, (NotSent, Lost))

    def can_spell_out(self, problem: Exception) -> bool:
        spells_out = super().can_spell_out(problem)
        self._asked = self._asked and not spells_out
        return spells_out


@functools.lru_cache(4096)
def _head(script: Script, in_full: bool, keys: tuple[bytes, ...], constants: tuple[Argument, ...]) -> tuple[int, bytes]:
    begin = ("EVAL", script.body) if in_full else ("EVALSHA", script.sha)
    head = (*begin, len(keys), *keys, *constants)
    return len(head), _pack(head)
