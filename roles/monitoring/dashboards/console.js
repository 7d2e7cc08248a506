"use strict";
// Draws the page described by PAGE from the Prometheus that serves it. No address is absolute, so a path prefix does not matter.
// Labels come from targets: they only ever reach the page as text.
const PAGE = JSON.parse(document.getElementById("page").textContent);
const API = new URL("../api/v1/", location.href);
const RANGES = [["15m", 900], ["1h", 3600], ["6h", 21600], ["24h", 86400], ["7d", 604800]];
const REFRESH = 30000, POINTS = 240, STEP = 15;
const SVG = "http://www.w3.org/2000/svg";
const STATES = ["ok", "warning", "critical"];
const hidden = new Set();   // "<panel> <legend>" of the lines that were switched off
let range = RANGES.find(one => one[0] === location.hash.slice(1)) || RANGES[1];
let drawing = 0;

function make(tag, attributes, ...children) {
  const svg = ["svg", "path", "line", "text", "rect", "polygon"].includes(tag);
  const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value); else element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== null));
  return element;
}

async function get(path, parameters) {
  const url = new URL(path, API);
  for (const [name, value] of Object.entries(parameters || {})) url.searchParams.set(name, value);
  const answer = await fetch(url);
  const body = await answer.json().catch(() => ({status: "error", error: `HTTP ${answer.status}`}));
  if (body.status !== "success") throw new Error(body.error || `HTTP ${answer.status}`);
  return body.data;
}

// --- numbers ---

const BYTES = ["B", "KiB", "MiB", "GiB", "TiB"];

/** What to divide by, what to write behind, for values up to `ref`. */
function scale(unit, ref) {
  ref = Math.abs(ref);
  if (unit === "%") return [0.01, " %"];
  if (unit === "s") {
    if (ref === 0 || (ref >= 1 && ref < 120)) return [1, " s"];
    if (ref < 0.001) return [1e-6, " µs"];
    if (ref < 1) return [0.001, " ms"];
    if (ref < 7200) return [60, " min"];
    return ref < 172800 ? [3600, " h"] : [86400, " d"];
  }
  if (unit.startsWith("bytes")) {
    const power = ref < 1 ? 0 : Math.min(Math.floor(Math.log2(ref) / 10), BYTES.length - 1);
    return [1024 ** power, ` ${BYTES[power]}${unit.slice(5)}`];
  }
  if (unit === "/s" && ref > 0 && ref < 0.5) return [1 / 60, " /min"];
  const behind = unit ? ` ${unit}` : "";
  return ref < 10000 ? [1, behind] : ref < 1e7 ? [1e3, ` k${behind}`] : [1e6, ` M${behind}`];
}

function text(value, query, ref) {
  if (value === undefined || Number.isNaN(value)) return "–";
  const mapped = (query.mappings || {})[value];
  if (mapped !== undefined) return mapped;
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const [divisor, behind] = scale(query.unit || "", ref === undefined ? value : ref);
  const scaled = value / divisor, size = Math.abs(scaled);
  const digits = Number.isInteger(scaled) || size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return `${Number(scaled.toFixed(digits))}${behind}`;
}

function state(value, query) {
  const above = Object.entries(query.above || {}), below = Object.entries(query.below || {});
  if (value === undefined || Number.isNaN(value)) return "none";
  if (!above.length && !below.length) return "";
  const reached = [...above.filter(([limit]) => value >= limit), ...below.filter(([limit]) => value < limit)];
  return STATES[Math.max(0, ...reached.map(one => STATES.indexOf(one[1])))];
}

const clock = (seconds, long) => {
  const date = new Date(seconds * 1000), hm = date.toTimeString().slice(0, 5);
  const day = `${date.getFullYear()}-${String(date.getMonth() + 1).padStart(2, "0")}-${String(date.getDate()).padStart(2, "0")}`;
  if (long) return `${day} ${date.toTimeString().slice(0, 8)}`;
  return range[1] > 172800 ? day.slice(5) : hm;
};
const legend = (name, labels) => name.replace(/\{(\w+)\}/g, (_, label) => labels[label] || "") || "value";

// --- data ---

const span = () => {
  const step = Math.max(STEP, Math.ceil(range[1] / POINTS / STEP) * STEP);
  const end = Math.floor(Date.now() / 1000 / STEP) * STEP;
  return {start: end - range[1], end, step};
};

