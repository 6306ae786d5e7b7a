"""A component of reactpy-django: what it shows lives on the server, and changes by events of the browser."""

from typing import Any

from reactpy import component, html, use_state


@component
def counter(start: int = 0) -> Any:
    count, set_count = use_state(start)
    return html.button({"id": "counter", "on_click": lambda event: set_count(count + 1)}, f"pressed {count} times")
