#!/usr/bin/env python3
"""How fast one thread adds rows to FAISS's indexes that bench/run has built: beside BenchmarkMessageToSegment of pipeline/ingest.

An index is emptied and keeps what it has learned; then all rows are added again.

Usage: add.py --data DIR [--threads 1] [ENGINE ...]      DIR as bench/run leaves it, of faiss-pq4, faiss-flat, ...
Needs: requirements.txt
"""
import argparse
from pathlib import Path

import faiss
import numpy as np

from protocol import Clock


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True, help="directory with base.f32 and cache")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("engines", nargs="*", default=["faiss-pq4", "faiss-rabitq", "faiss-flat"])
    args = p.parse_args()
    faiss.omp_set_num_threads(args.threads)
    for name in args.engines:
        index = faiss.read_index(str(args.data / "cache" / name / "index" / "faiss.index"))
        base = np.fromfile(args.data / "base.f32", np.float32).reshape(-1, index.d)
        index.reset()
        clock = Clock()
        index.add(base)
        seconds = clock.lap()
        print(f"{name}: {len(base)} rows in {seconds:.2f} s, {len(base) / seconds:,.0f} rows/s", flush=True)


if __name__ == "__main__":
    main()
