"use strict";
const byId = id => document.getElementById(id);
const facts = JSON.parse(byId("facts").textContent);
const sections = [...document.querySelectorAll(".task")];
const place = `sft-pipeline review ${facts.request} ${facts.rater}`;
const undone = [];
let answers = {}, at = 0, since = 0, session = facts.saved ? "server" : "";
let unsent = new Set(), sending = false;

// SHA-256 (FIPS 180-4): a page that is opened as a file may have no crypto.subtle.
function sha256(text) {
  const roots = [], first = [];
  for (let n = 2; roots.length < 64; n++) {
    if (first.some(p => n % p === 0)) continue;
    first.push(n);
    roots.push(n);
  }
  const part = x => (x - Math.floor(x)) * 4294967296 | 0;
  const k = roots.map(p => part(Math.cbrt(p))), h = roots.slice(0, 8).map(p => part(Math.sqrt(p)));
  const bytes = new TextEncoder().encode(text), size = (bytes.length + 72 >> 6) << 6;
  const data = new Uint8Array(size), view = new DataView(data.buffer), w = new Int32Array(64);
  data.set(bytes);
  data[bytes.length] = 128;
  view.setUint32(size - 8, Math.floor(bytes.length / 536870912));
  view.setUint32(size - 4, bytes.length << 3);
  const turn = (x, n) => x >>> n | x << 32 - n;
  for (let start = 0; start < size; start += 64) {
    for (let i = 0; i < 16; i++) w[i] = view.getInt32(start + 4 * i);
    for (let i = 16; i < 64; i++) {
      const x = w[i - 15], y = w[i - 2];
      w[i] = w[i - 16] + w[i - 7] + (turn(x, 7) ^ turn(x, 18) ^ x >>> 3) + (turn(y, 17) ^ turn(y, 19) ^ y >>> 10) | 0;
    }
    let [a, b, c, d, e, f, g, z] = h;
    for (let i = 0; i < 64; i++) {
      const one = z + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + (e & f ^ ~e & g) + k[i] + w[i] | 0;
      const two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + (a & b ^ a & c ^ b & c) | 0;
      [z, g, f, e, d, c, b, a] = [g, f, e, d + one | 0, c, b, a, one + two | 0];
    }
    [a, b, c, d, e, f, g, z].forEach((x, i) => { h[i] = h[i] + x | 0; });
  }
  return h.map(x => (x >>> 0).toString(16).padStart(8, "0")).join("");
}

const pageHash = sha256([...document.querySelectorAll("[data-text]")].map(e => e.textContent).join("\n\x1e\n"));
const done = answer => Boolean(answer && answer.first && answer.second && answer.better);
const say = text => { byId("said").textContent = text; };
const complain = text => { byId("problem").textContent = text; };

function load() {
  const kept = stored(() => JSON.parse(localStorage.getItem(place) || "{}")) ?? {};
  ({answers = {}, session = session} = kept);
  // Two people who fill in one page must not pass for one who saved it twice.
  session ||= [...crypto.getRandomValues(new Uint8Array(8))].map(x => x.toString(16).padStart(2, "0")).join("");
  if (!facts.saved) return;
  unsent = new Set(kept.unsent);
  answers = {...facts.saved, ...Object.fromEntries([...unsent].filter(id => answers[id]).map(id => [id, answers[id]]))};
  send();
}

function stored(action) {
  try { return action(); } catch { complain("This browser does not keep what you enter: save the file before you close the page."); }
}

function keep(id) {
  if (facts.saved) unsent.add(id);
  stored(() => localStorage.setItem(place, JSON.stringify({session, answers, unsent: [...unsent]})));
  if (facts.saved) send();
}

// One after the other: a later answer must not be overtaken by an earlier one.
async function send() {
  if (sending) return;
  sending = true;
  try {
    for (const id of [...unsent]) {
      const body = JSON.stringify({task: id, answer: answers[id] ?? null});
      const reply = await fetch(`${location.pathname}/answers`, {method: "POST", body, keepalive: true, headers: {"Content-Type": "application/json"}});
      if (!reply.ok) throw new Error(reply.status);
      if (body === JSON.stringify({task: id, answer: answers[id] ?? null})) unsent.delete(id);
      stored(() => localStorage.setItem(place, JSON.stringify({session, answers, unsent: [...unsent]})));
    }
    complain("");
  } catch {
    complain("The server did not take the last answer. It is kept in this browser and sent with the next one.");
    sending = false;
    return;
  }
  sending = false;
  if (unsent.size) send();
}

