package export

import (
	"context"
	"errors"
	"fmt"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/opq"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

// ivf writes an IndexIVFPQ with the lists, centroids and codes of the generation. Its codes are ours bit by bit and in the same order, low
// nibbles first; what differs is made equal by the transform before it, see opq.Uniform: rotation blocks become one matrix, axes are part of it,
// and sub-quantisers get one width. A row stands in its first list only: FAISS would find it twice.
type ivf struct {
	e       *export
	s       *snapshot.Snapshot
	mdl     *model.Model
	uniform *opq.Uniform
	numbers *numbers
	foreign [][]foreign // by list: rows of segments that another model assigned, or none
	integer bool        // labels are ids
}

// foreign is a row that got its list and code here.
type foreign struct {
	part, row int
	number    int64
	code      []byte
}

// foreignBatch is how many of them are assigned at a time.
const foreignBatch = 1024

func (e *export) ivf(ctx context.Context) error {
	if e.m.Model == nil {
		return fmt.Errorf("generation %d has no model yet, so no lists and no codes: take the format %s", e.m.Generation, Faiss)
	}
	s, end, err := e.snapshot(ctx)
	if err != nil {
		return err
	}
	defer end()
	w := &ivf{e: e, s: s, mdl: s.Model(), uniform: s.Model().Uniform(), numbers: newNumbers(s), foreign: make([][]foreign, s.Model().NList())}
	if err := w.ids(ctx); err != nil {
		return err
	}
	for _, part := range s.Unlisted() {
		if err := w.assign(ctx, part); err != nil {
			return err
		}
	}
	f, err := e.create(faissFile)
	if err != nil {
		return err
	}
	return errors.Join(w.index(ctx, &faissIO{w: f}), f.close())
}

// ids writes those of all rows, and learns whether they can be labels.
func (w *ivf) ids(ctx context.Context) error {
	ids, err := w.e.newIDs()
	if err != nil {
		return err
	}
	n := int64(0)
	for i, p := range w.s.Parts() {
		if err := ctx.Err(); err != nil {
			return err
		}
		for row := 0; row < p.N && n < w.e.rows; row++ {
			if w.s.Dead(i).Has(row) {
				continue
			}
			if err := ids.write(p.IDAt(row)); err != nil {
				return err
			}
			n++
		}
	}
	integers, err := ids.close()
	w.integer = integers && ids.least >= 0
	return err
}

// assign finds lists and codes of the rows of a part that is in no list of the model.
func (w *ivf) assign(ctx context.Context, part int) error {
	p, dim, size := w.s.Parts()[part], w.mdl.Dim(), w.mdl.CodeBytes()
	given, rotated := make([]float32, foreignBatch*dim), make([]float32, foreignBatch*dim)
	lists, scratch := make([]int32, foreignBatch), model.NewScratch()
	number := w.numbers.first[part]
	for row := 0; row < p.N && number < w.e.rows; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var some []foreign
		for ; row < p.N && len(some) < foreignBatch && number < w.e.rows; row++ {
			if w.s.Dead(part).Has(row) {
				continue
			}
			v := given[len(some)*dim:][:dim]
			if p.Vector(w.e.Level, row, v); w.s.Spec().Metric == schemas.Cosine {
				mrl.Normalize(w.e.Level, v, v)
			}
			some = append(some, foreign{part: part, row: row, number: number})
			number++
		}
		n := len(some)
		codes := make([]byte, n*size)
		w.mdl.Rotate(w.e.Level, rotated[:n*dim], given[:n*dim])
		w.mdl.Assign(w.e.Level, rotated, n, lists, nil, scratch)
		w.mdl.Encode(w.e.Level, rotated, n, scratch, model.Coding{Lists: lists, Codes: codes})
		for i, f := range some {
			f.code = codes[i*size:][:size]
			w.foreign[lists[i]] = append(w.foreign[lists[i]], f)
		}
	}
	return nil
}

