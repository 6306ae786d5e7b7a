from typing import Any

from django.conf import settings
from django.db import models
from django.urls import reverse

from fullduplex import Group


class Room(models.Model):
    name = models.CharField(max_length=40)
    slug = models.SlugField(max_length=40, unique=True, allow_unicode=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("room", args=[self.slug])

    @property
    def group(self) -> Group:
        """Everybody who has the room open."""
        return Group(f"chat.room.{self.pk}")


class Message(models.Model):
    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="messages")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    text = models.TextField(max_length=1000)
    # Made by the page, so that a message sent again after a lost connection is not kept twice.
    key = models.UUIDField()
    sent_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("id",)
        constraints = (models.UniqueConstraint(fields=("room", "author", "key"), name="kept_once"),)

    def __str__(self) -> str:
        return f"{self.author}: {self.text}"

    def as_event(self) -> dict[str, Any]:
        """What the page gets, when it is loaded and while it is open."""
        return {
            "type": "message",
            "id": self.pk,
            "key": self.key.hex,
            "author": self.author.get_username(),
            "text": self.text,
            "sent_at": self.sent_at,
        }
