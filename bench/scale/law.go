package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"unsafe"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
)

// blockRows are drawn at once. It is part of a law: other blocks are other rows.
const blockRows = 16384

// Streams of rows of a law.
const (
	baseRows    = 1
	queryRows   = 2
	changedRows = 3
)

// law is a distribution of rows of unit length. The same law has the same rows in the same blocks, in whatever order they are drawn.
type law interface {
	// draw fills rows with the first ones of a block of a stream.
	draw(stream, block int, rows []float32) error
	dims() int
	String() string
}

// tree is the law of bench/make_synthetic.py, whose words it has: a row is a leaf of a tree of cluster centres plus noise, with dimension i
// scaled by (i + 1) ^ -decay.
type tree struct {
	dim     int
	level   avx.Level
	weight  []float32
	centres [len(branches)][]float32 // by level, of its clusters
	chosen  [len(branches)][]float64 // by level, sums of the popularity of a cluster's children
}

const (
	decay = 0.25
	seed  = 7
)

var (
	branches = [...]int{32, 32, 8}               // children of each cluster, level by level
	shares   = [...]float64{0.2, 0.15, 0.15, .5} // of the variance, of each level and of the noise
)

func newTree(level avx.Level, dim int) *tree {
	t := &tree{dim: dim, level: level, weight: make([]float32, dim)}
	for i := range t.weight {
		t.weight[i] = float32(math.Pow(float64(i+1), -decay))
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	clusters := 1
	for l, n := range branches {
		clusters *= n
		t.centres[l] = make([]float32, clusters*dim)
		for i := range t.centres[l] {
			t.centres[l][i] = float32(rng.NormFloat64() * math.Sqrt(shares[l]))
		}
		sum := 0.0
		for rank := range n {
			sum += math.Pow(float64(rank+1), -0.5)
			t.chosen[l] = append(t.chosen[l], sum)
		}
	}
	return t
}

func (t *tree) dims() int { return t.dim }

func (t *tree) String() string {
	return fmt.Sprintf("synthetic, variance of dimension i (i + 1)^-%g, shares %v of the levels of a tree of %v clusters and the noise, seed %d", 2*decay, shares, branches, seed)
}

func (t *tree) draw(stream, block int, rows []float32) error {
	rng := rand.New(rand.NewPCG(seed, uint64(stream)<<32|uint64(block)))
	noise := float32(math.Sqrt(shares[len(branches)]))
	for ; len(rows) > 0; rows = rows[t.dim:] {
		row := rows[:t.dim]
		cluster := 0
		var centres [len(branches)][]float32
		for l, n := range branches {
			sums := t.chosen[l]
			cluster = cluster*n + sort.SearchFloat64s(sums, rng.Float64()*sums[n-1])
			centres[l] = t.centres[l][cluster*t.dim:][:t.dim]
		}
		a, b, c := centres[0], centres[1], centres[2]
		for i, w := range t.weight {
			row[i] = w * (a[i] + b[i] + c[i] + noise*float32(rng.NormFloat64()))
		}
		mrl.Normalize(t.level, row, row)
	}
	return nil
}

// noisy is the rows of a data set again and again, each time with other noise: of the deviation of each dimension, times a share.
type noisy struct {
	level   avx.Level
	share   float64
	n, dim  int
	base    *os.File
	spread  []float32
	queries []float32 // held out by whoever made the data set
}

// openCorpus opens what bench/run makes of a corpus: base.f32, queries.f32 and meta.json.
func openCorpus(level avx.Level, dir string, share float64) (*noisy, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	if err != nil {
		return nil, err
	}
	var meta struct{ N, Dim int }
	if err := json.Unmarshal(raw, &meta); err != nil {
		return nil, fmt.Errorf("%s: meta.json: %w", dir, err)
	}
	c := &noisy{level: level, share: share, n: meta.N, dim: meta.Dim}
	if raw, err = os.ReadFile(filepath.Join(dir, "queries.f32")); err != nil {
		return nil, err
	}
	if meta.N < 1 || meta.Dim < 1 || len(raw) == 0 || len(raw)%(4*meta.Dim) != 0 {
		return nil, fmt.Errorf("%s: %d rows of %d dimensions, and %d bytes of queries", dir, meta.N, meta.Dim, len(raw))
	}
	c.queries = unsafe.Slice((*float32)(unsafe.Pointer(&raw[0])), len(raw)/4) // allocations of this size are aligned
	if c.base, err = os.Open(filepath.Join(dir, "base.f32")); err != nil {
		return nil, err
	}
	c.spread = make([]float32, c.dim)
	some := make([]float32, min(c.n, blockRows)*c.dim)
	if err := c.read(0, some); err != nil {
		return nil, err
	}
	for i := range c.spread {
		var sum, squares float64
		for r := i; r < len(some); r += c.dim {
			sum += float64(some[r])
			squares += float64(some[r]) * float64(some[r])
		}
		n := float64(len(some) / c.dim)
		c.spread[i] = float32(math.Sqrt(max(0, squares/n-sum/n*sum/n)))
	}
	return c, nil
}

func (c *noisy) dims() int { return c.dim }

func (c *noisy) String() string {
	return fmt.Sprintf("%d rows of %s again and again, with noise of %g of the deviation of each dimension, seed %d", c.n, c.base.Name(), c.share, seed)
}

// read reads rows of the data set from the first-th on, and begins again at its end.
func (c *noisy) read(first int, rows []float32) error {
	for len(rows) > 0 {
		n := min(len(rows), (c.n-first)*c.dim)
		if _, err := c.base.ReadAt(unsafe.Slice((*byte)(unsafe.Pointer(&rows[0])), 4*n), int64(first)*int64(c.dim)*4); err != nil {
			return fmt.Errorf("%s: %w", c.base.Name(), err)
		}
		rows, first = rows[n:], 0
	}
	return nil
}

func (c *noisy) draw(stream, block int, rows []float32) error {
	if stream == queryRows && block == 0 { // all of them, the rest is rows with other noise
		if len(rows) > len(c.queries) {
			return fmt.Errorf("%d queries, allowed: the %d of the data set", len(rows)/c.dim, len(c.queries)/c.dim)
		}
		copy(rows, c.queries)
		return nil
	}
	if err := c.read(block*blockRows%c.n, rows); err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(seed, uint64(stream)<<32|uint64(block)))
	for ; len(rows) > 0; rows = rows[c.dim:] {
		row := rows[:c.dim]
		for i, s := range c.spread {
			row[i] += float32(c.share) * s * float32(rng.NormFloat64())
		}
		mrl.Normalize(c.level, row, row)
	}
	return nil
}
