"""What the guides say about the server holds: options, variables and files in them exist and load."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from fullduplex.server.cli import build_parser
from fullduplex.server.config import ServerConfig
from fullduplex.server.logs import configure_logging
from fullduplex.server.settings import all_settings

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = [DOCS / "howto" / f"{name}.md" for name in ("tls", "http2", "proxies", "systemd", "logging", "metrics")]


def blocks(guide: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", guide.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_options_and_variables_exist(guide):
    text = guide.read_text(encoding="utf-8")
    flags = {flag for action in build_parser()._actions for flag in action.option_strings}
    ours = re.sub(r"^[$#] (curl|mkcert|systemctl|python manage.py runserver) .*$", "", text, flags=re.MULTILINE)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", ours)) <= flags
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


@pytest.fixture
def apply(tmp_path, monkeypatch):
    """Apply a logging configuration of the guide, in a directory of its own; what is set is undone."""
    loggers = [logging.getLogger(name) for name in ("fullduplex", "fullduplex.access")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    monkeypatch.chdir(tmp_path)

    def apply(block):
        (tmp_path / "logging.toml").write_text(block)
        configure_logging(ServerConfig(log_config="logging.toml"))

    yield apply
    for logger, handlers, level in before:
        for handler in logger.handlers:
            handler.close()
        logger.handlers[:] = handlers
        logger.setLevel(level)


def test_the_logging_configurations_work(apply, tmp_path, capsys):
    names, file = blocks(DOCS / "howto" / "logging.md", "toml")
    apply(file)
    logging.getLogger("fullduplex.access").warning("seen")
    assert '"message": "seen"' in (tmp_path / "access.log").read_text()
    guid = pytest.importorskip("django_guid")
    apply(names)
    guid.set_guid("0f3c5c6e")
    try:
        logging.getLogger("fullduplex.access").info("named")
    finally:
        guid.clear_guid()
    assert capsys.readouterr().err.endswith("named correlation_id=0f3c5c6e\n")
