"""Intel SVS: the Vamana graph."""
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import svs

from protocol import Clock, Engine, Floats, Ids, K

DEGREE, WINDOW, ALPHA = 32, 200, 0.95
WINDOWS = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]
PARTS = ("config", "graph", "data")


def parameters() -> svs.VamanaBuildParameters:
    """How every graph is built."""
    return svs.VamanaBuildParameters(alpha=ALPHA, graph_max_degree=DEGREE, window_size=WINDOW)


class Svs(Engine):
    """Vamana on vectors of a NumPy type. Settings are the window of the search."""

    version = version("scalable-vs")

    def __init__(self, dtype: str) -> None:
        self.name = f"SVS Vamana {dtype}, degree {DEGREE}, window {WINDOW}"
        self.dtype = dtype
        self.index: Any = None

    def build(self, base: Floats, threads: int) -> dict[str, float]:
        clock = Clock()
        self.index = svs.Vamana.build(parameters(), base.astype(self.dtype, copy=False), svs.DistanceType.MIP, threads)
        return {"add_seconds": clock.lap()}

    def save(self, path: Path) -> None:
        self.index.save(*(str(path / part) for part in PARTS))

    def load(self, path: Path) -> None:
        config, graph, data = (str(path / part) for part in PARTS)
        self.index = svs.Vamana(config, svs.GraphLoader(graph), self.saved(data), svs.DistanceType.MIP, num_threads=1)

    def saved(self, data: str) -> Any:
        """The loader of vectors that were saved."""
        return svs.VectorDataLoader(data, svs.np_to_svs(np.dtype(self.dtype).type))

    def settings(self) -> list[str]:
        return [f"window={w}" for w in WINDOWS]

    def use(self, setting: int) -> None:
        self.index.search_window_size = WINDOWS[setting]

    def one(self, query: Floats) -> Ids:
        return self.index.search(query, K)[0]

    def many(self, queries: Floats) -> Ids:
        return self.index.search(queries, K)[0]


class Lvq(Svs):
    """Vamana on vectors in two levels of scalar codes, the second of which re-ranks. It needs AVX-512."""

    def __init__(self, primary: int, residual: int) -> None:
        super().__init__("float32")
        self.name = f"SVS Vamana LVQ {primary}x{residual}, degree {DEGREE}, window {WINDOW}"
        self.bits = primary, residual

    def build(self, base: Floats, threads: int) -> dict[str, float]:
        with tempfile.NamedTemporaryFile(suffix=".fvecs") as file:  # codes are made of a file
            svs.write_vecs(base, file.name)
            vectors = svs.VectorDataLoader(file.name, svs.DataType.float32, dims=base.shape[1])
            clock = Clock()
            codes = svs.LVQLoader(vectors, *self.bits, strategy=svs.LVQStrategy.Turbo)
            self.index = svs.Vamana.build(parameters(), codes, svs.DistanceType.MIP, threads)
            return {"add_seconds": clock.lap()}

    def saved(self, data: str) -> Any:
        return svs.LVQLoader(data, strategy=svs.LVQStrategy.Turbo)
