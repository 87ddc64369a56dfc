"""hnswlib: HNSW on float32."""
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hnswlib

from protocol import Clock, Engine, Floats, Ids, K

LINKS, CONSTRUCTION = 16, 200
EXPANSIONS = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]


class Hnswlib(Engine):
    """Settings are the breadth of the search."""

    name = f"hnswlib M={LINKS} efConstruction={CONSTRUCTION}"
    version = version("hnswlib")

    def __init__(self, dim: int) -> None:
        self.index: Any = hnswlib.Index("ip", dim)

    def build(self, base: Floats, threads: int) -> dict[str, float]:
        clock = Clock()
        self.index.init_index(len(base), ef_construction=CONSTRUCTION, M=LINKS)
        self.index.add_items(base, num_threads=threads)
        return {"add_seconds": clock.lap()}

    def save(self, path: Path) -> None:
        self.index.save_index(str(path / "hnswlib.index"))

    def load(self, path: Path) -> None:
        self.index = hnswlib.Index("ip", self.index.dim)
        self.index.load_index(str(path / "hnswlib.index"))
        self.index.set_num_threads(1)

    def settings(self) -> list[str]:
        return [f"ef={e}" for e in EXPANSIONS]

    def use(self, setting: int) -> None:
        self.index.set_ef(EXPANSIONS[setting])

    def one(self, query: Floats) -> Ids:
        return self.index.knn_query(query, K)[0]

    def many(self, queries: Floats) -> Ids:
        return self.index.knn_query(queries, K)[0]
