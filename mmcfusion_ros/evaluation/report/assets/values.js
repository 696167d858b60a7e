// What the values of a frame mean, how they are written, and small helpers for elements.

const METRIC_UNITS = { EN: "bits", CE: "bits", MI_bits: "bits", MI: "nats", PSNR: "dB", SD: "grey levels", SF: "grey levels", AG: "grey levels" };
const COUNTS = ["missed", "false"]; // by detectors, their mean
const LOWER_IS_BETTER = [...COUNTS, "CE", "Nabf", "Qcv"];
const SUFFIX_UNITS = { ms: "ms", s: "s", hz: "Hz", px: "px", mb: "MB", percent: "%" };
const GROUP_ORDER = ["Skew within a pair", "Latency by stage", "Rates", "Drops by reason, so far"];

/** A value's key to its label, unit, plot and which end is bad: `badness` grows as frames get worse. */
function describe(key) {
  const [, stem, suffix] = /^(.+)_(ms|s|hz|px|mb|percent)$/.exec(key) ?? [null, key, ""];
  const unit = SUFFIX_UNITS[suffix] ?? METRIC_UNITS[key] ?? "";
  const largerIsWorse = (suffix !== "" && suffix !== "hz") || LOWER_IS_BETTER.includes(key);
  return {
    key,
    label: suffix ? stem.replaceAll("_", " ") : key,
    unit,
    group: groupOf(stem, key, unit),
    largerIsWorse,
    badness: largerIsWorse ? Math.abs : (value) => -value,
  };
}

function groupOf(stem, key, unit) {
  if (COUNTS.includes(key)) return "What detectors miss, and their false finds";
  if (unit === "ms") return /skew|offset/.test(stem) ? GROUP_ORDER[0] : GROUP_ORDER[1];
  if (unit === "Hz") return GROUP_ORDER[2];
  if (unit === "bits" || unit === "nats") return "Information";
  if (unit === "grey levels") return "Contrast and detail";
  if (unit === "px") return "Registration: how far off";
  if (/_min$/.test(key)) return "Kept from the weaker source";
  if (/^(SCD|CC|VIF|Qabf|SSIM|MS|FMI|Qcb)(_|$)/.test(key)) return "Kept from the sources";
  return unit ? `Values in ${unit}` : "Other values";
}

/** Mean, median, p95, min and max of the numbers among `values`; null without any. */
function statistics(values) {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (!sorted.length) return null;
  const quantile = (q) => {
    const place = q * (sorted.length - 1);
    const low = Math.floor(place);
    return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
  };
  const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length;
  return { mean, median: quantile(0.5), p95: quantile(0.95), min: sorted[0], max: sorted.at(-1) };
}

/** A function that writes numbers with the decimals that fit all of `values`. */
function formatterOf(values) {
  const numbers = values.filter(Number.isFinite);
  const largest = numbers.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const decimals = numbers.every(Number.isInteger) || largest >= 1000 ? 0 : largest >= 100 ? 1 : largest >= 10 ? 2 : 3;
  return (value) => (Number.isFinite(value) ? signed(value.toFixed(decimals)) : "–");
}

const signed = (text) => (/^-0\.?0*$/.test(text) ? text.slice(1) : text.replace("-", "\u2212"));

const seconds = (value) => `${value.toFixed(value < 100 ? 2 : 1)} s`;

/** A new element; `properties` are DOM properties, or attributes where their name has a dash or is `role`. */
function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children);
  return node;
}

const byId = (id) => document.getElementById(id);

/** Index of the number in ascending `sorted` that is nearest to `value`. */
function nearest(sorted, value) {
  const after = countUpTo(sorted, value);
  if (after === 0) return 0;
  if (after === sorted.length) return after - 1;
  return value - sorted[after - 1] <= sorted[after] - value ? after - 1 : after;
}

/** How many numbers in ascending `sorted` are at most `value`. */
function countUpTo(sorted, value) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}
