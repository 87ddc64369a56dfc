"""Turns measurements into results.json, a Markdown table and a plot."""
import math
import platform
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from measure import Measurement, Point, front, qps_at

RECALLS = (0.90, 0.95, 0.99)
MODES = {False: "single", True: "batched"}
OURS = "adastream"
INVERTED = ("faiss-pq4", "faiss-rabitq", "faiss-flat")  # prefixes of the engines that are FAISS inverted files
BEST = "best FAISS inverted file"
BUSY = 1.1  # more cores than this and a search was not on one thread
DISTURBED = 0.05  # waiting for a core this share of the time, a search was slowed down by other programs
IDLE = 0.8  # less of the build's threads than this and its time is in doubt

Results = dict[str, Any]
Spread = list[float]  # median, least, most over the rounds


def spread(values: Iterable[float]) -> Spread:
    v = list(values)
    return [statistics.median(v), min(v), max(v)]


def results(meta: dict[str, Any], threads: int, measured: list[Measurement], failed: dict[str, str]) -> Results:
    """All that was measured, in a form that outlives the program."""
    speeds = {m.name: speed(m) for m in measured}
    inverted = [s for name, s in speeds.items() if name.startswith(INVERTED)]
    if len(inverted) > 1:
        speeds[BEST] = best(inverted)
    return {
        "machine": {"cpu": cpu(), "cores": cores(), "python": platform.python_version(), "build_threads": threads},
        "data": meta,
        "engines": {m.name: {**m.ready, "points": points(m)} for m in measured},
        "failed": failed,
        "qps": {name: {k: v and spread(v) for k, v in s.items()} for name, s in speeds.items()},
        "ratio": {name: ratio(speeds[OURS], s) for name, s in speeds.items() if OURS in speeds and name != OURS},
    }


def speed(m: Measurement) -> dict[str, list[float] | None]:
    """Queries per second of each round at each mode and recall; None where a round does not reach the recall."""
    out: dict[str, list[float] | None] = {}
    for batched, mode in MODES.items():
        for recall in RECALLS:
            rounds = [qps_at(r[batched], recall) for r in m.rounds]
            reached = [q for q in rounds if q is not None]
            out[f"{mode} {recall:.2f}"] = reached if len(reached) == len(rounds) else None
    return out


def best(speeds: list[dict[str, list[float] | None]]) -> dict[str, list[float] | None]:
    """The fastest engine at each mode and recall, by its median."""
    return {key: max((s[key] for s in speeds), key=lambda v: statistics.median(v or [0])) for key in speeds[0]}


def ratio(ours: dict[str, list[float] | None], theirs: dict[str, list[float] | None]) -> dict[str, Spread | None]:
    """How many times faster ours is, from the two of each round, which ran in the same minutes."""
    out: dict[str, Spread | None] = {}
    for key, peer in theirs.items():
        mine = ours[key]
        out[key] = spread(a / b for a, b in zip(mine, peer)) if mine and peer else None
    return out


def points(m: Measurement) -> list[dict[str, Any]]:
    """Each setting measured, with its spread, by rising recall."""
    out = []
    for i, first in enumerate(m.rounds[0][False]):
        runs: dict[str, list[Point]] = {mode: [r[batched][i] for r in m.rounds] for batched, mode in MODES.items()}
        row: dict[str, Any] = {"setting": m.ready["settings"][first.setting]}
        for mode, ps in runs.items():
            row[mode] = {
                "recall": statistics.median(p.recall for p in ps), "qps": spread(p.qps for p in ps),
                "cores": statistics.median(p.cores for p in ps), "waited": median_known(p.waited for p in ps),
            }
        out.append(row)
    return sorted(out, key=lambda row: row["single"]["recall"])


def median_known(values: Iterable[float | None]) -> float | None:
    """The median of those that are known; None if none is."""
    known = [v for v in values if v is not None]
    return statistics.median(known) if known else None


def cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def cores() -> int:
    return Path("/proc/cpuinfo").read_text().count("processor\t:")


def markdown(r: Results) -> str:
    """The tables, in the order one reads them."""
    return "\n".join([*heading(r), *speed_table(r), *ratio_table(r), *warnings(r), *point_table(r)]) + "\n"


def heading(r: Results) -> list[str]:
    d, m = r["data"], r["machine"]
    return [
        (f"{d['name']}: {d['n']:,} x {d['dim']} ({d['encoder']}), {d['queries']:,} queries, inner product, recall@10 "
        f"against exact search. {m['cpu']}, {m['cores']} cores; builds on {m['build_threads']} threads, searches on "
        "one. Queries per second are interpolated at each recall: median of the rounds (least-most)."), "",
    ]


