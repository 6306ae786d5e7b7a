// The log of a room: what was said, as a reader sees it. All text goes in as text.

const log = document.getElementById("log");
const list = document.getElementById("messages");
const template = document.getElementById("message").content;
const { me } = document.getElementById("room").dataset;

const NEAR_END_PX = 80;
// Somebody who goes on after so long shows their name and the time again.
const PAUSE_MS = 5 * 60_000;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });

/** Make a round face for a name: its first letter, in a colour of its own. */
function paintFace(face, name) {
  const sum = Array.from(name).reduce((total, letter) => (total * 31 + letter.codePointAt(0)) % 9973, 7);
  face.className = `face hue-${sum % 8}`;
  face.textContent = Array.from(name)[0].toUpperCase();
}

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

function find(author, key) {
  return list.querySelector(`[data-key="${CSS.escape(`${author} ${key}`)}"]`);
}

/** Show a message at its place in the order of ids, once; those that the server does not have yet stand last. */
export function show(message) {
  const known = find(message.author, message.key);
  if (known?.dataset.id) return;
  if (known) drop(known);
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

/** The server has a message of mine, or has refused it. */
export function settle(key, isKept) {
  const item = find(me, key);
  if (!item?.classList.contains("unsent")) return;
  if (!isKept) {
    drop(item);
    return;
  }
  item.classList.remove("unsent");
  item.querySelector("time").textContent = clock.format(new Date(item.querySelector("time").dateTime));
}

/** Begin anew: so much was missed that what is above a message does not join it any more. */
export function dropBefore(id) {
  for (const item of list.querySelectorAll("[data-id]")) if (Number(item.dataset.id) < id) drop(item);
}

function drop(item) {
  const next = item.nextElementSibling;
  item.remove();
  join(next);
}

export function newestId() {
  return Math.max(0, ...Array.from(list.children, (item) => Number(item.dataset.id ?? 0)));
}

export function oldestId() {
  return Number(list.querySelector("[data-id]").dataset.id);
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
export function follow(change, always = false) {
  atEnd ||= always;
  change();
  document.getElementById("empty").hidden = list.children.length > 0;
  toEnd();
}

/** Change the log above what is read, which stays where it is. */
export function extend(change) {
  const fromEnd = log.scrollHeight - log.scrollTop;
  change();
  log.scrollTop = log.scrollHeight - fromEnd;
}

export function showHere(names) {
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
