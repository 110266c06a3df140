"use strict";
// Photos {name, picture, width, height, detections} or {name, error}; a detection is an entry of COCO's result files, with
// `number` of its class and, where the model has masks, `mask`: which pixels of its box it covers.
const data = JSON.parse(document.getElementById("data").textContent);
const one = (name) => document.querySelector(name);
const all = (name) => [...document.querySelectorAll(name)];
const photos = [], off = new Set();
const canvas = one(".stage canvas"), video = one("video");
let current = null, lit = null, waiting = Promise.resolve();

const pressed = (button) => button.getAttribute("aria-pressed") === "true";
const part = (name) => pressed(one(`[data-part=${name}]`));
const least = () => Number(one("#score").value);
const chosen = (photo) => photo.detections.filter((d) => d.score >= least() && !off.has(d.number));
const say = (text) => { one(".status").textContent = text; };

function complain(text) {
  one(".error").textContent = text;
  one(".error").hidden = !text;
}

// Asking the server

async function detect(blob) {
  if (blob.size > data.bytes) throw new Error(`the file has more than ${data.bytes / 2 ** 20} MB.`);
  const response = await fetch("detect", { method: "POST", body: blob }).catch(() => null);
  if (!response) throw new Error("the server does not answer; is it still running?");
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  for (const found of answer.detections) {
    found.number = found.category_id - 1;  // COCO counts from 1
    if (found.segmentation) found.mask = decoded(found.segmentation, found.bbox);
  }
  return answer;
}

async function add(file) {
  const photo = { name: file.name, detections: [] };
  photos.push(photo);
  say(`${file.name} …`);
  const start = performance.now();
  try {
    Object.assign(photo, await detect(file));
    photo.picture = await createImageBitmap(file);
    say(`${photo.width} × ${photo.height}, ${Math.round(performance.now() - start)} ms`);
  } catch (error) {
    photo.error = `${file.name}: ${error.message}`;
    say("");
  }
  current = photo;
  update();
}

// One after the other, because the model takes them so.
function addAll(files) {
  for (const file of files) waiting = waiting.then(() => add(file));
  return waiting;
}

// The webcam: a frame is sent when the one before is answered, and shown with its own detections.

async function look() {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } }, audio: false });
  video.srcObject = stream;
  await video.play();
  const button = one("#webcam"), photo = { name: "webcam.jpg", detections: [], live: true };
  button.setAttribute("aria-pressed", "true");
  try {
    while (pressed(button) && stream.active) {
      const start = performance.now();
      const frame = new OffscreenCanvas(video.videoWidth, video.videoHeight);
      frame.getContext("2d").drawImage(video, 0, 0);
      Object.assign(photo, await detect(await frame.convertToBlob({ type: "image/jpeg", quality: 0.9 })), { picture: frame });
      say(`${photo.width} × ${photo.height}, ${Math.round(performance.now() - start)} ms a frame`);
      current = photo;
      update();
    }
  } finally {
    button.setAttribute("aria-pressed", "false");
    for (const track of stream.getTracks()) track.stop();
    photo.live = false;
    if (photo.picture) photos.push(photo);  // the last frame stays
    update();
  }
}

// Masks: COCO's run lengths go down the columns, five bits a character, from the third on as differences.

function decoded({ size: [height], counts }, [left, top, wide, high]) {
  const x1 = Math.floor(left), y1 = Math.floor(top);
  const width = Math.ceil(left + wide) - x1, rows = Math.ceil(top + high) - y1;
  const inside = new Uint8Array(Math.max(width * rows, 1)), runs = [];
  for (let place = 0, at = 0, on = false; at < counts.length; on = !on) {
    let run = 0, shift = 0, bits;
    do {
      bits = counts.charCodeAt(at++) - 48;
      run |= (bits & 31) << shift;
      shift += 5;
    } while (bits & 32);
    if (bits & 16) run |= -1 << shift;
    if (runs.length > 2) run += runs[runs.length - 2];
    runs.push(run);
    if (on) for (let i = place; i < place + run; i++) {
      const x = Math.floor(i / height) - x1, y = (i % height) - y1;
      if (x >= 0 && x < width && y >= 0 && y < rows) inside[y * width + x] = 1;
    }
    place += run;
  }
  return { x: x1, y: y1, width, height: rows, inside };
}

// A tint of the color, and an edge in full color.
function tinted(mask, color, line) {
  const { width, height, inside } = mask;
  const [red, green, blue] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
  const pixels = new ImageData(Math.max(width, 1), Math.max(height, 1));
  const at = (x, y) => x >= 0 && y >= 0 && x < width && y < height && inside[y * width + x];
  const sides = [[-line, 0], [line, 0], [0, -line], [0, line], [-line, -line], [line, line], [-line, line], [line, -line]];
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    if (!inside[y * width + x]) continue;
    const edge = sides.some(([dx, dy]) => !at(x + dx, y + dy));
    pixels.data.set([red, green, blue, edge ? 255 : 102], 4 * (y * width + x));
  }
  const made = new OffscreenCanvas(pixels.width, pixels.height);
  made.getContext("2d").putImageData(pixels, 0, 0);
  return made;
}

