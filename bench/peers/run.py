#!/usr/bin/env python3
"""Measures engines side by side: same queries, same ground truth, one thread each, interleaved rounds.

First every engine builds its index, or finds it in its cache. A tuning round then tries every setting of every engine
on a few queries and keeps those on the front of recall against speed, so that each engine is judged at its best. The
rounds that count run all queries at those settings, one query per call and batched, engine after engine; the order
rotates from round to round, so that a slow minute of the machine hits all alike.

Writes results.json, results.md and results.svg to --out.
"""
import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

import report
from engines import Pool, commands
from measure import Measurement, Point, front
from protocol import Data, K

TUNING_QUERIES = 300
ATTEMPTS, DISTURBED = 3, 0.03  # of a run, and the share of its time it may wait for a core
RECALLS = (0.75, 0.9995)  # settings outside are of no interest


def recall(truth: npt.NDArray[np.int32], found: npt.NDArray[np.int32]) -> float:
    """The share of each query's K true neighbours among the K rows found."""
    hits = (found[:, :, None] == truth[:len(found), None, :K]).any(axis=2)
    return float(hits.sum() / (len(found) * K))


class Bench:
    """The engines under test on one data set."""

    def __init__(self, data: Data, pool: Pool) -> None:
        self.truth = data.truth()
        self.queries: int = data.meta["queries"]
        self.pool = pool

    def point(self, engine: str, setting: int, batched: bool, queries: int) -> Point:
        """Runs one setting of an engine, again while other programs hold its core; the least disturbed run counts.

        Of an engine that cannot tell its waiting the first run counts."""
        runs: list[Point] = []
        while len(runs) < ATTEMPTS and all((p.waited or 0) > DISTURBED for p in runs):
            cost, found = self.pool.get(engine).search(setting, batched, queries)
            runs.append(Point(setting, recall(self.truth, found), queries / cost.seconds, cost.cores, cost.waited))
        return min(runs, key=lambda p: p.waited or 0)

    def tune(self, engine: str, most: int) -> list[int]:
        """The settings worth measuring: those near the front of recall against speed, at most so many."""
        count = len(self.pool.ready[engine]["settings"])
        self.point(engine, 0, False, TUNING_QUERIES)  # warms up
        points = [self.point(engine, i, False, TUNING_QUERIES) for i in range(count)]
        points = front([p for p in points if RECALLS[0] <= p.recall <= RECALLS[1]] or points, slack=0.95)
        return [points[round(i)].setting for i in np.linspace(0, len(points) - 1, min(most, len(points)))]

    def round(self, engine: str, chosen: list[int]) -> dict[bool, list[Point]]:
        """Every chosen setting once, one query per call and batched."""
        self.point(engine, chosen[0], False, TUNING_QUERIES)  # warms up
        return {batched: [self.point(engine, i, batched, self.queries) for i in chosen] for batched in (False, True)}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--dir", type=Path, required=True, help="the data: base.f32, queries.f32, truth.i32, meta.json")
    p.add_argument("--engines", required=True, help="names, separated by commas")
    p.add_argument("--binary", action="append", default=[], metavar="NAME=PATH", help="an engine that is a program")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--settings", type=int, default=12, help="most settings measured of each engine")
    p.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads for building")
    p.add_argument("--memory", type=float, default=12, help="GiB of indexes kept in memory at once")
    p.add_argument("--out", type=Path, required=True)
    a = p.parse_args()

    a.out.mkdir(parents=True, exist_ok=True)
    data = Data.open(a.dir)
    binaries = dict(b.split("=", 1) for b in a.binary)
    with Pool(commands(a.engines.split(","), binaries), data, a.threads, a.memory * 2**30) as pool:
        names = pool.build()
        bench = Bench(data, pool)
        chosen: dict[str, list[int]] = {}
        for name in names:
            say(f"tuning {name}")
            chosen[name] = bench.tune(name, a.settings)
        measured = {name: Measurement(name, pool.ready[name], []) for name in names}
        for r in range(a.rounds):
            for name in names[r % len(names):] + names[:r % len(names)]:
                if name in pool.failed:
                    continue
                say(f"round {r + 1}/{a.rounds}: {name}")
                try:
                    measured[name].rounds.append(bench.round(name, chosen[name]))
                except RuntimeError as e:  # the others go on
                    say(f"{name}: {e}")
                    pool.failed[name] = str(e)
                    pool.running.pop(name, None)
                    del measured[name]
        results = report.results(data.meta, a.threads, list(measured.values()), pool.failed)
    (a.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    text = report.markdown(results)
    (a.out / "results.md").write_text(text)
    report.plot(results, a.out / "results.svg")
    print(text)


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
