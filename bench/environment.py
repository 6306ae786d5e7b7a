"""The environment of a run: a virtual environment with the peers, and the load generator ``wrk``.

Only the standard library is used here: this module runs before the environment exists.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE_DIR = ROOT / ".bench"
VENV_DIR = STATE_DIR / "venv"
REQUIREMENTS = Path(__file__).resolve().parent / "requirements.txt"
COMPILED = os.environ.get("FULLDUPLEX_COMPILE") == "1"  # ours, as setup.py compiles it
VERSIONS = ("3.13", "3.12", "3.11")  # newest first: those for which every peer has wheels


def inside() -> bool:
    """Whether this process runs in the environment already, and the environment is as it should be."""
    return Path(sys.prefix).resolve() == VENV_DIR.resolve() and _stamp_is_current()


def enter(module: str) -> None:
    """Run this program again with the interpreter of the environment, unless that runs it already."""
    if not inside():
        python = ensure()
        os.chdir(ROOT)
        os.execv(python, [python, "-m", module, *sys.argv[1:]])


def ensure() -> str:
    """Make the environment where it is missing or out of date; return the path of its interpreter."""
    python = VENV_DIR / "bin" / "python"
    if not _stamp_is_current():
        interpreter = find_interpreter()
        print(f"bench: making {VENV_DIR} with {interpreter}", file=sys.stderr)
        shutil.rmtree(VENV_DIR, ignore_errors=True)
        STATE_DIR.mkdir(exist_ok=True)
        _call([interpreter, "-m", "venv", str(VENV_DIR)])
        print("bench: installing this project and its peers (once; a minute or so)", file=sys.stderr)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        ours = [str(ROOT)] if COMPILED else ["--editable", str(ROOT)]
        _call([*pip, "--requirement", str(REQUIREMENTS), *ours])
        _stamp_file().write_text(_stamp())
    if shutil.which("wrk") is None:
        _install_wrk()
    return str(python)


def find_interpreter() -> str:
    """The interpreter that the servers run on: ``BENCH_PYTHON``, or the newest of ``VERSIONS`` that is found."""
    chosen = os.environ.get("BENCH_PYTHON")
    if chosen:
        return chosen
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in VERSIONS:
        installed = sorted(pyenv.glob(f"{version}.*/bin/python{version}"), key=_patch_number)
        if installed:
            return str(installed[-1])
        on_path = shutil.which(f"python{version}")
        # A pyenv shim answers to its name although the version behind it may be missing.
        if on_path is not None and subprocess.run([on_path, "-c", ""], capture_output=True).returncode == 0:
            return on_path
    return sys.executable


def _patch_number(path: Path) -> int:
    digits = re.search(r"\.(\d+)$", path.parent.parent.name)
    return int(digits.group(1)) if digits else 0


def _install_wrk() -> None:
    """Debian and its relatives have ``wrk`` as a package; elsewhere the generator in load/http.py is used."""
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("apt-get") is None:
        print("bench: wrk is not installed; our own HTTP load generator is used", file=sys.stderr)
        return
    print("bench: installing wrk", file=sys.stderr)
    subprocess.run(["apt-get", "install", "-y", "-qq", "wrk"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _call(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"bench: {' '.join(command)} failed\n{result.stderr[-4000:]}")


def _stamp_file() -> Path:
    return VENV_DIR / ".installed"


def _stamp() -> str:
    """Changes when what is installed must change."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = REQUIREMENTS.read_text() + repr(project["dependencies"]) + os.environ.get("BENCH_PYTHON", "")
    if COMPILED:  # what is installed is a copy
        wanted += "".join(path.read_text() for path in sorted((ROOT / "src").rglob("*.py")))
    return hashlib.sha256(wanted.encode()).hexdigest()


def _stamp_is_current() -> bool:
    try:
        return _stamp_file().read_text() == _stamp()
    except OSError:
        return False
