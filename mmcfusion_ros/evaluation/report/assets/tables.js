// The table of methods, that of worst frames (sorted by any column, a click jumps), the statistics of all frames.

const ROWS = 15; // at first, and more at each press of the button
const SAME = 0.01; // relative difference of two means up to which neither is called better

function createWorstTable(onJump, onMetric) {
  const table = byId("worst").querySelector("table");
  const metric = byId("metric");
  let columns = []; // {title, unit, value(i), text(i), worstIsLargest}
  let frames = 0;
  let hasPictures = false;
  let picture = () => null;
  let sorting = { column: 0, descending: false };
  let limit = ROWS;
  let current = 0;

  /** `selected` is the key of the metric that tells which frames are worst. */
  function build(a, b, partner, selected) {
    frames = a.names.length;
    hasPictures = a.pictured.length > 0;
    picture = (i) => a.picture("fused", i) ?? a.picture("rgb", i) ?? a.picture("thermal", i);
    const keys = [...a.values.keys()];
    metric.replaceChildren(
      ...keys.map(
        (key) => new Option([describe(key).label, describe(key).unit].join(" "), key, false, key === selected),
      ),
    );
    byId("worst").hidden = !frames || !keys.length;
    if (byId("worst").hidden) return;
    columns = [
      { title: "frame", value: (i) => i, text: (i) => a.names[i] },
      ...(a.hasTime ? [column("time", "s", a.times, false)] : []),
      ...(b
        ? comparedColumns(a, b, partner, selected)
        : [selected, ...keys.filter((key) => key !== selected)].map((key) => valueColumn(a, key))),
    ];
    const place = columns.findIndex(({ key }) => key === selected);
    sorting = { column: place, descending: columns[place].worstIsLargest };
    limit = ROWS;
    fill();
  }

  function fill() {
    const { value } = columns[sorting.column];
    const sign = sorting.descending ? -1 : 1;
    const last = (i) => (Number.isFinite(value(i)) ? 0 : 1);
    const order = [...Array(frames).keys()].sort((i, j) => last(i) - last(j) || sign * (value(i) - value(j)) || i - j);
    table.replaceChildren(
      element("thead", {}, element("tr", {}, ...columns.map(heading))),
      element("tbody", {}, ...order.slice(0, limit).map(row)),
    );
    byId("more").hidden = limit >= frames;
    byId("more").textContent = `Show ${Math.min(ROWS, frames - limit)} more of ${frames}`;
    mark();
  }

  function heading({ title, unit, worstIsLargest }, c) {
    const sorted = c === sorting.column;
    const button = element("button", { type: "button" }, title, element("small", {}, unit ?? ""));
    button.addEventListener("click", () => {
      sorting = { column: c, descending: sorted ? !sorting.descending : Boolean(worstIsLargest) };
      fill();
      table.querySelectorAll("th button")[c].focus();
    });
    const direction = sorted ? (sorting.descending ? "descending" : "ascending") : "none";
    return element("th", { scope: "col", "aria-sort": direction }, button);
  }

  function row(i) {
    const cells = columns.map(({ text }, c) => {
      if (c) return element("td", { className: c === sorting.column ? "sorted" : "" }, text(i));
      const button = element("button", { type: "button" }, text(i));
      if (hasPictures) button.prepend(picture(i) ? element("img", { src: picture(i).url, alt: "" }) : element("i"));
      return element("th", { scope: "row" }, button);
    });
    const node = element("tr", {}, ...cells);
    node.dataset.frame = i;
    return node;
  }

  function mark() {
    for (const node of table.tBodies[0]?.rows ?? []) {
      if (Number(node.dataset.frame) === current) node.setAttribute("aria-current", "true");
      else node.removeAttribute("aria-current");
    }
  }

  table.addEventListener("click", (event) => {
    const node = event.target.closest("tbody tr");
    if (!node) return;
    node.querySelector("button").focus({ preventScroll: true }); // else the table around it takes the arrow keys
    onJump(Number(node.dataset.frame));
  });
  metric.addEventListener("change", () => onMetric(metric.value));
  byId("more").addEventListener("click", () => {
    limit += ROWS;
    fill();
  });

  function show(frame) {
    current = frame;
    mark();
  }

  return { build, show };
}

