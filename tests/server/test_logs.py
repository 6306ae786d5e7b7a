"""Lines for people and for machines, and nothing twice."""

from __future__ import annotations

import json
import logging
import time
from datetime import datetime

import pytest

from fullduplex.exceptions import ConfigurationError
from fullduplex.gateway.access_log import LoggerAccessLog, StructuredAccessLog
from fullduplex.server.config import ServerConfig
from fullduplex.server.logs import JSONFormatter, TextFormatter, configure_logging, make_access_log, tell_failed_start

SCOPE = {
    "method": "GET",
    "raw_path": b"/a%20b",
    "path": "/a b",
    "query_string": b"q=\xc3\xa9",
    "http_version": "1.1",
    "client": ("192.0.2.1", 1234),
    "extensions": {"fullduplex.request_id": {"id": "abc"}},
}


@pytest.fixture
def output(capsys):
    """What is written to standard error, with the loggers as in a new process."""
    loggers = [logging.getLogger(name) for name in ("fullduplex", "fullduplex.access", "fullduplex.server")]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield lambda: capsys.readouterr().err
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


def configure(**options):
    """Configure as in a new process; pytest has handlers of its own on the root logger."""
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        configure_logging(ServerConfig(**options))
    finally:
        root.handlers = handlers


def test_a_message_stays_one_line_and_the_traceback_below_it_passes_for_none(output):
    configure()
    try:
        raise ValueError("boom \x1b[2J\n2026-11-28 12:00:00 INFO    forged")
    except ValueError:
        logging.getLogger("fullduplex.server").exception("bad \r\n\x1b[2J \x85 \u202e path")
    first, *below = output().removesuffix("\n").split("\n")
    assert first.endswith(r"bad \x0d\x0a\x1b[2J \x85 \u202e path")
    assert all(line.startswith("    ") and line.isprintable() for line in below)
    assert below[-2:] == [r"    ValueError: boom \x1b[2J", "    2026-11-28 12:00:00 INFO    forged"]


def test_times_carry_their_offset(output):
    configure()
    logging.getLogger("fullduplex.server").warning("look")
    moment = datetime.strptime(output()[:24], "%Y-%m-%d %H:%M:%S%z")  # fails without an offset
    assert abs(moment.timestamp() - time.time()) < 60


def test_json_lines(output):
    configure(log_format="json")
    log = make_access_log(ServerConfig(log_format="json"))
    assert isinstance(log, StructuredAccessLog)
    log.http(SCOPE, 200, 12, 0.01234567)
    log.websocket_handshake(SCOPE)
    log.websocket_accept(SCOPE)
    log.websocket_refuse(SCOPE, 403)
    log.websocket_close(SCOPE, 1001, 'going\n"away"', "client", 1.5)
    log.http_refuse(SCOPE, 408, "too slow")
    log.http_refuse({"client": ("192.0.2.1", 1)}, 400, "nonsense")
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("fullduplex.server").exception("bad")
    lines = [json.loads(line) for line in output().splitlines()]
    common = {"client": "192.0.2.1:1234", "target": "/a%20b?q=\u00c3\u00a9", "request_id": "abc"}
    assert [line["message"] for line in lines] == [
        "http",
        "websocket.accept",
        "websocket.refuse",
        "websocket.close",
        "http.refuse",
        "http.refuse",
        "bad",
    ]
    assert lines[0].pop("time").endswith("Z")
    assert lines[0] == {
        "level": "info",
        "logger": "fullduplex.access",
        "message": "http",
        **common,
        "method": "GET",
        "http_version": "1.1",
        "status": 200,
        "body_bytes": 12,
        "duration_s": 0.012346,
    }
    assert lines[2]["status"] == 403
    assert (lines[3]["code"], lines[3]["reason"], lines[3]["ended_by"]) == (1001, 'going\n"away"', "client")
    assert (lines[4]["method"], lines[4]["status"], lines[4]["reason"]) == ("GET", 408, "too slow")
    assert {*lines[5]} == {"time", "level", "logger", "message", "client", "status", "reason"}
    assert lines[6]["exception"].endswith("ValueError: boom")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_a_filter_adds_stands_in_the_line(output, log_format):
    class Trace(logging.Filter):
        def filter(self, record):
            record.trace_id = "4bf9\x1b"
            record.about = object()
            return True

    configure(log_format=log_format)
    (handler,) = logging.getLogger("fullduplex").handlers
    handler.addFilter(Trace())
    make_access_log(ServerConfig(log_format=log_format)).http(SCOPE, 200, 12, 0.0123)
    line = output()
    if log_format == "json":
        assert json.loads(line)["trace_id"] == "4bf9\x1b"
        assert "about" not in json.loads(line)
    else:
        assert line.endswith(" 200 12 12.3ms id=abc trace_id=4bf9\\x1b\n")


