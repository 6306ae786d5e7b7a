"""One view per question; the sync ones and the async ones do the same."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views import View
from django.views.decorators.csrf import csrf_exempt

HELLO = b"Hello, world!"
ROWS = [{"number": number, "name": f"Name <{number}>", "even": number % 2 == 0} for number in range(20)]


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse(HELLO, content_type="text/plain")


async def hello_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse(HELLO, content_type="text/plain")


async def json_async(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"message": "Hello, world!"})


class HelloView(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(HELLO, content_type="text/plain")


async def sleep(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0.05)
    return HttpResponse(HELLO, content_type="text/plain")


def orm(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"username": User.objects.get(pk=1).username})


async def orm_async(request: HttpRequest) -> HttpResponse:
    user = await User.objects.aget(pk=1)
    return JsonResponse({"username": user.username})


def login(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"username": request.user.get_username()})


async def login_async(request: Any) -> HttpResponse:
    user = await request.auser()
    return JsonResponse({"username": user.get_username()})


def template(request: HttpRequest) -> HttpResponse:
    return render(request, "rows.html", {"rows": ROWS})


@csrf_exempt
def post_json(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"length": len(json.loads(request.body)["text"])})


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"bytes": request.FILES["file"].size})