/** Methods by metrics, as {title, columns, rows of texts, ours: names of the methods of this page, note}. */
function fillMethods(methods) {
  byId("methods").hidden = !methods;
  if (!methods) return;
  byId("methods-title").textContent = methods.title;
  byId("methods").querySelector("p").textContent = methods.note;
  const cells = (texts, tag) => texts.map((text, i) => element(i ? tag : "th", { scope: i ? "" : "row" }, text));
  const headings = methods.columns.map((text) => element("th", { scope: "col" }, text));
  const rows = methods.rows.map((texts) =>
    element("tr", { className: methods.ours.includes(texts[0]) ? "ours" : "" }, ...cells(texts, "td")),
  );
  byId("methods")
    .querySelector("table")
    .replaceChildren(element("thead", {}, element("tr", {}, ...headings)), element("tbody", {}, ...rows));
}

/** A column that is sorted by size, whatever the sign, where large is bad. */
function column(title, unit, values, worstIsLargest, key) {
  const format = formatterOf(values);
  const value = (i) => (worstIsLargest && values[i] < 0 ? -values[i] : values[i]);
  return { title, unit, key, worstIsLargest, value, text: (i) => format(values[i]) };
}

function valueColumn(run, key) {
  const { label, unit, largerIsWorse } = describe(key);
  return column(label, unit, run.values.get(key), largerIsWorse, key);
}

/** The metric of both runs and what B has more than A. */
function comparedColumns(a, b, partner, key) {
  const { label, unit, largerIsWorse } = describe(key);
  const ofA = a.values.get(key);
  const ofB = a.names.map((_, i) => b.values.get(key)?.[partner(i)] ?? null);
  const difference = ofA.map((value, i) => (value === null || ofB[i] === null ? null : ofB[i] - value));
  return [
    column(`${label} A`, unit, ofA, largerIsWorse, key),
    column(`${label} B`, unit, ofB, largerIsWorse),
    { ...column("B − A", unit, difference, largerIsWorse), value: (i) => difference[i] },
  ];
}

/** Fills the table of statistics: of one run mean to maximum, of two their means and the difference. */
function fillStatistics(a, b) {
  const runs = b ? [a, b] : [a];
  const keys = [...new Set(runs.flatMap((run) => [...run.values.keys()]))];
  const titles = b ? ["mean A", "mean B", "B − A", "verdict"] : ["mean", "median", "p95", "min", "max"];
  const rows = keys.map((key) => {
    const { label, unit, largerIsWorse } = describe(key);
    const each = runs.map((run) => statistics(run.values.get(key) ?? []));
    const format = formatterOf(each.flatMap((s) => (s ? Object.values(s) : [])));
    const cells = b ? comparedCells(each, largerIsWorse, format) : titles.map((title) => format(each[0]?.[title]));
    const head = element("th", { scope: "row" }, label, element("small", {}, unit));
    return element("tr", {}, head, ...cells.map((text) => element("td", {}, text)));
  });
  const headings = ["value", ...titles].map((title) => element("th", { scope: "col" }, title));
  byId("statistics").hidden = !rows.length || !a.names.length;
  byId("statistics")
    .querySelector("table")
    .replaceChildren(element("thead", {}, element("tr", {}, ...headings)), element("tbody", {}, ...rows));
}

function comparedCells([a, b], largerIsWorse, format) {
  const difference = a && b ? b.mean - a.mean : null;
  const clear = Math.abs(difference) > SAME * Math.max(Math.abs(a?.mean), Math.abs(b?.mean));
  const verdict = clear ? (difference > 0 === largerIsWorse ? "worse" : "better") : "";
  const text = (difference > 0 ? "+" : "") + format(difference);
  return [format(a?.mean), format(b?.mean), text, element("span", { className: verdict }, verdict && `B ${verdict}`)];
}