// Drawing, as kerasdet.draw does it: lines and letters grow with the picture, small objects lie in front, and labels
// cover as little as possible.

function paint(target, photo, scale) {
  target.width = Math.max(Math.round(photo.width * scale), 1);
  target.height = Math.max(Math.round(photo.height * scale), 1);
  const pen = target.getContext("2d");
  pen.scale(target.width / photo.width, target.height / photo.height);
  pen.drawImage(photo.picture, 0, 0, photo.width, photo.height);
  const line = Math.max(1, Math.round(Math.sqrt(photo.width * photo.height) / 250));
  const visible = chosen(photo).sort((a, b) => b.bbox[2] * b.bbox[3] - a.bbox[2] * a.bbox[3]);
  const color = (d) => data.classes[d.number].color;
  const faded = (d) => { pen.globalAlpha = !lit || d === lit || !visible.includes(lit) ? 1 : 0.25; };
  for (const d of part("masks") ? visible : []) if (d.mask) {
    faded(d);
    d.tinted = d.tinted || tinted(d.mask, color(d), line);
    pen.drawImage(d.tinted, d.mask.x, d.mask.y);
  }
  for (const d of part("boxes") ? visible : []) {
    const [x, y, width, height] = d.bbox;
    faded(d);
    pen.strokeStyle = color(d);
    pen.lineWidth = line;
    pen.strokeRect(x - line / 2, y - line / 2, width + line, height + line);
  }
  for (const d of part("keypoints") ? visible : []) for (let i = 0; i < (d.keypoints || []).length; i += 3) {
    if (d.keypoints[i + 2] <= 0) continue;
    faded(d);
    pen.beginPath();
    // COCO counts keypoints from the middle of the first pixel, and boxes from its corner.
    pen.arc(d.keypoints[i] + 0.5, d.keypoints[i + 1] + 0.5, 1.5 * line, 0, 2 * Math.PI);
    pen.fillStyle = color(d);
    pen.fill();
    pen.lineWidth = line / 2;
    pen.strokeStyle = "#fff";
    pen.stroke();
  }
  const covered = visible.map((d) => d.bbox);
  for (const d of part("names") ? [...visible].reverse() : []) {
    faded(d);
    covered.push(label(pen, d, `${d.category} ${d.score.toFixed(2)}`, color(d), line, photo, covered));
  }
  pen.globalAlpha = 1;
}

function label(pen, d, text, color, line, photo, covered) {
  const size = Math.max(10, 6 * line);
  pen.font = `${size}px system-ui, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif`;
  const width = pen.measureText(text).width + 4 * line, height = size + 2 * line;
  const [x, y, wide, high] = d.bbox;
  const overlap = ([left, top]) => {
    let sum = 0;
    for (const [a, b, w, h] of covered) {
      const across = Math.min(left + width, a + w) - Math.max(left, a), down = Math.min(top + height, b + h) - Math.max(top, b);
      sum += Math.max(across, 0) * Math.max(down, 0) / Math.max(w * h, 1);
    }
    return sum;
  };
  const places = [
    [x - line, y - line - height], [x + wide + line - width, y - line - height], [x - line, y + high + line],
    [x + wide + line - width, y + high + line], [x, y], [x + wide - width, y + high - height],
  ].map(([left, top]) => [Math.max(Math.min(left, photo.width - width), 0), Math.max(Math.min(top, photo.height - height), 0)]);
  const [left, top] = places.reduce((best, place) => (overlap(place) < overlap(best) ? place : best));
  pen.fillStyle = color;
  pen.beginPath();
  pen.roundRect(left, top, width, height, line);
  pen.fill();
  const [red, green, blue] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
  pen.fillStyle = 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#222831" : "#fff";
  pen.textBaseline = "middle";
  pen.fillText(text, left + 2 * line, top + height / 2);
  return [left, top, width, height];
}

// The page

// The canvas has the screen's pixels, so that names are sharp on small pictures and large ones are drawn fast.
function redraw() {
  if (!current || !current.picture) return;
  const zoom = Math.min(one(".stage").clientWidth / current.width, (0.74 * innerHeight) / current.height, 4);
  paint(canvas, current, zoom * devicePixelRatio);
  canvas.style.width = `${current.width * zoom}px`;
}

