package eval

import (
	"context"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/opq"
	"github.com/adastream/adastream/index/segment"
)

// index is what a system searches, for any number of lists probed. It is immutable.
type index struct {
	system System // whose NProbe does not count
	data   *Data

	// Rows in the order in which they are scanned: one list after the other.
	coarse    *cutter     // nil if all rows are one list
	centroids *avx.Panels // of unit length on the coarse view
	starts    []int32     // of lists, and the end
	order     []int32     // the row at each place; nil if they are in their own order

	scan *cutter
	// Either floats ...
	floats  []float32 // [places][stride]
	stride  int
	inverse []float32 // [places] 1 / length of what is scanned of each; nil if that is 1
	tails   []float32 // [places] length of what follows the bounded prefix; nil if the scan is not bounded
	// ... or codes.
	quantizer *opq.Quantizer
	blocks    []byte  // of lists
	at        []int32 // first block of each list
	means     []float32

	// Reranking.
	wide     []float32 // [rows][wideDims]
	wideDims int
	norms    [][]float32 // [stages][rows] 1 / length of the prefix
}

// build makes the index of a system.
func (b *Bench) build(ctx context.Context, s System) (*index, error) {
	if b.built != nil && b.built.system.structure() == s.structure() {
		return b.built, nil
	}
	x := &index{system: s, data: b.data, starts: []int32{0, int32(b.data.Rows.N)}}
	var err error
	if x.scan, err = b.cutter(ctx, s.Scan.View); err != nil {
		return nil, err
	}
	var l *lists
	var key listsKey
	if c := s.Coarse; c != nil {
		trained := c.View
		trained.Dims = max(c.Trained, c.Dims)
		key = listsKey{trained, c.NList}
		if l, err = b.cluster(ctx, trained, c.NList); err != nil {
			return nil, err
		}
		if x.coarse, err = b.cutter(ctx, c.View); err != nil {
			return nil, err
		}
		x.centroids = avx.Pack(l.sliced(b.o.Level, c.Dims), l.n, c.Dims, nil)
		x.starts, x.order = l.starts, l.order
	}
	if s.Scan.Bytes > 0 {
		coded, err := b.encode(ctx, s.Scan.View, s.Scan.Bytes, key, l)
		if err != nil {
			return nil, err
		}
		x.pack(coded)
	} else if err := b.gather(ctx, x); err != nil {
		return nil, err
	}
	if err := b.widen(ctx, x); err != nil {
		return nil, err
	}
	b.built = x
	return x, nil
}

// place returns the row at a place of the order of scanning.
func (x *index) place(i int) int {
	if x.order == nil {
		return i
	}
	return int(x.order[i])
}

// gather copies the rows to scan, list by list.
func (b *Bench) gather(ctx context.Context, x *index) error {
	stored := x.system.Scan.View
	stored.Dims = max(x.system.Scan.Stored, stored.Dims)
	rows, err := b.matrix(ctx, stored)
	if err != nil {
		return err
	}
	n, d := b.data.Rows.N, stored.Dims
	x.stride, x.floats = d, rows
	if x.order != nil {
		x.floats = make([]float32, n*d)
		for i, row := range x.order {
			copy(x.floats[i*d:][:d], rows[int(row)*d:][:d])
		}
	}
	if scanned := x.system.Scan.Dims; scanned < d {
		x.inverse = inverseNorms(b.o.Level, x.floats, n, d, scanned)
	}
	if bound := x.system.Scan.Bound; bound > 0 {
		x.tails = tails(b.o.Level, x.floats, n, d, bound)
	}
	return nil
}

// pack makes blocks of the codes of each list.
func (x *index) pack(c *codes) {
	x.quantizer, x.means = c.quantizer, c.means
	size := c.quantizer.CodeBytes()
	var list []byte
	for j := range len(x.starts) - 1 {
		list = list[:0]
		for i := x.starts[j]; i < x.starts[j+1]; i++ {
			list = append(list, c.bytes[x.place(int(i))*size:][:size]...)
		}
		x.at = append(x.at, int32(len(x.blocks)/avx.BlockBytes(c.quantizer.M())))
		x.blocks = segment.PackBlocks(x.blocks, list, c.quantizer.M())
	}
}

// widen makes what reranking reads: one copy of the rows as wide as the widest stage, and the norms of the others.
func (b *Bench) widen(ctx context.Context, x *index) error {
	for _, r := range x.system.Rerank {
		x.wideDims = max(x.wideDims, r.Dims)
	}
	if x.wideDims == 0 {
		return nil
	}
	var err error
	if x.wide, err = b.matrix(ctx, View{Column: x.system.Scan.Column, Dims: x.wideDims}); err != nil {
		return err
	}
	for _, r := range x.system.Rerank {
		var norms []float32 // of unit length already
		if r.Dims < x.wideDims {
			norms = inverseNorms(b.o.Level, x.wide, b.data.Rows.N, x.wideDims, r.Dims)
		}
		x.norms = append(x.norms, norms)
	}
	return nil
}

// inverseNorms returns 1 / length of the first d values of n rows, 0 for a row that has none.
func inverseNorms(level avx.Level, rows []float32, n, stride, d int) []float32 {
	out, unit := make([]float32, n), make([]float32, d)
	for i := range out {
		if norm := mrl.Normalize(level, unit, rows[i*stride:][:d]); norm > 0 {
			out[i] = 1 / norm
		}
	}
	return out
}

// bytes is what the index holds for searching, besides what is the same for all systems (the labels, the rows' ids).
func (x *index) bytes() int {
	n := 4*(len(x.floats)+len(x.inverse)+len(x.tails)+len(x.means)+len(x.wide)+len(x.order)+len(x.at)+len(x.starts)) + len(x.blocks)
	for _, norms := range x.norms {
		n += 4 * len(norms)
	}
	if x.centroids != nil {
		n += 4 * x.centroids.N() * x.centroids.Dim()
	}
	if q := x.quantizer; q != nil {
		n += 4 * (len(q.Rotation()) + len(q.Codebooks()))
	}
	return n
}
