"""Reads an index and its exports with programs that others wrote, and compares what they find with what must be there.

The argument is a directory: store is the index, expected.json its live rows, queries.npy some queries, and there is an export for
each format. Nothing of ours is used, and nothing that a user would not write.
"""

import json
import sys
from pathlib import Path

import duckdb
import faiss
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

ATTRIBUTES = ["title", "count", "price", "new", "seen"]


def check(what, ok):
    if not ok:
        raise AssertionError(what)


def plain(value):
    """Times as milliseconds, of whatever type."""
    return round(value.timestamp() * 1000) if hasattr(value, "timestamp") else value


def same(what, rows, expected):
    """Rows of dicts, with any vectors, against those expected."""
    got = {}
    for row in rows:
        check(f"{what}: {row['id']} is there twice", row["id"] not in got)
        got[row["id"]] = row
    check(f"{what}: {len(got)} rows, not {len(expected)}", got.keys() == expected.keys())
    for name, want in expected.items():
        row = got[name]
        check(f"{what}: vector of {name}", np.array_equal(np.asarray(row["vector"], np.float32), np.asarray(want["vector"], np.float32)))
        check(f"{what}: version of {name}", row["version"] == want["version"])
        for a in ATTRIBUTES:
            check(f"{what}: {a} of {name}: {row[a]!r}, not {want[a]!r}", plain(row[a]) == want[a])


