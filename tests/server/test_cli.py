"""The command line: what it accepts, what it refuses, and how it says so."""

from __future__ import annotations

import pytest

from fullduplex.server.cli import build_parser, load_options, main


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cli_app.py").write_text("async def app(scope, receive, send): ...\nnumber = 3\n")
    return tmp_path


def config(*argv):
    return load_options(build_parser().parse_args(argv)).config


def test_options_become_configuration():
    parsed = config("a:b", "-p", "1", "-b", "x:1", "-b", "y:2,z:3", "--no-access-log", "--ws-max-size", "9")
    assert parsed.app == "a:b"
    assert parsed.port == 1
    assert parsed.bind == ("x:1", "y:2", "z:3")
    assert parsed.access_log is False
    assert parsed.websocket.max_message_bytes == 9


def test_the_application_may_stand_in_the_file(project):
    (project / "pyproject.toml").write_text('[tool.fullduplex]\napp = "a:b"\n')
    assert config().app == "a:b"
    assert config("c:d").app == "c:d"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["a:b", "--prot", "1"], "unrecognized arguments: --prot 1; did you mean --port?"),
        (["a:b", "--port", "x"], "argument --port/-p: 'x' is not a whole number"),
        (["a:b", "--port", "70000"], "70000 is above 65535"),
        (["a:b", "--workers", "0"], "0 is below 1"),
        (["a:b", "--loop", "trio"], "'trio' is not one of auto, asyncio, uvloop"),
        (["a:b", "--work", "2"], "unrecognized arguments: --work 2; did you mean --workers?"),
        (["a:b", "--config", "nowhere.toml"], "nowhere.toml: there is no such file."),
        ([], "no application is named"),
    ],
)
def test_wrong_options_end_with_2_and_one_line(argv, message, capsys):
    with pytest.raises(SystemExit) as ending:
        main(argv)
    assert ending.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "usage: fullduplex APP [options]"
    assert message in lines[-1]
    assert len(lines) == 2


def test_help_lists_the_options_in_groups(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for heading in ("Listening:", "Logs:", "HTTP/1.1:", "WebSocket:", "Connections:"):
        assert f"\n{heading}\n" in text
    assert "--timeout-keep-alive SECONDS" in text


def test_check_config_prints_and_does_not_serve(capsys):
    with pytest.raises(SystemExit) as ending:
        main(["cli_app:app", "--check-config", "--port", "1234"])
    assert ending.value.code == 0
    assert any(line.split() == ["port", "=", "1234", "--port"] for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["cli_app:nothing"], '"cli_app" has no attribute "nothing".'),
        (["cli_app:app", "--ssl-certfile", "nowhere.pem"], "nowhere.pem: No such file or directory."),
        (["cli_app:app", "--ssl-context", "cli_app:nothing"], '"cli_app" has no attribute "nothing".'),
        (["cli_app:app", "--proxy-protocol"], "--proxy-protocol needs --forwarded-allow-ips"),
        (["cli_app:app", "--root-path", "x"], "--root-path x: a path begins with a slash"),
        (["cli_app:number", "--interface", "wsgi"], '"cli_app:number" is not a WSGI application'),
    ],
)
def test_check_config_says_why_a_server_would_not_start(argv, message, capsys):
    with pytest.raises(SystemExit) as ending:
        main([*argv, "--check-config"])
    assert ending.value.code == 1
    error = capsys.readouterr().err
    assert f"error: {message}" in error or message in error
    assert len(error.splitlines()) == 1


def test_a_secret_is_not_shown(capsys):
    with pytest.raises(SystemExit):
        main(["cli_app:app", "--check-config", "--ssl-keyfile-password", "hunter2"])
    assert "hunter2" not in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["--ssl-keyfile-pasword=s3cret"], ["--ssl-keyfile-pasword", "s3cret"]])
def test_the_value_of_a_misspelt_password_is_not_told(argv, capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["a:b", *argv])
    said = capsys.readouterr().err
    assert "unrecognized arguments: --ssl-keyfile-pasword; did you mean --ssl-keyfile-password?" in said
    assert "s3cret" not in said
