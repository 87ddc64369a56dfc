// Package dataset is what the engines of the benchmark that are written in Go share: the data, the settings
// that are measured, and the protocol of bench/peers.
package dataset

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"github.com/adastream/adastream/schemas"
)

const (
	K      = 10  // neighbours that are asked for
	truthK = 100 // true neighbours of a query that are known
)

// Set is what bench/peers/prepare.py writes: vectors of unit length, little-endian like this machine.
type Set struct {
	Name    string             `json:"name"`
	N       int                `json:"n"`
	Dim     int                `json:"dim"`
	Queries int                `json:"queries"`
	Ladder  []int              `json:"ladder"`
	Prefix  schemas.PrefixMode `json:"prefix"` // "" is native

	Base    []float32 `json:"-"` // [N][Dim]
	Vectors []float32 `json:"-"` // [Queries][Dim], of the queries
	Truth   []int32   `json:"-"` // [Queries][truthK] rows of Base, the nearest first
}

// Read reads base.f32, queries.f32, truth.i32 and meta.json of a directory.
func Read(dir string) (*Set, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	if err != nil {
		return nil, err
	}
	s := &Set{}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("%s: meta.json: %w", dir, err)
	}
	if s.Base, err = readArray[float32](dir, "base.f32", s.N*s.Dim); err != nil {
		return nil, err
	}
	if s.Vectors, err = readArray[float32](dir, "queries.f32", s.Queries*s.Dim); err != nil {
		return nil, err
	}
	s.Truth, err = readArray[int32](dir, "truth.i32", s.Queries*truthK)
	return s, err
}

func readArray[T float32 | int32](dir, name string, n int) ([]T, error) {
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	if n < 1 || len(raw) != 4*n {
		return nil, fmt.Errorf("%s: %s has %d bytes, meta.json says %d", dir, name, len(raw), 4*n)
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&raw[0])), n), nil // allocations of this size are aligned
}

// Spec is an index of the set's rows.
func (s *Set) Spec() *schemas.Spec {
	spec := schemas.Spec{Name: s.Name, Ladder: s.Ladder, Prefix: s.Prefix, Encoder: "benchmark", Vectors: schemas.Float16,
		Topic: schemas.Topic{Name: s.Name, Partitions: 1}}.WithDefaults()
	return &spec
}

// Query is a query vector.
func (s *Set) Query(i int) []float32 { return s.Vectors[i*s.Dim : (i+1)*s.Dim] }

// Recall is the share of the true K neighbours of the first queries among the rows found, [queries][K].
func (s *Set) Recall(found []int32, queries int) float64 {
	n := 0
	for q := range queries {
		for _, t := range s.Truth[q*truthK:][:K] {
			for _, f := range found[q*K:][:K] {
				if f == t {
					n++
				}
			}
		}
	}
	return float64(n) / float64(queries*K)
}