def parquet(root, expected):
    file = root / "parquet/rows.parquet"
    same("pyarrow", pq.read_table(file).to_pylist(), expected)
    check("row groups", pq.ParquetFile(file).num_row_groups == -(-len(expected) // 256))
    check("encoder", pq.read_schema(file).metadata[b"adastream.encoder"] == b"e/1")
    same("polars", pl.read_parquet(file).to_dicts(), expected)
    found = duckdb.sql(f"select * from read_parquet('{file}')")
    same("duckdb", [dict(zip(found.columns, r)) for r in found.fetchall()], expected)
    title, n = duckdb.sql(f"select title, count(*) n from '{file}' where title is not null group by title order by n desc, title limit 1").fetchall()[0]
    check("duckdb counts", n == sum(r["title"] == title for r in expected.values()))
    name, want = next(iter(expected.items()))
    dims = len(want["vector"])
    near = duckdb.sql(f"select id from '{file}' order by array_inner_product(vector::float[{dims}], {want['vector']}::float[{dims}]) desc limit 1").fetchall()[0][0]
    best = max(expected, key=lambda i: np.dot(np.asarray(expected[i]["vector"], np.float32), np.asarray(want["vector"], np.float32)))
    check(f"duckdb searches {name}: {near}, not {best}", near == best)


def arrow(root, expected):
    check("files", len(list((root / "arrow").glob("part-*.arrow"))) > 1)
    data = ds.dataset(root / "arrow", format="ipc")
    same("dataset", data.to_table().to_pylist(), expected)
    same("polars of IPC", pl.read_ipc(root / "arrow/*.arrow").to_dicts(), expected)
    dear = duckdb.sql("select count(*) from data where price > 8").fetchall()[0][0]  # a pyarrow dataset by its name
    check("duckdb over a dataset", dear == sum((r["price"] or 0) > 8 for r in expected.values()))


def matrices(root, expected):
    ids = (root / "npy/ids.txt").read_text().splitlines()
    vectors = np.load(root / "npy/vectors.npy", mmap_mode="r")
    check("npy", vectors.shape == (len(ids), len(vectors[0])) and vectors.dtype == np.float32)
    check("ids", sorted(ids) == sorted(expected))
    for name, v in zip(ids, vectors):
        check(f"npy: {name}", np.array_equal(v, np.asarray(expected[name]["vector"], np.float32)))
    check("integers", not (root / "npy/ids.npy").exists() or [str(i) for i in np.load(root / "npy/ids.npy")] == ids)
    n, d = vectors.shape
    fvecs = np.fromfile(root / "fvecs/vectors.fvecs", "<i4").reshape(n, d + 1)
    check("fvecs", (fvecs[:, 0] == d).all() and np.array_equal(fvecs[:, 1:].copy().view(np.float32), vectors))
    fbin = root / "fbin/vectors.fbin"
    check("fbin", list(np.fromfile(fbin, "<u4", 2)) == [n, d] and np.array_equal(np.fromfile(fbin, "<f4", offset=8).reshape(n, d), vectors))
    return ids, vectors


def flat(root, metric, ids, vectors, queries):
    """The flat index finds what brute force finds, ours and numpy's, with queries as they are."""
    index = faiss.read_index(str(root / "faiss/index.faiss"))
    check("faiss: rows", index.ntotal == len(ids) and index.d == vectors.shape[1])
    neighbours, scores = np.load(root / "npy/neighbours.npy"), np.load(root / "npy/scores.npy")
    unit = (lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)) if metric == "cosine" else (lambda v: v)
    every = unit(queries) @ unit(vectors).T
    check("scores", np.allclose(scores, -np.sort(-every, axis=1)[:, : scores.shape[1]], atol=1e-5))
    check("neighbours", np.allclose(np.take_along_axis(every, neighbours, axis=1), scores, atol=1e-5))
    found, labels = index.search(queries, scores.shape[1])
    check("faiss: scores", np.allclose(found, scores, atol=1e-5))
    integers = root / "faiss/ids.npy"
    of = np.load(integers) if integers.exists() else np.arange(len(ids))
    for got, want in zip(labels, of[neighbours]):
        check("faiss: neighbours", len(set(got) & set(want)) >= len(want) - 1)  # the last may be one of equals


def ivfpq(root, ids, vectors, queries):
    """The index with our lists and codes scores each row as our tables of a query do, to their step, and finds most of what is near."""
    index = faiss.read_index(str(root / "faiss-ivfpq/index.faiss"))
    check("ivfpq: rows", index.ntotal == len(ids))
    inner = faiss.extract_index_ivf(index)
    check("ivfpq: lists", sum(inner.invlists.list_size(i) for i in range(inner.nlist)) == len(ids))
    inner.nprobe = inner.nlist
    expected = json.loads((root / "codes.json").read_text())
    found, labels = index.search(queries[: len(expected)], len(ids))
    integers = root / "faiss-ivfpq/ids.npy"
    name = (lambda label: str(label)) if integers.exists() else (lambda label: ids[label])
    for scores, rows, want in zip(found, labels, expected):
        got = {name(label): float(score) for label, score in zip(rows, scores)}
        check("ivfpq: ids", got.keys() == want["scores"].keys())
        for row, score in want["scores"].items():
            check(f"ivfpq: {row}: {got[row]}, not {score}", abs(got[row] - score) <= want["error"])
    truth = np.load(root / "npy/neighbours.npy")
    of = np.load(integers) if integers.exists() else np.arange(len(ids))
    _, near = index.search(queries, 40)
    recall = np.mean([len(set(of[t]) & set(n)) / len(t) for t, n in zip(truth, near)])
    check(f"ivfpq: {recall} of true neighbours are among four times as many", recall > 0.8)


def store(root, expected):
    """Objects of the store itself, without a manifest: the newest version of each id is among them."""
    orders = ["version", "timestamp", "partition", "offset", "row"]
    segments = [p for p in (root / "store/segments").rglob("*.arrow")]
    rows = list((root / "store/chunks").glob("*.rows.arrow"))
    check("chunks", len(rows) > 0 and len(segments) > 0)
    frames = []
    for p in segments + rows:
        table = pa.ipc.open_file(p.read_bytes()).read_all()
        columns = ["id", *orders, "attr.title"]
        frame = pl.read_ipc(p)
        check(f"{p.name}: polars has {frame.columns}", frame.columns == table.column_names)
        check(f"{p.name}: polars and pyarrow agree", frame.to_dicts() == table.to_pylist())
        frames.append(frame.select(columns))
    everything = pl.concat(frames).to_arrow()
    newest = duckdb.sql("""select id, arg_max("attr.title", (version, "timestamp", "partition", "offset", "row")) title, count(*) from everything group by id""").fetchall()
    titles = {name: title for name, title, _ in newest}
    check("store: ids", titles.keys() >= expected.keys())
    vectors = pa.concat_tables(pa.ipc.open_file(p.read_bytes()).read_all() for p in (root / "store/chunks").glob("*.vectors.arrow"))
    check("store: vectors", vectors["vector"].combine_chunks().values.to_numpy().size == len(vectors) * vectors.schema.field("vector").type.list_size)


def main(root):
    root = Path(root)
    expected = json.loads((root / "expected.json").read_text())
    metric = json.loads((root / "npy/_export.json").read_text())["metric"]
    parquet(root, expected)
    arrow(root, expected)
    ids, vectors = matrices(root, expected)
    flat(root, metric, ids, vectors, np.load(root / "queries.npy"))
    ivfpq(root, ids, vectors, np.load(root / "queries.npy"))
    store(root, expected)


if __name__ == "__main__":
    main(*sys.argv[1:])
