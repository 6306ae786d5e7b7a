"""Options before the environment before the file before the defaults."""

from __future__ import annotations

import pytest

from fullduplex.exceptions import ConfigurationError
from fullduplex.server.sources import load


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_source_wins_over_the_next(project):
    (project / "pyproject.toml").write_text(
        '[tool.fullduplex]\nport = 1\nworkers = 1\nlog-level = "error"\nbind = ["unix:/a", "unix:/b"]\n'
    )
    loaded = load({"port": 3, "host": None}, environ={"FULLDUPLEX_PORT": "2", "FULLDUPLEX_LOG_LEVEL": "debug"})
    assert (loaded.config.port, loaded.config.log_level) == (3, "debug")
    assert loaded.config.bind == ("unix:/a", "unix:/b")
    assert loaded.origins == {
        "port": "--port",
        "log_level": "FULLDUPLEX_LOG_LEVEL",
        "workers": "workers in pyproject.toml",
        "bind": "bind in pyproject.toml",
    }
    assert loaded.config.host == "127.0.0.1"


def test_what_is_in_force_is_shown_with_its_origin(project):
    lines = load({"app": "a:b", "uds_mode": 0o600}, environ={"FULLDUPLEX_ACCESS_LOG": "no"}).describe().splitlines()
    shown = {line.split(" = ")[0].strip(): line.split(" = ")[1].split() for line in lines}
    assert shown["app"] == ["a:b", "command", "line"]
    assert shown["uds_mode"] == ["600", "--uds-mode"]
    assert shown["access_log"] == ["off", "FULLDUPLEX_ACCESS_LOG"]
    assert shown["port"] == ["8000", "default"]


@pytest.mark.parametrize("by_variable", [True, False])
def test_a_file_of_our_own_has_the_settings_at_its_top(project, by_variable):
    (project / "server.toml").write_text("port = 1\ntimeout_keep_alive = 2\n")
    environ = {"FULLDUPLEX_CONFIG": "server.toml"} if by_variable else {}
    config = load({}, config_file=None if by_variable else "server.toml", environ=environ).config
    assert config.port == 1
    assert config.http1.keepalive_timeout_s == 2.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", r"^server.toml: there is no setting prot; did you mean port\?\.$"),
        ("port = '1'", r"^server.toml: port: '1' is not a whole number\.$"),
        ("port = true", "True is not a whole number"),
        ("port = 70000", r"^port in server.toml: 70000 is above 65535\.$"),
        ("bind = [1]", "is not a list of texts"),
        ("port = ", "^server.toml: "),
    ],
)
def test_a_wrong_file_is_one_clear_line(project, text, message):
    (project / "server.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load({}, config_file="server.toml", environ={})


def test_a_file_that_was_asked_for_must_be_there(project):
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: there is no such file"):
        load({}, config_file="nowhere.toml", environ={})


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("FULLDUPLEX_PROT", "1", r"^FULLDUPLEX_PROT: there is no such setting; did you mean FULLDUPLEX_PORT\?\.$"),
        ("FULLDUPLEX_PORT", "x", r"^FULLDUPLEX_PORT: 'x' is not a whole number\.$"),
        ("FULLDUPLEX_WORKERS", "-1", r"^FULLDUPLEX_WORKERS: -1 is below 1\.$"),
    ],
)
def test_a_wrong_variable_is_one_clear_line(project, variable, value, message):
    with pytest.raises(ConfigurationError, match=message):
        load({}, environ={variable: value})


def test_an_empty_variable_counts_as_not_set(project):
    assert load({}, environ={"FULLDUPLEX_UDS": "", "FULLDUPLEX_PORT": ""}).origins == {}


def test_kubernetes_describing_a_service_of_our_name_is_not_meant_for_us(project):
    environ = {
        "FULLDUPLEX_SERVICE_HOST": "10.0.0.11",
        "FULLDUPLEX_SERVICE_PORT": "80",
        "FULLDUPLEX_SERVICE_PORT_HTTP": "80",
        "FULLDUPLEX_PORT": "tcp://10.0.0.11:80",
        "FULLDUPLEX_PORT_80_TCP": "tcp://10.0.0.11:80",
        "FULLDUPLEX_PORT_80_TCP_ADDR": "10.0.0.11",
    }
    assert load({}, environ=environ).origins == {}


def test_a_password_that_is_a_number_is_not_told(project):
    (project / "pyproject.toml").write_text("[tool.fullduplex]\nssl_keyfile_password = 31415926\n")
    with pytest.raises(ConfigurationError) as caught:
        load({})
    assert str(caught.value) == "pyproject.toml: ssl_keyfile_password: (hidden) is not a text."
