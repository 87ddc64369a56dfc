#!/usr/bin/env python3
"""Turns Arrow files of vectors into the raw arrays every engine reads.

Writes to --out:
    base.f32     [n][d] float32 little-endian, row-major, unit length
    queries.f32  [q][d] likewise
    truth.i32    [q][100] int32, the rows of base with the largest inner product, best first, exact
    meta.json    name, n, dim, queries, ladder (the widths the encoder was trained at), encoder
"""
import argparse
import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

DEPTH = 100  # neighbours kept for each query

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]


def unit(rows: Floats) -> Floats:
    """Scales each row to length one."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def batches(path: Path, column: str, rows: int) -> tuple[list[Floats], dict[bytes, bytes]]:
    """The first `rows` vectors of an Arrow IPC file, unit length, with the file's metadata."""
    parts: list[Floats] = []
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        for i in range(reader.num_record_batches):
            vectors = reader.get_batch(i).column(column)
            flat = vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
            parts.append(unit(flat.reshape(-1, vectors.type.list_size))[:rows])
            rows -= len(parts[-1])
            if rows <= 0:
                break
        return parts, reader.schema.metadata or {}


def nearest(base: Floats, queries: Floats, block: int = 65536) -> Ids:
    """The DEPTH rows of base with the largest inner product to each query, best first.

    Equal scores are ordered by row."""
    depth = min(DEPTH, len(base))
    scores = np.full((len(queries), 0), 0, np.float32)
    ids = np.full((len(queries), 0), 0, np.int32)
    for start in range(0, len(base), block):
        found = queries @ base[start:start + block].T
        top = np.argpartition(found, -min(depth, found.shape[1]), axis=1)[:, -depth:]
        scores = np.concatenate([scores, np.take_along_axis(found, top, 1)], axis=1)
        ids = np.concatenate([ids, (top + start).astype(np.int32)], axis=1)
        order = np.lexsort((ids, -scores), axis=1)[:, :depth]
        scores, ids = np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)
        print(f"\rexact neighbours: {min(start + block, len(base))}/{len(base)} rows", end="", file=sys.stderr)
    print(file=sys.stderr)
    return ids


def write_truth(out: Path, meta: dict[str, object], base: Floats, queries: Floats) -> None:
    """Writes truth.i32 and, last, meta.json: a directory with meta.json is complete."""
    nearest(base, queries).astype("<i4").tofile(out / "truth.i32")
    (out / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--base", type=Path, required=True, help="Arrow IPC file of the rows to search")
    p.add_argument("--queries", type=Path, required=True, help="Arrow IPC file of held-out rows")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--name", default="corpus")
    p.add_argument("--column", default="vector")
    p.add_argument("--nqueries", type=int, default=2000)
    p.add_argument("--ladder", type=lambda s: [int(x) for x in s.split(",")], default=[64, 128, 256])
    a = p.parse_args()

    a.out.mkdir(parents=True, exist_ok=True)
    parts, metadata = batches(a.base, a.column, sys.maxsize)
    base = np.concatenate(parts)
    del parts
    queries = np.concatenate(batches(a.queries, a.column, a.nqueries)[0])
    base.astype("<f4", copy=False).tofile(a.out / "base.f32")
    queries.astype("<f4", copy=False).tofile(a.out / "queries.f32")
    write_truth(a.out, {
        "name": a.name, "n": len(base), "dim": base.shape[1], "queries": len(queries), "ladder": a.ladder,
        "encoder": metadata.get(b"adastream.encoder", b"").decode(),
    }, base, queries)


if __name__ == "__main__":
    main()
