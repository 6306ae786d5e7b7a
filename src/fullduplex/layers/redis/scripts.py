"""What servers are asked to do: a plain command, a script, or a script that may be asked for again."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from fullduplex.layers.redis.connecting import Lost, NotSent, UnknownScript
from fullduplex.layers.redis.pipeline import Argument


class Script:
    """A script in Lua; servers know it by its hash once they have seen it."""

    def __init__(self, body: str) -> None:
        self.body = body
        self.sha = hashlib.sha1(body.encode(), usedforsecurity=False).hexdigest()


class Once:
    """A command that is done at most once."""

    def __init__(self, command: tuple[Argument, ...]) -> None:
        self._command = command

    def command(self) -> tuple[Argument, ...]:
        return self._command

    def may_repeat(self, problem: Exception) -> bool:
        """Whether to try again after a failure."""
        return isinstance(problem, NotSent)

    def can_spell_out(self, problem: Exception) -> bool:
        """Whether to try again at once, as the server only asks to be told all of it."""
        return False


class Scripted(Once):
    """A call of a script that is done at most once."""

    def __init__(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument]) -> None:
        super().__init__((len(keys), *keys, *arguments))
        self._script = script
        self._in_full = False

    def command(self) -> tuple[Argument, ...]:
        begin = ("EVAL", self._script.body) if self._in_full else ("EVALSHA", self._script.sha)
        return (*begin, *self._command)

    def can_spell_out(self, problem: Exception) -> bool:
        if self._in_full or not isinstance(problem, UnknownScript):
            return False
        self._in_full = True
        return True


class Repeatable(Scripted):
    """A call of a script that does the same work once, however often it is asked: also when an answer was lost.

    The last argument (``ARGV[#ARGV]``) is how many milliseconds ago it may have been asked for the same; 0: never.

    Args:
        deadline_s: of the call; nobody waits for the answer to a request that is older than twice that (a thread may
            send its last one at the end of it).
    """

    def __init__(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument], deadline_s: float) -> None:
        super().__init__(script, keys, arguments)
        self._longest_ms = math.ceil(2000 * deadline_s) + 1000
        self._asked = False

    def command(self) -> tuple[Argument, ...]:
        asked, self._asked = self._asked, True
        return (*super().command(), self._longest_ms if asked else 0)

    def may_repeat(self, problem: Exception) -> bool:
        return isinstance(problem, (NotSent, Lost))

    def can_spell_out(self, problem: Exception) -> bool:
        spells_out = super().can_spell_out(problem)
        self._asked = self._asked and not spells_out
        return spells_out
