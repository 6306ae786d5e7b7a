"""Compiles the modules that every request, frame or message passes, where ``FULLDUPLEX_COMPILE=1`` asks for it.

Anything else about the package stands in ``pyproject.toml``. Without the variable, and in editable installs, nothing is
compiled and no compiler is needed. The source of the modules is in the wheel, too: tracebacks show it.
"""

import os
import sys

from setuptools import setup

MODULES = {
    "wire": "chunked events frames grammar handshake http1 http1_head http1_writer websocket websocket_writer",
    "net": "connection deadlines flow",
    "gateway": "asgi exchange gateway health session shared",
}
WANTED = os.environ.get("FULLDUPLEX_COMPILE") == "1"


def extensions():
    from mypyc.build import mypycify

    os.environ["MYPYPATH"] = "src"
    files = [f"src/fullduplex/{room}/{name}.py" for room, names in MODULES.items() for name in names.split()]
    # Not the project's own configuration, which is for `make types` and needs Django's stubs.
    flags = ["--config-file=", "--explicit-package-bases", "--follow-imports=silent", "--ignore-missing-imports"]
    return mypycify([*flags, *files], opt_level="3", debug_level="0", group_name="fullduplex")


setup(
    ext_modules=extensions() if WANTED and "bdist_wheel" in sys.argv else [],
    setup_requires=["mypy>=2.4,<3"] if WANTED else [],
)
