// Package model is the trained bundle of an index: the centroids of the inverted lists and the quantiser of residuals.
// It turns a vector into a list and a code, and a query into lists to probe and a lookup table. Ingestors, the builder
// and query nodes do this alike because they hold the same bytes: a model's ID is the hash of them.
//
// The searched vector of a row is its vector scaled to unit length under cosine, see [mrl.Normalize], and as given under
// ip. A model may rotate it, to axes that were learnt from rows of an encoder whose prefixes mean nothing by
// themselves: inner products of whole vectors stay what they are, and prefixes come to tell most of them (docs/adr/0011).
// Vectors and queries here are rotated ones, see [Model.Rotate], but for those of [Train] and [Model.Prefixes].
//
// Package coarse tells which list a vector belongs to and which lists a query probes, by the first CoarseDims dimensions.
// With residual r = x - centroid, <q,x> = <q,centroid> + <q,r>: the first is Base of a [coarse.Probe], the second is what
// codes and [opq.LUT] approximate.
//
// # File format
//
// A model is an Arrow IPC file (version 5 of the metadata, little-endian, not compressed) of one record batch with one
// row, three columns, or four if it rotates, and no nulls:
//
//	centroids  list<float32 not null> not null   [nlist][D] row-major
//	rotation   list<float32 not null> not null   the matrices of opq.Quantizer.Rotation, one after the other
//	codebooks  list<float32 not null> not null   the codewords of opq.Quantizer.Codebooks, one after the other
//	axes       list<float32 not null> not null   [D][D] row-major: rotated vector = axes * searched vector
//
// The schema's metadata has these keys and no others, written in this order, numbers in decimal:
//
//	adastream.kind          "model"
//	adastream.format        "1"
//	adastream.metric        "cosine" or "ip"
//	adastream.ladder        the widths with commas between, "64,128,256"
//	adastream.dim           D, the last width of the ladder
//	adastream.coarse_dims   a width of the ladder
//	adastream.nlist         number of lists, the sum of adastream.groups
//	adastream.groups        consecutive lists of each group, see package coarse, with commas between, each at least 1
//	adastream.spill         "true" if vectors have a second list, see package coarse, else "false"
//	adastream.m             number of sub-quantisers, the sum of adastream.blocks
//	adastream.bits          "4", of the code of a sub-quantiser
//	adastream.blocks        sub-quantisers of each block, see opq.Quantizer.Blocks, with commas between
//	adastream.trained_rows  live rows of the index when the model was trained
//	adastream.axes          SHA-256 of the values of axes, little-endian; absent if the column is
//
// All values are finite. Offsets of the lists begin at 0 and buffers are padded to 64 bytes, as arrow-go writes them.
package model

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/opq"
	"github.com/adastream/adastream/schemas"
)

// Model is immutable and safe for concurrent use; a [Scratch] is not.
type Model struct {
	params
	id   string
	data []byte

	rotate  sync.Once
	rotated []float32 // see rotatedCentroids
}

// params are the parts of a model.
type params struct {
	metric      schemas.Metric
	ladder      mrl.Ladder
	trainedRows int64
	axes        *axes // nil if vectors are not rotated
	lists       *coarse.Quantizer
	quantizer   *opq.Quantizer
}

// newModel makes a model of parts that fit, and of their encoded form.
func newModel(p params, data []byte) *Model {
	sum := sha256.Sum256(data)
	return &Model{params: p, id: hex.EncodeToString(sum[:]), data: data}
}

// ID returns the lower-case hex of the sha256 of Bytes.
func (m *Model) ID() string { return m.id }

// Bytes returns the model as a file. It must not be changed.
func (m *Model) Bytes() []byte { return m.data }

// Metric returns how vectors are compared.
func (m *Model) Metric() schemas.Metric { return m.metric }

// Ladder returns the trained widths. It must not be changed.
func (m *Model) Ladder() mrl.Ladder { return m.ladder }

// Dim returns the full width D.
func (m *Model) Dim() int { return m.ladder.Dim() }

// CoarseDims returns the width that lists are chosen by.
func (m *Model) CoarseDims() int { return m.lists.Dims() }

// Spill reports whether vectors have a second list.
func (m *Model) Spill() bool { return m.lists.Spill() }

// NList returns the number of lists.
func (m *Model) NList() int { return m.lists.NList() }

// M returns the number of sub-quantisers of a code.
func (m *Model) M() int { return m.quantizer.M() }

// CodeBytes returns the size of a code, two sub-quantisers a byte.
func (m *Model) CodeBytes() int { return m.quantizer.CodeBytes() }

// Subs returns how many of a code's first sub-quantisers cover the first dims dimensions, a level of the ladder.
func (m *Model) Subs(dims int) int { return m.quantizer.Subs(dims) }

// TrainedRows returns how many live rows the index had when the model was trained.
func (m *Model) TrainedRows() int64 { return m.trainedRows }

// Centroid returns the full-width centroid of a list. It must not be changed.
func (m *Model) Centroid(list int) []float32 { return m.lists.Centroid(list) }

// Uniform returns the quantiser as others know product quantisers, of vectors that are rotated already, see [Model.Rotate].
func (m *Model) Uniform() *opq.Uniform { return m.quantizer.Uniform() }

// Scratch is working memory of one goroutine, for any number of models. It grows to the largest need once.
type Scratch struct {
	rotated   []float32 // vectors of a batch
	residuals []float32 // theirs, of each coding
	todo      []opq.Residuals
	coarse    coarse.Scratch
	opq       opq.Scratch
}

