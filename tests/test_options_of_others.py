"""The list of options of other servers: it has all of theirs, and what it names here is there."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from daphne.cli import CommandLineInterface
from gunicorn.config import KNOWN_SETTINGS
from uvicorn.main import main as uvicorn_command

from fullduplex.conf import Settings
from fullduplex.server.cli import build_parser

PAGE = Path(__file__).parents[1] / "docs/reference/options-of-others.md"
KEYS = {field.name.upper() for field in dataclasses.fields(Settings)}
OURS = set(build_parser()._option_string_actions)


def rows(server: str) -> list[tuple[list[str], str]]:
    """Return the options of each row of a server's tables, and the column behind them."""
    part = PAGE.read_text().split(f"\n## {server}\n")[1].split("\n## ")[0]
    cells = [line.split(" | ", 1) for line in part.splitlines() if line.startswith("| `")]
    return [(re.findall(r"`([^`]+)`", theirs), ours.removesuffix(" |")) for theirs, ours in cells]


def names(server: str) -> set[str]:
    listed = [name for theirs, _ in rows(server) for name in theirs]
    assert len(listed) == len(set(listed))
    return set(listed)


def test_all_options_are_listed() -> None:
    theirs = {option for parameter in uvicorn_command.params for option in parameter.opts if option.startswith("--")}
    assert names("Uvicorn") == theirs - {"--version", "--help"}
    theirs = set(CommandLineInterface().parser._option_string_actions) - {"-h", "--help"}
    assert names("Daphne") == theirs
    options = {option for setting in KNOWN_SETTINGS for option in setting.cli or ()}
    alone = {setting.name for setting in KNOWN_SETTINGS if not setting.cli} - {"default_proc_name"}  # it is no setting
    assert names("gunicorn") == options | alone


@pytest.mark.parametrize("server", ["Uvicorn", "Daphne", "gunicorn"])
def test_what_is_named_here_is_there(server: str) -> None:
    for theirs, ours in rows(server):
        if ours.startswith("the same"):
            assert set(theirs) <= OURS
        named = set(re.findall(r"`(--[\w-]+)", ours))
        assert named <= OURS, named - OURS
        assert set(re.findall(r"`([A-Z]+_[A-Z_]+)`", ours)) - {"FILE_UPLOAD_TEMP_DIR"} <= KEYS
        assert named or "none, because" in ours or re.search("the same|`[A-Z_]+`", ours), theirs
