"""SVS: a dynamic Vamana graph on float32, built of what comes before the first search."""
from importlib.metadata import version
from typing import Any

import numpy as np
import svs

from protocol import Floats, Gathered, K, Options, Tags

DEGREE, WINDOW = 32, 100
STALE = 0.1  # rows deleted since the graph was mended, as a share of the live ones
WINDOWS = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]


class Svs(Gathered):
    """Settings are the window of the search."""

    name = f"SVS DynamicVamana float32, degree {DEGREE}, window {WINDOW}"
    version = version("scalable-vs")
    deletes = f"marked; once they are {STALE:.0%} of the rows the graph is mended around them and compacted, before the next search"

    def __init__(self, o: Options) -> None:
        super().__init__()
        self.threads = o.threads
        self.index: Any = None
        self.deleted = 0

    def build(self, tags: Tags, x: Floats) -> None:
        # alpha below 1, as the library asks for with inner products
        p = svs.VamanaBuildParameters(alpha=0.95, graph_max_degree=DEGREE, window_size=WINDOW)
        self.index = svs.DynamicVamana.build(p, x, tags.astype(np.uint64), svs.DistanceType.MIP, self.threads)

    def add(self, tags: Tags, x: Floats) -> None:
        self.index.add(x, tags.astype(np.uint64))

    def remove(self, tags: Tags) -> None:
        self.index.delete(tags.astype(np.uint64))
        self.deleted += len(tags)

    def tidy(self) -> None:
        if self.deleted > STALE * self.index.size:
            self.index.consolidate()
            self.index.compact(10_000)
            self.deleted = 0

    def settings(self) -> list[str]:
        return [f"window={w}" for w in WINDOWS]

    def use(self, setting: int) -> None:
        self.index.search_window_size = WINDOWS[setting]

    def search(self, queries: Floats) -> Tags:
        return self.index.search(queries, K)[0].astype(np.int64)
