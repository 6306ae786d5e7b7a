// The room page. The socket brings what is new; what was missed comes from the server's memory over HTTP.
//
// Nothing is lost: the server subscribes before it accepts, so whatever is said after "open" arrives here,
// and whatever was said before is fetched then. What is written without a connection waits in `unsent`.

const room = document.getElementById("room");
const log = document.getElementById("log");
const list = document.getElementById("messages");
const earlier = document.getElementById("earlier");
const status = document.getElementById("status");
const error = document.getElementById("error");
const composer = document.getElementById("composer");
const text = document.getElementById("text");

const me = room.dataset.me;
const messagesUrl = room.dataset.messages;
const socketUrl = new URL(room.dataset.socket, location.href.replace(/^http/, "ws"));

const RETRY_FIRST_MS = 500;
const RETRY_MOST_MS = 10_000;
// Two messages may be passed on in another order than they were kept: what is asked for again overlaps by so many.
const OVERLAP_COUNT = 20;
const NEAR_END_PX = 80;

// Showing -----------------------------------------------------------------------------------------

const template = document.getElementById("message").content;
const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "numeric", minute: "2-digit" });

/** Return when it was said, in words that are as short as they can be. */
function when(date) {
  return (date.toDateString() === new Date().toDateString() ? clock : calendar).format(date);
}

/** Make a round face for a name: its first letter, in a colour of its own. */
function paintFace(face, name) {
  const sum = Array.from(name).reduce((total, letter) => (total * 31 + letter.codePointAt(0)) % 9973, 7);
  face.className = `face hue-${sum % 8}`;
  face.textContent = Array.from(name)[0].toUpperCase();
}

/** Make the item of one message; all text goes in as text. */
function makeItem({ id, key, author, text, sent_at }) {
  const item = template.cloneNode(true).firstElementChild;
  item.dataset.key = `${author} ${key}`;
  item.dataset.author = author;
  item.classList.toggle("mine", author === me);
  paintFace(item.querySelector(".face"), author);
  item.querySelector(".author").textContent = author;
  item.querySelector(".text").textContent = text;
  const time = item.querySelector("time");
  if (id === undefined) {
    item.classList.add("unsent");
    time.textContent = "sending…";
  } else {
    item.dataset.id = id;
    time.dateTime = sent_at;
    time.textContent = when(new Date(sent_at));
  }
  return item;
}

/** Show a message at its place in the order of ids, once; those not sent yet stand last. */
function show(message) {
  for (const item of list.children) {
    if (item.dataset.key !== `${message.author} ${message.key}`) continue;
    if (item.dataset.id) return;
    remove(item);
    break;
  }
  const item = makeItem(message);
  let before = list.lastElementChild;
  if (message.id !== undefined) {
    while (before && !(Number(before.dataset.id) < message.id)) before = before.previousElementSibling;
  }
  if (before) before.after(item);
  else list.prepend(item);
  join(item);
  join(item.nextElementSibling);
}

function remove(item) {
  const next = item.nextElementSibling;
  item.remove();
  join(next);
}

/** Several messages of one person in a row show the name once. */
function join(item) {
  item?.classList.toggle("again", item.previousElementSibling?.dataset.author === item.dataset.author);
}

