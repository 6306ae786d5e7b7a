"""What is made before workers are forked: in processes of their own, since imports happen once."""

from __future__ import annotations

import subprocess
import sys

import pytest

_CODE = """
import sys
from django.conf import settings
contrib = ["django.contrib." + name for name in ("admin", "auth", "contenttypes", "sessions", "messages")]
backend = {"BACKEND": sys.argv[1], "APP_DIRS": True, "OPTIONS": {"context_processors": [
    "django.contrib.auth.context_processors.auth"]}}
settings.configure(INSTALLED_APPS=contrib, TEMPLATES=[backend], ROOT_URLCONF=__name__, DATABASES={})
urlpatterns = []
from fullduplex import get_asgi_application
application = get_asgi_application()
before = {*sys.modules}
application.preload()
print(*{*sys.modules} - before)
"""
_LATE = {
    "django.contrib.admin.views.main",
    "django.contrib.messages.storage.cookie",
    "django.contrib.sessions.serializers",
    "django.db.models.sql.compiler",
    "django.conf.locale.en.formats",
}
_OF_TEMPLATES = {"django.contrib.auth.context_processors", "django.template.loaders.app_directories"}


@pytest.mark.parametrize(
    ("backend", "expected"),
    [("django.template.backends.django.DjangoTemplates", _LATE | _OF_TEMPLATES), ("missing.Backend", _LATE)],
    ids=["all", "what can be made"],
)
def test_what_first_requests_would_import_is_there(backend, expected):
    run = subprocess.run([sys.executable, "-c", _CODE, backend], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert expected <= {*run.stdout.split()}, expected - {*run.stdout.split()}
