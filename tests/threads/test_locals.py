from __future__ import annotations

import contextvars
import threading

from asgiref.local import Local

from fullduplex.threads.locals import Setter, variable_set_by


def test_a_setter_does_what_its_function_does_in_each_context_and_thread() -> None:
    local = Local()
    calls: list[str] = []

    def set_it(value: str) -> None:
        calls.append(value)
        local.it = value

    setter = Setter(set_it)
    seen: list[str | None] = []

    def use(value: str) -> None:
        assert getattr(local, "it", None) is None
        setter(value)
        seen.append(getattr(local, "it", None))

    def in_new_context(value: str) -> None:
        contextvars.Context().run(use, value)

    first, second = "first", "second"
    for value in (first, first, second, first):
        in_new_context(value)
    made = len(calls)
    in_new_context(first)
    assert len(calls) == made, "known"
    other = threading.Thread(target=in_new_context, args=(first,))  # what is set is good for one thread
    other.start()
    other.join()
    in_new_context(first)
    assert seen == [first, first, second, first, first, first, first]


def test_a_local_without_its_variable_has_no_attribute() -> None:
    local = Local()
    variable = variable_set_by(setattr, local, "it", 1)
    assert variable is not None

    def use() -> None:
        assert variable.get(None) is None
        assert not hasattr(local, "it")
        local.it = 2
        assert variable.get(None) is not None

    contextvars.Context().run(use)
