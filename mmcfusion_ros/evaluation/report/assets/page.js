// The page: reads the data, keeps what is selected, and tells viewer, filmstrip, plots and tables what to show.

const KINDS = { thermal: "Thermal", rgb: "RGB", fused: "Fused" };
const PLAY_MS = [60, 600]; // shortest and longest time of a frame while playing

const data = JSON.parse(byId("data").textContent);
const runs = loadRuns(data);
const selected = { a: runs[0], b: runs.length > 1 ? runs[1] : null, frame: 0, metric: "", worstFirst: false };
let stops = []; // frames in the order in which one steps through them: those with pictures, if any has
let timer = 0;

const viewer = createViewer();
const boxes = createBoxes(data.boxes, viewer.redraw);
const plots = createPlots(jump);
const worst = createWorstTable(jump, (metric) => {
  selected.metric = metric;
  worst.build(selected.a, selected.b, partner, metric);
  orderStops();
});

function loadRuns({ runs, images }) {
  const urls = new Map();
  const url = (index) => {
    if (!urls.has(index)) {
      const bytes = Uint8Array.from(atob(images[index]), (letter) => letter.charCodeAt(0));
      urls.set(index, URL.createObjectURL(new Blob([bytes], { type: "image/webp" })));
    }
    return urls.get(index);
  };
  return runs.map((run) => {
    const indexOf = new Map(run.names.map((name, i) => [name, i]));
    const hasPicture = (i) => Object.keys(KINDS).some((kind) => run.images[kind][i] !== null);
    const hasTime = run.times.some((time, i) => time !== i);
    const values = new Map(run.values);
    if (hasTime && !values.has("fused_hz")) values.set("fused_hz", rateOf(run.times));
    return {
      ...run,
      hasTime,
      values,
      pictured: run.names.map((_, i) => i).filter(hasPicture),
      indexOf: (name) => indexOf.get(name),
      place: (i) => (hasTime ? `${run.names[i]}, ${seconds(run.times[i])}` : run.names[i]),
      picture: (kind, i) => {
        const index = run.images[kind][i] ?? null;
        return index === null ? null : { url: url(index), name: run.names[i] };
      },
    };
  });
}

/** Frames a second within half a second before and after each. */
function rateOf(times) {
  const [first, last] = [times[0], times.at(-1)];
  return times.map((time) => {
    const [from, to] = [Math.max(first, time - 0.5), Math.min(last, time + 0.5)];
    const count = countUpTo(times, to) - countUpTo(times, from);
    return to > from ? count / (to - from) : null;
  });
}

/** The frame of run B that has the name of A's. */
const partner = (frame) => selected.b?.indexOf(selected.a.names[frame]);

/** Builds everything anew for other runs, and stays at the frame of this name if there is one. */
function build(shownName) {
  const { a, b } = selected;
  selected.frame = a.indexOf(shownName) ?? -1;
  pause();
  const keys = [...a.values.keys()];
  selected.metric = ["Qabf", "total_ms", "skew_ms", keys[0]].find((key) => keys.includes(key)) ?? "";
  selected.worstFirst = !a.hasTime && keys.length > 0;
  byId("order").value = selected.worstFirst ? "worst" : "time";
  byId("order").options[0].text = a.hasTime ? "by time" : "as in the folder";
  writeHeader(a, b);
  byId("pictures").classList.toggle("bare", !a.pictured.length);
  byId("pictures").hidden = !a.names.length;
  viewer.build(layersOf(a, b));
  worst.build(a, b, partner, selected.metric);
  fillStatistics(a, b);
  plots.build(a, b, partner);
  orderStops();
}

function layersOf(a, b) {
  const has = (run, kind) => run.images[kind].some((index) => index !== null);
  const ofA = Object.keys(KINDS)
    .filter((kind) => has(a, kind))
    .map((kind) => ({ label: a.imageNames[kind] ?? KINDS[kind], on: !b || kind === "fused", ...sight(a, kind, (frame) => frame) }));
  if (!b || !has(b, "fused")) return ofA.map((layer) => ({ ...layer, on: true }));
  if (has(a, "fused")) ofA.at(-1).label = "Fused A";
  return [...ofA, { label: "Fused B", on: true, ...sight(b, "fused", partner) }];
}

/** A run's image of a kind, and what detectors find in it; `own` is the run's frame for one of run A. */
function sight(run, kind, own) {
  return {
    picture: (frame) => run.picture(kind, own(frame)),
    boxes: (frame) => boxes.of(run.names[own(frame)], run.seenAs[kind]),
  };
}

function orderStops() {
  const { a, metric, worstFirst } = selected;
  stops = a.pictured.length ? [...a.pictured] : a.names.map((_, i) => i);
  if (worstFirst && metric) {
    const values = a.values.get(metric);
    const { badness } = describe(metric);
    const bad = (i) => (values[i] === null ? -Infinity : badness(values[i]));
    stops.sort((i, j) => bad(j) - bad(i) || i - j);
  }
  byId("scrubber").max = Math.max(0, stops.length - 1);
  const thumbnails = a.pictured.length ? stops.map(thumbnail) : [];
  byId("strip").replaceChildren(...thumbnails);
  byId("strip").hidden = thumbnails.length < 2;
  if (stops.length) jump(selected.frame >= 0 ? selected.frame : stops[0]);
}