/** Every line of a query over the range: {labels, points: [[seconds, value]]}, without values that are no numbers. */
async function lines(expr, when) {
  const data = await get("query_range", {query: expr, ...when});
  return data.result.map(({metric, values}) => ({
    labels: metric, points: values.map(([at, value]) => [at, Number(value)]).filter(([, value]) => Number.isFinite(value)),
    last: values.length && values[values.length - 1][0] >= when.end ? Number(values[values.length - 1][1]) : undefined,
  }));
}

/** The times at which something was deployed: the metric's values, not when they were seen. */
async function deployments(when) {
  const marks = new Map();
  for (const line of await lines(PAGE.deployments, when)) {
    for (const [, at] of line.points) {
      if (at >= when.start && at <= when.end) marks.set(at, new Set([...(marks.get(at) || []), line.labels.role]));
    }
  }
  return [...marks].sort((a, b) => a[0] - b[0]).map(([at, roles]) => ({at, roles: [...roles].sort().join(", ")}));
}

// --- panels ---

function path(points, x, y, step) {
  let drawn = "", last = -Infinity;
  for (const [at, value] of points) {
    drawn += `${at - last > step * 1.5 ? "M" : "L"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    last = at;
  }
  return drawn;
}

async function stat(panel, element, when) {
  const query = panel.queries[0];
  const found = await lines(query.expr, when);
  const value = found.length ? found[0].last : undefined;
  element.className = `panel stat ${state(value, query)}`;
  const bold = make("b", {}, text(value, query));
  element.replaceChildren(element.firstChild, bold);
  const points = found.length ? found[0].points : [];
  const values = points.map(point => point[1]), low = Math.min(...values), high = Math.max(...values);
  if (points.length > 1 && high > low) {
    const x = at => (at - when.start) / (when.end - when.start) * 100, y = one => 28 - (one - low) / (high - low) * 24;
    const drawn = make("path", {d: path(points, x, y, when.step), fill: "none", stroke: "var(--s0)", "stroke-width": 1.2,
      "vector-effect": "non-scaling-stroke"});
    element.append(make("svg", {viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true"}, drawn));
  }
}

/** Round steps for an axis from 0 to `high`, in the unit that is written. */
function ticks(high, query) {
  const [divisor] = scale(query.unit || "", high), top = high / divisor || 1;
  const rough = top / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map(one => one * power).find(one => one >= rough * 0.999);
  const found = [];
  for (let at = 0; at <= top * 1.0001; at += step) found.push(at * divisor);
  return found;
}

function times(when) {
  const steps = [60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
  const step = steps.find(one => (when.end - when.start) / one <= 8) || 86400;
  const zone = new Date(when.end * 1000).getTimezoneOffset() * 60, found = [];
  for (let at = Math.ceil((when.start - zone) / step) * step + zone; at <= when.end; at += step) found.push(at);
  return found;
}

async function chart(panel, element, when, marks) {
  const answers = await Promise.all(panel.queries.map(query => lines(query.expr, when)));
  const named = (line, place) => ({...line, place, name: legend(panel.queries[place].name, line.labels)});
  const series = answers.flatMap((found, place) => found.map(line => named(line, place)));
  series.sort((a, b) => a.place - b.place || a.name.localeCompare(b.name, undefined, {numeric: true}));
  series.forEach((line, index) => { line.color = `var(--s${index % 8})`; line.key = `${panel.title} ${line.name}`; });
  const draw = () => {
    const title = element.firstChild;
    if (!series.some(line => line.points.length)) {
      return element.replaceChildren(title, make("div", {class: "empty"}, "nothing in this range"));
    }
    const keys = make("div", {class: "legend"});
    for (const line of series) {
      const toggle = () => { hidden[hidden.has(line.key) ? "delete" : "add"](line.key); draw(); };
      keys.append(make("button", {onclick: toggle, "aria-pressed": !hidden.has(line.key)},
        make("i", {style: `background:${line.color}`}), line.name, make("span", {}, text(line.last, panel.queries[0]))));
    }
    const svg = make("svg", {});
    element.replaceChildren(title, svg, keys);
    return plot(svg, panel.queries[0], series.filter(line => !hidden.has(line.key)), when, marks);
  };
  draw();
}

function plot(svg, query, series, when, marks) {
  const width = svg.clientWidth || 600, height = svg.clientHeight || 190, bottom = height - 18;
  const limits = Object.entries({...query.above, ...query.below}).map(([limit, kind]) => [Number(limit), kind]);
  const peak = Math.max(0, ...series.flatMap(line => line.points.map(point => point[1])));
  // A limit belongs on the axis once the values come near it.
  const near = limits.map(one => one[0]).filter(limit => limit <= peak * 1.6);
  const high = Math.max(peak, ...near) * 1.06 || 1, marksY = ticks(high, query);
  const left = 10 + 6.3 * Math.max(...marksY.map(value => text(value, {unit: query.unit}, high).length));
  const x = at => left + (at - when.start) / (when.end - when.start) * (width - left - 6);
  const y = value => bottom - value / high * (bottom - 8);
  const grid = {stroke: "var(--grid)"};
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (const value of marksY) {
    svg.append(make("line", {x1: left, x2: width - 6, y1: y(value), y2: y(value), ...grid}));
    svg.append(make("text", {x: left - 6, y: y(value) + 4, "text-anchor": "end"}, text(value, {unit: query.unit}, high)));
  }
  for (const at of times(when)) {
    if (x(at) > left + 14 && x(at) < width - 16) svg.append(make("text", {x: x(at), y: height - 3, "text-anchor": "middle"}, clock(at)));
    svg.append(make("line", {x1: x(at), x2: x(at), y1: 8, y2: bottom, ...grid}));
  }
  for (const [limit, kind] of limits.filter(one => one[0] <= high)) {
    svg.append(make("line", {x1: left, x2: width - 6, y1: y(limit), y2: y(limit), stroke: `var(--${kind})`, "stroke-dasharray": "5 4",
      opacity: 0.8}));
  }
  for (const mark of marks) {
    const at = x(mark.at);
    svg.append(make("line", {x1: at, x2: at, y1: 8, y2: bottom, stroke: "var(--accent)", "stroke-dasharray": "2 3"}));
    svg.append(make("polygon", {points: `${at - 4},3 ${at + 4},3 ${at},9`, fill: "var(--accent)"}));
  }
  for (const line of series) {
    svg.append(make("path", {d: path(line.points, x, y, when.step), fill: "none", stroke: line.color, "stroke-width": 1.6,
      "stroke-linejoin": "round", "stroke-linecap": "round"}));
  }
  const cross = make("line", {y1: 8, y2: bottom, stroke: "var(--dim)", visibility: "hidden"});
  svg.append(cross);
  svg.addEventListener("mousemove", event => {
    const box = svg.getBoundingClientRect(), share = (event.clientX - box.left - left) / (width - left - 6);
    const at = when.start + Math.round(share * (when.end - when.start) / when.step) * when.step;
    if (share < 0 || share > 1) return leave();
    cross.setAttribute("x1", x(at)); cross.setAttribute("x2", x(at)); cross.setAttribute("visibility", "visible");
    const rows = [make("div", {}, make("b", {}, clock(at, true)))];
    for (const line of series) {
      const point = line.points.find(one => Math.abs(one[0] - at) < when.step / 2);
      const name = make("span", {style: `color:${line.color}`}, line.name);
      if (point) rows.push(make("div", {}, name, make("span", {}, text(point[1], query))));
    }
    for (const mark of marks.filter(one => Math.abs(x(one.at) - x(at)) < 6)) {
      rows.push(make("div", {}, `Deployment ${clock(mark.at, true)}: ${mark.roles}`));
    }
    return tip(event, rows);
  });
  const leave = () => { cross.setAttribute("visibility", "hidden"); document.getElementById("tip").hidden = true; };
  svg.addEventListener("mouseleave", leave);
}

function tip(event, rows) {
  const box = document.getElementById("tip");
  box.replaceChildren(...rows);
  box.hidden = false;
  box.style.left = `${Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8)}px`;
  box.style.top = `${Math.min(event.clientY + 14, innerHeight - box.offsetHeight - 8)}px`;
}

async function table(panel, element, when) {
  const answers = await Promise.all(panel.queries.map(query => get("query", {query: query.expr, time: when.end})));
  const rows = new Map(), names = new Set();
  answers.forEach((answer, index) => answer.result.forEach(({metric, value}) => {
    Object.keys(metric).forEach(name => names.add(name));
    const key = JSON.stringify(Object.entries(metric).sort());
    if (!rows.has(key)) rows.set(key, {labels: metric, values: []});
    rows.get(key).values[index] = Number(value[1]);
  }));
  if (!rows.size) return element.replaceChildren(element.firstChild, make("div", {class: "empty"}, "none"));
  const labels = [...names].filter(name => name !== "__name__");
  const first = row => labels.map(name => row.labels[name] || "");
  const cell = (value, query) => make("td", {class: `value ${state(value, query)}`}, text(value, query));
  const last = row => panel.queries.map((query, index) => cell(row.values[index], query));
  const sorted = [...rows.values()].sort((a, b) => first(a).join(" ").localeCompare(first(b).join(" ")));
  const heads = panel.queries.map(query => make("th", {class: "value"}, query.name));
  const head = make("thead", {}, make("tr", {}, ...labels.map(name => make("th", {}, name)), ...heads));
  const body = make("tbody", {}, ...sorted.map(row => make("tr", {}, ...first(row).map(value => make("td", {}, value)), ...last(row))));
  return element.replaceChildren(element.firstChild, make("div", {class: "scroll"}, make("table", {}, head, body)));
}

async function alerts(panel, element, when, marks, firing) {
  const rank = alert => (alert.state === "firing" ? 0 : 10) + ["critical", "warning", "info"].indexOf(alert.labels.severity);
  const sorted = [...firing].sort((a, b) => rank(a) - rank(b));
  if (!sorted.length) return element.replaceChildren(element.firstChild, make("div", {class: "empty"}, "no alert fires"));
  const items = sorted.map(alert => {
    const since = text(Date.now() / 1000 - Date.parse(alert.activeAt) / 1000, {unit: "s"});
    const {alertname, severity} = alert.labels, {summary = alertname, description = "", runbook_url: runbook = ""} = alert.annotations;
    return make("li", {class: `${severity} ${alert.state}`}, make("b", {}, summary),
      make("small", {}, `${alert.state === "firing" ? severity : "pending"} for ${since} · ${alertname} · ${runbook}`),
      make("small", {}, description));
  });
  return element.replaceChildren(element.firstChild, make("ul", {}, ...items));
}

// --- page ---

const KINDS = {stat, chart, table, alerts};
const panels = [];
for (const row of PAGE.rows) {
  const elements = row.panels.map(panel => {
    const title = make("h3", {title: panel.description}, panel.title);
    const element = make("section", {class: `panel ${panel.kind}`, style: `grid-column: span ${panel.width}`}, title);
    panels.push([panel, element]);
    return element;
  });
  document.querySelector("main").append(make("h2", {}, row.title), make("div", {class: "row"}, ...elements));
}
const firingLink = make("a", {id: "firing"}), status = make("span", {id: "state"});

function header() {
  const links = PAGE.pages.map(page => make("a", {href: `${page.name}.html#${range[0]}`}, page.title));
  links[PAGE.pages.findIndex(page => page.name === PAGE.name)].setAttribute("aria-current", "page");
  const ranges = RANGES.map(one => make("button", {"aria-pressed": one === range, onclick: () => {
    range = one;
    history.replaceState(null, "", `#${one[0]}`);
    header();
    draw();
  }}, one[0]));
  const change = () => dress(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  const theme = make("button", {title: "Light or dark", onclick: change}, "◐");
  firingLink.href = new URL("../alerts", location.href);
  const nav = make("nav", {}, ...links);
  document.querySelector("header").replaceChildren(nav, firingLink, make("div", {class: "ranges"}, ...ranges), theme, status);
}

function dress(theme) {
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("mlops-theme", theme); } catch { /* a browser that stores nothing starts with its own theme */ }
}

