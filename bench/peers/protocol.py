"""The protocol between run.py and an engine, and the loop that serves it for engines written in Python.

An engine is a process started with `--dir DATA --cache DIR --threads N`. It builds its index from DATA/base.f32 on N
threads, or loads it from its cache, then searches on one thread. It prints one line of JSON when ready:

    {"ready": true, "engine": "what exactly", "version": "1.2.3", "train_seconds": 1.0, "add_seconds": 2.0,
     "build_seconds": 3.0, "bytes_per_vector": 42.0, "settings": ["nprobe=8 refine=100", ...]}

and answers each request on its standard input with one line:

    {"setting": 0, "batched": false, "queries": 2000, "out": "path"}  ->  {"seconds": 0.5}

The seconds are spent inside the search calls only: one call for each query, or one call for all when batched. The ids
found go to `out` as int32 [queries][10]. bytes_per_vector is the size of the saved index, which holds all that a search
needs, divided by the rows. build_cpu_seconds, which an engine may leave out, is the processor time of all threads.
"""
import abc
import argparse
import dataclasses
import gc
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

K = 10  # neighbours asked for

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Data:
    """The arrays prepare.py or make_synthetic.py left in a directory."""

    dir: Path
    meta: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> "Data":
        return cls(path, json.loads((path / "meta.json").read_text()))

    def vectors(self, name: str) -> Floats:
        return np.fromfile(self.dir / name, "<f4").reshape(-1, self.meta["dim"])

    def truth(self) -> npt.NDArray[np.int32]:
        return np.fromfile(self.dir / "truth.i32", "<i4").reshape(self.meta["queries"], -1)


class Engine(abc.ABC):
    """One index of one library. build or load comes first, then use and the searches."""

    name: str  # what exactly is built; a cached index of another name is built anew
    version: str

    @abc.abstractmethod
    def build(self, base: Floats, threads: int) -> dict[str, float]:
        """Builds the index; returns the seconds of each phase."""

    @abc.abstractmethod
    def save(self, path: Path) -> None:
        """Writes the index to files inside path."""

    @abc.abstractmethod
    def load(self, path: Path) -> None:
        """Reads what save wrote, ready to search on one thread."""

    @abc.abstractmethod
    def settings(self) -> list[str]:
        """Names the points of the trade between recall and speed."""

    @abc.abstractmethod
    def use(self, setting: int) -> None:
        """Makes the following searches run at a setting."""

    @abc.abstractmethod
    def one(self, query: Floats) -> Ids:
        """The K nearest rows of a query given as [1][d]."""

    @abc.abstractmethod
    def many(self, queries: Floats) -> Ids:
        """The K nearest rows of each query, in one call."""


class Clock:
    """Seconds of consecutive phases."""

    def __init__(self) -> None:
        self.last = time.perf_counter()

    def lap(self) -> float:
        last, self.last = self.last, time.perf_counter()
        return self.last - last


def cached(engine: Engine, data: Data, cache: Path, threads: int) -> dict[str, Any]:
    """Builds and saves the engine's index unless that was done before, and loads it. Returns what the build took."""
    notes, files = cache / "build.json", cache / "index"
    key = {"engine": engine.name, "version": engine.version, "threads": threads, "data": data.meta}
    built = json.loads(notes.read_text()) if notes.exists() else {}
    if built.get("key") != key:
        shutil.rmtree(cache, ignore_errors=True)
        files.mkdir(parents=True)
        base, busy = data.vectors("base.f32"), time.process_time()
        phases = engine.build(base, threads)
        busy = time.process_time() - busy
        engine.save(files)
        size = sum(f.stat().st_size for f in files.rglob("*") if f.is_file())
        built = {
            "key": key, "train_seconds": 0.0, **phases, "build_seconds": sum(phases.values()),
            "build_cpu_seconds": busy, "bytes_per_vector": size / data.meta["n"],
        }
        notes.write_text(json.dumps(built, indent=1) + "\n")
    engine.load(files)
    return {k: v for k, v in built.items() if k != "key"}


def search(engine: Engine, queries: Floats, batched: bool) -> tuple[float, Ids]:
    """Runs the queries and returns the seconds inside the calls."""
    if batched:
        clock = Clock()
        found = engine.many(queries)
        return clock.lap(), found
    one, rows = engine.one, [queries[i:i + 1] for i in range(len(queries))]
    clock = Clock()
    lists = [one(row) for row in rows]
    seconds = clock.lap()
    return seconds, np.stack([np.asarray(ids).reshape(K) for ids in lists])


def serve(engine: Engine) -> None:
    """Answers run.py until standard input ends."""
    p = argparse.ArgumentParser()
    p.add_argument("engine")
    p.add_argument("--dir", type=Path, required=True)
    p.add_argument("--cache", type=lambda path: Path(path).resolve(), required=True)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()

    data = Data.open(a.dir)
    built = cached(engine, data, a.cache, a.threads)
    queries = data.vectors("queries.f32")
    gc.collect()
    gc.freeze()
    reply({"ready": True, "engine": engine.name, "version": engine.version, "settings": engine.settings(), **built})
    for line in sys.stdin:
        request = json.loads(line)
        engine.use(request["setting"])
        seconds, found = search(engine, queries[:request["queries"]], request["batched"])
        found.astype("<i4").tofile(request["out"])
        reply({"seconds": seconds})


def reply(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)
