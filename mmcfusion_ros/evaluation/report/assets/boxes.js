// What detectors found, missed and took for something: over the images, of one detector and one input at a time.

const STATES = ["found", "missed", "false"];
const SVG = "http://www.w3.org/2000/svg";

/** `frames` are name -> input -> detector -> rows of left, top, right, bottom (shares), state, kind, score. */
function createBoxes(frames, onChange) {
  const bar = byId("boxes");
  const [detector, input] = bar.querySelectorAll("select");
  const first = Object.values(frames)[0];
  bar.hidden = !first;
  if (!first) return { of: () => null };
  detector.replaceChildren(...Object.keys(Object.values(first)[0]).map((name) => new Option(name)));
  input.replaceChildren(
    new Option("each image itself", "itself"),
    ...Object.keys(first).map((name) => new Option(name)),
    new Option("nothing", "nothing"),
  );
  bar.addEventListener("change", onChange);

  /** Rows in a frame, of what is chosen, or of the input that an image shows if that is; null if there are none. */
  const of = (name, shown) => frames[name]?.[input.value === "itself" ? shown : input.value]?.[detector.value] ?? null;
  return { of };
}

/** A picture that lies over an image. */
function drawBoxes(rows) {
  const node = document.createElementNS(SVG, "svg");
  for (const [name, value] of [["viewBox", "0 0 1 1"], ["preserveAspectRatio", "none"], ["aria-hidden", "true"]]) {
    node.setAttribute(name, value);
  }
  for (const [left, top, right, bottom, state] of rows) {
    for (const className of ["edge", state]) {
      const box = document.createElementNS(SVG, "rect");
      const sides = { x: left, y: top, width: right - left, height: bottom - top, class: className };
      for (const [name, value] of Object.entries(sides)) box.setAttribute(name, value);
      node.append(box);
    }
  }
  return node;
}

/** "3 found, 1 missed, 0 false". */
const countBoxes = (rows) =>
  STATES.map((state) => `${rows.filter((row) => row[4] === state).length} ${state}`).join(", ");
