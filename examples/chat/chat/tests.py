"""Sockets are tested like pages: in a TestCase, in its transaction, with Django's client and one method more."""
# ruff: noqa: PT009 - assertEqual and its kin are how Django projects write tests

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from django.contrib.auth import get_user_model
from django.db import IntegrityError
from django.test import TestCase
from django.urls import reverse

from fullduplex.testing import Client

from . import presence
from .forms import NameForm, RoomForm
from .models import Message, Room

User = get_user_model()
ONE = uuid.UUID(int=1)


class NameTests(TestCase):
    def choose(self, name: str, password: str = "", client: Any = None) -> Any:
        return (client or self.client).post(reverse("name"), {"name": name, "password": password})

    def test_a_free_name_is_taken_at_once_and_leads_to_the_page_that_asked_for_it(self) -> None:
        url = f"{reverse('name')}?next=/rooms/tea-room/"
        response = self.client.post(url, {"name": "  Ada   Lovelace ", "password": ""})
        self.assertRedirects(response, "/rooms/tea-room/", fetch_redirect_response=False)
        user = User.objects.get(username="Ada Lovelace")
        self.assertEqual(self.client.session["_auth_user_id"], str(user.pk))
        self.assertFalse(user.has_usable_password())

    def test_a_name_without_a_password_belongs_to_nobody_else(self) -> None:
        self.choose("Ada")
        response = self.choose("ada", "a guess at random", Client())
        self.assertContains(response, "That name is taken")

    def test_a_name_with_a_password_can_be_had_again_with_it_alone(self) -> None:
        self.assertEqual(self.choose("Ada", "analytical engine").status_code, 302)
        self.assertContains(self.choose("Ada", "difference engine", Client()), "That name is taken")
        self.assertContains(self.choose("Ada", "", Client()), "That name is taken")
        self.assertEqual(self.choose("Ada", "analytical engine", Client()).status_code, 302)

    def test_who_leaves_without_a_password_has_the_name_again_in_the_same_browser_alone(self) -> None:
        self.choose("Ada")
        ada = User.objects.get()
        self.client.post(reverse("leave"))
        self.assertContains(self.choose("Ada", "", Client()), "That name is taken")
        self.assertContains(self.client.get(reverse("name")), 'value="Ada"')
        self.assertEqual(self.choose("ada").status_code, 302)
        self.assertEqual(self.client.session["_auth_user_id"], str(ada.pk))

    def test_who_comes_back_with_a_password_has_it_from_then_on(self) -> None:
        self.choose("Ada")
        self.client.post(reverse("leave"))
        self.assertContains(self.choose("Ada", "1"), "too short")
        self.assertEqual(self.choose("Ada", "analytical engine").status_code, 302)
        self.client.post(reverse("leave"))
        self.assertContains(self.choose("Ada"), "That name is taken")
        self.assertEqual(self.choose("Ada", "analytical engine", Client()).status_code, 302)

    def test_a_cookie_that_somebody_made_up_brings_no_name_back(self) -> None:
        self.choose("Ada")
        other = Client()
        other.cookies["names"] = "WzFd:1wAAAA:made-up"
        self.assertContains(self.choose("Ada", "", other), "That name is taken")

    def test_of_two_who_choose_the_same_new_name_at_once_one_has_it(self) -> None:
        # Between the look for the name and its being kept, and as the database itself finds out.
        def meanwhile(user: Any, password: Any) -> None:
            User.objects.create_user("Ada")

        for name in ("Ada", "ada"):
            with self.subTest(name=name), mock.patch.object(User, "set_password", meanwhile):
                self.assertContains(self.choose(name), "That name is taken")
                self.assertEqual(User.objects.get().get_username(), "Ada")
            User.objects.all().delete()
        with mock.patch.object(User, "save", side_effect=IntegrityError):
            self.assertContains(self.choose("Ada"), "That name is taken")

    def test_odd_names_and_weak_passwords_get_a_proper_message(self) -> None:
        for name, password, field in [
            ("", "", "name"),
            ("?!", "", "name"),
            ("A\u202eda", "", "name"),
            ("Ada", "1", "password"),
        ]:
            with self.subTest(name=name, password=password):
                form = NameForm(None, {"name": name, "password": password})
                self.assertEqual(list(form.errors), [field])


