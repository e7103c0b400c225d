"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const statuses = data.statuses;
const dashes = [[], [7, 5], [2, 5]]; // of the outline, in the order of the statuses
const marks = new Map(); // row → status and note of a person
let unsaved = false;

// A row is one bone on one frame of one sequence; program is what was found without a person.
const rows = [];
data.sequences.forEach((sequence, index) => {
  sequence.index = index;
  sequence.frame = 0;
  sequence.section = document.getElementById(`sequence-${index}`);
  sequence.find = selector => sequence.section.querySelector(selector);
  sequence.pictures = sequence.shown.map(slice => slice.frames.map(source => Object.assign(new Image(), {src: source})));
  sequence.rows = sequence.rows.map(row => ({...row, sequence, program: row.judged ?? row.status}));
  for (const row of sequence.rows) {
    if (row.judged !== null) marks.set(row, {status: row.status, note: row.note});
    const same = `[data-bone="${CSS.escape(row.bone)}"][data-frame="${row.frame}"]`;
    row.line = sequence.find(`tr${same}`);
    row.thumb = sequence.find(`.thumb${same}`);
    rows.push(row);
  }
});
const rowOf = (sequence, bone, frame) => sequence.rows.find(row => row.bone === bone && row.frame === frame);
const statusOf = row => row ? (marks.get(row)?.status ?? row.program) : "ok";
const named = bone => bone === data.whole ? "whole foot" : bone;

// Draw a box of a slice with outlines: [bone, "own" or "foot", colour, width, dash].
function draw(canvas, sequence, place, frame, box, outlines, wide) {
  const [left, top, right, bottom] = box;
  const scale = wide / (right - left);
  canvas.width = wide;
  canvas.height = Math.max(1, Math.round((bottom - top) * scale * sequence.ratio));
  const brush = canvas.getContext("2d");
  const picture = sequence.pictures[place][frame];
  brush.imageSmoothingQuality = "high";
  if (picture.naturalWidth) brush.drawImage(picture, left, top, right - left, bottom - top, 0, 0, canvas.width, canvas.height);
  const matrix = new DOMMatrix([scale, 0, 0, scale * sequence.ratio, -left * scale, -top * scale * sequence.ratio]);
  for (const [bone, placed, colour, width, dash] of outlines) {
    const text = sequence[placed][bone]?.[place][frame];
    if (!text) continue;
    const path = new Path2D();
    path.addPath(new Path2D(text), matrix);
    brush.setLineDash(dash);
    brush.lineJoin = "round";
    brush.lineWidth = width;
    brush.strokeStyle = colour;
    brush.stroke(path);
  }
}
const dashOf = row => dashes[Math.max(0, statuses.indexOf(statusOf(row)))];
const whole = sequence => [0, 0, sequence.width, sequence.height];
const boxOf = (sequence, bone) => sequence.close[bone] ?? whole(sequence);
const placeOf = (sequence, bone) => sequence.slice[bone] ?? sequence.movie;

function drawMovie(sequence) {
  const shown = sequence.find(".outlines").checked;
  const outlines = sequence.bones.map(bone =>
    [bone, "own", data.colour[bone], 2.4, dashOf(rowOf(sequence, bone, sequence.frame))]);
  draw(sequence.find(".movie"), sequence, sequence.movie, sequence.frame, whole(sequence), shown ? outlines : [], 900);
  sequence.find("output").textContent = `frame ${sequence.frame + 1}/${sequence.count}`;
  sequence.find(".seek").value = sequence.frame;
  const curves = sequence.find("svg.curves");
  if (curves) {
    const {left, right, count} = curves.dataset;
    const share = count > 1 ? sequence.frame / (count - 1) : 0;
    const at = Number(left) + (right - left) * share;
    curves.querySelector(".cursor").setAttribute("transform", `translate(${at})`);
  }
  sequence.section.querySelectorAll(".of-frame").forEach((label, k) => label.classList.toggle("now", k === sequence.frame));
}

