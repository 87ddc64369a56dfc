"""usearch: HNSW."""
from importlib.metadata import version
from typing import Any

import numpy as np
from usearch.index import Index

from protocol import Floats, K, Options, System, Tags

LINKS, ADD = 16, 128
EXPANSIONS = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]


class Usearch(System):
    """Settings are the breadth of the search."""

    version = version("usearch")
    deletes = "marked; their places are taken by rows that come later"

    def __init__(self, o: Options, dtype: str) -> None:
        self.name = f"usearch {dtype} M={LINKS} expansion={ADD}"
        self.threads = o.threads
        self.index: Any = Index(ndim=o.dim, metric="ip", dtype=dtype, connectivity=LINKS, expansion_add=ADD)

    def insert(self, first: int, x: Floats) -> None:
        self.index.add(np.arange(first, first + len(x)), x, threads=self.threads, copy=True)

    def delete(self, start: int, end: int) -> None:
        self.index.remove(np.arange(start, end))

    def settings(self) -> list[str]:
        return [f"expansion={e}" for e in EXPANSIONS]

    def use(self, setting: int) -> None:
        self.index.expansion_search = EXPANSIONS[setting]

    def search(self, queries: Floats) -> Tags:
        found = self.index.search(queries, K, threads=self.threads)
        short = np.arange(K)[None, :] >= found.counts[:, None]
        return np.where(short, -1, found.keys.astype(np.int64))