function fill(section) {
  const answer = answers[section.id] ?? {};
  for (const input of section.querySelectorAll("input")) input.checked = answer[input.closest("fieldset").dataset.question] === input.value;
  section.querySelector("textarea").value = answer.note ?? "";
  section.querySelector("[data-question=better]").disabled = !(answer.first && answer.second);
}

function count() {
  const finished = sections.filter(s => done(answers[s.id])).length;
  byId("count").textContent = `${finished} of ${sections.length} pairs`;
  byId("progress").value = finished;
  byId("left").textContent = finished === sections.length ? "All pairs are judged." : `${sections.length - finished} pairs are not finished.`;
}

function timed() {
  const section = sections[at];
  // Time away from the page is not time spent reading.
  if (section && since && answers[section.id]) answers[section.id].ms = (answers[section.id].ms ?? 0) + Math.min(Math.round(performance.now() - since), 600000);
  since = performance.now();
}

function show(index, focus = true) {
  timed();
  at = Math.max(0, Math.min(index, sections.length));
  sections.forEach((section, k) => { section.hidden = k !== at; });
  byId("end").hidden = at < sections.length;
  byId("back").disabled = at === 0;
  byId("next").disabled = at === sections.length;
  if (at < sections.length) fill(sections[at]);
  count();
  if (focus) {
    (at < sections.length ? sections[at] : byId("end")).querySelector("h2").focus({preventScroll: true});
    scrollTo(0, 0);
  }
}

function change(id, field, value) {
  const before = answers[id] ? {...answers[id]} : null;
  if (field !== "note" || undone.at(-1)?.field !== "note" || undone.at(-1)?.id !== id) undone.push({id, before, field});
  answers[id] = {...answers[id], [field]: value.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd")};
  timed();
  keep(id);
  fill(sections[at]);
  count();
}

function undo() {
  const last = undone.pop();
  if (!last) return say("There is nothing to undo.");
  if (last.before) answers[last.id] = last.before; else delete answers[last.id];
  since = 0;
  keep(last.id);
  show(sections.findIndex(section => section.id === last.id));
  say("The last answer was taken back.");
}

function next() {
  const section = sections[at];
  const {first, second, better} = answers[section?.id] ?? {};
  say(!section || done(answers[section.id]) ? "" : `Pair ${at + 1} is not finished: ${!first ? "answer 1" : !second ? "answer 2" : "which is better"} is open.`);
  show(at + 1);
}

function firstOpen() {
  const open = sections.findIndex(section => !done(answers[section.id]));
  show(open < 0 ? sections.length : open);
}

function save() {
  timed();
  keep(sections[Math.min(at, sections.length - 1)].id);
  const kept = Object.fromEntries(sections.filter(s => answers[s.id]).map(s => [s.id, answers[s.id]]));
  const review = {request: facts.request, rater: facts.rater, page: pageHash, session, saved: new Date().toISOString(), answers: kept};
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify({review, check: sha256(JSON.stringify(review))})], {type: "application/json"}));
  link.download = `review-${facts.request}-${facts.rater}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  say("The file is in your downloads. Send it back.");
}

document.addEventListener("change", event => {
  const question = event.target.closest("fieldset")?.dataset.question;
  if (question) change(sections[at].id, question, event.target.value);
});
document.addEventListener("input", event => {
  if (event.target.matches("textarea")) change(sections[at].id, "note", event.target.value);
});
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (event.target.matches("textarea")) {
    if (event.key === "Escape") sections[at].querySelector("h2").focus();
    return;
  }
  if (!byId("keys").checked || (event.key === "Enter" && event.target.matches("button, summary"))) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const option = sections[at]?.querySelector(`input[data-key="${CSS.escape(key)}"]`);
  const actions = {Enter: next, b: () => show(at - 1), z: undo, f: firstOpen, s: save, g: () => { byId("guide").open = !byId("guide").open; }, n: () => sections[at]?.querySelector("textarea").focus()};
  if (option) {
    if (option.matches(":disabled")) say("First say of both answers whether they succeed.");
    else { option.checked = true; change(sections[at].id, option.closest("fieldset").dataset.question, option.value); option.focus(); }
  } else if (actions[key]) actions[key]();
  else return;
  event.preventDefault();
});
byId("keys").addEventListener("change", event => document.body.classList.toggle("quiet", !event.target.checked));
byId("back").addEventListener("click", () => show(at - 1));
byId("next").addEventListener("click", next);
byId("undo").addEventListener("click", undo);
byId("open").addEventListener("click", firstOpen);
byId("save").addEventListener("click", save);
addEventListener("visibilitychange", () => { if (document.hidden) { timed(); since = 0; } else since = performance.now(); });
load();
show(Math.max(0, sections.findIndex(section => !done(answers[section.id]))), false);
