"""Writes results/soak.md and results/soak.png from the soak.json and soak.png of a run.

python scripts/soak.py FOLDER DATE "what else was going on"
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"
SAMPLED = {
    "rss_mb": "resident memory, MB",
    "own_mb": "of it the node's own, MB",
    "threads": "threads",
    "file_descriptors": "file descriptors",
    "shared_memory_segments": "shared-memory files",
    "published_hz": "published images per s (fused, or one camera alone), faults included",
    "latency_ms_p50": "stamp to arrival at the detector, p50 of a minute, ms",
    "latency_ms_p99": "stamp to arrival at the detector, p99 of a minute, ms",
    "cpu_node": "processors that the node kept busy",
    "cpu_others": "processors that everything else on the machine kept busy",
}


ASKED = {
    "memory": "the node's own memory grows by less than 1 MB/h (Theil-Sen slope after the warm-up)",
    "no_errors": "no error line, traceback, failed call or internal drop, and exit status 0",
    "rate_back_within_1_s": "rate back within 1 s of each fault's end",
}
INTRODUCTION = """\
runs the node's process with two cameras, each a process of its own, and does something wrong every few seconds, in an
order that the seed gives: a camera stops, sends another encoding, half of its data, stamps that jump by up to an hour,
ten times its rate, only 70 % of its frames, or one picture again and again, for 0.5 to 3 s; it is killed (SIGKILL) and
started again; the node gets wrong parameters, or goes through its lifecycle. After each, 4 to 7 s of rest. Every minute
it samples memory, threads, file descriptors, shared memory, rate, latency and modes; it ends with `soak.json`,
`soak.png`, the node's log and a verdict as exit status. *Back* is the time from the end of the fault to the first image
of a second with 70 % of the rate before it. The first sixth of the run is warm-up, with kills and lifecycle cycles
only: Fast DDS keeps some memory for each of the first processes it meets (a plain rclpy node with one subscription,
too, grew by 6 MB over the first 40 cameras that died beside it, and by nothing over the next 20). The verdict is on the
own memory of the node, heap and shared memory; the rest of the resident memory is pages of programs and libraries,
which the kernel drops and maps again. Parameter calls are the control: they disturb no image, so a late rate after them
shows a busy machine."""


def page(report: dict[str, Any], date: str, remark: str) -> str:
    """The text around the figures of one run."""
    c, minutes = report["configuration"], report["configuration"]["minutes"]
    return f"""# Hours under faults

```bash
mmcfusion soak --minutes {minutes:g} --seed {c["seed"]} --size {c["size"]} --out soak_output
```

{INTRODUCTION}

## The last run

{date}, {report["machine"]["processor"]}, {report["machine"]["cores"]} cores, shared with other work: the last row tells
how busy it was. {remark}

Images of {c["size"]} at {c["rate_hz"]:g} Hz, {sum(report["faults"].values())} faults after warm-up.

{verdict_table(report)}

{fault_table(report)}

Published, by `~/mode` and share of the whole time, faults included: {mode_words(report)}.

{sample_table(report)}

Its own memory goes up and down a little, with what DDS keeps for each peer. The least of it in each fifth of the time
after the warm-up, in MB: {floors(report)}.

![memory, rate, latency, counts and load over time](soak.png)
"""


def verdict_table(report: dict[str, Any]) -> str:
    """What was asked, found and held."""
    late = Counter(fault["kind"] for fault in report["late"])
    judged = sum(back["judged"] for back in report["recovery_s"].values())
    words = {True: "yes", False: "**no**", None: "not judged"}
    slopes = report["slope_mb_per_h"]
    found = {
        "memory": f"{slopes['own_mb']} MB/h; with the pages of programs and libraries {slopes['rss_mb']} MB/h",
        "no_errors": ", ".join(f"{n} {error}" for error, n in report["errors"].items()) or "none",
        "rate_back_within_1_s": f"{late.total()} of {judged} later, {late['parameters']} after a parameter call",
    }
    rows = [f"| {question} | {found[key]} | {words[report['verdict'][key]]} |" for key, question in ASKED.items()]
    return "\n".join(["| asked | found | held |", "|---|---|---|", *rows])


def fault_table(report: dict[str, Any]) -> str:
    """How soon the rate was back after each kind."""
    rows = [
        f"| {kind} | {number} | {back['p50']} | {back['max']} |"
        for kind, number in report["faults"].items()
        for back in [report["recovery_s"].get(kind, {"p50": "-", "max": "-"})]
    ]
    return "\n".join(["| fault | times | back after, s: p50 | max |", "|---|---|---|---|", *rows])


def mode_words(report: dict[str, Any]) -> str:
    """Share of time of each mode."""
    return ", ".join(f"{mode} {100 * share:.1f} %" for mode, share in report["modes"].items())


def floors(report: dict[str, Any]) -> str:
    """The least of the node's own memory in each fifth of the time."""
    memory = [sample["own_mb"] for sample in _after_warm_up(report)]
    ends = [round(len(memory) * fifth / 5) for fifth in range(6)]
    return ", ".join(f"{min(memory[first:end]):.1f}" for first, end in pairwise(ends))


def _after_warm_up(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [sample for sample in report["samples"] if sample["minute"] >= report["configuration"]["minutes"] / 6]


def sample_table(report: dict[str, Any]) -> str:
    """The samples after the warm-up."""
    samples = _after_warm_up(report)
    rows = ["| each minute after the warm-up | first | median | max | last |", "|---|---|---|---|---|"]
    for key, words in SAMPLED.items():
        values = [sample[key] for sample in samples]
        rows.append(f"| {words} | {values[0]:g} | {median(values):g} | {max(values):g} | {values[-1]:g} |")
    return "\n".join(rows)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (RESULTS / "soak.md").write_text(page(json.loads((folder / "soak.json").read_text()), *sys.argv[2:4]))
    shutil.copyfile(folder / "soak.png", RESULTS / "soak.png")
