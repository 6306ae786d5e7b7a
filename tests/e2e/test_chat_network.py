"""The chat in a browser, when the network or the server fails: nothing is missing, and nothing is there twice."""

from __future__ import annotations

import signal

import pytest
from playwright.sync_api import expect

from tests.e2e.chat_people import Chat, Person
from tests.e2e.faulty_network import FaultyNetwork

pytestmark = pytest.mark.e2e

SILENCE_MS = 45_000  # longer than the client waits for a sign of life


def test_both_carry_on_after_the_server_was_killed_and_nothing_is_lost(chat: Chat, people: list[Person]) -> None:
    ada, grace = people
    for person in people:
        person.enter("Tea room")
    ada.say("before")
    grace.sees("before")

    chat.kill()
    for person in people:
        expect(person.page.get_by_role("status")).to_have_text("Reconnecting…")
    ada.say("written while the server was down")
    expect(ada.page.locator("#messages .unsent")).to_have_count(1)
    chat.start()

    for person in people:
        person.is_connected()
        person.sees("before", "written while the server was down")
        person.sees_here("Ada", "Grace")
    grace.say("after")
    ada.sees("before", "written while the server was down", "after")
    assert "Traceback" not in chat.stop()
    for person in people:
        person.problems.clear()  # a browser itself notes each connection that was refused


def test_a_page_that_was_away_gets_what_it_missed(chat: Chat, people: list[Person]) -> None:
    ada, grace = people
    for person in people:
        person.enter("Tea room")
    ada.say("one")
    grace.sees("one")

    # Playwright's offline mode leaves open sockets alone, so the page's own is closed as a network would.
    grace.page.context.set_offline(True)
    chat.kill()
    chat.start()
    ada.is_connected()
    for word in ("two", "three"):
        ada.say(word)
    ada.sees("one", "two", "three")
    grace.sees("one")
    grace.page.context.set_offline(False)
    grace.sees("one", "two", "three")
    for person in people:
        person.problems.clear()


def test_a_page_notices_a_connection_that_is_dead_and_comes_back(chat: Chat, people: list[Person]) -> None:
    """A server that stands still says no more than a network that is gone."""
    ada, grace = people
    ada.page.clock.install()
    for person in people:
        person.enter("Tea room")
    assert chat.process is not None
    chat.process.signal(signal.SIGSTOP)
    try:
        ada.page.clock.run_for(SILENCE_MS)
        expect(ada.page.get_by_role("status")).to_have_text("Reconnecting…")
    finally:
        chat.process.signal(signal.SIGCONT)
    ada.is_connected()
    grace.say("Welcome back.")
    ada.sees("Welcome back.")
    ada.problems.clear()  # a browser itself notes each connection that it gives up


def test_a_laptop_that_was_closed_has_missed_nothing_and_says_nothing_twice(
    chat: Chat, people: list[Person], network: FaultyNetwork
) -> None:
    """Its connection is dead and nobody has told it: what it says in that moment is sent twice, and kept once."""
    ada, grace = people
    grace.url = network.url
    grace.page.clock.install()
    for person in people:
        person.enter("Tea room")
    ada.say("one")
    grace.sees("one")
    with network.stalled():
        grace.say("two")
        for word in ("three", "four"):
            ada.say(word)
        ada.sees("one", "three", "four")
    grace.page.clock.fast_forward(3_600_000)
    for person in people:
        person.sees("one", "three", "four", "two")
    assert "Traceback" not in chat.stop()
    for person in people:
        person.problems.clear()  # a browser notes each connection that ends


def test_a_page_that_was_away_for_too_long_begins_anew(
    chat: Chat, people: list[Person], network: FaultyNetwork
) -> None:
    ada, grace = people
    grace.url = network.url
    for person in people:
        person.enter("Tea room")
    ada.say("before")
    grace.sees("before")
    with network.down():
        expect(grace.page.get_by_role("status")).to_have_text("Reconnecting…")
        chat.kill()
        chat.start()
        ada.is_connected()
        for number in range(60):
            ada.say(f"message {number}")
        expect(ada.page.locator("#messages .text")).to_have_count(61)
        expect(ada.page.locator("#messages .unsent")).to_have_count(0)
    # The newest page comes from the database; what the new epoch keeps arrives besides, and may begin before that page.
    expect(grace.page.locator("#messages .text").last).to_have_text("message 59")
    earlier = grace.page.get_by_role("button", name="Show earlier messages")
    expect(earlier).to_be_visible()
    expect(grace.page.get_by_text("before", exact=True)).to_have_count(0)
    earlier.click()
    grace.sees("before", *(f"message {number}" for number in range(60)))
    for person in people:
        person.problems.clear()


def test_a_network_that_blocks_sockets_is_no_obstacle(chat: Chat, people: list[Person], network: FaultyNetwork) -> None:
    ada, grace = people
    network.blocks_sockets = True
    grace.url = network.url
    for person in people:
        person.enter("Tea room")
    ada.say("Can you hear me?")
    grace.say("By another way.")
    for person in people:
        person.sees("Can you hear me?", "By another way.")
        person.sees_here("Ada", "Grace")
    for person in people:
        person.problems.clear()


def test_the_page_comes_back_out_of_the_back_forward_cache(chat: Chat, people: list[Person]) -> None:
    ada, grace = people
    for person in people:
        person.enter("Tea room")
    ada.say("one")
    grace.sees("one")
    grace.page.evaluate("addEventListener('pageshow', ({ persisted }) => (window.restored = persisted))")
    grace.page.goto(chat.url)
    ada.sees_here("Ada")
    ada.say("two")
    ada.sees("one", "two")
    grace.page.go_back(wait_until="commit")
    assert grace.page.evaluate("restored") is True
    grace.sees("one", "two")
    ada.sees_here("Ada", "Grace")


def test_who_leaves_in_another_tab_is_asked_for_a_name(chat: Chat, people: list[Person]) -> None:
    ada = people[0]
    ada.enter("Tea room")
    other = ada.page.context.new_page()
    other.goto(chat.url)
    other.get_by_role("button", name="Leave").click()
    expect(other.locator(".my-name")).to_have_count(0)

    chat.kill()
    chat.start()
    expect(ada.page.get_by_role("heading", level=1)).to_have_text("What is your name?")
    ada.problems.clear()
