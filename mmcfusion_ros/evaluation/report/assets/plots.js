// Plots over time, one a group of values of one unit. A click jumps; the current frame is a line across all of them.

const HEIGHT = 190;
const NOTHING = ["No frame was fused.", "One frame: its values are in the table."];
const COLOURS = 10; // --series-0 to --series-9 in page.css

function createPlots(onJump) {
  const root = byId("plots");
  const resolved = new Map(); // colours of the theme as canvas takes them
  let plots = [];
  let runs = [];
  let current = 0;

  const observer = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) target.plot.setSize({ width: contentRect.width, height: HEIGHT });
  });

  function colour(name) {
    if (!resolved.has(name)) {
      root.style.color = `var(${name})`;
      resolved.set(name, getComputedStyle(root).color);
      root.style.color = "";
    }
    return resolved.get(name);
  }

  /** `partner` gives the frame of run B that belongs to one of run A. */
  function build(a, b, partner) {
    observer.disconnect();
    for (const { plot } of plots) plot.destroy();
    runs = b ? [a, b] : [a];
    const groups = [...valueGroups(runs, partner), ...dropGroup(runs)].sort((p, q) => rank(p) - rank(q));
    root.replaceChildren();
    plots = a.names.length > 1 ? groups.map(draw) : [];
    byId("hint").hidden = !plots.length;
    byId("hint").querySelector(".lines").hidden = !b;
    const nothing = NOTHING[a.names.length] ?? "The frames have no values to plot.";
    if (!plots.length) root.append(element("p", { className: "card empty" }, nothing));
  }

  const rank = ({ title }) => (GROUP_ORDER.includes(title) ? GROUP_ORDER.indexOf(title) : GROUP_ORDER.length);

  function draw(group) {
    const legend = element("ul", { className: "legend" });
    const hovered = element("span", { className: "muted" });
    const title = element("figcaption", {}, element("h2", {}, group.title), ` ${group.unit} `, hovered);
    const box = element("div", { className: "plot", role: "img", "aria-label": `${group.title} over the frames` });
    root.append(element("figure", { className: "card" }, title, box, legend));
    const plot = new uPlot(options(group), group.table, box);
    const now = element("div", { className: "now" });
    plot.over.append(now);
    const entries = group.entries.map((entry, i) => legendEntry(plot, entry, i, legend));
    const view = { plot, now, entries, hovered };
    plot.over.addEventListener("click", (event) => onJump(frameAt(plot, event.offsetX)));
    plot.over.addEventListener("mouseleave", () => plots.forEach((other) => write(other, null)));
    plot.hooks.setCursor.push(() => plot.cursor.left >= 0 && write(view, frameAt(plot, plot.cursor.left)));
    plot.hooks.setScale.push(() => moveLine(view));
    plot.hooks.setSize.push(() => moveLine(view));
    box.plot = plot;
    observer.observe(box);
    return view;
  }

  const frameAt = (plot, left) => nearest(runs[0].times, plot.posToVal(left, "x"));

  function options(group) {
    const axis = { stroke: () => colour("--muted"), font: "11px system-ui, sans-serif", ticks: { show: false } };
    const grid = { stroke: () => colour("--line"), width: 1 };
    const dots = !runs[0].hasTime;
    const series = group.entries.flatMap((entry, i) =>
      entry.values.map((_, which) => ({
        label: entry.label,
        stroke: () => colour(ink(entry, i)),
        width: 1.5,
        dash: which ? [5, 4] : undefined,
        paths: dots ? () => null : group.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
        points: dots
          ? { show: true, size: 6, width: 1.5, fill: () => colour(which ? "--card" : ink(entry, i)) }
          : { size: 4 },
      })),
    );
    return {
      width: root.clientWidth || 320,
      height: HEIGHT,
      legend: { show: false },
      padding: [10, 12, 0, 0],
      scales: {
        x: { time: false, range: (_, low, high) => (dots ? [low - 0.5, high + 0.5] : [low, high]) },
        y: { range: group.fromZero ? rangeFromZero : paddedRange },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: 28,
          incrs: dots ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] : undefined,
          space: dots ? 70 : undefined,
          values: (_, splits) => splits.map((value) => (dots ? shortName(runs[0].names[value]) : `${value} s`)),
        },
        { ...axis, grid, size: 46, space: 34 },
      ],
      series: [{}, ...series],
      cursor: {
        y: false,
        points: { size: 7 },
        drag: { x: true, y: false, dist: 6 },
        sync: { key: "frames", scales: ["x", null], setSeries: false },
      },
      hooks: { setCursor: [], setScale: [], setSize: [] },
    };
  }

  /** A switch of one line (of two runs: of both) that also tells its value at a frame. */
  function legendEntry(plot, entry, i, legend) {
    const perEntry = entry.values.length;
    const output = element("output");
    const swatch = element("i", { className: "swatch" });
    swatch.style.setProperty("--ink", `var(${ink(entry, i)})`);
    const button = element("button", { type: "button", "aria-pressed": true }, swatch, entry.label, " ", output);
    button.addEventListener("click", () => {
      const show = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", show);
      plot.batch(() => {
        for (let s = 0; s < perEntry; s++) plot.setSeries(1 + i * perEntry + s, { show });
      });
    });
    legend.append(element("li", {}, button));
    return { ...entry, output };
  }

  /** Legends tell the values at the frame under the pointer, else at the current one. */
  function write(view, hovered) {
    const frame = hovered ?? current;
    view.hovered.textContent = hovered === null ? "" : `at ${runs[0].place(hovered)}`;
    for (const entry of view.entries) {
      const numbers = entry.values.map((valueAt) => entry.format(valueAt(frame)));
      entry.output.textContent = numbers.join(" | ");
    }
  }

  function moveLine({ plot, now }) {
    const left = plot.valToPos(runs[0].times[current], "x");
    now.hidden = !(left >= 0 && left <= plot.over.clientWidth);
    now.style.transform = `translateX(${left}px)`;
  }

  function show(frame) {
    current = frame;
    for (const view of plots) {
      moveLine(view);
      write(view, null);
    }
  }

  function restyle() {
    resolved.clear();
    for (const { plot } of plots) plot.redraw(false);
  }

  return { build, show, restyle };
}

