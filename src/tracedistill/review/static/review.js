// Saves while you type, puts the verdicts beside the lines, and gives every button a key. Without it the form works too.
"use strict";

const WORDS = { correct: "✓ right", incorrect: "✗ wrong", undecided: "? undecided", unread: "? not a step", unparsed: "? not readable",
  missing: "? missing", none: "? no verdict", ungradable: "? no gold" };
const main = document.getElementById("main");
const status = document.getElementById("status");
const help = document.getElementById("help");
const IDLE = 60;            // seconds without a key or a pointer: the reviewer is away
let typing = 0;             // the timer that waits for a pause in typing
let sending = Promise.resolve();  // one request after the other: each needs the version that the last one made
let changes = 0;            // counts keystrokes, so that an answer to an older text is not shown
let over = false;           // the next save goes over another tab's
let busy = 0, ahead = "";   // an action is under way; what was typed meanwhile
let spent = 0, active = Date.now(), shown = 0;

const form = () => main.querySelector("form");
const item = () => document.getElementById("item");
const inField = (target) => target.matches("textarea, select, input:not([type=radio]):not([type=checkbox])");

function say(text) { status.textContent = ""; if (text) setTimeout(() => { status.textContent = text; }, 50); }

// ---- time spent: while the page is visible and the reviewer is active

setInterval(() => {
  if (!form() || document.hidden || (Date.now() - active) / 1000 > IDLE) return;
  spent += 1; shown += 1;
  const clock = document.getElementById("clock");
  if (clock) clock.textContent = Math.floor(shown / 60) + ":" + String(Math.floor(shown % 60)).padStart(2, "0");
}, 1000);
for (const event of ["keydown", "pointerdown", "pointermove", "scroll"]) {
  document.addEventListener(event, () => { active = Date.now(); }, { passive: true, capture: true });
}

// ---- sending

function body(action) {
  const fields = new URLSearchParams(new FormData(form()));
  fields.set("do", action);
  fields.set("seconds", String(spent));
  if (over) fields.set("over", "1");
  spent = 0;
  return fields;
}

function queued(work) { sending = sending.then(work, work); return sending; }

function lost(error) {
  const note = document.getElementById("saved");
  if (note) note.textContent = "NOT saved: the server does not answer (" + error.message + ")";
  say("Not saved: the server does not answer");
}

function save() {
  clearTimeout(typing); typing = 0;
  return queued(async () => {
    if (!item()) return;
    const then = changes, address = form().action, fields = body("save");
    try {
      const answer = await fetch(address, { method: "POST", body: fields, headers: { "X-Part": "verdicts" } });
      const saved = answer.headers.get("content-type").startsWith("application/json") ? await answer.json() : null;
      if (!item() || form().action !== address) return;
      if (answer.status === 409) { conflict(saved); return; }
      if (!answer.ok || !saved) throw new Error("status " + answer.status);
      form().elements.version.value = saved.version;
      over = false;
      document.getElementById("conflict")?.remove();
      if (then === changes) mark(saved);
      document.getElementById("saved").textContent = "saved";
    } catch (error) {
      spent += Number(fields.get("seconds"));
      lost(error);
      typing = setTimeout(save, 2000);  // until the server answers again
    }
  });
}

// What was typed stays in its fields; saving it now would put it over the other text, and the page says so.
function conflict(saved) {
  over = true;
  form().elements.version.value = saved.version;
  let note = document.getElementById("conflict");
  if (!note) {
    note = document.createElement("p");
    note.id = "conflict"; note.className = "note bad"; note.setAttribute("role", "alert");
    form().prepend(note);
  }
  note.textContent = saved.conflict + " ";
  const link = document.createElement("a");
  link.href = form().action; link.textContent = "Show what is stored";
  note.append(link);
  document.getElementById("saved").textContent = "NOT saved";
  say(saved.conflict);
  note.scrollIntoView({ block: "nearest" });
}

function verdict(element, outcome, reason) {
  element.className = "verdict " + outcome;
  element.firstElementChild.textContent = WORDS[outcome] || "? " + outcome;
  element.lastElementChild.textContent = reason;
}

function mark(saved) {
  saved.marks.forEach(([outcome, reason], at) => {
    const element = document.getElementById("mark-" + at);
    if (!element) return;
    verdict(element, outcome, reason);
    document.getElementById("step-" + at).className = "step " + outcome;
  });
  const list = document.getElementById("parts");
  list.replaceChildren(...saved.parts.map(([name, outcome, reason]) => {
    const line = document.createElement("li"), label = document.createElement("span"), sign = document.createElement("span");
    label.className = "soft"; label.textContent = name;
    sign.append(document.createElement("b"), " ", Object.assign(document.createElement("span"), { className: "why" }));
    verdict(sign, outcome, reason);
    line.append(label, " ", sign);
    return line;
  }));
  const state = document.getElementById("state");
  state.textContent = saved.status + (saved.status === "open" && saved.changed ? ", with a draft" : "");
}

