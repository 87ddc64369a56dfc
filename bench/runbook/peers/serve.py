#!/usr/bin/env python3
"""Serves one peer to `go run ./bench/runbook`: a line of JSON when ready, then one for each request.

{"operation": "insert", "start": 0, "end": 100}, "delete" and "replace" as in a runbook, "settle" before each search, and
{"operation": "search", "setting": 3} -> {"seconds": 0.5}. The seconds are spent inside the library: vectors are read before,
and answers go to --found as int32 [queries][10] after.
"""
import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from protocol import K, Floats, Options, System


def module(name: str) -> Any:
    """Imports a peer only when it is asked for: two OpenMP runtimes in one process disturb each other."""
    return importlib.import_module(name)


SYSTEMS: dict[str, Callable[[Options], System]] = {
    "faiss-ivf": lambda o: module("system_faiss").InvertedFile(o),
    "hnswlib": lambda o: module("system_hnswlib").Hnswlib(o),
    "usearch": lambda o: module("system_usearch").Usearch(o, "f16"),
    "usearch-i8": lambda o: module("system_usearch").Usearch(o, "i8"),
    "svs": lambda o: module("system_svs").Svs(o),
    "lancedb": lambda o: module("system_lancedb").LanceDB(o, "IVF_FLAT"),
    "lancedb-hnsw": lambda o: module("system_lancedb").LanceDB(o, "IVF_HNSW_SQ"),
}


class Vectors:
    """The data, of which only what is asked for is read, so that it does not count as memory of the system."""

    def __init__(self, path: Path, dim: int) -> None:
        self.path, self.dim = path, dim

    def range(self, start: int, end: int) -> Floats:
        values = np.fromfile(self.path, "<f4", count=(end - start) * self.dim, offset=4 * start * self.dim)
        return values.reshape(-1, self.dim)


def carry_out(system: System, vectors: Vectors, queries: Floats, found: Path, r: dict[str, Any]) -> float:
    """Carries out a request, and returns the seconds inside the library."""
    match r["operation"]:
        case "insert":
            start = r.get("start", 0)
            args: tuple[Any, ...] = (start, vectors.range(start, r["end"]))
            call: Callable[..., Any] = system.insert
        case "delete":
            args, call = (r.get("start", 0), r["end"]), system.delete
        case "replace":
            args, call = (r.get("tags_start", 0), vectors.range(r.get("ids_start", 0), r["ids_end"])), system.replace
        case "settle":
            args, call = (), system.settle
        case "search":
            system.use(r["setting"])
            args, call = (queries,), system.search
        case other:
            raise ValueError(f"operation {other!r}")
    started = time.perf_counter()
    answer = call(*args)
    seconds = time.perf_counter() - started
    if answer is not None:
        answer.astype("<i4").reshape(len(queries), K).tofile(found)
    return seconds


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("system", choices=SYSTEMS)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--queries", type=Path, required=True)
    p.add_argument("--found", type=Path, required=True)
    p.add_argument("--dir", type=Path, required=True, help="for what the system writes")
    p.add_argument("--dim", type=int, required=True)
    p.add_argument("--most", type=int, required=True, help="rows at once")
    p.add_argument("--threads", type=int, required=True)
    a = p.parse_args()

    system = SYSTEMS[a.system](Options(a.dim, a.most, a.threads, a.dir))
    vectors = Vectors(a.data, a.dim)
    queries = np.fromfile(a.queries, "<f4").reshape(-1, a.dim)
    reply({"engine": system.name, "version": system.version, "deletes": system.deletes, "settings": system.settings()})
    for line in sys.stdin:
        reply({"seconds": carry_out(system, vectors, queries, a.found, json.loads(line))})


def reply(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()
