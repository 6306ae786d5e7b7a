"""What stands in ``docs/howto/resume.md`` is a site and a service that work: their files, word for word."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

from tests.e2e.process import Process
from tests.e2e.startproject import Project
from tests.reader import snippets

pytestmark = pytest.mark.e2e

PAGE = "docs/howto/resume.md"


def files() -> dict[str, str]:
    """The files of the page, by their names."""
    found = {}
    for snippet in snippets(PAGE):
        head, _, rest = snippet.code.partition("\n")
        if head.startswith("# "):
            found[head.removeprefix("# ")] = rest
    return found


@pytest.mark.slow
def test_a_service_misses_nothing(plain: Project, tmp_path: Path) -> None:
    guide = files()
    assert {"mysite/settings.py", "mysite/realtime.py", "mysite/urls.py", "mysite/tests.py"} < set(guide)
    project = plain.copy(tmp_path / "site")
    project.setting(guide["mysite/settings.py"])
    for name in ("realtime.py", "urls.py", "tests.py"):
        project.write(name, guide[f"mysite/{name}"])
    for name in ("warehouse.py", "shop.py"):
        (tmp_path / name).write_text(guide[name])
    with project.runserver() as server:
        url = f"ws://127.0.0.1:{server.port}/realtime/"

        def service() -> Process:
            return Process(sys.executable, "warehouse.py", url, cwd=tmp_path, ready="")

        def sell(number: int) -> str:
            with Process(sys.executable, "-c", shop_of(number), url, cwd=tmp_path, ready="") as shop:
                assert shop.wait() == 0
                return shop.output

        with service() as warehouse:
            numbers = itertools.count(8)
            while "order" not in warehouse.output:  # what is sold before it has subscribed is none of its business
                assert sell(next(numbers)).splitlines()[1:] == ["counted 2", "refused: forbidden"]
            warehouse.kill()
        missed = next(numbers)
        sell(missed)
        sell(missed)
        with service() as warehouse:
            warehouse.wait_for(f"order {missed}")
            sell(missed + 1)
            warehouse.wait_for(f"order {missed + 1}")
            assert warehouse.output.count(f"order {missed}\n") == 1
            assert "fetch" not in warehouse.output
            warehouse.kill()
    with project.manage("test", "mysite") as tests:
        assert tests.wait() == 0


def shop_of(number: int) -> str:
    """The shop, with another order."""
    text = files()["shop.py"]
    assert "order-8" in text
    return text.replace("order-8", f"order-{number}").replace('"number": 8', f'"number": {number}')