class LobbyTests(TestCase):
    def test_it_lists_the_liveliest_room_first(self) -> None:
        ada = User.objects.create_user("Ada")
        quiet, lively = (
            Room.objects.create(name="Quiet", slug="quiet"),
            Room.objects.create(name="Lively", slug="lively"),
        )
        Message.objects.create(room=lively, author=ada, text="Hello", key=ONE)
        response = self.client.get(reverse("lobby"))
        self.assertEqual(list(response.context["rooms"]), [lively, quiet])
        self.assertContains(response, "1 message ")
        self.assertContains(response, "0 messages")

    def test_a_room_is_created_once_however_its_name_is_written(self) -> None:
        for name in ("Tea room", " tea  ROOM", "TEA ROOM"):
            self.assertRedirects(
                self.client.post(reverse("lobby"), {"name": name}), "/rooms/tea-room/", fetch_redirect_response=False
            )
        self.assertEqual(Room.objects.get().name, "Tea room")

    def test_names_that_differ_in_signs_alone_are_rooms_of_their_own(self) -> None:
        names = ["C", "C++", "C#", "C 2", "x" * 40, "x" * 39 + "+", "x" * 39 + "#"]
        for _ in range(2):
            for name in names:
                form = RoomForm({"name": name})
                self.assertTrue(form.is_valid(), form.errors)
                self.assertEqual(form.get_room().name, name)
        self.assertEqual(Room.objects.count(), len(names))
        self.assertEqual(Room.objects.get(name="C++").get_absolute_url(), "/rooms/c-2/")

    def test_names_of_all_languages_make_rooms(self) -> None:
        for name in ("Küche", "喫茶店", "Кухня", "42"):
            form = RoomForm({"name": name})
            self.assertTrue(form.is_valid(), form.errors)
            self.client.force_login(User.objects.get_or_create(username="Ada")[0])
            self.assertContains(self.client.get(form.get_room().get_absolute_url()), name)

    def test_an_empty_or_odd_name_gets_a_proper_message(self) -> None:
        for name, message in [
            ("", "Give the room a name first."),
            ("/?", "at least one letter"),
            ("x" * 41, "at most 40"),
        ]:
            self.assertContains(self.client.post(reverse("lobby"), {"name": name}), message)
        self.assertFalse(Room.objects.exists())

    def test_the_address_of_a_room_that_is_not_there_offers_to_create_it(self) -> None:
        self.client.force_login(User.objects.create_user("Ada"))
        response = self.client.get("/rooms/kitchen/")
        self.assertContains(response, "There is no room <strong>kitchen</strong>", status_code=404)
        self.assertContains(response, 'value="kitchen"', status_code=404)
        self.assertRedirects(self.client.get("/rooms/"), "/")


class Page:
    """An open page of somebody, without a browser: it speaks what ``fullduplex/client.js`` speaks."""

    def __init__(self, socket: Any, room: Room) -> None:
        self.socket = socket
        self.group = room.group.name
        self.count = 0
        self.heard: list[Any] = []
        assert socket.receive_json()["type"] == "welcome"

    def ask(self, kind: str, **members: Any) -> dict[str, Any]:
        """Ask for something and return the answer; what is heard before it is kept."""
        self.count += 1
        self.socket.send({"type": kind, "id": self.count, "group": self.group, **members})
        while True:
            message: dict[str, Any] = self.socket.receive_json()
            if message.get("id") == self.count:
                return message
            self.heard.append(message["data"])

    def say(self, text: Any, key: uuid.UUID | str) -> dict[str, Any]:
        return self.ask("publish", data={"text": text}, key=str(key))

    def hear(self) -> dict[str, Any]:
        """Return the next message of the room."""
        message: dict[str, Any] = self.heard.pop(0) if self.heard else self.socket.receive_json()["data"]
        return message