const ink = ({ label }, i) => (label === "total" ? "--text" : `--series-${i % COLOURS}`);
const shortName = (name) => (name?.length > 11 ? `\u2026${name.slice(-10)}` : name); // ends tell images apart
const rangeFromZero = (_, low, high) => (low < 0 ? paddedRange(_, low, high) : [0, high ? 1.08 * high : 1]);
const paddedRange = (_, low, high) => (low === null ? [0, 1] : uPlot.rangeNum(low, high, 0.12, true));

/** Plots of the frames' values: {title, unit, table, entries of {label, format, values: a function a run}}. */
function valueGroups(runs, partner) {
  const groups = new Map();
  for (const key of new Set(runs.flatMap((run) => [...run.values.keys()]))) {
    const columns = runs.map((run) => run.values.get(key) ?? run.names.map(() => null));
    if (!columns.flat().some(Number.isFinite)) continue;
    const value = describe(key);
    if (!groups.has(value.group)) groups.set(value.group, []);
    groups.get(value.group).push({ value, columns });
  }
  return [...groups].map(([title, members]) => {
    const units = [...new Set(members.map(({ value }) => value.unit))];
    return {
      title,
      unit: units.filter(Boolean).join(", "),
      fromZero: ["ms", "Hz"].includes(units[0]),
      table: alignedTable(
        runs,
        members.map(({ columns }) => columns),
        partner,
      ),
      entries: members.map(({ value, columns }) => ({
        label: value.label,
        format: formatterOf(columns.flat()),
        values: [(frame) => columns[0][frame], (frame) => columns[1][partner(frame)]].slice(0, runs.length),
      })),
    };
  });
}

/** Times and columns for uPlot. Runs over time keep their own times, images of a folder go by their names. */
function alignedTable([a, b], columns, partner) {
  if (!b) return [a.times, ...columns.map(([column]) => column)];
  if (!a.hasTime) {
    return [a.times, ...columns.flatMap(([ofA, ofB]) => [ofA, a.names.map((_, i) => ofB[partner(i)] ?? null)])];
  }
  const [times, ...joined] = uPlot.join([a, b].map((run, which) => [run.times, ...columns.map((pair) => pair[which])]));
  return [times, ...columns.flatMap((_, i) => [joined[i], joined[columns.length + i]])];
}

/** The plot of lost messages and pairs, counted up by reason. */
function dropGroup(runs) {
  const reasons = [...new Set(runs.flatMap((run) => run.drops.map(([, reason]) => reason)))].sort();
  if (!reasons.length) return [];
  const when = runs.map((run) =>
    reasons.map((reason) =>
      run.drops
        .filter((drop) => drop[1] === reason && drop[0] !== null)
        .map(([time]) => time)
        .sort((x, y) => x - y),
    ),
  );
  const times = [...new Set([...runs.flatMap((run) => run.times), ...when.flat(2)])].sort((x, y) => x - y);
  return [
    {
      title: GROUP_ORDER[3],
      unit: "",
      fromZero: true,
      stepped: true,
      table: [times, ...reasons.flatMap((_, i) => when.map((ofRun) => times.map((time) => countUpTo(ofRun[i], time))))],
      entries: reasons.map((reason, i) => ({
        label: reason,
        format: String,
        values: when.map((ofRun) => (frame) => countUpTo(ofRun[i], runs[0].times[frame])),
      })),
    },
  ];
}