function drawThumb(row) {
  const canvas = row.thumb?.querySelector("canvas");
  if (!canvas) return;
  const {sequence, bone, frame} = row;
  draw(canvas, sequence, placeOf(sequence, bone), frame, boxOf(sequence, bone),
    [[bone, "foot", "#ffffff", 1.6, [5, 4]], [bone, "own", data.colour[bone], 2.4, []]], 170);
}

function drawPair(row) {
  const {sequence, bone, frame} = row;
  const bones = bone === data.whole ? sequence.bones : [bone];
  const shown = sequence.find(".outlines").checked;
  for (const [name, placed] of [["before", "foot"], ["after", "own"]]) {
    const dash = name === "after" ? dashOf(bone === data.whole ? null : row) : [];
    draw(sequence.find(`.${name}`), sequence, placeOf(sequence, bone), frame, boxOf(sequence, bone),
      shown ? bones.map(one => [one, placed, data.colour[one], 2.6, dash]) : [], 640);
  }
}

function show(row) { // what is said of a row, wherever it is shown
  const status = statusOf(row), marked = marks.has(row);
  row.line.className = `of-${status}${row === row.sequence.selected ? " selected" : ""}`;
  row.line.querySelector(".status").textContent = marked ? `${status} ✎` : status;
  if (row.thumb) {
    for (const one of statuses) row.thumb.classList.toggle(`is-${one}`, one === status);
    row.thumb.classList.toggle("marked", marked);
    row.thumb.classList.toggle("selected", row === row.sequence.selected);
    row.thumb.title = `${named(row.bone)}, frame ${row.frame + 1}: ${status}${row.reason ? ` (${row.reason})` : ""}`;
    row.thumb.setAttribute("aria-label", row.thumb.title);
  }
  if (row !== row.sequence.selected) return;
  const {sequence} = row;
  sequence.find(".said").textContent =
    `${named(row.bone)}, frame ${row.frame + 1} of ${sequence.count}: ${status}` +
    `${marked ? ` (the program said ${row.program})` : ""}${row.reason ? ` – ${row.reason}` : ""}`;
  for (const button of sequence.section.querySelectorAll(".mark"))
    button.setAttribute("aria-pressed", button.dataset.status === status);
  const note = sequence.find(".note");
  note.disabled = !marked;
  note.value = marks.get(row)?.note ?? "";
  drawPair(row);
}

function select(row, follow = true) {
  if (!row) return;
  const {sequence} = row, before = sequence.selected;
  sequence.selected = row;
  if (before && before !== row) show(before);
  show(row);
  const box = sequence.find(".rows");
  const line = row.line.offsetTop, head = box.querySelector("thead").offsetHeight;
  if (line - head < box.scrollTop) box.scrollTop = line - head;
  else if (line + row.line.offsetHeight > box.scrollTop + box.clientHeight)
    box.scrollTop = line + row.line.offsetHeight - box.clientHeight;
  if (!follow) return;
  play(sequence, false);
  go(sequence, row.frame);
}

function mark(row, status) {
  if (status === row.program) marks.delete(row);
  else marks.set(row, {status, note: marks.get(row)?.note ?? ""});
  changed(row);
}

function changed(row) {
  unsaved = true;
  show(row);
  drawMovie(row.sequence);
  tell();
}

function tell() {
  const count = marks.size;
  document.getElementById("count").textContent =
    (count ? `${count} row${count > 1 ? "s" : ""} marked` : "nothing marked") + (unsaved ? ", not exported yet" : "");
  document.getElementById("export").disabled = !count && !unsaved;
}

function overruleTable() {
  const clean = text => String(text).replace(/\s+/g, " ").replaceAll('"', "'").trim();
  const lines = rows.filter(row => marks.has(row)).map(row =>
    [data.subject, row.sequence.name, row.frame, row.bone, marks.get(row).status, marks.get(row).note].map(clean));
  return [["subject", "sequence", "frame", "bone", "status", "note"], ...lines].map(line => line.join("\t") + "\n").join("");
}

document.getElementById("export").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([overruleTable()], {type: "text/tab-separated-values"}));
  link.download = "overrule.tsv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  unsaved = false;
  tell();
});
addEventListener("beforeunload", event => { if (unsaved) event.preventDefault(); });

