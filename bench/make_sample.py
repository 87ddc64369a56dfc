#!/usr/bin/env python3
"""The sample that ships with adastream: about 20,000 words of WordNet under a 256-d Matryoshka encoder.

Takes the base.arrow that make_wordnet_mrl.py writes, keeps one row for each lower-case single word, and whole classes of
them in a seeded order until there are about 20,000 (the classes of PREFER first, so that the demo's words are there).

Output: an Arrow IPC file with columns  id utf8 (the word), class dictionary<utf8>, vector fixed_size_list<float16>[256].

Needs:  pip install pyarrow numpy
Usage:  make_sample.py base.arrow words.arrow
"""
import collections
import random
import re
import sys

import pyarrow as pa

ROWS = 20_000
PREFER = ("musical instrument", "dog", "tree", "beverage", "national capital", "natural elevation")


def main():
    source, target = sys.argv[1:]
    table = pa.ipc.open_file(source).read_all()
    words, classes = table["word"].to_pylist(), table["class"].to_pylist()
    members, seen = collections.defaultdict(list), set()
    for row, (word, cls) in enumerate(zip(words, classes)):
        if re.fullmatch(r"[a-z][a-z-]+", word) and word not in seen:
            seen.add(word)
            members[cls].append(row)
    order = sorted(members, key=lambda c: (c not in PREFER, c))
    rest = order[len(PREFER):]
    random.Random(0).shuffle(rest)
    rows = []
    for cls in order[: len(PREFER)] + rest:
        rows += members[cls]
        if len(rows) >= ROWS:
            break
    random.Random(1).shuffle(rows)
    picked = table.take(pa.array(rows)).combine_chunks()
    out = pa.table({
        "id": picked["word"],
        "class": pa.array([classes[r] for r in rows]).dictionary_encode(),
        "vector": picked["vector"],
    }).replace_schema_metadata({"adastream.encoder": "wordnet-mrl-256"})
    with pa.OSFile(target, "wb") as sink, pa.ipc.new_file(sink, out.schema) as writer:
        writer.write_table(out.combine_chunks(), max_chunksize=1000)
    print(f"{len(rows)} rows of {len(set(classes[r] for r in rows))} classes")


if __name__ == "__main__":
    main()
