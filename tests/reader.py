"""Somebody who follows a page of ours: types its commands, and pastes its files where it says that they belong.

A block of ``console`` is typed line by line, and what stands below a command is what it must print, but for its
numbers. Another block is a file, if its first line is a comment that names one::

    # mysite/settings.py: put this at the end

Without such words the file becomes what the block says, its first line included.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.process import environment

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 300

_BLOCK = re.compile(r"^```(?P<language>[^\n`]*)\n(?P<code>.*?)^```$", re.M | re.S)
_FILE = re.compile(r"(?:#|//|<!--) (?P<path>[\w./-]+\.\w+)(?:: (?P<note>.*?))?(?: -->)?\n")
_AT_THE_END = "put this at the end"
_HAS_ALREADY = ("python3 -m venv", ". .venv/", "pip install", "playwright install")
_SERVES = ("python manage.py runserver", "python manage.py serve", "python manage.py outbox", "fullduplex ", "celery ")


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
    def commands(self) -> list[tuple[str, list[str]]]:
        """What is to be typed, without its comments, each with the lines that it prints."""
        commands: list[tuple[str, list[str]]] = []
        for line in self.code.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                commands.append((re.sub(r"\s\s+#.*", "", line[2:]), []))
            elif line.strip():
                commands[-1][1].append(line)
        return commands


def snippets(page: str) -> list[Snippet]:
    """All blocks of a page, named by its path in the repository."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Snippet(page, text.count("\n", 0, block.start()) + 1, block["language"], block["code"])
        for block in _BLOCK.finditer(text)
    ]


def assert_shows(output: str, lines: list[str]) -> None:
    """Each line is in the output, whatever the numbers and the time in it are."""
    shown = _without_numbers(output)
    for line in lines:
        assert _without_numbers(line) in shown, f"not printed: {line}\n{output}"


class Reader:
    """In a folder of their own, with the software installed.

    Args:
        folder: empty.
        env: variables that the terminal has; ``export`` adds others.
    """

    def __init__(self, folder: Path, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        # The settings of our own tests have put a time zone into the environment.
        self.env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "TZ": "UTC", **(env or {})}

    def follow(self, snippet: Snippet) -> list[tuple[str, list[str]]]:
        """Do what a block says; return the commands that serve, for the caller to start, and what they print."""
        if snippet.language == "console":
            return [(command, lines) for command, lines in snippet.commands if self._type(command, lines)]
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
            ["bash", "-c", command],
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

    def _type(self, command: str, lines: list[str]) -> bool:
        """Run a command, unless what it installs is there or it serves; return whether it serves."""
        if command.startswith(_HAS_ALREADY):
            return False
        if command.startswith(_SERVES):
            return True
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            self.env[name] = self.run(f"echo -n {value}")
            return False
        if "createsuperuser" in command:  # asks questions; the answers stand in the environment
            command += " --no-input"
        assert_shows(self.run(command), lines)
        return False


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+(\.\d+)*", "0", re.sub(r"\d+/\w{3}/\d{4} [\d:]+", "time", text))