// NewScratch returns working memory.
func NewScratch() *Scratch { return &Scratch{} }

// grow returns a slice of n elements, s if it is large enough.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// Assign sets lists[i] to the list of each of n vectors [n][Dim()], and spills[i] to its second one, coarse.NoSpill if there
// is none; spills may be nil. Neither depends on a vector's neighbours.
func (m *Model) Assign(level avx.Level, vectors []float32, n int, lists, spills []int32, s *Scratch) {
	m.lists.Assign(level, vectors, n, lists, spills, &s.coarse)
}

// Coding is a list for each of some vectors, their first or their second ones, and room for the codes, [n][CodeBytes()].
// The code for coarse.NoSpill is zeros.
type Coding struct {
	Lists []int32
	Codes []byte
}

// Encode writes codes of n vectors [n][Dim()], see [opq.Quantizer.EncodeAlong]. The code of a vector in a list depends on nothing
// else, but two codings of the same vectors cost less together.
func (m *Model) Encode(level avx.Level, vectors []float32, n int, s *Scratch, codings ...Coding) {
	dim, size := m.Dim(), m.CodeBytes()
	centroids := m.rotatedCentroids(level)
	s.rotated, s.residuals = grow(s.rotated, opq.Batch*dim), grow(s.residuals, len(codings)*opq.Batch*dim)
	s.todo = grow(s.todo, len(codings))
	for start := 0; start < n; start += opq.Batch {
		rows := min(opq.Batch, n-start)
		m.quantizer.RotateRows(level, s.rotated, vectors[start*dim:], rows)
		for c, coding := range codings {
			residuals := s.residuals[c*opq.Batch*dim:]
			for i, list := range coding.Lists[start : start+rows] {
				list = max(list, 0) // that of no list is encoded in vain
				avx.Sub(level, residuals[i*dim:], s.rotated[i*dim:][:dim], centroids[int(list)*dim:])
			}
			s.todo[c] = opq.Residuals{Values: residuals, Codes: coding.Codes[start*size:]}
		}
		m.quantizer.EncodeAlong(level, s.rotated, rows, &s.opq, s.todo...)
	}
	clear(s.todo)
	for _, coding := range codings {
		for i, list := range coding.Lists[:n] {
			if list == coarse.NoSpill {
				clear(coding.Codes[i*size:][:size])
			}
		}
	}
}

// EncodeNearest writes the nearest code of a vector in a list. Codes were that until docs/adr/0023.
func (m *Model) EncodeNearest(level avx.Level, vector []float32, list int32, code []byte, s *Scratch) {
	s.residuals = grow(s.residuals, m.Dim())
	m.residual(level, s.residuals, vector, list)
	m.quantizer.Encode(level, s.residuals, 1, code, &s.opq)
}

// rotatedCentroids returns the centroids rotated as codes are, so that a vector is rotated once, whatever lists it is in. They are
// made when the first vector is encoded: who only searches needs none.
func (m *Model) rotatedCentroids(level avx.Level) []float32 {
	m.rotate.Do(func() {
		m.rotated = make([]float32, m.NList()*m.Dim())
		m.quantizer.RotateRows(level, m.rotated, m.lists.Centroids(), m.NList())
	})
	return m.rotated
}

// residual sets dst to what is left of a vector without the centroid of a list.
func (m *Model) residual(level avx.Level, dst, vector []float32, list int32) {
	avx.Sub(level, dst, vector[:m.Dim()], m.Centroid(int(list)))
}

// ProbeInOrder is [coarse.Quantizer.ProbeInOrder], of a query as Probe has it.
func (m *Model) ProbeInOrder(level avx.Level, query []int16, scale float64, nprobe int, margin float64, more int, looked []int32, s *Scratch) ([]coarse.Probe, int) {
	return m.lists.ProbeInOrder(level, query, scale, nprobe, margin, more, looked, &s.coarse)
}

// Look is [coarse.Quantizer.Look]. The result is valid until the next Look with s.
func (m *Model) Look(level avx.Level, queries [][]int16, nprobe int, s *Scratch) []int32 {
	return m.lists.Look(level, queries, nprobe, &s.coarse)
}

// Probe returns the lists that a query should probe, see [coarse.Quantizer.Probe]. The query is scale times Dim() values of
// int16. The result is valid until the next Probe with s.
func (m *Model) Probe(level avx.Level, query []int16, scale float64, nprobe int, margin float64, looked []int32, s *Scratch) []coarse.Probe {
	return m.lists.Probe(level, query, scale, nprobe, margin, looked, &s.coarse)
}

// LUT makes the query's lookup table over the first dims dimensions, a level of the ladder, in the memory of lut. The query
// has Dim() finite values.
func (m *Model) LUT(level avx.Level, query []float32, dims int, lut *opq.LUT, s *Scratch) {
	m.quantizer.LUT(level, query, dims, lut, &s.opq)
}

// String describes the model for logs.
func (m *Model) String() string {
	rotated := ""
	if m.axes != nil {
		rotated = " of rotated vectors"
	}
	return fmt.Sprintf("model %.12s (%s, ladder %s%s, %d lists on %d dimensions, codes of %d x %d bits)",
		m.id, m.metric, m.ladder, rotated, m.NList(), m.CoarseDims(), m.M(), opq.Bits)
}
