"""LanceDB: a table on disk and an index of it, made of what comes before the first search."""
from importlib.metadata import version
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

from protocol import Floats, K, Options, System, Tags

PROBES = [1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128]


class LanceDB(System):
    """Settings are partitions probed, of an IVF_FLAT, or the breadth of the search in the one graph of an IVF_HNSW_SQ."""

    version = version("lancedb")
    deletes = "by a filter on the id; rows get into the index, and old versions together, by optimize() before the next search"

    def __init__(self, o: Options, kind: str) -> None:
        self.name = f"LanceDB {kind}"
        self.dim, self.kind = o.dim, kind
        schema = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float32(), o.dim))])
        self.table: Any = lancedb.connect(str(o.dir / "lance")).create_table("t", schema=schema)
        self.indexed = False
        self.setting = 0

    def batch(self, first: int, x: Floats) -> pa.Table:
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), self.dim)
        return pa.table({"id": pa.array(np.arange(first, first + len(x))), "vector": vectors})

    def insert(self, first: int, x: Floats) -> None:
        self.table.add(self.batch(first, x))

    def delete(self, start: int, end: int) -> None:
        self.table.delete(f"id >= {start} AND id < {end}")

    def replace(self, first: int, x: Floats) -> None:
        self.table.merge_insert("id").when_matched_update_all().execute(self.batch(first, x))

    def settle(self) -> None:
        self.table.optimize()
        if not self.indexed:
            self.table.create_index(metric="dot", vector_column_name="vector", index_type=self.kind)
            self.indexed = True

    def settings(self) -> list[str]:
        return [f"nprobes={p}" if self.kind == "IVF_FLAT" else f"ef={10 * p}" for p in PROBES]

    def use(self, setting: int) -> None:
        self.setting = PROBES[setting]

    def search(self, queries: Floats) -> Tags:
        s = self.table.search(list(queries)).distance_type("dot").limit(K).select(["id", "_distance"])
        s = s.nprobes(self.setting) if self.kind == "IVF_FLAT" else s.ef(10 * self.setting)
        answer = s.to_arrow()
        # Answers stand in order of queries, the best first, but may be fewer than K.
        query = answer["query_index"].to_numpy()
        order = np.argsort(query, kind="stable")
        query, tags = query[order], answer["id"].to_numpy()[order]
        found = np.full((len(queries), K), -1)
        rank = np.arange(len(query)) - np.searchsorted(query, query)
        found[query, rank] = tags
        return found
