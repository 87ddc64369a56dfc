package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/bench/dataset"
	"github.com/adastream/adastream/client"
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
	found := append(slices.Clone(t.nearest[q]), n)
	slices.SortFunc(found, func(a, b neighbour) int { return cmp.Compare(b.Score, a.Score) })
	if t.nearest[q] = found[:min(len(found), dataset.K)]; len(t.nearest[q]) < dataset.K {
		return -2
	}
	return t.nearest[q][dataset.K-1].Score
}

// recallOf counts the nearest rows of a query, or of the one that it is when there are no more, among hits.
func (t *truth) recallOf(q int, hits []client.Hit) (n int, err error) {
	for _, h := range hits {
		row, err := strconv.Atoi(h.ID)
		if err != nil {
			return 0, err
		}
		if slices.ContainsFunc(t.nearest[q%len(t.nearest)], func(n neighbour) bool { return n.Row == row }) {
			n++
		}
	}
	return n, nil
}

const truthFile = "truth.json"

// fedSoFar is what a work directory keeps, so that a run can go on after one that was stopped.
type fedSoFar struct {
	Rows    int           `json:"rows"` // that are in, the first ones of the law
	Nearest [][]neighbour `json:"nearest"`
}

func (t *truth) write(dir string, rows int) error {
	raw, err := json.Marshal(fedSoFar{rows, t.nearest})
	if err != nil {
		return err
	}
	name := filepath.Join(dir, truthFile)
	return errors.Join(os.WriteFile(name+".new", raw, 0o600), os.Rename(name+".new", name))
}

// read returns how many rows are in, 0 if nothing is there.
func (t *truth) read(dir string) (rows int, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, truthFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var f fedSoFar
	if err := json.Unmarshal(raw, &f); err != nil {
		return 0, err
	}
	if len(f.Nearest) != len(t.nearest) {
		return 0, fmt.Errorf("%s is of %d queries, and not of %d", truthFile, len(f.Nearest), len(t.nearest))
	}
	t.nearest = f.Nearest
	return f.Rows, nil
}