function thumbnail(i) {
  const { a } = selected;
  const { url } = a.picture("fused", i) ?? a.picture("rgb", i) ?? a.picture("thermal", i);
  const label = element("span", {}, a.names[i]);
  const button = element(
    "button",
    { type: "button", tabIndex: -1 },
    element("img", { src: url, alt: "", loading: "lazy" }),
    label,
  );
  button.addEventListener("click", () => jump(i));
  return element("li", {}, button);
}

/** Shows a frame everywhere. One without pictures gets those of the nearest that has some. */
function jump(frame) {
  const { a, b } = selected;
  selected.frame = frame;
  const position = positionOf(frame);
  const pictured = a.pictured.length ? stops[position] : frame;
  viewer.show(pictured);
  const notes = [];
  if (!a.pictured.length) notes.push("This report has no pictures.");
  else if (pictured !== frame) notes.push(`${a.names[frame]} has no pictures here; these are of ${a.place(pictured)}.`);
  if (b && partner(frame) === undefined) notes.push("Run B has no such frame.");
  byId("note").textContent = notes.join(" ");
  byId("scrubber").value = position;
  byId("scrubber").setAttribute("aria-valuetext", a.place(frame));
  byId("where").replaceChildren(element("b", {}, a.place(frame)), ` ${position + 1} of ${stops.length}`);
  markThumbnail(position);
  plots.show(frame);
  worst.show(frame);
}

/** Where in `stops` a frame is, or else the stop that is nearest in time. */
function positionOf(frame) {
  if (stops.includes(frame)) return stops.indexOf(frame);
  const { pictured, times } = selected.a;
  const place = nearest(
    pictured.map((i) => times[i]),
    times[frame],
  );
  return stops.indexOf(pictured[place]);
}

function markThumbnail(position) {
  const strip = byId("strip");
  strip.querySelector("[aria-current]")?.removeAttribute("aria-current");
  strip.querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1");
  const item = strip.children[position];
  if (!item) return;
  item.firstChild.setAttribute("aria-current", "true");
  item.firstChild.tabIndex = 0;
  strip.scrollLeft = item.offsetLeft - (strip.clientWidth - item.offsetWidth) / 2;
}

function step(by) {
  const position = positionOf(selected.frame) + by;
  if (stops.length) jump(stops[Math.min(stops.length - 1, Math.max(0, position))]);
}

function play() {
  const position = positionOf(selected.frame);
  if (position === stops.length - 1) return pause();
  const [now, next] = [stops[position], stops[position + 1]].map((i) => selected.a.times[i]);
  const [shortest, longest] = PLAY_MS;
  const duration = selected.a.hasTime ? 1000 * Math.abs(next - now) : longest;
  setPlaying(true);
  timer = setTimeout(() => (step(1), play()), Math.min(longest, Math.max(shortest, duration)));
}

function pause() {
  clearTimeout(timer);
  timer = 0;
  setPlaying(false);
}

function setPlaying(playing) {
  byId("play").classList.toggle("playing", playing);
  byId("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  byId("where").setAttribute("aria-live", playing ? "off" : "polite");
}

function togglePlay() {
  if (timer) return pause();
  if (positionOf(selected.frame) === stops.length - 1) jump(stops[0]);
  play();
}

function onKey(event) {
  const ownKeys = event.target.matches("input, select, .scroll");
  if (ownKeys || event.altKey || event.ctrlKey || event.metaKey) return;
  const actions = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    Home: () => step(-stops.length),
    End: () => step(stops.length),
    " ": event.target.closest("button, summary") ? null : togglePlay,
  };
  if (!actions[event.key] || !stops.length) return;
  event.preventDefault();
  if (event.key !== " ") pause();
  actions[event.key]();
}

function fillChoice() {
  byId("choice").hidden = runs.length < 2;
  const options = () => runs.map((run, i) => new Option(run.title, i));
  byId("run-a").replaceChildren(...options());
  byId("run-b").replaceChildren(new Option("nothing", -1), ...options());
  byId("run-b").value = runs.indexOf(selected.b);
  byId("choice").addEventListener("change", () => {
    const shownName = selected.a.names[selected.frame];
    selected.a = runs[byId("run-a").value];
    selected.b = runs[byId("run-b").value] ?? null;
    build(shownName);
  });
}

byId("previous").addEventListener("click", () => (pause(), step(-1)));
byId("next").addEventListener("click", () => (pause(), step(1)));
byId("play").addEventListener("click", togglePlay);
byId("scrubber").addEventListener("input", (event) => (pause(), jump(stops[event.target.value])));
byId("order").addEventListener("change", (event) => {
  selected.worstFirst = event.target.value === "worst";
  orderStops();
});
document.addEventListener("keydown", onKey);
setUpTheme(plots.restyle);
fillMethods(data.methods);
fillChoice();
build();
