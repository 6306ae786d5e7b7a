"""Files that are no Python: what is required, and what starts the server. They are only told of."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_REQUIRED = re.compile(r"""^[\s"'\[-]*(?:\w+\s*=\s*\[\s*["'])?(channels[-_]redis|channels|daphne)(?![\w./-])""", re.I)
_INSTALLED = re.compile(r"\bpip\S* install\b.*?(?<![\w./-])(channels[-_]redis|channels|daphne)(?![\w./-])", re.I)
_STARTED = re.compile(r"(?<![\w/.-])(daphne|uvicorn|uvicorn\.workers\.\w+|gunicorn)(?![\w.-])")

_REQUIREMENT_NAMES = ("pyproject.toml", "setup.cfg", "Pipfile", "tox.ini")
_COMMAND_SUFFIXES = (".sh", ".yml", ".yaml", ".service", ".conf", ".toml", ".ini")
_COMMAND_NAMES = ("Procfile", "Makefile", "Dockerfile", "justfile")

_INSTEAD = {
    "channels": "requires Channels: fullduplex",
    "channels-redis": "requires channels_redis: fullduplex[redis]",
    "daphne": "requires Daphne: fullduplex",
}


def notes(path: PurePosixPath, source: str) -> list[tuple[int, str]]:
    """Return lines that have to do with Channels or the server, and why."""
    requires = path.name in _REQUIREMENT_NAMES or ("requirements" in str(path) and path.suffix in (".txt", ".in"))
    starts = path.suffix in _COMMAND_SUFFIXES or path.name.startswith(_COMMAND_NAMES)
    if not (requires or starts):
        return []
    found: list[tuple[int, str]] = []
    for number, line in enumerate(source.splitlines(), 1):
        if match := (requires and _REQUIRED.match(line)) or (starts and _INSTALLED.search(line)):
            found.append((number, _INSTEAD[match[1].lower().replace("_", "-")]))
        elif starts and not line.lstrip().startswith("#") and (match := _STARTED.search(line)) and "asgi" in line:
            found.append((number, f"starts {match[1]}: `fullduplex mysite.asgi:application` can take its place"))
    return found
