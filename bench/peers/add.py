#!/usr/bin/env python3
"""How fast one thread adds rows to FAISS's indexes that bench/run has built: beside BenchmarkMessageToSegment of pipeline/ingest.

An index is emptied and keeps what it has learned; then all rows are added again.

Usage: add.py --dir DIR [--threads 1] [ENGINE ...]      DIR as bench/run leaves it, of faiss-pq4, faiss-flat, ...
Needs: requirements.txt
"""
import argparse
from pathlib import Path
from typing import Any

import faiss

from protocol import Clock, Data
from serve import ENGINES


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--dir", type=Path, required=True, help="directory with base.f32 and cache")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("engines", nargs="*", default=["faiss-pq4", "faiss-rabitq", "faiss-flat"])
    args = p.parse_args()
    data = Data.open(args.dir)
    base = data.vectors("base.f32")
    for name in args.engines:
        engine: Any = ENGINES[name](data.meta["dim"])
        engine.load(args.dir / "cache" / name / "index")
        engine.index.reset()
        faiss.omp_set_num_threads(args.threads)
        clock = Clock()
        engine.index.add(base)
        seconds = clock.lap()
        print(f"{name}: {len(base)} rows in {seconds:.2f} s, {len(base) / seconds:,.0f} rows/s", flush=True)


if __name__ == "__main__":
    main()
