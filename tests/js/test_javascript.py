"""The JavaScript client: its own tests under Node, its types, and what comes out of `npm pack`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fullduplex import __version__

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "src" / "fullduplex" / "static" / "fullduplex"
HERE = Path(__file__).parent
TYPESCRIPT = "typescript@7.0.2"
TIMEOUT_S = 300.0

IMPORTING = """
import { ClientError, connect } from "fullduplex";
globalThis.WebSocket ??= class { close() {} }; // Node has it from 22 on
const client = connect("http://127.0.0.1:1/realtime/", { events: null });
client.close();
console.log(client.status.state, new ClientError("full", "").code);
"""

# What is wrong in it is expected, so that a client without types would not pass.
TYPED = """
import { type Position, connect } from "fullduplex";
const client = connect("/realtime/", { onStatus: ({ state }) => console.log(state.length) });
const room = client.subscribe("chat.1", { onMessage: (data, { offset }) => console.log(data, offset?.toFixed()) });
export const position: Promise<Position | null> = room.publish({ text: "hello" }).then((done) => done.position);
// @ts-expect-error
connect(1);
// @ts-expect-error
room.publsh({});
// @ts-expect-error
export const text: Promise<string> = room.publish({ text: "hello" }).then((done) => done.position);
"""

COLLECTING = """
import sys
from django.conf import settings
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core.management import call_command
import django

class Storage(ManifestStaticFilesStorage):
    support_js_module_import_aggregation = True

settings.configure(
    INSTALLED_APPS=["fullduplex", "django.contrib.staticfiles"],
    STATIC_ROOT=sys.argv[1],
    STATIC_URL="static/",
    STORAGES={"staticfiles": {"BACKEND": "__main__.Storage"}},
)
django.setup()
call_command("collectstatic", "--no-input", "--verbosity", "0")
"""


def run(*command: str, cwd: Path = ROOT) -> str:
    """Run to the end and return what was written; whatever is not installed skips the test."""
    program = shutil.which(command[0])
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    env = {name: value for name, value in os.environ.items() if name != "NODE_OPTIONS"}
    done = subprocess.run([program, *command[1:]], cwd=cwd, env=env, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def npm(*arguments: str, cwd: Path) -> str:
    return run("npm", *arguments, "--no-audit", "--no-fund", "--ignore-scripts", "--cache", str(cwd / "cache"), cwd=cwd)


def test_its_own_tests_pass() -> None:
    run("node", "--test", *map(str, sorted(HERE.glob("*.test.mjs"))))


def test_the_package_for_npm_is_of_our_version_and_license() -> None:
    package = json.loads((CLIENT / "package.json").read_text())
    assert package["version"] == __version__
    assert package["license"] == "BSD-3-Clause"
    assert (CLIENT / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert "dependencies" not in package


@pytest.mark.parametrize("hashed", [False, True], ids=["as they are", "with hashed names"])
def test_the_modules_that_django_collects_find_each_other(tmp_path: Path, hashed: bool) -> None:
    """``support_js_module_import_aggregation`` rewrites imports with regular expressions, in comments, too."""
    run(sys.executable, "-c", COLLECTING, str(tmp_path))
    folder = tmp_path / "fullduplex"
    (client,) = folder.glob("client.????????????.js") if hashed else [folder / "client.js"]
    assert (
        ".js" in re.sub(r"\.[0-9a-f]{12}\.js", "", re.sub(r"//.*|/\*(.|\n)*?\*/", "", client.read_text()))
    ) != hashed
    run(
        "node",
        "--input-type=module",
        "--eval",
        f"import {{ connect }} from {json.dumps(client.as_uri())}; connect.call;",
    )


@pytest.mark.slow  # pip builds in an environment of its own
def test_the_wheel_has_it(tmp_path: Path) -> None:
    build = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT))
    try:
        run(*build)
    except AssertionError as error:
        pytest.skip(f"pip builds nothing here: {error}")
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"fullduplex/static/fullduplex/{path.name}" for path in CLIENT.iterdir()} <= names


@pytest.mark.slow  # npm takes seconds on a busy machine
def test_what_npm_packs_can_be_installed_and_imported(tmp_path: Path) -> None:
    npm("pack", str(CLIENT), "--pack-destination", str(tmp_path), cwd=tmp_path)
    (package,) = tmp_path.glob("*.tgz")
    (tmp_path / "package.json").write_text('{"private": true}')
    npm("install", "--offline", str(package), cwd=tmp_path)
    installed = {path.name for path in (tmp_path / "node_modules" / "fullduplex").iterdir()}
    assert installed == {path.name for path in CLIENT.iterdir()}
    (tmp_path / "page.mjs").write_text(IMPORTING)
    assert run("node", "page.mjs", cwd=tmp_path).split() == ["closed", "full"]


@pytest.mark.slow  # the compiler comes from npm
def test_its_types_hold(tmp_path: Path) -> None:
    try:
        npm("install", TYPESCRIPT, cwd=tmp_path)
    except AssertionError as error:
        pytest.skip(f"npm does not install {TYPESCRIPT} here: {error}")
    options: dict[str, object] = {
        "allowJs": True,
        "checkJs": True,
        "lib": ["ES2022", "DOM", "DOM.Iterable"],
        "module": "ES2022",
        "moduleResolution": "bundler",
        "noEmit": True,
        "noImplicitReturns": True,
        "noUnusedLocals": True,
        "strict": True,
        "target": "ES2022",
        "types": [],
    }
    compile_with(options, f"{CLIENT}/*.js", cwd=tmp_path)
    npm("install", "--install-links", str(CLIENT), cwd=tmp_path)
    (tmp_path / "page.ts").write_text(TYPED)
    compile_with({**options, "checkJs": False, "maxNodeModuleJsDepth": 2}, "page.ts", cwd=tmp_path)


def compile_with(options: dict[str, object], files: str, *, cwd: Path) -> None:
    (cwd / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": [files]}))
    run(str(cwd / "node_modules" / ".bin" / "tsc"), "--project", str(cwd), cwd=cwd)
