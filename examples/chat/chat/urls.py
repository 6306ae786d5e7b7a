from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LogoutView
from django.urls import path
from django.views.generic import RedirectView

from . import sockets, views

urlpatterns = [
    path("", views.lobby, name="lobby"),
    path("name/", views.NameView.as_view(), name="name"),
    path("leave/", LogoutView.as_view(), name="leave"),
    path("rooms/", RedirectView.as_view(pattern_name="lobby")),
    path("rooms/<str:slug>/", views.room, name="room"),
    path("rooms/<str:slug>/messages/", views.messages, name="messages"),
    path("rooms/<str:slug>/socket/", login_required(sockets.RoomEndpoint.as_view()), name="room-socket"),
    path("rooms/<str:slug>/events/", login_required(sockets.RoomEndpoint.as_event_stream()), name="room-events"),
]