function make(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const swatch = (number) => {
  const node = make("i", { class: "swatch" });
  node.style.background = data.classes[number].color;
  return node;
};

function update() {
  one("#least").textContent = least().toFixed(2);
  const seen = current && current.picture ? current : null;
  one(".stage").classList.toggle("empty", !current);
  one(".invitation").hidden = Boolean(current);
  canvas.hidden = !seen;
  complain(current && current.error ? current.error : "");
  const known = seen ? seen.detections : [], visible = seen ? chosen(seen) : [];
  one("[data-part=masks]").hidden = !known.some((d) => d.mask);
  one("[data-part=keypoints]").hidden = !known.some((d) => d.keypoints);
  one("#save-picture").disabled = !seen;
  one("#save-results").disabled = !photos.some((photo) => photo.picture);
  listClasses(known.filter((d) => d.score >= least()));
  one("#number").textContent = !seen ? "Found" : visible.length ? `Found ${visible.length}` : "Found nothing";
  listFound(visible);
  listPhotos();
  redraw();
}

function listClasses(found) {
  const counts = new Map([...off].map((number) => [number, 0]));
  for (const d of found) counts.set(d.number, (counts.get(d.number) || 0) + 1);
  one("#classes").replaceChildren(...[...counts].sort((a, b) => a[0] - b[0]).map(([number, count]) => {
    const name = data.classes[number].name, on = !off.has(number);
    const button = make("button", { "aria-pressed": on }, swatch(number), name, make("b", {}, String(count)));
    button.addEventListener("click", () => { on ? off.add(number) : off.delete(number); update(); });
    return button;
  }));
}

function listFound(visible) {
  one(".found").replaceChildren(...visible.map((d) => {
    const bar = make("i", {});
    bar.style.cssText = `width: ${100 * d.score}%; background: ${data.classes[d.number].color}`;
    const row = make("li", {}, swatch(d.number), make("span", {}, d.category), make("span", { class: "track" }, bar),
      make("output", {}, d.score.toFixed(2)));
    row.addEventListener("mouseenter", () => light(d));
    row.addEventListener("mouseleave", () => light(null));
    row.detection = d;
    return row;
  }));
}

function light(d) {
  if (lit === d) return;
  lit = d;
  for (const row of all(".found li")) row.classList.toggle("lit", row.detection === d);
  redraw();
}

function listPhotos() {
  one(".strip").replaceChildren(...(photos.length > 1 ? photos : []).filter((photo) => photo.picture || photo.error).map((photo) => {
    const button = make("button", { title: photo.name, "aria-label": photo.name, "aria-current": photo === current });
    if (photo.picture) {
      photo.small = photo.small || thumbnail(photo);
      button.append(photo.small);
    } else {
      button.classList.add("failed");
      button.append("!");
    }
    button.addEventListener("click", () => { current = photo; lit = null; update(); });
    return button;
  }));
}

function thumbnail(photo) {
  const small = make("canvas", {});
  small.height = 120;
  small.width = Math.max(Math.round((120 * photo.width) / photo.height), 1);
  small.getContext("2d").drawImage(photo.picture, 0, 0, small.width, small.height);
  return small;
}

// Saving: what is shown, in the form of `kerasdet predict`.

function results() {
  return photos.filter((photo) => photo.picture).flatMap((photo, number) => chosen(photo).map((d) => {
    const { image_id, category_id, score, bbox, segmentation, keypoints, category } = d;
    return { image_id: number, category_id, score, bbox, segmentation, keypoints, category, file_name: photo.name };
  }));
}

function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

one("#save-results").addEventListener("click", () => {
  save(new Blob([JSON.stringify(results())], { type: "application/json" }), "results.json");
});
one("#save-picture").addEventListener("click", async () => {
  const drawn = new OffscreenCanvas(1, 1);
  lit = null;
  paint(drawn, current, 1);
  save(await drawn.convertToBlob(), `${current.name.replace(/\.[^.]*$/, "")}.png`);
});

one("#score").addEventListener("input", update);
for (const button of all("#parts button")) button.addEventListener("click", () => {
  button.setAttribute("aria-pressed", !pressed(button));
  update();
});
one("#choose").addEventListener("click", () => one("#files").click());
one(".stage").addEventListener("click", () => { if (!current) one("#files").click(); });
one("#files").addEventListener("change", (event) => { addAll([...event.target.files]); event.target.value = ""; });
one("#webcam").addEventListener("click", () => {
  const button = one("#webcam");
  if (pressed(button)) button.setAttribute("aria-pressed", "false");
  else look().catch((error) => complain(`webcam: ${error.message}`));
});
if (!navigator.mediaDevices) {
  one("#webcam").disabled = true;
  one("#webcam").title = "Browsers give pages the webcam only on localhost or by HTTPS.";
}
addEventListener("dragover", (event) => { event.preventDefault(); one(".stage").classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) one(".stage").classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  one(".stage").classList.remove("over");
  addAll([...event.dataTransfer.files]);
});
addEventListener("paste", (event) => addAll([...event.clipboardData.files]));
addEventListener("resize", redraw);
canvas.addEventListener("mousemove", (event) => {
  const x = (event.offsetX / canvas.clientWidth) * current.width, y = (event.offsetY / canvas.clientHeight) * current.height;
  const under = chosen(current).filter(({ bbox: [a, b, w, h] }) => x >= a && y >= b && x <= a + w && y <= b + h);
  light(under.sort((a, b) => a.bbox[2] * a.bbox[3] - b.bbox[2] * b.bbox[3])[0] || null);
});
canvas.addEventListener("mouseleave", () => light(null));
update();
