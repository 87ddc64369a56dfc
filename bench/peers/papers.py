#!/usr/bin/env python3
"""HNSW over codes, and 8-bit codes, on prefixes: what the AdANNS paper has from FAISS, measured by FAISS.

Writes rows of the shape of `adastream eval --json`, for docs/paper.md. Families:
  HNSW+OPQ         HNSW32 over codes of a prefix of the Matryoshka vector; "rigid" of the widest rigid encoder's
  OPQ 8-bit        a scan of codes of 8-bit codebooks, the papers', beside this product's of 4 bits
Costs in multiply-adds are not given: a graph's depend on its walk.

Usage: papers.py --rows base.arrow --queries queries.arrow --label label [--vector vector] [--rigid rr256] --out FILE
Needs: requirements.txt
"""
import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from protocol import Floats, Ids, K

CODES = (8, 32)  # bytes
BREADTH = 16  # efSearch, the papers'
TRAINED = 4  # every so-manieth row trains codes
LINKS = 32
ROUNDS, TIMED = 15, 50  # queries of a round


def column(table: pa.Table, name: str) -> npt.NDArray[Any]:
    chunks = [c.flatten().to_numpy(zero_copy_only=False).reshape(len(c), -1) for c in table[name].chunks]
    return np.concatenate(chunks).astype(np.float32)


def prefix(x: Floats, dims: int) -> Floats:
    """The first dims dimensions, at unit length."""
    cut = x[:, :dims]
    return np.ascontiguousarray(cut / np.linalg.norm(cut, axis=1, keepdims=True))


class Task:
    """Rows, queries and what is right."""

    def __init__(self, rows: Floats, queries: Floats, labels: npt.NDArray[Any], asked: npt.NDArray[Any]) -> None:
        self.rows, self.queries, self.labels, self.asked = rows, queries, labels, asked
        flat = faiss.IndexFlatIP(rows.shape[1])
        flat.add(prefix(rows, rows.shape[1]))
        self.truth = flat.search(prefix(queries, rows.shape[1]), K)[1]
        classes, counts = np.unique(labels, return_counts=True)
        self.most = np.minimum(K, [dict(zip(classes, counts)).get(a, 0) for a in asked]).clip(1)

    def grade(self, found: Ids) -> dict[str, float]:
        """Qualities as index/eval defines them. A place that the search left empty, -1, is wrong."""
        right = (self.labels[found] == self.asked[:, None]) & (found >= 0)
        precisions = right * np.cumsum(right, axis=1) / np.arange(1, K + 1)
        first = right[:, 0].mean()
        return {
            "top1": float(first), "top1_error": math.sqrt(first * (1 - first) / len(found)),
            "map10": float((precisions.sum(1) / self.most).mean()), "precision10": float(right.mean()),
            "recall10": float(np.mean([len(np.intersect1d(f, t)) / K for f, t in zip(found, self.truth)])),
        }


def microseconds(index: Any, queries: Floats) -> float:
    """A query on one thread, one a call: median of rounds."""
    faiss.omp_set_num_threads(1)
    scores, ids = np.empty((1, K), np.float32), np.empty((1, K), np.int64)
    rounds = []
    for r in range(ROUNDS):
        some = [queries[(r * TIMED + i) % len(queries)][None] for i in range(TIMED)]
        started = time.perf_counter()
        for q in some:
            index.search_c(1, faiss.swig_ptr(q), K, faiss.swig_ptr(scores), faiss.swig_ptr(ids))
        rounds.append((time.perf_counter() - started) / TIMED * 1e6)
    return statistics.median(rounds)


def measure(task: Task, family: str, factory: str, dims: int, threads: int) -> dict[str, Any]:
    faiss.omp_set_num_threads(threads)
    rows, queries = prefix(task.rows, dims), prefix(task.queries, dims)
    index = faiss.index_factory(dims, factory, faiss.METRIC_L2)
    index.train(rows[::TRAINED])
    index.add(rows)
    if "HNSW" in factory:
        faiss.downcast_index(index.index).hnsw.efSearch = BREADTH
    found = index.search(queries, K)[1]
    result = {"name": f"{family} {dims} dims {factory}", "family": family, **task.grade(found),
              "bytes_per_vector": len(faiss.serialize_index(index)) / len(rows), "microseconds": microseconds(index, queries)}
    print(f"{result['name']}: top-1 {result['top1']:.3f}, {result['microseconds']:.0f} us", file=sys.stderr)
    return result


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rows", type=Path, required=True)
    p.add_argument("--queries", type=Path, required=True)
    p.add_argument("--label", required=True)
    p.add_argument("--vector", default="vector")
    p.add_argument("--rigid", default="rr256", help="column of the rigid encoder of full width")
    p.add_argument("--ladder", default="16,32,64,128,256")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--out", type=Path, required=True)
    a = p.parse_args()
    rows, queries = (pa.ipc.open_file(pa.memory_map(str(f))).read_all() for f in (a.rows, a.queries))
    labels, asked = rows[a.label].to_numpy(), queries[a.label].to_numpy()
    ladder = [int(d) for d in a.ladder.split(",")]
    results = []
    for name, prefixed, kind in ((a.vector, ladder, ""), (a.rigid, ladder[-1:], "rigid ")):
        task = Task(column(rows, name), column(queries, name), labels, asked)
        for code in CODES:
            for dims in prefixed:
                if dims in (4 * code, ladder[-1]):  # the width that codes of prefixes are best at, and the whole
                    results.append(measure(task, f"{kind}OPQ 8-bit", f"OPQ{code},PQ{code}", dims, a.threads))
                    results.append(measure(task, f"{kind}HNSW+OPQ", f"OPQ{code},HNSW{LINKS}_PQ{code}", dims, a.threads))
    a.out.write_text(json.dumps({"rows": rows.num_rows, "queries": queries.num_rows, "version": faiss.__version__,
                                 "results": results}, indent=1))


if __name__ == "__main__":
    main()
