from __future__ import annotations

import sys

import pytest

from fullduplex.exceptions import ConfigurationError
from fullduplex.server.loading import load_application


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    (tmp_path / "asgi_ok.py").write_text("async def app(scope, receive, send): ...\nclass N: inner = app\nnumber = 3\n")
    (tmp_path / "asgi_broken.py").write_text("import no_such_dependency\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield str(tmp_path)
    for name in ("asgi_ok", "asgi_broken"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("path", ["asgi_ok:app", "asgi_ok:N.inner"])
def test_an_application_is_found_in_app_dir(path, project):
    assert load_application(path, project).__name__ == "app"


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("asgi_ok", "not of the form module:attribute"),
        (":app", "not of the form"),
        ("asgi_ok:", "not of the form"),
        ("asgi_missing:app", 'no module named "asgi_missing" in .*--app-dir'),
        ("asgi_ok:missing", 'has no attribute "missing"'),
        ("asgi_ok:number", "cannot be called"),
    ],
)
def test_a_wrong_path_is_one_clear_line(path, line, project):
    with pytest.raises(ConfigurationError, match=line):
        load_application(path, project)


def test_an_error_inside_the_module_keeps_its_traceback(project):
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        load_application("asgi_broken:app", project)
