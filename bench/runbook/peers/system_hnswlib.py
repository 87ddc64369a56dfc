"""hnswlib: HNSW on float32."""
from importlib.metadata import version
from typing import Any

import hnswlib
import numpy as np

from protocol import Floats, K, Options, System, Tags

LINKS, CONSTRUCTION = 16, 200
EXPANSIONS = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]


class Hnswlib(System):
    """Settings are the breadth of the search. Each row has a label of its own: a label that was deleted may not come again."""

    name = f"hnswlib M={LINKS} efConstruction={CONSTRUCTION}"
    version = version("hnswlib")
    deletes = "marked; their places are taken by rows that come later"

    def __init__(self, o: Options) -> None:
        self.threads = o.threads
        self.index: Any = hnswlib.Index("ip", o.dim)
        self.index.init_index(2 * o.most, ef_construction=CONSTRUCTION, M=LINKS, allow_replace_deleted=True)
        self.index.set_num_threads(o.threads)
        self.tags = np.empty(0, np.int64)  # by label
        self.labels: dict[int, int] = {}  # by tag

    def insert(self, first: int, x: Floats) -> None:
        tags = np.arange(first, first + len(x))
        labels = np.arange(len(self.tags), len(self.tags) + len(x))
        self.index.add_items(x, labels, num_threads=self.threads, replace_deleted=True)
        self.tags = np.concatenate([self.tags, tags])
        self.labels.update(zip(tags.tolist(), labels.tolist()))

    def delete(self, start: int, end: int) -> None:
        for tag in range(start, end):
            self.index.mark_deleted(self.labels.pop(tag))

    def settings(self) -> list[str]:
        return [f"ef={e}" for e in EXPANSIONS]

    def use(self, setting: int) -> None:
        self.index.set_ef(EXPANSIONS[setting])

    def search(self, queries: Floats) -> Tags:
        return self.tags[self.index.knn_query(queries, K, num_threads=self.threads)[0].astype(np.int64)]
