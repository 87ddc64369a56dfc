"""usearch: HNSW on int8."""
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from usearch.index import Index

from protocol import Clock, Engine, Floats, Ids, K

LINKS, ADD = 16, 128
EXPANSIONS = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]


class Usearch(Engine):
    """Settings are the breadth of the search."""

    version = version("usearch")

    def __init__(self, dim: int, dtype: str) -> None:
        self.name = f"usearch {dtype} M={LINKS} expansion={ADD}"
        self.index: Any = Index(ndim=dim, metric="ip", dtype=dtype, connectivity=LINKS, expansion_add=ADD)

    def build(self, base: Floats, threads: int) -> dict[str, float]:
        clock = Clock()
        self.index.add(np.arange(len(base)), base, threads=threads, copy=True)
        return {"add_seconds": clock.lap()}

    def save(self, path: Path) -> None:
        self.index.save(str(path / "usearch.index"))

    def load(self, path: Path) -> None:
        self.index.load(str(path / "usearch.index"))

    def settings(self) -> list[str]:
        return [f"expansion={e}" for e in EXPANSIONS]

    def use(self, setting: int) -> None:
        self.index.expansion_search = EXPANSIONS[setting]

    def one(self, query: Floats) -> Ids:
        return self.index.search(query[0], K, threads=1).keys

    def many(self, queries: Floats) -> Ids:
        return self.index.search(queries, K, threads=1).keys
