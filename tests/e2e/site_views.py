"""Views of every kind; the module stands as ``mysite/views.py`` in the projects of the end-to-end tests."""

import asyncio
import hashlib
import time

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import reverse
from django.utils.decorators import async_only_middleware
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from fullduplex import Group, websocket
from fullduplex.realtime import outbox


@async_only_middleware
def timing(get_response):
    async def middleware(request):
        response = await get_response(request)
        response["X-Timing"] = "measured"
        return response

    return middleware


async def function(request):
    await asyncio.sleep(0)
    return HttpResponse("from a function")


class Greeting(View):
    async def get(self, request):
        await asyncio.sleep(0)
        return HttpResponse("from a class")


async def users(request):
    user, _ = await User.objects.aget_or_create(username="ada")
    names = [user.username async for user in User.objects.all()]
    return JsonResponse({"id": user.pk, "names": names})


async def events(request):
    async def ticks():
        try:
            while True:
                yield "data: tick\n\n"
                await asyncio.sleep(0.05)
        finally:
            print("nobody listens any more")

    return StreamingHttpResponse(ticks(), content_type="text/event-stream")


def debug(request):
    answer = "before"
    breakpoint()
    return HttpResponse(answer)


async def debug_async(request):
    answer = "before"
    breakpoint()
    return HttpResponse(answer)


def sleep(request):
    time.sleep(60)


@websocket
async def echo(socket, room):
    await socket.send(f"you are at {reverse('echo', args=[room])}")
    async for message in socket:
        await socket.send(message)


@websocket
async def broken(socket):
    await socket.accept()
    raise RuntimeError("a view that fails")


@login_required
@websocket
async def private(socket):
    await socket.accept()


@websocket
async def leaving(socket):
    if await socket.receive() == "leave":
        await socket.close(4001, "as you wish")
        return
    async for _ in socket:
        pass
    print(f"the client left with {socket.close_code} {socket.close_reason}".strip())


def say(request, room):
    Group(f"room.{room}").send("from a view")
    return HttpResponse("said")


def totals(request):
    return JsonResponse({name: getattr(outbox.totals, name) for name in ("delivered", "dropped", "disconnected")})


@websocket
async def room(socket, room):
    await socket.join(f"room.{room}")
    await socket.send("welcome")
    async for message in socket:
        await Group(f"room.{room}").asend({"text": message})


def who(request):
    seen = {"address": request.META.get("REMOTE_ADDR"), "secure": request.is_secure(), "host": request.get_host()}
    return JsonResponse(seen)


@csrf_exempt
def digest(request):
    return HttpResponse(hashlib.sha256(request.body).hexdigest())


def download(request):
    return FileResponse(open(settings.DATABASES["default"]["NAME"], "rb"))


released = asyncio.Event()


async def held(request):
    async def ticks():
        yield "data: first\n\n"
        await released.wait()
        yield "data: last\n\n"

    released.clear()
    return StreamingHttpResponse(ticks(), content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def release(request):
    released.set()
    return HttpResponse("released")