def test_no_line_is_written_twice_when_the_application_configures_the_root_logger(output):
    configure()
    configure()
    handler = logging.StreamHandler()
    logging.getLogger().addHandler(handler)
    LoggerAccessLog().http(SCOPE, 200, 1, 0.001)
    logging.getLogger().removeHandler(handler)
    text = output()
    assert text.count("GET /a%20b") == 1
    assert text.rstrip().endswith("1.0ms id=abc")


def test_no_access_log():
    assert make_access_log(ServerConfig(access_log=False)) is None
    assert isinstance(make_access_log(ServerConfig()), LoggerAccessLog)


@pytest.mark.parametrize("kind", ["json", "toml"])
def test_a_file_says_where_lines_go(output, tmp_path, kind):
    target = tmp_path / "access.log"
    file = tmp_path / f"logging.{kind}"
    if kind == "json":
        handler = {"class": "logging.FileHandler", "filename": str(target)}
        settings = {"handlers": {"file": handler}, "loggers": {"fullduplex.access": {"handlers": ["file"]}}}
        file.write_text(json.dumps(settings))
    else:
        file.write_text(
            f'[handlers.file]\nclass = "logging.FileHandler"\nfilename = "{target}"\n'
            '[loggers."fullduplex.access"]\nhandlers = ["file"]\n'
        )
    configure(log_config=str(file))
    LoggerAccessLog().http(SCOPE, 200, 1, 0.001)
    for handler in logging.getLogger("fullduplex.access").handlers:
        handler.close()
    assert target.read_text().count("GET /a%20b") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "--log-config .*: "),
        ("[]", "--log-config .*: "),
        ('{"handlers": {"x": {"class": "no.such.Class"}}}', "--log-config .*No module named 'no'"),
    ],
)
def test_a_wrong_file_is_one_clear_line(output, tmp_path, text, message):
    file = tmp_path / "logging.json"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        configure_logging(ServerConfig(log_config=str(file)))
    with pytest.raises(ConfigurationError, match=r"nowhere\.json: No such file"):
        configure_logging(ServerConfig(log_config="nowhere.json"))


def test_formatters_leave_the_record_s_arguments_alone():
    record = logging.LogRecord("fullduplex.x", logging.INFO, "", 0, "%s", ("a\nb",), None)
    assert TextFormatter().format(record).endswith(r"a\x0ab")
    assert json.loads(JSONFormatter().format(record))["message"] == "a\nb"


@pytest.mark.parametrize("change", [None, "disabled", "level", "elsewhere", "filtered", "none"])
def test_what_keeps_a_server_from_starting_is_on_standard_error_once(output, tmp_path, change):
    configure()
    base, logger = logging.getLogger("fullduplex"), logging.getLogger("fullduplex.server")
    (handler,) = base.handlers
    if change == "disabled":
        logger.disabled = True
    elif change == "level":
        base.setLevel("CRITICAL")
    elif change == "elsewhere":
        base.handlers = [logging.FileHandler(tmp_path / "log")]
    elif change == "filtered":
        handler.addFilter(lambda record: False)
    elif change == "none":
        base.handlers = []
    try:
        tell_failed_start("%s is in use\nfor %s", "the port", "certain")
    finally:
        logger.disabled = False
        for one in base.handlers:
            one.close()
    assert output().count("the port is in use") == 1
    if change == "elsewhere":
        assert "the port is in use" in (tmp_path / "log").read_text()