class RoomTests(TestCase):
    client_class = Client

    @classmethod
    def setUpTestData(cls) -> None:
        cls.room = Room.objects.create(name="Tea room", slug="tea-room")
        cls.url = reverse("room-socket", args=[cls.room.slug])
        cls.ada, cls.grace = User.objects.create_user("Ada"), User.objects.create_user("Grace")

    def setUp(self) -> None:
        self.client.force_login(self.ada)
        self.other = Client()
        self.other.force_login(self.grace)
        # The history of a group is in memory, and knows the keys of other tests: each has its own.
        self.key = uuid.uuid4()

    @contextmanager
    def page(self, client: Client) -> Iterator[Page]:
        """Open the room, and wait until it says who is here."""
        with client.websocket(self.url, subprotocols=["fullduplex.v1"]) as socket:
            page = Page(socket, self.room)
            self.assertEqual(page.ask("subscribe")["type"], "subscribed")
            yield page

    def test_what_one_says_reaches_both_and_is_kept(self) -> None:
        with self.page(self.client) as ada, self.page(self.other) as grace:
            self.assertEqual(ada.hear()["names"], ["Ada", "Grace"])
            self.assertEqual(ada.say("\n  Hello \n", self.key)["type"], "reply")
            for page in (ada, grace):
                message = page.hear()
                self.assertEqual((message["type"], message["author"], message["text"]), ("message", "Ada", "  Hello"))
        kept = Message.objects.get()
        self.assertEqual((kept.pk, kept.room, kept.author), (message["id"], self.room, self.ada))

    def test_a_page_goes_on_where_it_was_made(self) -> None:
        start = self.client.get(self.room.get_absolute_url()).context["start"]
        self.assertEqual(start["messages"], [])
        with self.page(self.other) as grace:
            grace.say("Where are you?", self.key)
        with self.client.websocket(self.url, subprotocols=["fullduplex.v1"]) as socket:
            ada = Page(socket, self.room)
            self.assertTrue(ada.ask("subscribe", after=start["position"])["recovered"])
            kinds = [ada.hear() for _ in range(3)]
        self.assertEqual([event["type"] for event in kinds], ["here", "message", "here"])
        self.assertEqual(kinds[1]["text"], "Where are you?")

    def test_who_leaves_is_not_here_any_more_unless_another_page_of_theirs_is(self) -> None:
        with self.page(self.client) as ada:
            with self.page(self.other), self.page(self.other) as second:
                self.assertEqual(presence.names(self.room), ["Ada", "Grace"])
                second.socket.close()
                self.assertEqual([ada.hear()["names"] for _ in range(3)][-1], ["Ada", "Grace"])
            self.assertEqual(ada.hear()["names"], ["Ada"])
        self.assertEqual(presence.names(self.room), [])

    def test_a_message_sent_again_is_kept_once_and_told_once(self) -> None:
        with self.page(self.client) as ada:
            self.assertEqual(ada.say("Hello", self.key)["position"], ada.say("Hello", self.key)["position"])
            self.assertEqual(len(ada.heard), 1)
        self.assertEqual(Message.objects.count(), 1)

    def test_a_key_is_good_for_its_author_and_its_room_only(self) -> None:
        elsewhere = Room.objects.create(name="Elsewhere", slug="elsewhere")
        Message.objects.create(room=elsewhere, author=self.ada, text="Other room", key=self.key)
        Message.objects.create(room=self.room, author=self.grace, text="Other author", key=self.key)
        with self.page(self.client) as ada:
            ada.say("Mine", self.key)
            self.assertEqual(ada.hear()["text"], "Mine")

    def test_what_cannot_be_kept_is_refused_and_the_room_goes_on(self) -> None:
        with self.page(self.client) as ada:
            for text in (" \n ", "x" * 1001, None):
                self.assertEqual(ada.say(text, self.key)["code"], "bad_request")
            self.assertEqual(ada.say("no key of ours", "1")["code"], "bad_request")
            self.assertEqual(ada.ask("publish", data=["no object"])["code"], "forbidden")
            self.assertEqual(ada.ask("publish", data={}, group="chat.room.999999")["code"], "forbidden")
            self.assertEqual(ada.ask("subscribe", group="chat.room.999999")["code"], "forbidden")
            self.assertEqual(ada.say("fine", self.key)["type"], "reply")
        self.assertEqual(Message.objects.get().text, "fine")

    def test_a_socket_asks_for_a_name_and_for_a_room(self) -> None:
        self.assertEqual(Client().handshake(self.url).status_code, 302)
        nowhere = reverse("room-socket", args=["none"])
        self.assertEqual(self.client.handshake(nowhere, subprotocols=["fullduplex.v1"]).status_code, 404)

    def test_messages_come_in_pages(self) -> None:
        Message.objects.bulk_create(
            Message(room=self.room, author=self.ada, text=str(number), key=uuid.UUID(int=number))
            for number in range(120)
        )
        url = reverse("messages", args=[self.room.slug])
        newest = self.client.get(url).json()
        self.assertEqual(
            [message["text"] for message in newest["messages"]], [str(number) for number in range(70, 120)]
        )
        self.assertTrue(newest["earlier"])
        first = newest["messages"][0]["id"]
        before = self.client.get(url, {"before": first - 50}).json()
        self.assertEqual([message["text"] for message in before["messages"]], [str(number) for number in range(20)])
        self.assertFalse(before["earlier"])
        self.assertEqual(self.client.get(url, {"before": "x"}).status_code, 400)
