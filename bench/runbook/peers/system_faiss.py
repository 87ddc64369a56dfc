"""FAISS: an inverted file of float32, trained on what comes before the first search."""
import math
from importlib.metadata import version
from typing import Any

import faiss

from protocol import Floats, Gathered, K, Options, Tags

PROBES = [1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256]


class InvertedFile(Gathered):
    """Settings are lists probed."""

    version = version("faiss-cpu")
    deletes = "removed from their lists, which a hash table finds"

    def __init__(self, o: Options) -> None:
        super().__init__()
        faiss.omp_set_num_threads(o.threads)
        self.lists = int(4 * math.sqrt(o.most))
        self.name = f"FAISS IVF{self.lists},Flat"
        self.index: Any = faiss.IndexIVFFlat(faiss.IndexFlatIP(o.dim), o.dim, self.lists, faiss.METRIC_INNER_PRODUCT)
        self.index.set_direct_map_type(faiss.DirectMap.Hashtable)

    def build(self, tags: Tags, x: Floats) -> None:
        self.index.train(x)
        self.add(tags, x)

    def add(self, tags: Tags, x: Floats) -> None:
        self.index.add_with_ids(x, tags)

    def remove(self, tags: Tags) -> None:
        self.index.remove_ids(faiss.IDSelectorArray(len(tags), faiss.swig_ptr(tags)))

    def settings(self) -> list[str]:
        return [f"nprobe={p}" for p in PROBES]

    def use(self, setting: int) -> None:
        self.index.nprobe = PROBES[setting]

    def search(self, queries: Floats) -> Tags:
        return self.index.search(queries, K)[1]
