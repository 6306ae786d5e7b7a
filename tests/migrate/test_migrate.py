"""``python -m fullduplex.migrate``: what it changes, what it leaves and tells, and that the rest stays as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fullduplex.migrate.python import change_python


def changed(source: str) -> str:
    text = change_python(source)
    assert text.notes == []
    return text.result()


def notes(source: str) -> list[tuple[int, str]]:
    text = change_python(source)
    assert text.result() == source
    return text.notes


@pytest.mark.parametrize(
    "source",
    [
        "from HERE import layers, routing",
        "if x:\n    from  HERE.db  import (  # why\n  database_sync_to_async as a,\n)",
        "import HERE.layers as cl, os",
        "import os, HERE_redis.core as core",
        "from HERE_redis.core import RedisChannelLayer",
        "import HERE.layers\nx = HERE.layers.get_channel_layer()",
        "def f():\n    import HERE_redis.core\n    class L(HERE_redis.core.RedisChannelLayer): ...",
        "import HERE\nä = 'ü', HERE.__version__",
        "from HERE.testing import WebsocketCommunicator, ChannelsLiveServerTestCase",
        "B = {'BACKEND': 'HERE_redis.core.RedisChannelLayer'}",
        '@mock.patch("HERE.layers.get_channel_layer")\ndef t(): ...',
        "M = [r'''HERE.sessions.CookieMiddleware''']",
        "import_module('HERE.auth')",
        "import HERE.layers\nx = f'é {HERE.layers.get_channel_layer()}'",
    ],
)
def test_every_form_of_import_and_path(source: str) -> None:
    after = source.replace("HERE_redis", "fullduplex.channels.redis").replace("HERE", "fullduplex.channels")
    assert changed(source.replace("HERE", "channels")) == after


@pytest.mark.parametrize(
    "source",
    [
        "from .channels import x",
        "from mysite.channels import x",
        "import mysite.channels",
        "channels = models.ManyToManyField('channels')",
        "path('channels/', x); render('channels.html')",
        "# from channels import x",
        "x.channels.layers",
        "TEXT = '''\nfrom channels import x\n'''",
    ],
)
def test_what_only_looks_like_it_stays(source: str) -> None:
    assert notes(source) == []


@pytest.mark.parametrize(
    ("source", "line", "why"),
    [
        ("\nfrom channels.binding.websockets import WebsocketBinding", 2, "no channels.binding.websockets"),
        ("from channels.auth import login, nothing", 1, "no channels.auth.nothing"),
        ("import channels.delay", 1, "no channels.delay"),
        ("from daphne.testing import DaphneProcess", 1, "Daphne"),
        ("import daphne", 1, "Daphne"),
        ("importlib.import_module('channels')", 1, "by a call: fullduplex.channels"),
        ("x = __import__('channels')", 1, "by a call: fullduplex.channels"),
        ("M = ['channels.staticfiles.X']", 1, "no channels.staticfiles.X"),
        ("x = f'channels.layers.{name}'", 1, "inside of a longer string"),
        ("x = 'python -m channels.layers'", 1, "inside of a longer string"),
        (
            "import channels.layers\ndef f(channels): return channels.layers",
            1,
            "line 2 gives the name",
        ),
        ("apps.is_installed('channels')", 1, "asks whether 'channels' is installed"),
        ("if 'channels' in settings.INSTALLED_APPS: ...", 1, "asks whether 'channels' is installed"),
        ("INSTALLED_APPS.append('channels')", 1, "'channels' becomes 'fullduplex', once"),
    ],
)
def test_what_it_cannot_change_it_tells(source: str, line: int, why: str) -> None:
    [(at, told)] = notes(source)
    assert at == line
    assert why in told


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("['daphne', 'a', 'channels', 'b']", "['fullduplex', 'a', 'b']"),
        ("['a', 'daphne', 'channels']", "['fullduplex', 'a']"),
        ("['channels', 'daphne']", "['fullduplex']"),
        ('("fullduplex", "a", "channels")', '("fullduplex", "a")'),
        ("['a', 'channels.apps.ChannelsConfig']", "['fullduplex', 'a']"),
        ("('daphne', 'channels')", "('fullduplex',)"),
        ("('fullduplex', 'channels')", "('fullduplex',)"),
        ("('daphne', 'fullduplex', 'channels',)", "('fullduplex',)"),
        ("('channels', 'a')", "('fullduplex', 'a')"),
        (
            "[\n    'a',  # one\n    'channels',  # two\n    'b',\n]",
            "[\n    'fullduplex',\n    'a',  # one\n    'b',\n]",
        ),
        ("[\r\n  'daphne',\r\n  'a',\r\n  'channels'\r\n]", "[\r\n  'fullduplex',\r\n  'a',\r\n]"),
        ("[\r\n  'a',\r\n  'channels'\r\n]", "[\r\n  'fullduplex',\r\n  'a',\r\n]"),
    ],
)
def test_installed_apps(before: str, after: str) -> None:
    assert changed(f"INSTALLED_APPS = {before}\n") == f"INSTALLED_APPS = {after}\n"


def test_lists_that_are_parts_of_installed_apps() -> None:
    text = change_python("THIRD_PARTY_APPS = ['rest', 'channels']\nINSTALLED_APPS = ['a'] + THIRD_PARTY_APPS\n")
    assert text.result() == "THIRD_PARTY_APPS = ['rest', 'fullduplex']\nINSTALLED_APPS = ['a'] + THIRD_PARTY_APPS\n"
    assert text.notes == [(1, "'fullduplex' must stand before 'django.contrib.staticfiles' in INSTALLED_APPS")]


def test_a_part_that_installed_apps_begins_with() -> None:
    before = "INSTALLED_APPS = ('daphne', 'a') + OTHER_APPS + ('channels', 'b')\n"
    assert changed(before) == "INSTALLED_APPS = ('fullduplex', 'a') + OTHER_APPS + ('b',)\n"
    assert changed("INSTALLED_APPS = ['a', 'channels'] + X") == "INSTALLED_APPS = ['fullduplex', 'a'] + X"
    assert changed("INSTALLED_APPS = ['daphne'] + X + ('channels',)") == "INSTALLED_APPS = ['fullduplex'] + X + ()"
    assert changed("INSTALLED_APPS = ['daphne'] + X + ['channels']") == "INSTALLED_APPS = ['fullduplex'] + X + []"


def test_the_handler_of_the_pages_is_ours_beside_routers() -> None:
    asgi = "from django.core.asgi import get_asgi_application\n"
    assert changed(asgi) == asgi
    routers = "from channels.routing import URLRouter\n"
    after = "from fullduplex import get_asgi_application\nfrom fullduplex.channels.routing import URLRouter\n"
    assert changed(asgi + routers) == after


# The command -------------------------------------------------------------------------------------

SETTINGS = """\
INSTALLED_APPS = [
    "daphne",
    "django.contrib.staticfiles",
    "channels",
]
CHANNEL_LAYERS = {
    "default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [("127.0.0.1", 6379)]}},
}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "mysite/__init__.py": "",
        "mysite/settings.py": SETTINGS,
        "mysite/asgi.py": "from channels.routing import ProtocolTypeRouter\n",
        "broken.py": "from channels import (\n",
        "latin.py": "# coding: latin-1\nfrom channels.layers import get_channel_layer  # \xe4\r\n",
        "requirements.txt": "Django>=5\nchannels[daphne]~=4.2\nchannels_redis\ndjango-channels-x\n",
        "Procfile": "web: daphne -p $PORT mysite.asgi:application\n",
        ".venv/lib/other.py": "from channels import layers\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("latin-1"))
    for command in (["init", "-q"], ["add", *(name for name in files if not name.startswith("."))]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def migrate(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """As a user runs it, who need not have Django."""
    hidden = "import sys, runpy; sys.modules['django'] = None; sys.argv[0] = 'migrate'; "
    run = f"{hidden}runpy.run_module('fullduplex.migrate', run_name='__main__')"
    return subprocess.run([sys.executable, "-c", run, *options], cwd=directory, capture_output=True, encoding="utf-8")


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and ".git" not in path.parts}


def test_dry_run_then_write(project: Path) -> None:
    before = contents(project)
    shown = migrate(project)
    assert (shown.returncode, shown.stderr, contents(project)) == (0, "", before)
    assert "-from channels.routing import ProtocolTypeRouter\n+from fullduplex.channels.routing" in shown.stdout
    for entry in (
        "broken.py:1: cannot be read: '(' was never closed",
        "requirements.txt:2: requires Channels: fullduplex",
        "requirements.txt:3: requires channels_redis: fullduplex[redis]",
        "Procfile:1: starts daphne: `fullduplex mysite.asgi:application` can take its place",
    ):
        assert f"  {entry}" in shown.stdout
    assert shown.stdout.endswith("Would change 5 places in 3 files. Do it with --write.\n")

    written = migrate(project, "--write")
    assert written.stdout.endswith("Changed 5 places in 3 files. See `git diff`.\n")
    after = contents(project)
    assert {path.name for path in after if after[path] != before[path]} == {"settings.py", "asgi.py", "latin.py"}
    assert after[project / "latin.py"].endswith(b"from fullduplex.channels.layers import get_channel_layer  # \xe4\r\n")
    assert after[project / "mysite/settings.py"].decode() == SETTINGS.replace('"daphne"', '"fullduplex"').replace(
        '    "channels",\n', ""
    ).replace("channels_redis", "fullduplex.channels.redis")
    assert "Nothing to change." in migrate(project).stdout


def test_a_package_of_the_projects_own_stays(project: Path) -> None:
    (project / "channels").mkdir()
    (project / "channels/__init__.py").write_text("")
    subprocess.run(["git", "add", "channels"], cwd=project, check=True)
    shown = migrate(project).stdout
    assert "channels: this project has a package of that name; its imports stay" in shown
    assert "+from fullduplex" not in shown
    assert "fullduplex.channels.redis.core.RedisChannelLayer" in shown


def test_where_git_tracks_nothing_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "asgi.py").write_text("from channels.routing import ProtocolTypeRouter\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    refused = migrate(tmp_path)
    assert refused.returncode == 2
    assert "need `git add` first" in refused.stderr


def test_outside_of_git_it_says_so(tmp_path: Path) -> None:
    refused = migrate(tmp_path)
    assert refused.returncode == 2
    assert "not a git repository" in refused.stderr