// index writes the file.
func (w *ivf) index(ctx context.Context, out *faissIO) error {
	dim, width, nlist := w.mdl.Dim(), w.uniform.Subs*w.uniform.Width, w.mdl.NList()
	const noBias, trained, byResidual, noMap = false, true, true, byte(0)
	out.header("IxMp", dim, w.e.rows)
	out.header("IxPT", dim, w.e.rows)
	if w.s.Spec().Metric == schemas.Cosine {
		out.put(int32(2)) // transforms
		out.normalize(dim)
	} else {
		out.put(int32(1))
	}
	out.name("LTra")
	out.put(noBias, uint64(width)*uint64(dim))
	w.transform(out)
	out.put(uint64(0), int32(dim), int32(width), trained)

	out.header("IwPQ", width, w.e.rows)
	out.put(uint64(nlist), uint64(w.nprobe()))
	out.header("IxFI", width, int64(nlist))
	out.put(uint64(nlist) * uint64(width))
	for list := range nlist {
		out.put(w.mapped(w.mdl.Centroid(list)))
	}
	out.put(noMap, uint64(0))
	out.put(byResidual, uint64(w.uniform.CodeBytes()))
	out.put(uint64(width), uint64(w.uniform.Subs), uint64(opq.Bits))
	out.put(uint64(len(w.uniform.Codebooks)), w.uniform.Codebooks)
	return w.lists(ctx, out)
}

// transform writes the map of searched vectors: of the model's axes, if it has any, and of the codes.
func (w *ivf) transform(out *faissIO) {
	dim, row := w.mdl.Dim(), make([]float32, w.mdl.Dim())
	for at := 0; at < len(w.uniform.Map); at += dim {
		w.mdl.Unrotate(row, w.uniform.Map[at:][:dim])
		out.put(row)
	}
}

// mapped is what the codes' map makes of a rotated vector.
func (w *ivf) mapped(v []float32) []float32 {
	dim := len(v)
	out := make([]float32, w.uniform.Subs*w.uniform.Width)
	for i := range out {
		sum := 0.0
		for d, x := range w.uniform.Map[i*dim:][:dim] {
			sum += float64(x) * float64(v[d])
		}
		out[i] = float32(sum)
	}
	return out
}

// nprobe is what FAISS probes unless it is told otherwise: the most of all plans that were measured, since rows are in one list here.
func (w *ivf) nprobe() int {
	n := 1
	for _, p := range w.e.m.Plans {
		n = max(n, p.NProbe)
	}
	return min(n, w.mdl.NList())
}

// lists writes what is in each, its codes and then the numbers of their rows, and the labels that the numbers stand for.
func (w *ivf) lists(ctx context.Context, out *faissIO) error {
	nlist, size := w.mdl.NList(), w.uniform.CodeBytes()
	sizes := make([]uint64, nlist)
	err := w.each(ctx, func(list int, _ int64, _ func([]byte)) { sizes[list]++ })
	if err != nil {
		return err
	}
	out.name("ilar")
	out.put(uint64(nlist), uint64(size))
	out.name("full")
	out.put(uint64(nlist), sizes)
	var codes []byte
	var rows []int64
	list := 0
	flush := func(to int) {
		out.put(codes, rows)
		codes, rows, list = codes[:0], rows[:0], to
	}
	err = w.each(ctx, func(l int, number int64, code func([]byte)) {
		if l != list {
			flush(l)
		}
		at := len(codes)
		codes = append(codes, make([]byte, size)...)
		code(codes[at:][:w.mdl.CodeBytes()])
		rows = append(rows, number)
	})
	flush(nlist)
	if err := errors.Join(err, out.err); err != nil {
		return err
	}
	return w.e.labels(out, w.integer)
}

// each goes over the rows list by list, and says their numbers and how their codes are read.
func (w *ivf) each(ctx context.Context, to func(list int, number int64, code func([]byte))) error {
	next := append([]int64(nil), w.numbers.first...) // of each part, whose rows are sorted by list
	for list := range w.mdl.NList() {
		if err := ctx.Err(); err != nil {
			return err
		}
		for i, p := range w.s.Parts() {
			if p.Model != w.mdl.ID() {
				continue
			}
			start, end := p.ListRange(list)
			var coded []int
			if p.Blocks != nil {
				coded = codesOf(p, list, start, end)
			}
			for row := start; row < end; row++ {
				if w.s.Dead(i).Has(row) {
					continue
				}
				number := next[i]
				if next[i]++; number >= w.e.rows {
					continue
				}
				to(list, number, func(dst []byte) {
					if coded != nil {
						p.ReadCode(dst, coded[row-start])
						return
					}
					copy(dst, p.Code(row))
				})
			}
		}
		for _, f := range w.foreign[list] {
			to(list, f.number, func(dst []byte) { copy(dst, f.code) })
		}
	}
	return nil
}

// codesOf are the codes of a chunk's rows [start, end), which are those of the list: others that it has there are of rows that are spilled.
func codesOf(p *segment.Part, list, start, end int) []int {
	coded := make([]int, end-start)
	first, last := p.CodeRange(list)
	for at := first; at < last; at++ {
		if row := int(p.CodeRows[at]) - p.FirstRow; row >= start && row < end {
			coded[row-start] = at
		}
	}
	return coded
}
