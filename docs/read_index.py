"""Prints the live rows of an Adastream index as JSON, a line each: id, vector and attributes. Of ours it needs nothing.

    pip install pyarrow
    python docs/read_index.py docs/testdata/example

The argument is a copy of a store as a directory, for example of `aws s3 sync s3://bucket/prefix copy`. What it follows is
docs/formats.md: channel, manifest, pages, parts, dead rows.
"""

import hashlib
import json
import struct
import sys
from pathlib import Path

import pyarrow as pa


def newest(folder):
    """The record of the largest number: names are padded with zeros, so it is the last name."""
    return json.loads(max(folder.iterdir()).read_text())


def served(root):
    """The place and the manifest of what queries are answered from."""
    channel = newest(root / "channels/stable/0000")
    if "epoch" in channel:
        root = root / "epochs" / channel["epoch"]
        channel = newest(root / "channels/stable/0000")
    return root, json.loads((root / f"manifests/0000/{channel['generation']:020}").read_text())


def body(root, ref):
    """The bytes of the object that a reference names."""
    data = (root / ref["key"]).read_bytes()
    if len(data) != ref["size"] or hashlib.sha256(data).hexdigest() != ref["sha256"]:
        raise ValueError(f"{ref['key']} is not what its reference says")
    return data


def read(root, ref):
    """The table in the object that a reference names."""
    return pa.ipc.open_file(body(root, ref)).read_all()


def parts(root, manifest):
    """Chunks and then segments: of each kind first those in pages, then those in line."""
    pages = [json.loads(body(root, ref)) for ref in manifest.get("pages", [])]
    return [part for kind in ("chunks", "segments") for holder in [*pages, manifest] for part in holder.get(kind, [])]


def bitmap(data):
    """The numbers in a roaring bitmap: https://github.com/RoaringBitmap/RoaringFormatSpec"""
    cookie, at = struct.unpack_from("<I", data)[0], 4
    with_runs = cookie & 0xFFFF == 12347
    if with_runs:
        size = (cookie >> 16) + 1
        runs, at = data[at : at + (size + 7) // 8], at + (size + 7) // 8
    else:
        size, runs, at = struct.unpack_from("<I", data, at)[0], b"", at + 4
    heads = [struct.unpack_from("<HH", data, at + 4 * i) for i in range(size)]
    at += 4 * size
    if not with_runs or size >= 4:
        at += 4 * size  # where each container begins
    numbers = set()
    for i, (high, count) in enumerate(heads):
        if runs and runs[i // 8] >> i % 8 & 1:
            n, at = struct.unpack_from("<H", data, at)[0], at + 2
            for first, more in struct.iter_unpack("<HH", data[at : at + 4 * n]):
                numbers.update(high << 16 | low for low in range(first, first + more + 1))
            at += 4 * n
        elif count + 1 <= 4096:
            numbers.update(high << 16 | low for (low,) in struct.iter_unpack("<H", data[at : at + 2 * (count + 1)]))
            at += 2 * (count + 1)
        else:
            bits, at = int.from_bytes(data[at : at + 8192], "little"), at + 8192
            numbers.update(high << 16 | low for low in range(65536) if bits >> low & 1)
    return numbers


def rows(root, manifest):
    """The rows that count, in the order of parts."""
    dead = {}
    if "dead" in manifest:
        dead = {d["part"]: bitmap(d["rows"]) for d in read(root, manifest["dead"]).to_pylist()}
    for part in parts(root, manifest):
        if "rows" in part:  # a chunk: what is in it, and its vectors in the same order
            table = read(root, part["rows"])
            table = table.append_column("vector", read(root, part["vectors"])["vector"])
        else:
            table = read(root, part)
        names = ["id", "vector"] + [n for n in table.column_names if n.startswith("attr.")]
        for number, row in enumerate(table.select(names).to_pylist()):
            if number not in dead.get(part["id"], ()):
                yield {name.removeprefix("attr."): value for name, value in row.items()}


def main(store):
    root, manifest = served(Path(store))
    count = 0
    for row in rows(root, manifest):
        print(json.dumps(row, default=str))
        count += 1
    if count != manifest["live_rows"]:
        raise ValueError(f"{count} rows are live, the manifest says {manifest['live_rows']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
