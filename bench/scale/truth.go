package main

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/bench/dataset"
)

// truth is what queries should find, kept while rows go by.
type truth struct {
	level   avx.Level
	dim     int
	packed  *avx.Panels
	scores  []float32     // of compareRows
	nearest [][]neighbour // of each query, the nearest first
}

type neighbour struct {
	Row   int
	Score float32
}

// compareRows are compared with all queries while they are in cache.
const compareRows = 256

func newTruth(level avx.Level, queries []float32, dim int) *truth {
	n := len(queries) / dim
	return &truth{level: level, dim: dim, packed: avx.Pack(queries, n, dim, nil), scores: make([]float32, compareRows*n), nearest: make([][]neighbour, n)}
}

// add compares rows, of which the first one has a number.
func (t *truth) add(first int, rows []float32) {
	nq := len(t.nearest)
	worst := make([]float32, nq)
	for q, found := range t.nearest {
		worst[q] = -2
		if len(found) == dataset.K {
			worst[q] = found[dataset.K-1].Score
		}
	}
	for ; len(rows) > 0; first += compareRows {
		n := min(compareRows, len(rows)/t.dim)
		avx.ScoresRows(t.level, t.packed, rows, n, t.dim, t.scores, nq)
		for r := range n {
			for q, s := range t.scores[r*nq:][:nq] {
				if s > worst[q] {
					worst[q] = t.push(q, neighbour{first + r, s})
				}
			}
		}
		rows = rows[n*t.dim:]
	}
}

// push adds what is nearer than the last one, and returns the score of the new last one.
func (t *truth) push(q int, n neighbour) float32 {
	found := append(t.nearest[q], n)
	slices.SortFunc(found, func(a, b neighbour) int { return cmp.Compare(b.Score, a.Score) })
	if t.nearest[q] = found[:min(len(found), dataset.K)]; len(t.nearest[q]) < dataset.K {
		return -2
	}
	return t.nearest[q][dataset.K-1].Score
}

// recall is the share of the nearest rows of a query among those found.
func (t *truth) recall(q int, found []int) (hits int) {
	for _, n := range t.nearest[q] {
		if slices.Contains(found, n.Row) {
			hits++
		}
	}
	return hits
}

const truthFile = "truth.json"

func (t *truth) write(dir string) error {
	raw, err := json.Marshal(t.nearest)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, truthFile), raw, 0o600)
}

func (t *truth) read(dir string) error {
	raw, err := os.ReadFile(filepath.Join(dir, truthFile))
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, &t.nearest)
}
