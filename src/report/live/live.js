// Fills the page from the events. Texts from records are only ever set as text; the HTML of a card
// comes escaped from the service.
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const count = (n) => (n == null ? "–" : whole.format(n));
const rate = (n) => (n == null ? "–" : n < 99.95 ? tenths.format(n) : whole.format(n));
const mb = (n) => (n == null ? "–" : n < 1e9 ? `${whole.format(n / 1e6)} MB` : `${tenths.format(n / 1e9)} GB`);
const ms = (n) => (n == null ? "–" : n < 10 ? `${tenths.format(n)} ms` : n < 999.5 ? `${whole.format(n)} ms` : `${tenths.format(n / 1e3)} s`);
const span = (s) => {
  if (s == null) return "–";
  if (s < 1) return "under 1 s";
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} days`;
};
const when = (at) => new Date(at).toLocaleTimeString([], { hour12: false });
const find = (id) => document.getElementById(id);
const make = (name, text, classes = "") => {
  const node = document.createElement(name);
  if (text != null) node.textContent = text;
  if (classes) node.className = classes;
  return node;
};
const fill = (values) => {
  for (const [key, text] of Object.entries(values))
    for (const node of document.querySelectorAll(`[data-n="${key}"]`)) node.textContent = text;
};
const rows = (body, list, columns, none) => {
  const row = (cells) => {
    const tr = make("tr");
    for (const cell of cells) tr.append(cell);
    return tr;
  };
  // What a head explains is true of every cell below it.
  const heads = [...body.parentNode.querySelectorAll("th")].map((head) => head.title);
  const titled = (cells) => {
    cells.forEach((cell, at) => (cell.title ||= heads[at] ?? ""));
    return cells;
  };
  const empty = make("td", none, "note");
  empty.colSpan = columns;
  body.replaceChildren(...(list.length ? list.map((cells) => row(titled(cells))) : [row([empty])]));
};

const condition = (kind, words) => {
  const node = find("condition");
  node.dataset.kind = kind;
  if (node.lastElementChild.textContent !== words) node.lastElementChild.textContent = words;
};

const chain = (stages) => {
  const most = Math.max(1, ...stages.map((one) => one.waiting + one.working));
  // What everything else waits for: the stage with the longest queue.
  const queue = Math.max(...stages.map((one) => one.waiting));
  for (const one of stages) {
    const node = document.querySelector(`[data-stage="${one.name}"]`);
    node.classList.toggle("off", one.off);
    node.classList.toggle("full", queue > 2 && one.waiting === queue);
    for (const figure of node.querySelectorAll("[data-s]")) {
      const key = figure.dataset.s;
      figure.textContent = one.off && key === "work_ms" ? "off" : key === "work_ms" ? ms(one[key]) : count(one[key]);
    }
    const [works, waits] = node.querySelectorAll(".load rect");
    const worked = (one.working / most) * 100;
    works.setAttribute("width", worked);
    waits.setAttribute("x", worked);
    waits.setAttribute("width", (one.waiting / most) * 100);
  }
};

const spark = (each) => {
  const most = Math.max(1, ...each);
  const from = 60 - each.length;
  const points = each.map((n, at) => `${from + at},${(19 - (n / most) * 18).toFixed(1)}`);
  find("spark").firstElementChild.setAttribute("points", points.join(" "));
};

const engines = (list) =>
  rows(find("engines"), list.map((one) => {
    const name = make("td", one.name);
    name.append(make("small", one.stages.join(", ")));
    name.title = `model ${one.model}, revision ${one.revision || "unknown"}`;
    return [
      name,
      make("td", `${count(one.running)} of ${one.slots || "–"}`, "n"),
      make("td", one.mean == null ? "–" : tenths.format(one.mean), "n"),
      make("td", one.tokens_per_second ? rate(one.tokens_per_second) : "–", "n"),
      make("td", count(one.rebuilds), one.rebuilds ? "n bad" : "n"),
    ];
  }), 5, "No model is loaded yet.");

const dead = (list) =>
  rows(find("dead"), list.map(({ reason, count: number, newest }) => {
    const cell = (label, text, classes) => {
      const td = make("td", text, classes);
      td.dataset.label = label;
      return td;
    };
    const first = make("td");
    first.append(make("span", reason, "reason"));
    const url = make("td");
    url.append(make("code", newest?.url ?? "–"));
    if (newest?.id) {
      // An id that nobody gave is the SHA-256 of the URL: its beginning tells it from others.
      const hash = /^[0-9a-f]{64}$/.test(newest.id);
      const id = make("small", `id ${hash ? `${newest.id.slice(0, 12)}…` : newest.id}`);
      id.title = newest.id;
      url.append(id);
    }
    return [
      first,
      cell("count", count(number), "n"),
      make("td", newest?.detail ?? "–"),
      url,
      cell("in", newest?.stage ?? "–", "when"),
      cell("at", newest ? when(newest.at_ms) : "–", "when"),
    ];
  }), 6, "None so far.");

const state = (now) => {
  document.querySelector("main").classList.remove("stale");
  condition(now.condition.kind, now.condition.words);
  fill({ uptime: `up for ${span(now.uptime_s)}` });
  if (!now.records) return;
  const { records, rates, breaker } = now;
  const settled = records.captions + records.dead_letters;
  fill({
    rate: rate(rates.images_per_second),
    captions: count(records.captions),
    captions_end: count(records.captions),
    captions_rate: rates.captions_per_second == null ? "" : `${rate(rates.captions_per_second)} per second`,
    dead_letters: count(records.dead_letters),
    dead_share: settled ? `${tenths.format((records.dead_letters / settled) * 100)} % of all` : "",
    in_flight: count(records.in_flight),
    in_flight_limit: `of ${count(records.in_flight_limit)} records`,
    behind: count(records.behind),
    unread: records.behind == null ? "–" : count(Math.max(0, records.behind - records.in_flight)),
    to_go: records.behind === 0 ? "none" : span(records.to_go_s),
    bytes: mb(now.image_bytes.now),
    bytes_limit: `of ${mb(now.image_bytes.limit)}`,
    oldest: records.in_flight ? span(records.oldest_s) : "–",
    breaker: breaker.state,
    in_a_row: `${count(breaker.failed_in_a_row)} (tolerated: ${count(breaker.tolerated_in_a_row)})`,
    of_last: breaker.of_last ? `${count(breaker.failed)} of ${count(breaker.of_last)}` : "none yet",
    restarts: count(breaker.restarts),
  });
  const lost = now.stages.filter((one) => one.degraded);
  find("degraded").textContent = lost.length ? lost.map((one) => `${count(one.degraded)} without ${one.name}`).join(", ") : "none";
  find("degraded").classList.toggle("bad", lost.length > 0);
  spark(rates.settled_each_second);
  chain(now.stages);
  engines(now.engines);
  dead(now.dead);
};

const shown = new Map();
const card = ({ number, at_ms, html }) => {
  if (shown.has(number)) return;
  const template = document.createElement("template");
  template.innerHTML = html;
  const node = template.content.firstElementChild;
  for (const picture of node.querySelectorAll("img")) picture.loading = "eager";
  node.querySelector(".waterfall p").append(make("span", when(at_ms)));
  connect(node);
  shown.set(number, node);
  const cards = find("cards");
  cards.prepend(node);
  find("none").hidden = true;
  while (cards.children.length > Number(cards.dataset.most)) cards.lastElementChild.remove();
};

let boot = null;
const events = new EventSource("/events");
events.addEventListener("state", (event) => {
  const now = JSON.parse(event.data);
  if (boot !== null && boot !== now.boot) {
    // Another process answers now: its cards are numbered anew.
    shown.clear();
    find("cards").replaceChildren();
    find("none").hidden = false;
  }
  boot = now.boot;
  state(now);
});
events.addEventListener("card", (event) => card(JSON.parse(event.data)));
events.addEventListener("error", () => {
  document.querySelector("main").classList.add("stale");
  condition("failed", "No connection to the service: it may have ended, or too many read this page. Tries again.");
  // A refusal ends the browser's own attempts.
  if (events.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
});
