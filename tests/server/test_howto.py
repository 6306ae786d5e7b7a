"""What the guides say about the server holds: options, variables and files in them exist and load."""

from __future__ import annotations

import logging
import re
import tomllib
from pathlib import Path

import pytest

from fullduplex.server.cli import build_parser
from fullduplex.server.config import ServerConfig
from fullduplex.server.logs import configure_logging
from fullduplex.server.settings import all_settings

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = [DOCS / "howto" / f"{name}.md" for name in ("tls", "proxies", "systemd", "logging")]


def blocks(guide: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", guide.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_options_and_variables_exist(guide):
    text = guide.read_text(encoding="utf-8")
    flags = {flag for action in build_parser()._actions for flag in action.option_strings}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= flags
    variables = {setting.variable for setting in all_settings().values()}
    assert set(re.findall(r"FULLDUPLEX_\w+", text)) <= variables


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_commands_parse(guide):
    commands = [block.replace("\\\n", " ") for block in blocks(guide, "console")]
    commands += [line.partition("=")[2] for block in blocks(guide, "ini") for line in block.splitlines()]
    for line in "\n".join(commands).splitlines():
        program, _, arguments = line.partition("fullduplex ")
        if arguments and "console" not in program:
            assert build_parser().parse_args(arguments.split()).app == "mysite.asgi:application"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_examples_in_python_compile(guide):
    for block in blocks(guide, "python"):
        compile(block, guide.name, "exec")


def test_the_logging_configuration_works(tmp_path, monkeypatch):
    (block,) = blocks(DOCS / "howto" / "logging.md", "toml")
    tomllib.loads(block)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logging.toml").write_text(block)
    logger = logging.getLogger("fullduplex.access")
    before = logger.handlers[:]
    try:
        configure_logging(ServerConfig(log_config="logging.toml"))
        logger.warning("seen")
        assert '"message": "seen"' in (tmp_path / "access.log").read_text()
    finally:
        for handler in logger.handlers:
            handler.close()
        logger.handlers[:] = before
