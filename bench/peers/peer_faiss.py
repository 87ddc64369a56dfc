"""FAISS: inverted files with fast scan and refinement, and its own HNSW."""
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from protocol import Clock, Engine, Floats, Ids, K

PROBES = [4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048]
FACTORS = [5, 10, 20, 40, 80]  # rows refined for each neighbour asked for
EXPANSIONS = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]


class Faiss(Engine):
    """An index from FAISS's factory."""

    version = version("faiss-cpu")

    def __init__(self, factory: str) -> None:
        self.name = f"FAISS {factory}"
        self.factory = factory
        self.index: Any = None
        self.scores, self.ids = np.empty((1, K), np.float32), np.empty((1, K), np.int64)

    def build(self, base: Floats, threads: int) -> dict[str, float]:
        faiss.omp_set_num_threads(threads)
        clock = Clock()
        index = faiss.index_factory(base.shape[1], self.factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(base)
        train = clock.lap()
        index.add(base)
        self.index = index
        return {"train_seconds": train, "add_seconds": clock.lap()}

    def save(self, path: Path) -> None:
        faiss.write_index(self.index, str(path / "faiss.index"))

    def load(self, path: Path) -> None:
        self.index = faiss.read_index(str(path / "faiss.index"))
        faiss.omp_set_num_threads(1)

    def one(self, query: Floats) -> Ids:
        # search_c skips the wrapper's checks, which cost as much as a fast search.
        ids = np.empty(K, np.int64)
        self.index.search_c(1, faiss.swig_ptr(query), K, faiss.swig_ptr(self.scores), faiss.swig_ptr(ids))
        return ids

    def many(self, queries: Floats) -> Ids:
        return self.index.search(queries, K)[1]


class InvertedFile(Faiss):
    """IVF behind any of Refine and a pre-transform. Settings are lists probed and, with Refine, rows refined."""

    def __init__(self, factory: str) -> None:
        super().__init__(factory)
        # RaBitQfs of FAISS 1.15.1 ends with a segmentation fault on 2,000 queries at once with 1,536 lists probed.
        probes = [p for p in PROBES if p <= 1024 or "RaBitQ" not in factory]
        self.grid = [(p, 0) for p in probes]
        if "Refine" in factory:
            self.grid = [(p, f) for p in probes for f in FACTORS if 2 * f <= 5 * p <= 125 * f]

    def settings(self) -> list[str]:
        return [f"nprobe={p} refine={f * K}" if f else f"nprobe={p}" for p, f in self.grid]

    def use(self, setting: int) -> None:
        probes, factor = self.grid[setting]
        ivf = faiss.extract_index_ivf(self.index)
        ivf.nprobe = probes
        if "HNSW" in self.factory:
            faiss.downcast_index(ivf.quantizer).hnsw.efSearch = max(2 * probes, 32)
        if factor:
            self.index.k_factor = factor


class Hnsw(Faiss):
    """HNSW. Settings are the breadth of the search."""

    def build(self, base: Floats, threads: int) -> dict[str, float]:
        faiss.omp_set_num_threads(threads)
        clock = Clock()
        index = faiss.index_factory(base.shape[1], self.factory, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 200
        index.train(base)
        train = clock.lap()
        index.add(base)
        self.index = index
        return {"train_seconds": train, "add_seconds": clock.lap()}

    def settings(self) -> list[str]:
        return [f"efSearch={e}" for e in EXPANSIONS]

    def use(self, setting: int) -> None:
        self.index.hnsw.efSearch = EXPANSIONS[setting]
