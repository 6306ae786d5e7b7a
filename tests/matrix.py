"""What came of the tests on each interpreter, for ``make matrix``: a line for each, and status 1 unless all passed.

python -m tests.matrix 3.11 3.13
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

VERSIONS = "import platform, django; print(platform.python_version(), django.__version__)"
COLUMNS = "Python", "Django", "passed", "failed", "errors", "skipped"


def result_of(folder: Path) -> list[str] | None:
    """Return a line of the table for an environment; None where its tests did not come to their end."""
    try:
        (suite,) = ElementTree.parse(folder / "results.xml").getroot().iter("testsuite")
    except (OSError, ElementTree.ParseError):
        return None
    tests, *others = (int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped"))
    command = [folder / "bin" / "python", "-c", VERSIONS]
    versions = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return [*versions, *map(str, (tests - sum(others), *others))]


def main(minors: list[str]) -> bool:
    """Print the table; return whether there are interpreters, and all tests passed on all of them."""
    all_passed = bool(minors)
    print(*(name.rjust(8) for name in COLUMNS))
    for minor in minors:
        result = result_of(Path(f".venv-{minor}"))
        print(*(text.rjust(8) for text in result or [minor, "the tests did not come to their end"]))
        all_passed = all_passed and result is not None and int(result[2]) > 0 and result[3:5] == ["0", "0"]
    return all_passed


if __name__ == "__main__":
    sys.exit(not main(sys.argv[1:]))
