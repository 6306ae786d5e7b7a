"""What ``ASGI_APPLICATION`` may name, for the tests beside it."""


async def application(scope: object, receive: object, send: object) -> None:
    """An application that is never called."""


not_callable = 42
