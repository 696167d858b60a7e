// The top of the page: titles, problems, figures at a glance, what was run, and the theme.

const SHORT = 60; // letters of what is told before the list of what was run is opened

function writeHeader(a, b) {
  const runs = b ? [a, b] : [a];
  document.title = runs.map((run) => run.title).join(" and ");
  byId("title").replaceChildren(
    ...runs.flatMap((run, i) => [...(b ? [badge(i)] : []), element("span", {}, run.title)]),
  );
  writeProblems(runs);
  byId("tiles").replaceChildren(...tilesOf(runs).map(tileElement));
  writeFacts(runs);
}

const badge = (i) => element("b", { className: "badge" }, "AB"[i]);

function writeProblems(runs) {
  const section = byId("problems");
  const problems = runs.flatMap((run, i) => run.problems.map((text) => [i, text]));
  section.hidden = !problems.length;
  byId("problems-title").textContent = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
  const items = problems.map(([i, text]) => element("li", {}, ...(runs.length > 1 ? [badge(i), " "] : []), text));
  section.querySelector("ul").replaceChildren(...items);
}

/** Figures at a glance: {label, texts: one a run, small}; those that no run has are left out. */
function tilesOf(runs) {
  const single = runs.length === 1;
  const sizes = (run, key) => (run.values.get(key) ?? []).filter(Number.isFinite).map(Math.abs);
  const of = (name, key) => (run) => statistics(sizes(run, key))?.[name];
  const tile = (label, get, unit, small = "") => {
    const numbers = runs.map(get);
    const texts = numbers.map((number) =>
      number === undefined ? "–" : `${unit === null ? number : brief(number)}${unit ?? ""}`,
    );
    return { label, texts, small, empty: numbers.every((number) => number === undefined) };
  };
  const overTime = runs.some((run) => run.hasTime);
  const p95 = of("p95", "total_ms")(runs[0]);
  return [
    tile("frames", (run) => run.names.length, null),
    {
      ...tile("dropped", (run) => run.drops.length, null, single ? reasonsOf(runs[0]) : ""),
      empty: !overTime && !runs.some((run) => run.drops.length),
    },
    tile("duration", (run) => (run.hasTime ? run.times.at(-1) - run.times[0] : undefined), " s"),
    tile("fused, median", of("median", "fused_hz"), " Hz"),
    tile("latency, median", of("median", "total_ms"), " ms", single && p95 !== undefined ? `p95 ${brief(p95)} ms` : ""),
    tile("skew, p95", of("p95", "skew_ms"), " ms"),
    tile("Qabf, mean", of("mean", "Qabf"), ""),
    tile("VIF, mean", of("mean", "VIF"), ""),
    tile("SSIM, mean", of("mean", "SSIM"), ""),
  ].filter(({ empty }) => !empty);
}

/** With three digits, or more where the whole part has more. */
const brief = (number) => (Math.abs(number) >= 100 ? number.toFixed(0) : number.toPrecision(3)).replace("-", "\u2212");

function reasonsOf(run) {
  const counts = new Map();
  for (const [, reason] of run.drops) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  return [...counts]
    .sort((p, q) => q[1] - p[1])
    .map(([reason, count]) => `${reason} ${count}`)
    .join(", ");
}

function tileElement({ label, texts, small }) {
  const values = texts.map((text, i) =>
    element("p", {}, ...(texts.length > 1 ? [badge(i)] : []), element("strong", {}, text)),
  );
  return element("li", {}, element("span", { className: "muted" }, label), ...values, element("small", {}, small));
}

/** What differs between two runs as a table, all else as a list. */
function writeFacts(runs) {
  const facts = runs.map((run) => new Map(run.header));
  const keys = [...new Set(facts.flatMap((map) => [...map.keys()]))];
  const texts = (key) => facts.map((map) => map.get(key) ?? "–");
  const differs = (key) => texts(key).some((text) => text !== texts(key)[0]);
  const rows = keys
    .filter(differs)
    .map((key) =>
      element("tr", {}, element("th", { scope: "row" }, key), ...texts(key).map((text) => element("td", {}, text))),
    );
  const head = element("tr", {}, element("td"), ...runs.map((_, i) => element("th", { scope: "col" }, badge(i))));
  const items = keys
    .filter((key) => !differs(key))
    .map((key) => element("div", {}, element("dt", {}, key), element("dd", {}, texts(key)[0])));
  const table = rows.length ? [element("div", { className: "scroll" }, element("table", {}, head, ...rows))] : [];
  byId("facts").hidden = !keys.length;
  byId("facts")
    .querySelector("div")
    .replaceChildren(...table, element("dl", {}, ...items));
  const inShort = (rows.length ? keys.filter(differs) : keys)
    .map((key) => texts(key).join(" | "))
    .filter((text) => text.length <= SHORT);
  byId("facts").querySelector("summary span").textContent = inShort.join(" · ");
}

/** Light or dark as the system says, until the reader chooses. */
function setUpTheme(onChange) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = byId("theme");
  const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const apply = () => {
    button.lastElementChild.textContent = isDark() ? "Light" : "Dark";
    button.title = `Switch to the ${isDark() ? "light" : "dark"} theme`;
    onChange();
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    apply();
  });
  system.addEventListener("change", apply);
  apply();
}
