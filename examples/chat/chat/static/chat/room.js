// The room page. The client brings what is said, each message once, also what was said while the page was away. Only when too
// much was missed, or the server has started anew, the page asks for the messages that the database has.

import { connect, makeKey } from "../fullduplex/client.js";
import { dropBefore, extend, follow, newestId, oldestId, settle, show, showHere } from "./log.js";

const { me, group, messages, socket, events } = document.getElementById("room").dataset;
const start = JSON.parse(document.getElementById("start").textContent);
const earlier = document.getElementById("earlier");
const error = document.getElementById("error");
const composer = document.getElementById("composer");
const text = document.getElementById("text");

const MOST_CHARACTERS = 1000;
const AGAIN_MS = 2_000;
const UNAUTHORIZED = 3000; // a close code

// What was said -----------------------------------------------------------------------------------

const handlers = {
  message(message) {
    follow(() => show(message));
    if (message.author === me) keep(message.key);
  },
  here({ names }) {
    showHere(names);
  },
};

const client = connect(socket, {
  events,
  onStatus({ state, attempt, code }) {
    const words = { connecting: attempt ? "Connecting…" : "", reconnecting: "Reconnecting…", closed: "Disconnected" };
    document.getElementById("status").textContent = words[state] ?? "";
    if (code === UNAUTHORIZED) location.reload(); // the server says where to go
  },
});

const room = client.subscribe(group, {
  after: start.position,
  onMessage: (event) => handlers[event.type]?.(event),
  onGap: () => catchUp(newestId()),
  onSubscribed: () => (document.getElementById("log").ariaBusy = "false"),
});

async function fetchPage(query = {}) {
  const response = await fetch(`${messages}?${new URLSearchParams(query)}`, { cache: "no-store" });
  if (response.redirected || response.status === 404) location.reload();
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  return response.json();
}

/** Show the newest messages that the database has. After a night in a bag they do not join what was there: begin anew. */
async function catchUp(lastId) {
  let page;
  try {
    page = await fetchPage();
  } catch {
    setTimeout(catchUp, AGAIN_MS, lastId);
    return;
  }
  follow(() => {
    if (page.earlier && page.messages[0].id > lastId) {
      dropBefore(page.messages[0].id);
      earlier.hidden = false;
    }
    page.messages.forEach(show);
  });
}

earlier.addEventListener("click", async () => {
  earlier.disabled = true;
  try {
    const page = await fetchPage({ before: oldestId() });
    extend(() => page.messages.forEach(show));
    earlier.hidden = !page.earlier;
  } catch {
    error.textContent = "The earlier messages cannot be reached just now.";
  } finally {
    earlier.disabled = false;
  }
});

// What is said here -------------------------------------------------------------------------------

// What the server does not have yet, by its key; kept for this tab, so that a reload does not lose it either.
const storageKey = `unsent ${me} ${messages}`;
const unsent = new Map(JSON.parse(sessionStorage.getItem(storageKey) ?? "[]"));

function keep(key, words) {
  if (words === undefined) unsent.delete(key);
  else unsent.set(key, words);
  sessionStorage.setItem(storageKey, JSON.stringify([...unsent]));
}

/** The client sends it as often as it takes; the key lets the server keep it once. */
async function say(key, words) {
  keep(key, words);
  follow(() => show({ key, author: me, text: words }), true);
  try {
    await room.publish({ text: words }, { key });
    settle(key, true);
  } catch ({ code, message }) {
    if (code === "closed") return; // it is said again when the page is loaded again
    settle(key, false);
    text.value ||= words; // to be mended, not written anew
    fit();
    error.textContent = message;
  }
  keep(key);
}

/** Make the box as high as what is in it, up to the height that the style sheet allows. */
function fit() {
  if (CSS.supports("field-sizing", "content")) return; // the browser does it
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + text.offsetHeight - text.clientHeight}px`;
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const words = text.value;
  const surplus = Array.from(words).length - MOST_CHARACTERS;
  error.textContent = surplus > 0 ? `A message has at most ${MOST_CHARACTERS} characters; this one has ${surplus} too many.` : "";
  text.focus();
  if (surplus > 0) return; // all of it stays in the box
  composer.reset();
  fit();
  if (words.trim()) say(makeKey(), words.toWellFormed?.() ?? words);
});

text.addEventListener("input", fit);

text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    composer.requestSubmit();
  }
});

follow(() => start.messages.forEach(show), true);
earlier.hidden = !start.earlier;
for (const [key, words] of unsent) say(key, words);
