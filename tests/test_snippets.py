"""Every block of code of every page is executed as a reader would paste it, or ``tests/snippets.py`` says why not."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.management import get_commands, load_command_class
from django.test import AsyncClient as DjangosAsyncClient
from django.test import RequestFactory, override_settings
from django.urls import path

from fullduplex import websocket
from fullduplex.checks import check_layer, check_server, check_settings
from fullduplex.server.cli import build_parser
from fullduplex.sockets.checks import check_routes
from fullduplex.testing import AsyncClient, Client
from tests.reader import Snippet, snippets
from tests.snippets import ANSWERS, SHOWN, WORLDS, Because, By

ROOT = Path(__file__).parents[1]
FOLDERS = ("*.md", "docs/**/*.md", "src/**/*.md", "examples/*/*.md", "deploy/*.md")
PAGES = sorted({str(page.relative_to(ROOT)) for pattern in FOLDERS for page in ROOT.glob(pattern)})
ALL = [snippet for page in PAGES for snippet in snippets(page)]
KEEPING = {"HISTORY": {"chat.1": {"COUNT": 10, "AGE_S": 60}}}
LANGUAGES = {snippet.language for snippet in ALL}
SETTINGS = {"CHANNEL_LAYERS", "DATABASES", "FULLDUPLEX", "INSTALLED_APPS", "LOGGING"}


def answer_of(snippet: Snippet) -> By | Because | None:
    for key, answer in ANSWERS.get(snippet.page, {}).items():
        if key in ("*", snippet.language) or (key not in LANGUAGES and key in snippet.code):
            return answer
    return SHOWN if snippet.language in ("", "text") else None


PASTED = [snippet for snippet in ALL if answer_of(snippet) is None]


@pytest.mark.parametrize("snippet", ALL, ids=str)
def test_a_block_is_executed_or_a_reason_stated(snippet: Snippet) -> None:
    answer = answer_of(snippet)
    if isinstance(answer, By):
        text = (ROOT / answer.test).read_text(encoding="utf-8")
        assert Path(snippet.page).stem in text or Path(snippet.page).parent.name in text, answer
    elif answer is None:
        assert snippet.language in ("python", "console"), f"{snippet}: tests/snippets.py has no answer for this block"


def test_no_answer_is_for_nothing() -> None:
    for page, answers in ANSWERS.items():
        given = {id(answer_of(snippet)) for snippet in ALL if snippet.page == page}
        assert {id(answer) for answer in answers.values()} <= given, page


@pytest.mark.parametrize("snippet", [snippet for snippet in PASTED if snippet.language == "console"], ids=str)
def test_commands_have_the_options_that_the_page_gives_them(snippet: Snippet) -> None:
    for command, _ in snippet.commands:
        assert_exists(command.split())


def assert_exists(words: list[str]) -> None:
    """A command of ours, of the project's or of the repository is there, and takes these arguments."""
    if words[0] == "fullduplex":
        assert build_parser().parse_args(words[1:]).app
    elif words[:2] == ["python", "manage.py"]:
        command = load_command_class(get_commands()[words[2]], words[2])
        command.create_parser("manage.py", words[2]).parse_args(words[3:])
    elif words[0] == "make":
        text = (ROOT / "Makefile").read_text()
        target, *variables = words[1:]
        assert re.search(rf"^{target}:", text, re.M), target
        for variable in variables:
            assert re.search(rf"^{variable.partition('=')[0]} \?=", text, re.M), variable
    elif words[:2] == ["pip", "install"]:
        name, _, extra = words[2].strip("'\"]").partition("[")
        assert name == "fullduplex"
        assert re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(), re.M), extra
    else:
        raise AssertionError(f"{words[0]}: a test has to execute this, or a reason to be stated in tests/snippets.py")


# Python ----------------------------------------------------------------------------------------


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("snippet", [snippet for snippet in PASTED if snippet.language == "python"], ids=str)
def test_python_runs_as_it_is_pasted(snippet: Snippet, loop: asyncio.AbstractEventLoop) -> None:
    world = WORLDS.get(snippet.page, dict)()
    tree = ast.parse(snippet.code, str(snippet))
    if any(isinstance(node, ast.Name) and node.id == "socket" for body in tree.body for node in expressions(body)):
        run_in_a_view(snippet, world)
        return
    with pasted_into_a_module(world) as module:
        if "async_client" in snippet.code:
            module.__dict__.update(clients())
        with override_settings(ROOT_URLCONF=urls_of("docs/reference/sockets.md"), FULLDUPLEX=KEEPING):
            for statement in tree.body:
                run(statement, module, loop)
            look(module, set(vars(module)) - set(world), loop)


def expressions(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of a statement that stands alone; of a function, a class or a block none."""
    if isinstance(statement, (ast.Expr, ast.Assign)):
        yield from ast.walk(statement)


@contextmanager
def pasted_into_a_module(names: dict[str, Any]) -> Iterator[ModuleType]:
    module = ModuleType("pasted")
    module.__dict__.update(names)
    sys.modules["pasted"] = module
    try:
        yield module
    finally:
        del sys.modules["pasted"]


def run(statement: ast.stmt, module: ModuleType, loop: asyncio.AbstractEventLoop) -> None:
    """Execute one statement, as a shell does that understands ``await``."""
    code = compile(ast.Module([statement], []), module.__name__, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        loop.run_until_complete(eval(code, vars(module)))
    else:
        exec(code, vars(module))


def look(module: ModuleType, names: set[str], loop: asyncio.AbstractEventLoop) -> None:
    """What was pasted is of use: settings pass the checks, routes too, tests pass, views answer."""
    new = {name: vars(module)[name] for name in names}
    settings = {name: value for name, value in new.items() if name in SETTINGS - {"LOGGING", "DATABASES"}}
    with override_settings(**settings):
        assert [*check_settings(), *check_server()] == []
        assert [message for message in check_layer() if message.level >= 30] == []
    if "urlpatterns" in new:
        with override_settings(ROOT_URLCONF=module):
            assert check_routes() == []
    for value in new.values():
        if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == "pasted":
            result = unittest.TestResult()
            unittest.defaultTestLoader.loadTestsFromTestCase(value).run(result)
            assert result.testsRun
            assert result.wasSuccessful(), [*result.errors, *result.failures]
        elif inspect.isfunction(value) and [*inspect.signature(value).parameters] == ["request"]:
            if value.__name__ == "events":  # it streams from a source of the reader's
                continue
            response = value(RequestFactory().get("/"))
            response = loop.run_until_complete(response) if inspect.isawaitable(response) else response
            assert response.status_code == 200


def urls_of(page: str) -> ModuleType:
    """The first block of a page as a URLconf."""
    module = ModuleType("urls")
    exec(snippets(page)[0].code, vars(module))
    return module


def clients() -> dict[str, Any]:
    from django.contrib.auth import get_user_model

    user = get_user_model().objects.create(username="ada")
    client, async_client = Client(), AsyncClient()
    for each in (client, async_client):
        each.force_login(user)
    assert isinstance(async_client, DjangosAsyncClient)
    return {"client": client, "async_client": async_client}


def run_in_a_view(snippet: Snippet, world: dict[str, Any]) -> None:
    """Statements about a socket, as the view of one."""
    body = "\n".join(f"    {line}" for line in snippet.code.splitlines())
    module = ModuleType("urls")
    vars(module).update(world)
    exec(f"async def view(socket):\n{body}\n", vars(module))
    module.urlpatterns = [path("", websocket(module.view))]  # type: ignore[attr-defined]
    with override_settings(ROOT_URLCONF=module):
        assert Client().handshake("/").status_code == 101
