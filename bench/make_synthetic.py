#!/usr/bin/env python3
"""Synthetic Matryoshka vectors of any number and width, with a stated spectrum.

A row is a leaf of a tree of cluster centres plus noise, scaled to unit length:

    row = normalise(sum over levels l of s_l * centre_l[c_l] * w  +  s_noise * g * w),    w_i = (i + 1) ^ -decay

where c_l is the row's cluster at level l (each cluster has its own children; popularity falls as rank ^ -0.5), centres
and g are standard normal, and s_l^2, s_noise^2 are the shares of the variance (--shares, the last one is the noise).
The expected variance of dimension i is thus w_i^2 = (i + 1) ^ (-2 decay) up to scale: leading dimensions carry most,
so that a prefix is a shorter embedding of the same row, as in a vector trained for it. With the default decay 0.25 and
768 dimensions the first 64, 128, 256 and 384 dimensions hold 27, 39, 57 and 70 % of the energy.

Queries are further rows of the same law. The rows depend on the seed, and not on how they are written in blocks.
Writes base.f32, queries.f32, truth.i32 and meta.json to --out, as peers/prepare.py does.

Needs:   pip install numpy pyarrow
Usage:   make_synthetic.py --out DIR [--rows 1000000] [--dim 768] [--nqueries 2000] [--seed 7]
"""
import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).with_name("peers")))
from prepare import Floats, unit, write_truth

BLOCK = 16384  # rows drawn at once, part of the law: another block draws other rows
BRANCHES = (32, 32, 8)  # children of each cluster, level by level


class Law:
    """The distribution of the rows."""

    def __init__(self, dim: int, decay: float, shares: list[float], seed: int) -> None:
        rng = np.random.default_rng([seed, 0])
        self.seed, self.dim = seed, dim
        self.scale = np.sqrt(np.array(shares, np.float32) / sum(shares))
        self.weight = (np.arange(1, dim + 1) ** -decay).astype(np.float32)
        clusters = np.cumprod(BRANCHES)
        self.centres = [rng.standard_normal((n, dim), np.float32) for n in clusters]
        self.popularity = [rank / rank.sum() for rank in (np.arange(1, n + 1) ** -0.5 for n in BRANCHES)]

    def rows(self, stream: int, block: int, count: int) -> Floats:
        """The first `count` rows of a block of a stream: 1 is the base, 2 the queries."""
        rng = np.random.default_rng([self.seed, stream, block])
        rows = self.scale[-1] * rng.standard_normal((BLOCK, self.dim), np.float32)
        cluster = np.zeros(BLOCK, np.int64)
        for scale, centres, branches, popularity in zip(self.scale, self.centres, BRANCHES, self.popularity):
            cluster = cluster * branches + rng.choice(branches, BLOCK, p=popularity)
            rows += scale * centres[cluster]
        return unit(rows[:count] * self.weight)


def write(law: Law, stream: int, count: int, path: Path) -> None:
    """Writes so many rows of a stream, a block at a time."""
    with path.open("wb") as f:
        for block, start in enumerate(range(0, count, BLOCK)):
            law.rows(stream, block, min(BLOCK, count - start)).astype("<f4", copy=False).tofile(f)
            print(f"\r{path.name}: {min(start + BLOCK, count)}/{count} rows", end="", file=sys.stderr)
    print(file=sys.stderr)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--rows", type=int, default=1_000_000)
    p.add_argument("--dim", type=int, default=768)
    p.add_argument("--nqueries", type=int, default=2000)
    p.add_argument("--seed", type=int, default=7)
    p.add_argument("--decay", type=float, default=0.25)
    p.add_argument("--shares", type=lambda s: [float(x) for x in s.split(",")], default=[0.2, 0.15, 0.15, 0.5],
                   help="of the variance: one for each level of clusters, then the noise")
    p.add_argument("--ladder", type=lambda s: [int(x) for x in s.split(",")], default=[64, 128, 256, 768])
    a = p.parse_args()
    if len(a.shares) != len(BRANCHES) + 1:
        p.error(f"--shares takes {len(BRANCHES) + 1} numbers")

    a.out.mkdir(parents=True, exist_ok=True)
    law = Law(a.dim, a.decay, a.shares, a.seed)
    write(law, 1, a.rows, a.out / "base.f32")
    write(law, 2, a.nqueries, a.out / "queries.f32")
    base = np.memmap(a.out / "base.f32", "<f4", "r", shape=(a.rows, a.dim))
    queries = np.fromfile(a.out / "queries.f32", "<f4").reshape(a.nqueries, a.dim)
    write_truth(a.out, {
        "name": "synthetic", "n": a.rows, "dim": a.dim, "queries": a.nqueries,
        "ladder": [w for w in a.ladder if w < a.dim] + [a.dim],
        "encoder": f"make_synthetic.py decay {a.decay} shares {a.shares} seed {a.seed}",
    }, base, queries)


if __name__ == "__main__":
    main()
