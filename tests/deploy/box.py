"""A copy of this machine that is thrown away: in it commands run with the paths, users and ports that the guides name.

Needs root, and a kernel that mounts overlays; elsewhere tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 900.0  # pip has much to do, on a busy machine
# Debian's Python: one in a home directory is nothing that a service's user may run.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

ENTER = """
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/changed" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/changed,workdir=$1/work" "$1/root"
mount --bind /dev "$1/root/dev"
mount -t proc proc "$1/root/proc"
mount -t tmpfs tmpfs "$1/root/run"
"""
CHROOT = """
cd /
exec chroot "$1/root" bash -euo pipefail "$2"
"""


class Box:
    """Runs scripts of bash as root, each in a copy of its own.

    Args:
        folder: an empty one, for the copy and the scripts.
    """

    def __init__(self, folder: Path) -> None:
        self._copy = folder / "copy"
        self._copy.mkdir()
        self._folder = folder
        if os.geteuid() or shutil.which("unshare") is None:
            pytest.skip("needs root, and unshare")
        if self._enter(ENTER).returncode:
            pytest.skip("this kernel mounts no overlay here")

    def run(self, script: str) -> str:
        """Return what a script prints; it ends with its first command that fails, which fails the test."""
        file = self._folder / "script"
        file.write_text(script)
        done = self._enter(ENTER + CHROOT, str(file))
        assert done.returncode == 0, f"status {done.returncode}:\n{done.stdout[-10_000:]}"
        return done.stdout

    def _enter(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        own = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
        return subprocess.run(
            [*own, "bash", "-c", script, "bash", str(self._copy), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env={"PATH": PATH, "HOME": "/root", "PYTHONUNBUFFERED": "1"},
        )


def make_wheel() -> str:
    """Commands that build a wheel of ours, which pip finds from then on."""
    return f"""
{sys.executable} -m pip wheel --quiet --no-deps --wheel-dir /root/wheels {ROOT}
export PIP_FIND_LINKS=/root/wheels PIP_DISABLE_PIP_VERSION_CHECK=1
"""


def make_project() -> str:
    """Commands that make a new project in the current folder, as a newcomer has it, with views to be visited."""
    views = ROOT / "tests" / "e2e"
    return f"""
django-admin startproject mysite .
sed -i 's/^INSTALLED_APPS = \\[/INSTALLED_APPS = [\\n    "fullduplex",/' mysite/settings.py
cp {views}/site_views.py mysite/views.py
cp {views}/site_urls.py mysite/urls.py
cp {ROOT}/deploy/production.py mysite/
"""
