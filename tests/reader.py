"""Somebody who follows a page of ours: types its commands, and pastes its files where it says that they belong.

A block of ``console`` is typed line by line. Another block is a file, if its first line is a comment that names one::

    # mysite/settings.py: put this at the end

Without such words the file becomes what the block says, its first line included.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.process import environment

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 300

_BLOCK = re.compile(r"^```(?P<language>[\w-]*)\n(?P<code>.*?)^```$", re.M | re.S)
_FILE = re.compile(r"(?:#|//|<!--|/\*) (?P<path>[\w./-]+\.\w+)(?:: (?P<note>.*?))?(?: -->| \*/)?\n")
_AT_THE_END = "put this at the end"
_HAS_ALREADY = ("python3 -m venv", ". .venv/", "pip install")


@dataclass(frozen=True)
class Snippet:
    """One block of code on a page."""

    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """What is to be typed; a comment and what the command prints are not."""
        joined = self.code.replace("\\\n", " ")
        return [re.sub(r"\s\s+#.*", "", line[2:]) for line in joined.splitlines() if line.startswith("$ ")]


def snippets(page: str) -> list[Snippet]:
    """All blocks of a page, named by its path in the repository."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Snippet(page, text.count("\n", 0, block.start()) + 1, block["language"], block["code"])
        for block in _BLOCK.finditer(text)
    ]


class Reader:
    """In a folder of their own, with the software installed.

    Attributes:
        waiting: the command at which the reader stopped, since it serves until Ctrl-C.
    """

    def __init__(self, folder: Path, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.env = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "DJANGO_SETTINGS_MODULE": "mysite.settings",  # pytest-django has named those of our own tests
            **(env or {}),
        }

    def follow(self, snippet: Snippet) -> list[str]:
        """Do what a block says; return the commands in it that serve, which are for the caller to start."""
        if snippet.language == "console":
            return [command for command in snippet.commands if self._type(command)]
        file = _FILE.match(snippet.code)
        assert file, f"{snippet}: what is to be done with this block?"
        path = self.folder / file["path"]
        if file["note"] == _AT_THE_END:
            path.write_text(path.read_text() + "\n" + snippet.code)
        else:
            assert not file["note"], f"{snippet}: {file['note']!r} is new to the reader"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(snippet.code)
        return []

    def run(self, command: str) -> str:
        """Type a command, and return what it prints.

        Raises:
            AssertionError: it failed.
        """
        done = subprocess.run(
            shlex.split(command),
            cwd=self.folder,
            env=environment(self.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def _type(self, command: str) -> bool:
        """Run a command, unless what it installs is there or it serves; return whether it serves."""
        if command.startswith(_HAS_ALREADY):
            return False
        if "runserver" in command or " serve" in command or command.startswith("fullduplex "):
            return True
        if "createsuperuser" in command:  # asks questions; the answers stand in the environment
            command += " --no-input"
        self.run(command)
        return False
