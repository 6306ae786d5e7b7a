from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.db.models import Count, F, Max
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render

from . import names, presence
from .forms import NameForm, PageForm, RoomForm
from .models import Room

PAGE_COUNT = 50
User = get_user_model()


class NameView(LoginView):
    """Choose a name. Django's own login view, with a form that also signs up."""

    template_name = "chat/name.html"
    authentication_form = NameForm
    redirect_authenticated_user = True

    def get_initial(self) -> dict[str, Any]:
        latest = User.objects.filter(pk__in=names.kept(self.request)[-1:]).first()
        return {"name": latest.get_username() if latest else "", **super().get_initial()}

    def form_valid(self, form: NameForm) -> HttpResponse:  # type: ignore[override]  # it has get_user, which is all it takes
        response = super().form_valid(form)  # type: ignore[arg-type]  # the same form
        if not self.request.user.has_usable_password():
            names.keep(self.request, response, self.request.user)
        return response


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
    # The page has all up to here, and its client goes on from here. What is said meanwhile comes twice and shows once.
    position = room.group.history().position
    start = {"position": position._asdict(), **_page(room)}
    return render(request, "chat/room.html", {"room": room, "start": start})


@login_required
def messages(request: HttpRequest, slug: str) -> JsonResponse:
    room = get_object_or_404(Room, slug=slug)
    form = PageForm(request.GET)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors.get_json_data()}, status=400)
    return JsonResponse(_page(room, form.cleaned_data["before"]))


def _page(room: Room, before: int | None = None) -> dict[str, Any]:
    """A page of the room's messages, oldest first; ``earlier`` says whether there are more before it."""
    found = room.messages.select_related("author").order_by("-id")
    if before is not None:
        found = found.filter(id__lt=before)
    page = list(found[: PAGE_COUNT + 1])
    events = [message.as_event() for message in reversed(page[:PAGE_COUNT])]
    return {"messages": events, "earlier": len(page) > PAGE_COUNT}


def _lobby(request: HttpRequest, form: RoomForm, *, missing: str = "", status: int = 200) -> HttpResponse:
    rooms = Room.objects.annotate(message_count=Count("messages"), last_sent_at=Max("messages__sent_at"))
    rooms = rooms.order_by(F("last_sent_at").desc(nulls_last=True), "name")
    for room in rooms:
        room.here_count = len(presence.names(room))
    return render(request, "chat/lobby.html", {"rooms": rooms, "form": form, "missing": missing}, status=status)