def speed_table(r: Results) -> list[str]:
    keys = [f"{mode} {recall:.2f}" for mode in MODES.values() for recall in RECALLS]
    lines = table_head(["engine", "build, s (train + add)", "build, CPU s", "bytes/vector", *[label(k) for k in keys]])
    for name, qps in r["qps"].items():
        e = r["engines"].get(name)
        what = f"{name}: {e['engine']} ({e['version']})" if e else f"*{name}*"
        build = f"{e['build_seconds']:,.0f} ({e['train_seconds']:,.0f} + {e['add_seconds']:,.0f})" if e else ""
        busy = f"{e['build_cpu_seconds']:,.0f}" if e and "build_cpu_seconds" in e else ""
        size = f"{e['bytes_per_vector']:,.0f}" if e else ""
        lines.append(row([what, build, busy, size, *[show(qps[k], ",.0f") for k in keys]]))
    return [*lines, ""]


def ratio_table(r: Results) -> list[str]:
    if not r["ratio"]:
        return []
    ours = r["engines"][OURS]
    keys = [f"{mode} {recall:.2f}" for mode in MODES.values() for recall in RECALLS]
    lines = ["Adastream, times as fast as; and its share of the build time and of the bytes:", ""]
    lines += table_head(["than", *[label(k) for k in keys], "build", "bytes"])
    for name, ratios in r["ratio"].items():
        e = r["engines"].get(name)
        shares = [f"{ours[k] / e[k]:.3f}" if e else "" for k in ("build_seconds", "bytes_per_vector")]
        lines.append(row([name, *[show(ratios[k], ".2f") for k in keys], *shares]))
    return [*lines, ""]


def warnings(r: Results) -> list[str]:
    out = [f"- {name} is left out: {why}" for name, why in r["failed"].items()]
    for name, e in r["engines"].items():
        busiest = max(p[mode]["cores"] for p in e["points"] for mode in MODES.values())
        if busiest > BUSY:
            out.append(f"- {name} kept {busiest:.1f} cores busy: its searches were not on one thread")
        waited = max(median_known(p[mode]["waited"] for p in e["points"]) or 0 for mode in MODES.values())
        if waited > DISTURBED:
            out.append(f"- {name} waited for a core {waited:.0%} of its time: the machine was shared")
        used = e.get("build_cpu_seconds", math.inf) / e["build_seconds"]
        if used < IDLE * r["machine"]["build_threads"]:
            out.append(f"- {name} was built on {used:.1f} cores: the machine was shared, or it builds on fewer threads")
    return [*out, ""] if out else []


def point_table(r: Results) -> list[str]:
    lines = ["Points measured:", "", *table_head(["engine", "setting", "recall@10", "single", "batched"])]
    for name, e in r["engines"].items():
        for p in e["points"]:
            one, many = p["single"], p["batched"]
            lines.append(row([name, p["setting"], f"{one['recall']:.4f}", show(one["qps"], ",.0f"),
                              show(many["qps"], ",.0f")]))
    return lines


def label(key: str) -> str:
    mode, recall = key.split()
    return f"{mode} at {recall}"


def show(s: Spread | None, form: str) -> str:
    return f"{s[0]:{form}} ({s[1]:{form}}-{s[2]:{form}})" if s else "-"


def table_head(columns: list[str]) -> list[str]:
    return [row(columns), "|" + "---|" * len(columns)]


def row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def plot(r: Results, path: Path) -> None:
    """Recall against queries per second, the front of each engine with its spread, ours on top."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "adastream"
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 2, figsize=(13, 6), sharey=True, layout="constrained")
    for ax, mode, title in zip(axes, MODES.values(), ("one query per call", "batched")):
        for i, (name, e) in enumerate(r["engines"].items()):
            medians = [Point(j, p[mode]["recall"], p[mode]["qps"][0]) for j, p in enumerate(e["points"])]
            line = front(medians)
            recall, qps = [p.recall for p in line], [p.qps for p in line]
            least, most = zip(*(e["points"][p.setting][mode]["qps"][1:] for p in line))
            ours = name.startswith(OURS)
            ax.plot(recall, qps, marker="os^Dv<>pP*"[i % 10], markersize=5, color="black" if ours else f"C{i % 10}",
                    linewidth=2.5 if ours else 1.3, label=name, zorder=3 if ours else 2)
            ax.fill_between(recall, least, most, color="black" if ours else f"C{i % 10}", alpha=0.12, linewidth=0)
        ax.set(title=title, xlabel="recall@10", yscale="log", xlim=(0.78, 1.0))
        ax.grid(which="both", alpha=0.25)
    axes[0].set_ylabel("queries per second, one thread")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    d, m = r["data"], r["machine"]
    fig.suptitle(f"{d['name']}: {d['n']:,} x {d['dim']}, inner product, {m['cpu']}", fontsize=11)
    fig.savefig(path, metadata={"Date": None})
    plt.close(fig)
