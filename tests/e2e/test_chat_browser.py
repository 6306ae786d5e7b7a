"""The chat of examples/chat, as two people with browsers see it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.chat_people import DESKTOP, LAN_HOST, PHONE, Chat, Person

pytestmark = pytest.mark.e2e


def test_two_people_see_each_others_messages_and_the_history_after_a_reload(chat: Chat, people: list[Person]) -> None:
    ada, grace = people
    ada.enter("Tea room")
    grace.enter("Tea room")
    for person in people:
        person.sees_here("Ada", "Grace")

    ada.say("Is anybody here?")
    grace.sees("Is anybody here?")
    grace.say("I am. 🫖")
    ada.sees("Is anybody here?", "I am. 🫖")

    ada.page.reload()
    ada.is_connected()
    ada.sees("Is anybody here?", "I am. 🫖")
    ada.say("Still here.")
    grace.say("So am I.")
    for person in people:
        expect(person.page.locator("#messages .text")).to_have_count(4)
    expect(ada.page.locator("#messages .mine .text")).to_have_text(["Is anybody here?", "Still here."])

    grace.page.goto(chat.url)
    ada.sees_here("Ada")
    grace.page.reload()
    expect(grace.page.locator(".rooms")).to_contain_text("1 here")
    expect(grace.page.locator(".rooms")).to_contain_text("4 messages")
    assert "Traceback" not in chat.stop()


@pytest.mark.slow
def test_who_leaves_has_the_name_and_what_it_said_again(chat: Chat, people: list[Person]) -> None:
    ada, _ = people
    ada.enter("Tea room")
    ada.say("I shall be back.")
    ada.sees("I shall be back.")
    ada.page.goto(chat.url)
    ada.page.get_by_role("button", name="Leave").click()
    ada.page.get_by_role("link", name="Choose a name").click()
    expect(ada.page.get_by_label("Name")).to_have_value("Ada")
    ada.page.get_by_role("button", name="Continue").click()
    expect(ada.page.locator(".my-name")).to_have_text("Ada")
    ada.enter("Tea room")
    expect(ada.page.locator("#messages .mine .text")).to_have_text(["I shall be back."])


@pytest.mark.slow
def test_the_composer_keeps_all_of_what_is_written_and_covers_nothing(chat: Chat, people: list[Person]) -> None:
    ada, grace = people
    for person in people:
        person.enter("Tea room")
    for number in range(20):
        ada.say(f"message {number}")
    expect(ada.page.locator("#messages .text")).to_have_count(20)
    box = ada.page.get_by_role("textbox", name="Message to")
    last = ada.page.locator("#messages li").last
    box.fill("\n".join(f"line {number}" for number in range(9)))
    expect(last).to_be_in_viewport(ratio=1)

    box.fill("🙂" * 1001)
    box.press("Enter")
    expect(ada.page.get_by_role("alert")).to_have_text(
        "A message has at most 1000 characters; this one has 1 too many."
    )
    expect(box).to_have_value("🙂" * 1001)
    expect(last).to_be_in_viewport(ratio=1)
    ada.say("🙂" * 1000)
    ada.say("    if indented:\n        pass")
    expect(grace.page.locator("#messages .text").last).to_have_text(
        "    if indented:\n        pass", use_inner_text=True
    )
    expect(ada.page.locator("#messages .unsent")).to_have_count(0)


@pytest.mark.slow
def test_what_the_server_refuses_is_in_the_composer_again(chat: Chat, people: list[Person]) -> None:
    ada, _ = people
    ada.enter("Tea room")
    box = ada.page.get_by_role("textbox", name="Message to")
    box.fill("zero \0 width")
    box.press("Enter")
    expect(ada.page.get_by_role("alert")).to_have_text("Null characters are not allowed.")
    expect(box).to_have_value("zero \0 width")
    ada.sees()


@pytest.mark.slow
def test_a_day_stands_above_its_first_message(chat: Chat, people: list[Person]) -> None:
    ada, grace = people
    for words in ("on Friday", "on Friday, too", "on Sunday", "an hour later"):
        ada.enter("Tea room")
        ada.say(words)
        expect(ada.page.locator("#messages .text").last).to_have_text(words)
        expect(ada.page.locator("#messages .unsent")).to_have_count(0)
    chat.manage(
        "shell",
        "-c",
        "from chat.models import Message; from datetime import datetime, UTC;"
        "times = [(27, 9, 0), (27, 9, 1), (29, 9, 0), (29, 10, 0)];"
        "[Message.objects.filter(pk=m.pk).update(sent_at=datetime(2026, 11, *at, tzinfo=UTC))"
        " for m, at in zip(Message.objects.all(), times)]",
    )
    grace.enter("Tea room")
    days = grace.page.locator("#messages .day:visible")
    expect(days).to_have_text(["Friday, November 27, 2026", "Sunday, November 29, 2026"])
    times = grace.page.locator("#messages li:not(.again) time")
    expect(times).to_have_text(["09:00 AM", "09:00 AM", "10:00 AM"])


@pytest.mark.slow
def test_rooms_whose_names_differ_in_signs_alone_are_apart(chat: Chat, people: list[Person]) -> None:
    ada = people[0]
    for name in ("C", "C++", "C#"):
        ada.enter(name)
        ada.say(f"in {name}")
        ada.sees(f"in {name}")


@pytest.mark.slow
def test_a_phone_in_the_same_network_takes_part(chat_browser: Browser, chat: Chat, people: list[Person]) -> None:
    """Its browser has less: over plain HTTP the address of another machine is no secure context."""
    ada = people[0]
    ada.enter("Tea room")
    with chat_browser.new_context(viewport=PHONE, is_mobile=True, has_touch=True) as context:
        phone = Person(context, chat)
        phone.url = f"http://{LAN_HOST}:{chat.port}"
        phone.call("Linus")
        assert phone.page.evaluate("isSecureContext") is False
        phone.enter("Tea room")
        phone.page.get_by_role("textbox", name="Message to").fill("From the phone.")
        phone.page.get_by_role("button", name="Send").tap()
        ada.sees("From the phone.")
        ada.say("I can see it.")
        phone.sees("From the phone.", "I can see it.")
        leave = phone.page.get_by_role("button", name="Leave")
        expect(leave).to_be_in_viewport(ratio=1)
        leave.tap()
        expect(phone.page.get_by_role("link", name="Choose a name")).to_be_visible()
        # Django's default header, which Chromium notes that it ignores without https.
        assert [text for text in phone.problems if "Cross-Origin-Opener-Policy" not in text] == []


@pytest.mark.slow
def test_a_long_history_is_read_page_by_page(chat: Chat, people: list[Person]) -> None:
    ada, grace = people
    ada.enter("Long room")
    for number in range(60):
        ada.say(f"message {number}")
    expect(ada.page.locator("#messages .text")).to_have_count(60)
    expect(ada.page.locator("#messages .unsent")).to_have_count(0)

    grace.enter("Long room")
    grace.sees(*(f"message {number}" for number in range(10, 60)))
    expect(grace.page.locator("#messages li").last).to_be_in_viewport()
    grace.page.get_by_role("button", name="Show earlier messages").click()
    grace.sees(*(f"message {number}" for number in range(60)))
    expect(grace.page.get_by_role("button", name="Show earlier messages")).to_be_hidden()


@pytest.mark.slow
def test_what_people_write_is_text_and_nothing_else(chat: Chat, people: list[Person]) -> None:
    ada, grace = people
    for person in people:
        person.enter("<b>Bold</b> & quoted")
    ada.say("<img src=x onerror=\"document.title='broken'\">")
    grace.sees("<img src=x onerror=\"document.title='broken'\">")
    expect(grace.page).not_to_have_title("broken")


@pytest.mark.slow
def test_an_empty_or_odd_room_name_gets_a_proper_message(chat: Chat, people: list[Person]) -> None:
    page = people[0].page
    for name, message in {
        "": "Give the room a name first.",
        "   ": "Give the room a name first.",
        "!?/..": "A room name needs at least one letter or digit.",
    }.items():
        page.goto(chat.url)
        page.get_by_label("Room name").fill(name)
        page.get_by_role("button", name="Enter room").click()
        expect(page.get_by_role("alert")).to_have_text(message)
        assert page.url == f"{chat.url}/"


@pytest.mark.slow
def test_the_address_of_a_room_that_is_not_there_offers_to_create_it(chat: Chat, people: list[Person]) -> None:
    ada = people[0]
    response = ada.page.goto(f"{chat.url}/rooms/kitchen/")
    assert response is not None
    assert response.status == 404
    ada.problems.clear()  # the browser notes the 404
    expect(ada.page.get_by_role("heading", level=1)).to_have_text("No such room yet")
    ada.page.get_by_role("button", name="Enter room").click()
    expect(ada.page.get_by_role("heading", level=1)).to_have_text("kitchen")
    ada.is_connected()


@pytest.mark.slow
def test_every_page_fits_the_screen(chat: Chat, people: list[Person], tmp_path: Path) -> None:
    """Nothing is wider than the screen, and the box for the message is on it; the pictures are for people."""
    ada, grace = people
    for person in people:
        person.enter("Tea room")
    ada.say("Has anyone tried sockets in urls.py?")
    grace.sees("Has anyone tried sockets in urls.py?")
    grace.say("Yes! One route, the same middleware, the same user.")
    grace.say("And the page comes back by itself when the server restarts.")
    expect(ada.page.locator("#messages .text")).to_have_count(3)
    ada.say("Long words fit too: " + "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft")
    ada.say("See?")
    expect(ada.page.locator("#messages .text")).to_have_count(5)
    pages = {"room": ada.page.url, "lobby": chat.url, "missing": f"{chat.url}/rooms/{'odd' * 12}/"}
    for name, address in pages.items():
        ada.page.goto(address)
        if name == "room":
            ada.is_connected()
        _take_pictures(ada.page, tmp_path, name)
    ada.page.context.clear_cookies()
    ada.page.goto(f"{chat.url}/name/")
    _take_pictures(ada.page, tmp_path, "name")
    ada.problems.clear()  # the 404 above


def _take_pictures(page: Page, directory: Path, name: str) -> None:
    for device, size in {"phone": PHONE, "desktop": DESKTOP}.items():
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, device)
        if name == "room":
            expect(page.locator("#composer")).to_be_in_viewport(ratio=1)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.screenshot(path=directory / f"{name}-{device}-{scheme}.png")
