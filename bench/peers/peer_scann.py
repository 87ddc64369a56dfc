"""ScaNN: inverted file with anisotropic codes and exact reordering."""
import itertools
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scann

from protocol import Clock, Engine, Floats, Ids, K

SAMPLE = 250_000  # rows trained on
LEAVES = [5, 10, 20, 40, 60, 80, 120, 160, 240, 320, 480, 640]
REORDER = [50, 100, 200, 400]


class Scann(Engine):
    """Settings are the leaves searched and the rows reordered."""

    version = version("scann")

    def __init__(self, leaves: int, soar: bool) -> None:
        self.name = f"ScaNN {leaves} leaves{', SOAR' if soar else ''}, AH 2 dims, reorder float32"
        self.leaves = leaves
        self.spill: dict[str, float] = {"soar_lambda": 1.5, "overretrieve_factor": 2.0} if soar else {}
        self.grid = list(itertools.product(LEAVES, REORDER))
        self.searcher: Any = None

    def build(self, base: Floats, threads: int) -> dict[str, float]:
        clock = Clock()
        builder = scann.scann_ops_pybind.builder(base, K, "dot_product").set_n_training_threads(threads)
        builder = builder.tree(self.leaves, LEAVES[0], training_sample_size=SAMPLE, **self.spill)
        self.searcher = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(REORDER[0]).build()
        return {"add_seconds": clock.lap()}  # ScaNN does not tell its phases apart

    def save(self, path: Path) -> None:
        self.searcher.serialize(str(path), relative_path=True)

    def load(self, path: Path) -> None:
        self.searcher = scann.scann_ops_pybind.load_searcher(str(path))
        self.searcher.set_num_threads(1)

    def settings(self) -> list[str]:
        return [f"leaves={leaves} reorder={rows}" for leaves, rows in self.grid]

    def use(self, setting: int) -> None:
        self.leaves_searched, self.reordered = self.grid[setting]

    def one(self, query: Floats) -> Ids:
        ids, _ = self.searcher.search(query[0], K, self.reordered, self.leaves_searched)
        return np.resize(ids, K)

    def many(self, queries: Floats) -> Ids:
        return self.searcher.search_batched(queries, K, self.reordered, self.leaves_searched)[0].astype(np.int32)
