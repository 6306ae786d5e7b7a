"""Which edits count, and what is told where nothing can be watched."""

from __future__ import annotations

import select
import sys
from pathlib import Path

import pytest

from fullduplex.exceptions import ConfigurationError
from fullduplex.server.config import ServerConfig
from fullduplex.server.edits import Edits, in_words


@pytest.fixture
def edits(tmp_path: Path, request: pytest.FixtureRequest):
    made = Edits(ServerConfig(app="a:b", reload_dirs=(str(tmp_path),), **getattr(request, "param", {})))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("views.py", True),
        ("shop/models.py", True),
        ("notes.txt", False),
        (".hidden.py", False),
        (".venv/lib/site.py", False),
        ("shop/__pycache__/models.py", False),
        ("node_modules/a/b.py", False),
        ("models.pyc", False),
    ],
)
def test_python_files_count_and_hidden_ones_do_not(edits: Edits, tmp_path: Path, path: str, counts: bool) -> None:
    assert edits.counts(str(tmp_path / path)) is counts
    assert not edits.counts("/elsewhere/views.py")


@pytest.mark.parametrize(
    "edits",
    [{"reload_includes": ("*.html", "conf/*.toml"), "reload_excludes": ("migrations", "shop/data", "test_*.py")}],
    indirect=True,
)
def test_patterns_of_names_and_of_paths(edits: Edits, tmp_path: Path) -> None:
    found = {
        path: edits.counts(str(tmp_path / path))
        for path in (
            "a.py",
            "templates/a.html",
            "conf/a.toml",
            "a.toml",
            "shop/migrations/0001.py",
            "shop/data/a.py",
            "data/a.py",
            "test_a.py",
        )
    }
    assert [path for path, counts in found.items() if counts] == [
        "a.py",
        "templates/a.html",
        "conf/a.toml",
        "data/a.py",
    ]


def test_an_edit_wakes_a_selector(edits: Edits, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no source")
    (tmp_path / "views.py").write_text("pass")
    assert select.select([edits], [], [], 30)[0]
    assert edits.take() == [str(tmp_path / "views.py")]
    assert edits.take() == []


def test_a_directory_inside_another_is_watched_once(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    made = Edits(ServerConfig(app="a:b", reload_dirs=(str(tmp_path / "shop"), str(tmp_path))))
    try:
        assert made._folders == [tmp_path]
    finally:
        made.close()


def test_without_watchfiles_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'fullduplex\[reload\]'"):
        Edits(ServerConfig(app="a:b"))


def test_a_directory_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^--reload-dir .*/nowhere: there is no such directory\.$"):
        Edits(ServerConfig(app="a:b", reload_dirs=(str(tmp_path / "nowhere"),)))


def test_of_many_files_a_few_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert in_words([str(tmp_path / f"{name}.py") for name in "ab"]) == "a.py, b.py"
    assert in_words([str(tmp_path / f"{name}.py") for name in "abcde"]) == "a.py, b.py, c.py and 2 more"