/** Change the log, and stay at its end if that is where the reader is. */
function follow(change, always = false) {
  const atEnd = always || log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END_PX;
  change();
  document.getElementById("empty").hidden = list.children.length > 0;
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function showHere(names) {
  const items = names.map((name) => {
    const item = document.createElement("li");
    const face = document.createElement("span");
    face.ariaHidden = "true";
    paintFace(face, name);
    item.append(face, name);
    item.classList.toggle("mine", name === me);
    return item;
  });
  document.getElementById("here").replaceChildren(...items);
}

// What was missed ---------------------------------------------------------------------------------

let seen = null; // the id up to which everything is here; null: nothing is
let caughtUp = false;

/** Fetch a page of messages. A reader who may not read any more is sent where the server says. */
async function fetchPage(query = {}) {
  const response = await fetch(`${messagesUrl}?${new URLSearchParams(query)}`, { cache: "no-store" });
  if (response.redirected || response.status === 404) location.reload();
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
  return response.json();
}

function newestId() {
  return Math.max(0, ...Array.from(list.children, (item) => Number(item.dataset.id ?? 0)));
}

async function catchUp() {
  const page = await fetchPage(seen === null ? {} : { after: Math.max(0, seen - OVERLAP_COUNT) });
  follow(() => {
    if (seen === null || page.earlier) {
      // A first look, or so much was missed that the page begins anew; the rest is behind the button.
      for (const item of list.querySelectorAll("[data-id]")) item.remove();
      earlier.hidden = !page.earlier;
    }
    page.messages.forEach(show);
  }, seen === null);
  seen = newestId();
  caughtUp = true;
  log.ariaBusy = "false";
}

earlier.addEventListener("click", async () => {
  earlier.disabled = true;
  try {
    const page = await fetchPage({ before: list.querySelector("[data-id]").dataset.id });
    const fromEnd = log.scrollHeight - log.scrollTop;
    page.messages.forEach(show);
    earlier.hidden = !page.earlier;
    log.scrollTop = log.scrollHeight - fromEnd;
  } catch {
    error.textContent = "The earlier messages cannot be reached just now.";
  } finally {
    earlier.disabled = false;
  }
});

// What was not sent -------------------------------------------------------------------------------

// Kept for this tab, so that a reload does not lose it either.
const storageKey = `unsent ${me} ${messagesUrl}`;
const unsent = new Map(JSON.parse(sessionStorage.getItem(storageKey) ?? "[]"));

function keep(key, value) {
  if (value === undefined) unsent.delete(key);
  else unsent.set(key, value);
  sessionStorage.setItem(storageKey, JSON.stringify([...unsent]));
}

function makeKey() {
  // Unlike crypto.randomUUID this is there over plain HTTP too, as on a phone in the same network.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function say(words) {
  const key = makeKey();
  keep(key, words);
  follow(() => show({ key, author: me, text: words }), true);
  transmit(key);
}

function transmit(key) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ key, text: unsent.get(key) }));
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const words = text.value.trim();
  error.textContent = "";
  if (words) say(words.toWellFormed?.() ?? words);
  composer.reset();
  text.focus();
});

text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    composer.requestSubmit();
  }
});

// The socket --------------------------------------------------------------------------------------

const handlers = {
  message(message) {
    follow(() => show(message));
    if (message.author === me) keep(message.key);
    if (caughtUp) seen = Math.max(seen, message.id);
  },
  here({ names }) {
    showHere(names);
  },
  refused({ key, errors }) {
    keep(key);
    const item = list.querySelector(`.unsent[data-key="${CSS.escape(`${me} ${key}`)}"]`);
    if (item) remove(item);
    error.textContent = Object.values(errors).flat().map(({ message }) => message).join(" ");
  },
};

let socket = null;
let retryCount = 0;
let retryTimer = null;

function connect() {
  clearTimeout(retryTimer);
  const mine = new WebSocket(socketUrl);
  let opened = false;
  socket = mine;
  mine.addEventListener("open", async () => {
    opened = true;
    for (const key of unsent.keys()) transmit(key);
    try {
      await catchUp();
      retryCount = 0;
      status.textContent = "";
    } catch {
      mine.close();
    }
  });
  mine.addEventListener("message", ({ data }) => {
    const event = JSON.parse(data);
    handlers[event.type]?.(event);
  });
  mine.addEventListener("close", () => {
    caughtUp = false;
    status.textContent = retryCount || opened ? "Reconnecting…" : "Connecting…";
    // A browser does not say why a handshake failed; asking over HTTP finds out whether we may still be here.
    if (!opened) fetchPage({ after: Number.MAX_SAFE_INTEGER }).catch(() => {});
    // Exponential back-off; the jitter keeps a thousand pages from coming back in the same moment.
    const wait = Math.min(RETRY_MOST_MS, RETRY_FIRST_MS * 2 ** retryCount++);
    retryTimer = setTimeout(connect, wait * (0.5 + Math.random() / 2));
  });
}

// The network is back: no need to wait for the timer.
addEventListener("online", () => {
  if (socket.readyState === WebSocket.CLOSED) connect();
});

for (const [key, words] of unsent) show({ key, author: me, text: words });
connect();
