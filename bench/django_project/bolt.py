"""The async JSON view as django-bolt has it: no HttpRequest, and none of Django's middleware.

Its router takes no slash at the end.
"""

from __future__ import annotations

from django_bolt import BoltAPI

api = BoltAPI()


@api.get("/async-json")
async def message() -> dict[str, str]:
    return {"message": "Hello, world!"}
