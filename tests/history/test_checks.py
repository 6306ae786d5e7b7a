"""The checks of the app keep nobody from migrating."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SETTINGS = """
SECRET_KEY = "a"
INSTALLED_APPS = ["fullduplex.history"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "kept.sqlite3",
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},
    }
}
USE_TZ = True
"""


def manage(folder: Path, *command: str) -> str:
    program = [sys.executable, "-m", "django", *command, "--settings", "kept_settings", "--pythonpath", str(folder)]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout + done.stderr


def test_a_database_without_tables_is_told_of_and_can_be_migrated(tmp_path: Path) -> None:
    (tmp_path / "kept_settings.py").write_text(SETTINGS)
    assert "fullduplex.W031" in manage(tmp_path, "check", "--database", "default")
    assert "fullduplex.W031" not in manage(tmp_path, "migrate"), "it is being done"
    assert "fullduplex.W031" not in manage(tmp_path, "check", "--database", "default")
