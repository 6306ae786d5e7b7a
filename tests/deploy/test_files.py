"""The files of ``deploy/``: what linters say of them, and that the guides show what they hold."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guides import HOWTO, blocks, section

DEPLOY = HOWTO.parents[1] / "deploy"
GUIDES = ("deploy", "systemd")
BIN = Path(sys.executable).parent


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


def test_the_guides_show_the_files_word_for_word() -> None:
    """A link to a file, a colon, and the file."""
    shown = {}
    for guide in GUIDES:
        text = (HOWTO / f"{guide}.md").read_text(encoding="utf-8")
        shown |= dict(
            re.findall(r"\(\.\./\.\./deploy/([\w.]+)\)\):\n\n```\w+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        )
    assert set(shown) == {"production.py", "mysite.service", "mysite.socket"}
    assert shown == {name: (DEPLOY / name).read_text(encoding="utf-8") for name in shown}
    assert blocks((HOWTO / "docker.md").read_text(encoding="utf-8"), "dockerfile") == [
        (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    ]
    assert blocks(section("proxies", "nginx"), "nginx") == [(DEPLOY / "nginx.conf").read_text(encoding="utf-8")]


def test_the_list_of_files_is_whole() -> None:
    listed = re.findall(r"\[`([\w.]+)`\]", (DEPLOY / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(file.name for file in DEPLOY.iterdir() if file.name != "README.md")


def test_the_dockerfile() -> None:
    run(BIN / "hadolint", "--failure-threshold", "info", DEPLOY / "Dockerfile")


def test_the_kubernetes_manifest() -> None:
    assert "passed for resource deployment/mysite" in run(
        BIN / "kubernetes-validate", "--strict", DEPLOY / "kubernetes.yaml"
    )


def test_the_compose_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SECRET_KEY=x\n")
    shutil.copy(DEPLOY / "compose.yaml", tmp_path)
    run(BIN / "docker-compose", "--file", tmp_path / "compose.yaml", "config", "--quiet")


def test_the_configuration_of_the_proxy_that_is_not_run() -> None:
    yaml = pytest.importorskip("yaml")
    (http,) = yaml.safe_load(*blocks(section("proxies", "Traefik"), "yaml")).values()
    (router,), (service,) = http["routers"].values(), http["services"].values()
    assert router["service"] in http["services"]
    assert service["loadBalancer"]["serversTransport"] in http["serversTransports"]


def test_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    units = []
    for name in ("mysite.socket", "mysite.service"):
        text = (DEPLOY / name).read_text(encoding="utf-8").replace("/srv/mysite/.venv/bin/python", sys.executable)
        units.append(tmp_path / name)
        units[-1].write_text(text)
    assert run(analyze, "verify", "--man=no", *units) == ""