function say(firing) {
  const count = severity => firing.filter(alert => alert.state === "firing" && alert.labels.severity === severity).length;
  const critical = count("critical"), warning = count("warning");
  firingLink.className = critical ? "critical" : warning ? "warning" : "";
  const said = [critical && `${critical} critical`, warning && `${warning} warning${warning > 1 ? "s" : ""}`];
  firingLink.textContent = said.filter(Boolean).join(", ") || "no alerts";
}

async function draw() {
  const number = ++drawing, when = span();
  try {
    const [marks, {alerts: firing}] = await Promise.all([deployments(when), get("alerts")]);
    if (number !== drawing) return;
    say(firing);
    await Promise.all(panels.map(async ([panel, element]) => {
      try {
        await KINDS[panel.kind](panel, element, when, marks, firing);
      } catch (error) {
        element.replaceChildren(element.firstChild, make("div", {class: "failed"}, error.message));
      }
    }));
    status.className = "";
    status.textContent = `at ${clock(when.end, true).slice(11)}`;
  } catch (error) {
    status.className = "critical";
    status.textContent = `no answer: ${error.message}`;
  }
}

let stored = null;
try { stored = localStorage.getItem("mlops-theme"); } catch { /* see dress */ }
document.documentElement.dataset.theme = stored || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
header();
draw();
setInterval(() => { if (!document.hidden) draw(); }, REFRESH);
document.addEventListener("visibilitychange", () => { if (!document.hidden) draw(); });
let resized = 0;
addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(draw, 200); });
addEventListener("hashchange", () => { range = RANGES.find(one => one[0] === location.hash.slice(1)) || range; header(); draw(); });
