"""Makes the files of this directory: the same rows in each format, by pyarrow and numpy, which are not ours.

    python make.py
"""

import datetime
import decimal
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

os.chdir(os.path.dirname(os.path.abspath(__file__)))
ENCODER = {"adastream.encoder": "e/1"}
N, DIM = 40, 8
DELETED = 11  # has no vector, and no attributes

vectors = [None if i == DELETED else [((i * 31 + j * 7) % 64 - 31.5) / 32 for j in range(DIM)] for i in range(N)]
some = lambda values, every: [None if i == DELETED or i % every == 3 else v for i, v in enumerate(values)]
columns = {
    "id": pa.array([f"item-{i}" for i in range(N)]),
    "vector": pa.array(vectors, pa.list_(pa.float32(), DIM)),
    "op": pa.array(["delete" if i == DELETED else None if i % 2 else "upsert" for i in range(N)]),
    "version": pa.array([1000 + i for i in range(N)], pa.int64()),
    "class": pa.array(some([["red", "green", "blü"][i % 3] for i in range(N)], 5)),
    "year": pa.array(some([1990 + i for i in range(N)], 7), pa.int32()),
    "price": pa.array(some([i / 4 for i in range(N)], 9), pa.float64()),
    "new": pa.array(some([i % 2 == 0 for i in range(N)], 8)),
    "seen": pa.array(some([1_700_000_000_000 + i for i in range(N)], 6), pa.timestamp("ms", "UTC")),
}


def table(**change):
    return pa.table({**columns, **change}).replace_schema_metadata(ENCODER)


def parquet(name, rows, **options):
    pq.write_table(rows, name, **options)


packed = [None if v is None else pa.array(v, pa.float32()).buffers()[1].to_pybytes() for v in vectors]
rows = table()
with pa.ipc.new_file("rows.arrow", rows.schema) as out:
    out.write_table(rows, max_chunksize=16)
parquet("list.parquet", table(vector=pa.array(vectors, pa.list_(pa.float32()))), row_group_size=7)
parquet("fixed.parquet", rows, compression="zstd", row_group_size=25)
parquet("half.parquet", table(vector=pa.array(vectors, pa.list_(pa.float16(), DIM))), compression="lz4")
parquet("binary.parquet", table(vector=pa.array(packed, pa.binary())), compression="gzip", store_schema=False)
parquet("bytes.parquet", table(vector=pa.array(packed, pa.binary(4 * DIM))), compression="none", data_page_version="2.0")
parquet("large.parquet", table(vector=pa.array(vectors, pa.large_list(pa.float64())), id=columns["id"].cast(pa.large_string()),
                               **{"class": columns["class"].dictionary_encode()}), compression="brotli", version="1.0")
# Numbers for ids, other names, no encoder, and what no message can have.
others = pa.table({
    "key": pa.array(range(N), pa.int32()),
    "embedding": pa.array([v or [0.0] * DIM for v in vectors], pa.list_(pa.float64())),
    "vector": columns["year"],
    "day": pa.array([datetime.date(2024, 1, 1)] * N),
    "exact": pa.array([decimal.Decimal("1.50")] * N),
    "nested": pa.array([{"a": 1, "b": [1.5]}] * N),
    "single": pa.array([{"a": 1}] * N),
    "tags": pa.array([["x"]] * N),
    "class": columns["class"],
})
parquet("others.parquet", others)

# What polars writes of texts, and types that messages do not have but for others of the same values.
views = pa.table({
    "id": columns["id"].cast(pa.string_view()),
    "vector": pa.array(packed, pa.binary_view()),
    "op": columns["op"].cast(pa.string_view()),
    "version": columns["version"].cast(pa.decimal128(38, 0)),
    "class": pa.DictionaryArray.from_arrays(pa.array(some([i % 3 for i in range(N)], 5), pa.uint32()), pa.array(["red", "green", "blü"], pa.string_view())),
    "year": columns["year"].cast(pa.decimal128(38, 0)),
    "price": columns["price"].cast(pa.decimal128(10, 2)),
    "new": columns["new"],
    "seen": pa.array(some([datetime.date(2023, 11, 14)] * N, 6)),
}).replace_schema_metadata(ENCODER)
with pa.ipc.new_file("views.arrow", views.schema) as out:
    out.write_table(views, max_chunksize=16)

with open("rows.jsonl", "w") as out:
    for row in rows.drop_columns(["seen"]).to_pylist():  # JSON has no timestamps
        out.write(json.dumps({name: value for name, value in row.items() if value is not None or name == "price"}) + "\n")

# Vectors alone, and their ids beside them.
matrix = np.array([v or [0.5] * DIM for v in vectors], "<f4")
small = (matrix * 64).astype("i1")
for name, type in {"f2": "<f2", "f4": "<f4", "f8": "<f8"}.items():
    np.save(f"{name}.npy", matrix.astype(type))
np.save("i1.npy", small)
np.save("fortran.npy", np.asfortranarray(matrix))
np.save("flat.npy", matrix.ravel())
np.save("big.npy", matrix.astype(">f4"))
open("ids.txt", "w").writelines(f"item-{i}\n" for i in range(N))
width = np.full((N, 1), DIM, "<u4")
np.hstack([width.view("u1"), matrix.view("u1")]).tofile("rows.fvecs")
np.hstack([width.view("u1"), small.view("u1")]).tofile("rows.bvecs")
for name, values in {"fbin": matrix, "u8bin": small.view("u1"), "i8bin": small}.items():
    with open(f"rows.{name}", "wb") as out:
        np.array([N, DIM], "<u4").tofile(out)
        values.tofile(out)