function go(sequence, frame) {
  sequence.frame = (frame + sequence.count) % sequence.count;
  drawMovie(sequence);
}

function play(sequence, on) {
  clearInterval(sequence.timer);
  sequence.timer = on ? setInterval(() => go(sequence, sequence.frame + 1), 1000 / sequence.find(".speed").value) : null;
  sequence.find(".play").textContent = on ? "❚❚" : "▶";
}

function step(sequence, by) { // to another frame of the same bone
  const bone = sequence.selected.bone;
  const frames = sequence.rows.filter(row => row.bone === bone).map(row => row.frame).sort((a, b) => a - b);
  const at = frames.indexOf(sequence.selected.frame);
  select(rowOf(sequence, bone, frames[(at + by + frames.length) % frames.length]));
}

function pressed(event, sequence) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
  const marking = statuses.find(status => status[0] === event.key.toLowerCase());
  const at = rows.indexOf(sequence.selected);
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") step(sequence, event.key === "ArrowLeft" ? -1 : 1);
  else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
    const next = rows[at + (event.key === "ArrowUp" ? -1 : 1)];
    if (next && next.sequence !== sequence) next.sequence.section.focus();
    select(next);
  } else if (marking) mark(sequence.selected, marking);
  else if (event.key === " ") play(sequence, !sequence.timer);
  else return;
  event.preventDefault();
}

for (const sequence of data.sequences) {
  const {section, find} = sequence;
  const chosen = element => {
    section.focus({preventScroll: true});
    select(rowOf(sequence, element.dataset.bone, Number(element.dataset.frame)));
  };
  section.addEventListener("keydown", event => { if (sequence.selected) pressed(event, sequence); });
  section.addEventListener("click", event => {
    const element = event.target.closest(".thumb, tbody tr[data-bone]");
    if (element) chosen(element);
    else if (!event.target.closest("button, input, select, label, a")) section.focus({preventScroll: true});
  });
  find(".play").addEventListener("click", () => { play(sequence, !sequence.timer); section.focus({preventScroll: true}); });
  find(".seek").addEventListener("input", event => { play(sequence, false); go(sequence, Number(event.target.value)); });
  find(".speed").addEventListener("change", () => play(sequence, true));
  find(".outlines").addEventListener("change", () => { drawMovie(sequence); if (sequence.selected) drawPair(sequence.selected); });
  find("svg.curves")?.addEventListener("click", event => {
    const svg = event.currentTarget, {left, right, count} = svg.dataset;
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
    const frame = Math.round((x - left) / (right - left) * (count - 1));
    play(sequence, false);
    go(sequence, Math.min(count - 1, Math.max(0, frame)));
  });
  for (const button of section.querySelectorAll(".mark")) button.addEventListener("click", () => {
    if (sequence.selected) mark(sequence.selected, button.dataset.status);
    section.focus({preventScroll: true});
  });
  find(".note").addEventListener("input", event => {
    if (!marks.has(sequence.selected)) return;
    marks.get(sequence.selected).note = event.target.value;
    unsaved = true;
    tell();
  });
}

const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const decoded = data.sequences.flatMap(sequence => sequence.pictures.flat()).map(picture => picture.decode().catch(() => null));
Promise.all(decoded).then(() => {
  for (const sequence of data.sequences) {
    sequence.rows.forEach(row => { show(row); drawThumb(row); });
    const worst = Math.max(...sequence.rows.map(row => statuses.indexOf(statusOf(row))));
    select(sequence.rows.find(row => statuses.indexOf(statusOf(row)) === worst && row.bone !== data.whole) ?? sequence.rows[0], false);
    drawMovie(sequence);
    play(sequence, !still);
  }
  for (const canvas of document.querySelectorAll("canvas.example")) {
    const {bone, frame, placed} = canvas.dataset, sequence = data.sequences[canvas.dataset.sequence];
    draw(canvas, sequence, placeOf(sequence, bone), Number(frame), boxOf(sequence, bone),
      [[bone, placed, data.colour[bone], 2.6, []]], 640);
  }
  tell();
  document.body.dataset.ready = "true";
});
