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
// The server asks a silent page every 20 s whether it is there, see chat/sockets.py; so something is heard that often.
const SILENCE_MS = 45_000;
const WAKE_MS = 5_000;
const NEAR_END_PX = 80;
// Somebody who goes on after so long shows their name and the time again.
const PAUSE_MS = 5 * 60_000;
const MOST_CHARACTERS = 1000;

// Showing -----------------------------------------------------------------------------------------

const template = document.getElementById("message").content;
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });

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
  const date = sent_at ? new Date(sent_at) : new Date();
  time.dateTime = date.toISOString();
  time.textContent = sent_at ? clock.format(date) : "sending…";
  item.querySelector(".day").textContent = calendar.format(date);
  if (id === undefined) item.classList.add("unsent");
  else item.dataset.id = id;
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

/** A day stands above its first message, and the name and time above those that somebody says without a pause. */
function join(item) {
  if (!item) return;
  const before = item.previousElementSibling;
  const [last, now] = [before, item].map((of) => new Date(of?.querySelector("time").dateTime ?? 0));
  const newDay = last.toDateString() !== now.toDateString();
  item.querySelector(".day").hidden = !newDay;
  item.classList.toggle("again", !newDay && now - last < PAUSE_MS && before.dataset.author === item.dataset.author);
}

// A reader at the end of the log stays there, whether it grows or the composer or a phone's keyboard takes room from it.
let atEnd = true;
let height = log.clientHeight;

function toEnd() {
  height = log.clientHeight;
  if (atEnd) log.scrollTop = log.scrollHeight;
}

log.addEventListener("scroll", () => {
  if (log.clientHeight !== height) return; // it has another size since: the observer comes next
  atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END_PX;
});
new ResizeObserver(toEnd).observe(log);

/** Change the log, and stay at its end if that is where the reader is. */
function follow(change, always = false) {
  atEnd ||= always;
  change();
  document.getElementById("empty").hidden = list.children.length > 0;
  toEnd();
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
  if (words.trim()) say(words.toWellFormed?.() ?? words);
  composer.reset();
  fit();
});

text.addEventListener("input", fit);

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
  ping() {
    socket.send('{"type":"pong"}');
  },
  refused({ key, errors }) {
    const words = unsent.get(key);
    keep(key);
    const item = list.querySelector(`.unsent[data-key="${CSS.escape(`${me} ${key}`)}"]`);
    if (item) remove(item);
    text.value ||= words ?? ""; // to be mended, not written anew
    fit();
    error.textContent = Object.values(errors).flat().map(({ message }) => message).join(" ");
  },
};

let socket = null;
let opened = false;
let retryCount = 0;
let retryTimer = null;
let deadline = null;

/** Give up a connection on which nothing is heard for so long. One that the network has lost does not say so itself. */
function expectWord(ms) {
  clearTimeout(deadline);
  deadline = setTimeout(() => lost(socket), ms);
}

function connect() {
  clearTimeout(retryTimer);
  const mine = new WebSocket(socketUrl);
  socket = mine;
  opened = false;
  expectWord(SILENCE_MS);
  mine.addEventListener("open", async () => {
    opened = true;
    for (const key of unsent.keys()) transmit(key);
    try {
      await catchUp();
      retryCount = 0;
      status.textContent = "";
    } catch {
      lost(mine);
    }
  });
  mine.addEventListener("message", ({ data }) => {
    if (socket !== mine) return;
    expectWord(SILENCE_MS);
    const event = JSON.parse(data);
    handlers[event.type]?.(event);
  });
  mine.addEventListener("close", () => lost(mine));
}

/** Come back, after a while that grows; the browser may take long to close what is dead, and nobody waits for that. */
function lost(mine) {
  if (socket !== mine) return;
  socket = null;
  clearTimeout(deadline);
  mine.close();
  status.textContent = retryCount || opened ? "Reconnecting…" : "Connecting…";
  caughtUp = false;
  // A browser does not say why a handshake failed; asking over HTTP finds out whether we may still be here.
  if (!opened) fetchPage({ after: Number.MAX_SAFE_INTEGER }).catch(() => {});
  // Exponential back-off; the jitter keeps a thousand pages from coming back in the same moment.
  const wait = Math.min(RETRY_MOST_MS, RETRY_FIRST_MS * 2 ** retryCount++);
  retryTimer = setTimeout(connect, wait * (0.5 + Math.random() / 2));
}

/** The network is back, or a phone is awake: see at once whether the connection has outlived it. */
function wake() {
  if (document.hidden) return;
  if (socket === null) connect();
  else if (socket.readyState === WebSocket.OPEN) {
    socket.send('{"type":"ping"}');
    expectWord(WAKE_MS);
  }
}

addEventListener("online", wake);
document.addEventListener("visibilitychange", wake);

for (const [key, words] of unsent) show({ key, author: me, text: words });
connect();