function act(action) {
  clearTimeout(typing); typing = 0;
  busy += 1;
  const onStep = document.activeElement.matches("li.step") && !action.startsWith("add:");
  return queued(async () => {
    if (!form()) { busy = 0; return; }
    const fields = body(action);
    try {
      const answer = await fetch(form().action, { method: "POST", body: fields, headers: { "X-Part": "main" } });
      const address = answer.headers.get("X-Address");
      if (answer.status === 204) { location.href = address; return; }
      over = answer.status === 409;  // what is saved next goes over another tab's
      put(await answer.text());
      if (onStep && document.activeElement.id.startsWith("line-")) document.activeElement.closest("li").focus();
      if (address && address !== location.pathname + location.search) history.pushState(null, "", address);
    } catch (error) { spent += Number(fields.get("seconds")); lost(error); }
    busy -= 1;
    const field = document.activeElement;
    if (!busy && ahead && field.matches("textarea")) {
      field.setRangeText(ahead, field.selectionStart, field.selectionEnd, "end");
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
    if (!busy) ahead = "";
  });
}

function put(html) {
  const part = new DOMParser().parseFromString(html, "text/html");
  document.title = part.title;
  main.replaceChildren(...part.body.childNodes);
  opened();
}

function opened() {
  const now = form();
  if (!now || now.method !== "post") return;
  const clock = document.getElementById("clock");
  spent = 0; shown = clock ? Number(clock.dataset.spent) : 0;
  main.querySelectorAll("textarea").forEach(grow);
  const goto = document.getElementById(now.dataset.goto || "");
  const to = goto || document.getElementById("heading");
  // a reviewer who was quicker than the script keeps the focus
  if (to && (document.activeElement === document.body || document.activeElement === main)) {
    to.focus({ preventScroll: !goto });
    if (!goto) scrollTo(0, 0);
  }
  const alert = main.querySelector("[role=alert]");
  say((alert ? alert.textContent : now.dataset.message) || "");
}

function grow(field) { field.style.height = "auto"; field.style.height = field.scrollHeight + 2 + "px"; }

// ---- events

main.addEventListener("input", (event) => {
  if (event.target.matches("textarea")) grow(event.target);
  if (!item()) return;
  changes += 1;
  document.getElementById("saved").textContent = "…";
  clearTimeout(typing);
  typing = setTimeout(save, 250);
});

main.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (event.target.method !== "post" || !button) return;
  event.preventDefault();
  act(button.value);
});

addEventListener("popstate", () => location.reload());
addEventListener("pagehide", () => {
  if (!item() || !typing) return;
  fetch(form().action, { method: "POST", body: body("save"), keepalive: true, headers: { "X-Part": "verdicts" } });
});

document.getElementById("help-open").addEventListener("click", () => help.showModal());

const press = (value) => { const button = main.querySelector(`button[value="${value}"]:not([disabled])`); if (button) act(value); };
const steps = () => [...main.querySelectorAll("li.step")];
const here = () => steps().findIndex((step) => step.contains(document.activeElement));

function edit(at) {
  const field = document.getElementById("line-" + Math.max(at, 0));
  if (field) { field.focus(); field.setSelectionRange(field.value.length, field.value.length); }
}

function choose(digit) {
  const button = main.querySelector(`button[data-key="${digit}"]`);
  if (button) { act(button.value); return; }
  const groups = [...main.querySelectorAll("fieldset.scale")];
  const group = groups.find((one) => one.contains(document.activeElement)) || groups.find((one) => !one.querySelector(":checked"));
  const radio = group && group.querySelector(`input[value="${digit}"]`);
  if (!radio) return;
  radio.checked = true;
  const next = groups.find((one) => !one.querySelector(":checked")) || group;
  (next.querySelector(":checked") || next.querySelector("input")).focus();
}

const KEYS = {
  a: () => press("approve"), r: () => press("reject"), u: () => press("undo"), n: () => press("next"), p: () => press("prev"),
  q: () => { location.href = document.querySelector(".top nav a").href; },
  g: () => press("gold"),
  c: () => { const field = document.getElementById("comment"); if (field) field.focus(); },
  j: () => move(1), k: () => move(-1), ArrowDown: () => move(1), ArrowUp: () => move(-1),
  e: () => edit(here()), Enter: () => edit(here()),
  o: () => press("add:" + Math.max(here(), 0)), x: () => { if (here() >= 0) press("delete:" + here()); },
  J: () => { if (here() >= 0) press("down:" + here()); }, K: () => { if (here() >= 0) press("up:" + here()); },
  s: () => { const start = document.getElementById("start"); if (start) start.click(); },
};

function move(by) {
  const all = steps(), at = here();
  const step = all[Math.min(Math.max(at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by, 0), all.length - 1)];
  if (step) step.focus();
}

document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (help.open || event.isComposing) return;
  if (busy && inField(target) && event.key.length === 1 && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    ahead += event.key;
    return;
  }
  if (target.matches("textarea[name=line]")) { inStep(event, target); return; }
  if (inField(target)) {
    if (event.key === "Escape") document.getElementById("heading")?.focus();
    if (event.key === "Enter" && event.ctrlKey && item()) { event.preventDefault(); act("approve"); }
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "?") { event.preventDefault(); help.showModal(); return; }
  if (/^[1-5]$/.test(event.key)) { choose(event.key); return; }
  if (event.key === "Enter" && !target.matches("li.step")) return;  // buttons and links keep their own Enter
  if (event.key.startsWith("Arrow") && !target.matches("li.step")) return;  // the page scrolls
  const key = KEYS[event.key];
  if (key) { event.preventDefault(); key(); }
});

function inStep(event, field) {
  const at = Number(field.id.slice(5));
  const stop = (action) => { event.preventDefault(); act(action); };
  if (event.key === "Escape") { event.preventDefault(); document.getElementById("step-" + at).focus(); return; }
  if (event.key === "Enter" && event.ctrlKey) { stop("approve"); return; }
  if (event.key === "Enter" && !event.shiftKey) { stop("add:" + at); return; }
  if (event.key === "ArrowUp" && event.altKey) { if (at) stop("up:" + at); return; }
  if (event.key === "ArrowDown" && event.altKey) { if (at < steps().length - 1) stop("down:" + at); return; }
  if (event.key === "Backspace" && !field.value) stop("delete:" + at);
}

opened();
