from __future__ import annotations

import sys

import pytest
from django.core.handlers.wsgi import WSGIHandler

from fullduplex.exceptions import ConfigurationError
from fullduplex.server.loading import load_application, load_wsgi_application

django_application = WSGIHandler()


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


def test_a_wsgi_application_asks_for_its_interface(project):
    for path in ("tests.e2e.plain_wsgi:app", "tests.server.test_loading:django_application"):
        with pytest.raises(ConfigurationError, match="add --interface wsgi"):
            load_application(path, project)
        assert callable(load_wsgi_application(path, project))


def test_an_asgi_application_is_no_wsgi_application(project):
    with pytest.raises(ConfigurationError, match="leave --interface out"):
        load_wsgi_application("asgi_ok:app", project)


def test_what_does_not_tell_how_it_is_called_passes(project):
    assert load_application("builtins:dict", project) is dict
    assert load_wsgi_application("builtins:dict", project) is dict
