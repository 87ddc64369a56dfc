#!/usr/bin/env python3
"""Would a graph over centroids find lists faster than reading a prefix of all of them?

Builds hnswlib over rows of base.f32, which stand in for the centroids of as many lists, and prints how long a query takes
to find the best of them and which share of the true best it finds. What it is held against, at the same number of lists:
go test -run xxx -bench Probe ./index/coarse

usage: graph_of_lists.py --dir bench/data/corpus [--lists 65536] [--nprobe 256]
"""
import argparse
import time
from pathlib import Path

import hnswlib
import numpy as np

from protocol import Data

p = argparse.ArgumentParser()
p.add_argument("--dir", type=Path, required=True)
p.add_argument("--lists", type=int, default=65536)
p.add_argument("--nprobe", type=int, default=256)
p.add_argument("--queries", type=int, default=500)
a = p.parse_args()

data = Data.open(a.dir)
base, queries = data.vectors("base.f32"), data.vectors("queries.f32")[:a.queries]
centroids = base[np.random.default_rng(1).choice(len(base), a.lists, replace=False)]
truth = np.argpartition(-queries @ centroids.T, a.nprobe, axis=1)[:, :a.nprobe]
graph = hnswlib.Index("ip", centroids.shape[1])
graph.init_index(a.lists, M=16, ef_construction=200)
started = time.perf_counter()
graph.add_items(centroids, num_threads=-1)
print(f"{a.lists} centroids x {centroids.shape[1]}: built in {time.perf_counter() - started:.0f} s")
for ef in (a.nprobe, 2 * a.nprobe, 4 * a.nprobe):
    graph.set_ef(ef)
    started = time.perf_counter()
    found = [graph.knn_query(q, k=a.nprobe, num_threads=1)[0][0] for q in queries]
    took = (time.perf_counter() - started) / len(queries)
    share = np.mean([len(np.intersect1d(f, t)) / a.nprobe for f, t in zip(found, truth)])
    print(f"ef={ef}: {took * 1e6:.0f} us a query, {share:.3f} of the best {a.nprobe}")
