from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.db.models import Count, F, Max
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import aget_object_or_404, get_object_or_404, redirect, render

from fullduplex import WebSocket, websocket

from . import presence
from .forms import MessageForm, NameForm, PageForm, RoomForm
from .models import Message, Room

PAGE_COUNT = 50


class NameView(LoginView):
    """Choose a name. Django's own login view, with a form that also signs up."""

    template_name = "chat/name.html"
    authentication_form = NameForm
    redirect_authenticated_user = True


def lobby(request: HttpRequest) -> HttpResponse:
    form = RoomForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        return redirect(form.get_room())
    return _lobby(request, form)


@login_required
def room(request: HttpRequest, slug: str) -> HttpResponse:
    room = Room.objects.filter(slug=slug).first()
    if room is None:
        return _lobby(request, RoomForm(initial={"name": slug[:40]}), missing=slug, status=404)
    return render(request, "chat/room.html", {"room": room})


@login_required
def messages(request: HttpRequest, slug: str) -> JsonResponse:
    """A page of the room's messages, oldest first; ``earlier`` says whether there are more before it."""
    found = get_object_or_404(Room, slug=slug).messages.select_related("author").order_by("-id")
    form = PageForm(request.GET)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors.get_json_data()}, status=400)
    if form.cleaned_data["after"] is not None:
        found = found.filter(id__gt=form.cleaned_data["after"])
    if form.cleaned_data["before"] is not None:
        found = found.filter(id__lt=form.cleaned_data["before"])
    page = list(found[: PAGE_COUNT + 1])
    events = [message.as_event() for message in reversed(page[:PAGE_COUNT])]
    return JsonResponse({"messages": events, "earlier": len(page) > PAGE_COUNT})


@login_required
@websocket
async def room_socket(socket: WebSocket, slug: str) -> None:
    """Pass on what is said. What a page missed it fetches from ``messages``, once this has accepted."""
    user = await socket.request.auser()
    room = await aget_object_or_404(Room, slug=slug)
    await socket.join(room.group)
    async with presence.present(room, user.get_username()):
        while True:  # until the client leaves: then receive_json raises Disconnected
            form = MessageForm(await receive_object(socket))
            if form.is_valid():
                message, _ = await Message.objects.select_related("author").aget_or_create(
                    room=room, author=user, key=form.cleaned_data["key"], defaults={"text": form.cleaned_data["text"]}
                )
                await room.group.asend(message.as_event())
            else:
                refused = {"type": "refused", "key": form.data.get("key"), "errors": form.errors.get_json_data()}
                await socket.send(refused)


async def receive_object(socket: WebSocket) -> dict[str, Any]:
    data = await socket.receive_json()
    return data if isinstance(data, dict) else {}


def _lobby(request: HttpRequest, form: RoomForm, *, missing: str = "", status: int = 200) -> HttpResponse:
    rooms = Room.objects.annotate(message_count=Count("messages"), last_sent_at=Max("messages__sent_at"))
    rooms = rooms.order_by(F("last_sent_at").desc(nulls_last=True), "name")
    for room in rooms:
        room.here_count = len(presence.names(room))
    return render(request, "chat/lobby.html", {"rooms": rooms, "form": form, "missing": missing}, status=status)
