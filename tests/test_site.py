"""The site of the documents is made without a warning, and shows every public name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import fullduplex
import fullduplex.testing

ROOT = Path(__file__).parents[1]


def test_every_public_name_is_in_the_api_reference() -> None:
    page = (ROOT / "docs/reference/api.md").read_text()
    shown = set(re.findall(r"auto\w+:: (fullduplex[\w.]*)$", page, re.M))
    for module in (fullduplex, fullduplex.testing):
        assert shown >= {f"{module.__name__}.{name}" for name in module.__all__ if name != "__version__"}


def test_the_site_is_made_and_no_link_of_it_leads_nowhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "--conf-dir", "docs"]
    made = subprocess.run([*command, ".", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr
    api = (tmp_path / "docs/reference/api.html").read_text()
    assert all(f'id="fullduplex.{name}"' in api for name in ("Group", "Group.asend", "WebSocket.receive_json"))
    assert (tmp_path / "searchindex.js").stat().st_size > 50_000
    assert "README.html" in (tmp_path / "index.html").read_text()
