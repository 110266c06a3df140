"use strict";
// Photos, their objects [x1, y1, x2, y2, class, crowd, found, meant] and detections [x1, y1, x2, y2, class, score, kind].
// An object is found, or meant by a wrong detection, from these scores on.
const data = JSON.parse(document.getElementById("data").textContent);
const one = (name) => document.querySelector(name);
const all = (name, within = document) => [...within.querySelectorAll(name)];
const figures = all("figure");

// What the controls say; a page of a data set has no detections and so fewer controls.
function state() {
  const checked = (name) => { const box = one("#" + name); return !box || box.checked; };
  const value = (name, other) => { const control = one("#" + name); return control ? control.value : other; };
  return { truth: checked("truth"), detections: checked("detections"), labels: checked("labels"),
    score: Number(value("score", 1)), group: value("group", ""), kind: value("kind", "") };
}

function counts(photo, score) {
  const found = {};
  const add = (kind) => { found[kind] = (found[kind] || 0) + 1; };
  if (!data.judged) return found;
  for (const d of photo.detections) if (d[5] >= score && d[6] !== "right" && d[6] !== "ignored") add(d[6]);
  for (const o of photo.objects) if (!o[5] && Math.max(o[6], o[7]) < score) add("missed");
  return found;
}

function mark(svg, box, kind, label, size, labels) {
  const make = (name, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return svg.appendChild(node);
  };
  const [x1, y1, x2, y2] = box;
  const frame = make("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1, class: kind });
  frame.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "title")).textContent = label;
  if (labels) {
    const below = kind === "right" || kind === "wrong";
    const y = below ? Math.min(y2 + size, svg.viewBox.baseVal.height - 2) : Math.max(y1 - size / 4, size);
    make("text", { x: x1, y: y, "font-size": size, class: kind }).textContent = label;
  }
}

function draw(photo, svg, now) {
  svg.replaceChildren();
  const size = 12 * photo.width / (svg.clientWidth || 330);
  if (now.truth) for (const o of photo.objects) {
    const kind = o[5] ? "crowd" : data.judged && Math.max(o[6], o[7]) < now.score ? "missed" : "truth";
    mark(svg, o, kind, data.classes[o[4]], size, now.labels);
  }
  if (now.detections) for (const d of photo.detections) {
    if (d[5] < now.score || d[6] === "ignored") continue;
    const error = d[6] === "right" ? "" : ` (${d[6]})`;
    mark(svg, d, error ? "wrong" : "right", `${data.classes[d[4]]} ${d[5].toFixed(2)}${error}`, size, now.labels);
  }
}

function update() {
  const now = state();
  for (const figure of figures) {
    const photo = data.photos[figure.dataset.photo];
    const found = counts(photo, now.score);
    figure.hidden = (now.group && figure.dataset.group !== now.group) || (now.kind && !found[now.kind]);
    const words = Object.entries(found).map(([kind, count]) => `${count} ${kind}`).join(", ");
    figure.querySelector("figcaption span").textContent = photo.words || words || (data.judged ? "no errors" : "");
    if (!figure.hidden) draw(photo, figure.querySelector("svg"), now);
  }
  for (const output of all("output.score")) output.textContent = now.score.toFixed(2);
  for (const row of all("#kinds tbody tr")) {
    row.querySelector(".count").textContent = data.counts[row.dataset.kind][Math.round(now.score * 100) - 1];
  }
  const large = one("dialog .photo");
  if (large) draw(data.photos[large.dataset.photo], large.querySelector("svg"), { ...now, labels: true });
}

function enlarge(figure) {
  const dialog = one("dialog");
  all(".photo", dialog).forEach((old) => old.remove());
  const photo = dialog.appendChild(figure.querySelector(".photo").cloneNode(true));
  photo.dataset.photo = figure.dataset.photo;
  const { width, height } = data.photos[figure.dataset.photo];
  photo.style.width = `min(100%, ${(82 * width) / height}vh)`;  // as large as the window allows
  photo.addEventListener("click", () => dialog.close());
  dialog.showModal();
  update();
}

function sort(header) {
  const table = header.closest("table");
  const column = [...header.parentNode.children].indexOf(header);
  const numeric = column > 0;
  const down = header.getAttribute("aria-sort") ? header.getAttribute("aria-sort") === "ascending" : numeric;
  for (const other of header.parentNode.children) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => row.children[column].textContent.trim();
  const number = (row) => { const value = parseFloat(key(row)); return Number.isNaN(value) ? -Infinity : value; };
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => (down ? -1 : 1) * (numeric ? number(a) - number(b) : key(a).localeCompare(key(b))));
  table.tBodies[0].append(...rows);
}

function light(name) {
  for (const chart of all("svg.chart")) {
    const paths = all("path", chart).filter((path) => path.dataset.class === name);
    chart.classList.toggle("lit", paths.length > 0);
    for (const path of all("path", chart)) path.classList.toggle("lit", paths.includes(path));
  }
}

for (const header of all("table.sortable th")) header.addEventListener("click", () => sort(header));
for (const row of all("tr[data-class]")) {
  row.addEventListener("mouseenter", () => light(row.dataset.class));
  row.addEventListener("mouseleave", () => light(null));
}
for (const control of all(".controls input, .controls select")) control.addEventListener("input", update);
for (const figure of figures) figure.querySelector(".photo").addEventListener("click", () => enlarge(figure));
one("dialog").addEventListener("close", () => all("dialog .photo").forEach((photo) => photo.remove()));
update();
