#!/usr/bin/env python3
"""Serves one peer: serve.py NAME --dir DATA --cache DIR --threads N. See protocol.py."""
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from protocol import Engine, serve


def module(name: str) -> Any:
    """Imports a peer only when it is asked for: two OpenMP runtimes in one process disturb each other."""
    return importlib.import_module(name)


# FAISS on the corpus: 1024 and 2048 lists were slower than 4096, and so was an HNSW over 4096 or 8192 of them; codes of
# the residual (fsr) beat those of the vector (fs) at low recall and match them at high; twice the bytes win at high.
ENGINES: dict[str, Callable[[int], Engine]] = {
    "faiss-pq4": lambda d: module("peer_faiss").InvertedFile(f"OPQ{d // 4},IVF4096,PQ{d // 4}x4fsr,Refine(SQ8)"),
    "faiss-pq4-wide": lambda d: module("peer_faiss").InvertedFile(f"OPQ{d // 2},IVF4096,PQ{d // 2}x4fsr,Refine(SQ8)"),
    "faiss-flat": lambda d: module("peer_faiss").InvertedFile("IVF4096,Flat"),
    "faiss-rabitq": lambda d: module("peer_faiss").InvertedFile("IVF4096,RaBitQfs,Refine(SQ8)"),
    "faiss-hnsw": lambda d: module("peer_faiss").Hnsw("HNSW16"),
    "hnswlib": lambda d: module("peer_hnswlib").Hnswlib(d),
    "scann": lambda d: module("peer_scann").Scann(2000, soar=False),
    "scann-soar": lambda d: module("peer_scann").Scann(2000, soar=True),
    "svs": lambda d: module("peer_svs").Svs("float32"),
    "svs-float16": lambda d: module("peer_svs").Svs("float16"),
    "svs-lvq": lambda d: module("peer_svs").Lvq(4, 8),
    "usearch": lambda d: module("peer_usearch").Usearch(d, "i8"),
}


if __name__ == "__main__":
    meta = json.loads((Path(sys.argv[sys.argv.index("--dir") + 1]) / "meta.json").read_text())
    serve(ENGINES[sys.argv[1]](meta["dim"]))
