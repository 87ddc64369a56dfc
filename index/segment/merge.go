package segment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/apache/arrow-go/v18/arrow"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/schemas"
)

// Input is a part to merge.
type Input struct {
	Part *Part
	Skip *roaring.Bitmap // rows that are not carried over, nil for none
}

// ChunkBodies are the files of a chunk of the lists [FirstList, EndList).
type ChunkBodies struct {
	FirstList, EndList, NumRows int
	Rows, Codes, Vectors        []byte
}

// MergeOptions are the parameters of [Merge].
type MergeOptions struct {
	ChunkBytes int64 // that a chunk's files have together at most, as far as it has more than one list
	// Memory returns that many bytes, all zero, aligned to 8 and in use until Merge returns, for what it keeps of rows; nil takes
	// them from the heap.
	Memory  func(bytes int64) ([]byte, error)
	Threads int // that find lists of rows which are of another model, then make chunks; 0 is one
	// AtOnceBytes are what the files of all chunks that are being made have together at most, as far as that is more than one
	// chunk; 0 is 256 MiB.
	AtOnceBytes int64
}

// Merge makes chunks of a model from the rows of parts, all of which must have vectors: one base. Chunks divide all lists
// in runs of consecutive ones, of together at most o.ChunkBytes as far as a list has no more; lists without rows go with
// those before them. Each has rows, and they are the same on however many threads. A list has its rows in the order of inputs,
// then of rows. No rows make no chunk. Of a base of the same model all chunks must be inputs, one after the other, since
// their codes are of each other's rows.
//
// Each thread emits the chunk that it has made before it makes another: emit is called by several at once, and not in the order of
// lists, unless there is one thread. The first error, of emit or of the merge, ends it, as soon as chunks that others are emitting
// are done.
//
// Ids, orders, attributes and originals are carried over as they are; so are int8 rows of an input of the same axes, and lists
// and codes of one of the same model, while others are derived anew from the originals. At any time Merge holds what is stored of the rows
// of one chunk for each thread, twice: at most twice o.AtOnceBytes, or twice the largest chunk if that has more. In o.Memory it holds
// 4 bytes for each row of all inputs, and up to 16 more for one of no chunk of the model.
func Merge(ctx context.Context, spec *schemas.Spec, mdl *model.Model, level avx.Level, inputs []Input, o MergeOptions, emit func(ChunkBodies) error) error {
	if mdl == nil {
		return errors.New("merge: no model, but the rows of chunks have codes")
	}
	m := &merger{spec: spec, mdl: mdl, memory: o.Memory, makers: make([]*maker, max(1, o.Threads))}
	for i := range m.makers {
		d, err := newDeriver(spec, mdl, level)
		if err != nil {
			return fmt.Errorf("merge: %w", err)
		}
		m.makers[i] = &maker{deriver: d, merger: m}
	}
	if err := m.open(ctx, inputs); err != nil {
		return fmt.Errorf("merge: %w", err)
	}
	sizes, err := m.number()
	if err != nil {
		return fmt.Errorf("merge: %w", err)
	}
	var groups []group
	for made := 0; made < m.carried; made += groups[len(groups)-1].rows {
		groups = append(groups, nextGroup(sizes, groups, o.ChunkBytes, m.carried-made))
	}
	atOnce := cmp.Or(o.AtOnceBytes, 256<<20)
	room := semaphore.NewWeighted(atOnce)
	return Share(ctx, m.makers, len(groups), func(ctx context.Context, w *maker, i int) error {
		bytes := min(groups[i].bytes, atOnce)
		if err := room.Acquire(ctx, bytes); err != nil {
			return err
		}
		defer room.Release(bytes)
		if err := w.emit(ctx, groups[i], emit); err != nil {
			return fmt.Errorf("merge: lists [%d, %d): %w", groups[i].first, groups[i].end, err)
		}
		return nil
	})
}

// Share has workers do n things at once, each the next one that nobody has begun. The first error ends the work.
func Share[W any](ctx context.Context, workers []W, n int, do func(ctx context.Context, w W, i int) error) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range workers {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := do(ctx, w, i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// size is what the rows of a list, or of several, will take.
type size struct {
	rows, codes int
	bytes       int64
}

// number numbers the rows of the new base, and returns what each list takes in the chunks' files.
func (m *merger) number() ([]size, error) {
	const identity = 4 + 8 + 8 + 4 + 8 + 4 + 4 + 4 // offset of the id, order, lists
	perRow := int64(identity + m.spec.Dim() + 4 + 4*len(m.spec.Ladder) + m.spec.VectorBytes())
	for _, a := range m.spec.Attributes {
		if fixed, ok := a.Type.ArrowType().(arrow.FixedWidthDataType); ok {
			perRow += int64(fixed.Bytes())
		} else {
			perRow += 4 // where a text ends
		}
	}
	sizes := make([]size, m.mdl.NList())
	for l := range sizes {
		m.rows(l, func(s *source, row int) {
			s.numbers[row] = int32(m.carried)
			m.carried++
			sizes[l].rows++
			sizes[l].codes++
			sizes[l].bytes += perRow + s.part.textBytes(row)
			if second := s.spills[row]; second != coarse.NoSpill {
				sizes[second].codes++
			}
		})
		if m.carried > math.MaxInt32 {
			return nil, fmt.Errorf("more than %d rows in one base", math.MaxInt32)
		}
	}
	perBlock := avx.BlockBytes(m.mdl.M()) + 4*avx.BlockRows + 8
	for l := range sizes {
		sizes[l].bytes += int64(blocksOf(sizes[l].codes) * perBlock)
	}
	return sizes, nil
}

// group is consecutive lists [first, end) that become a chunk.
type group struct {
	first, end int
	row        int // number of its first row in the new base
	size
}

// nextGroup returns the lists from the end of the groups before until the next that has rows would go beyond the target. The last
// group, when no rows are left, ends with the last list, so that codes of spilled rows have a chunk whether their list has rows or not.
func nextGroup(sizes []size, before []group, target int64, left int) group {
	var g group
	if len(before) > 0 {
		last := before[len(before)-1]
		g = group{first: last.end, end: last.end, row: last.row + last.rows}
	}
	for ; g.end < len(sizes); g.end++ {
		next := sizes[g.end]
		if g.rows > 0 && g.rows < left && next.rows > 0 && g.bytes+next.bytes > target {
			break
		}
		g.rows += next.rows
		g.bytes += next.bytes
	}
	return g
}

// maker makes chunks of a merger's sources, one after the other. It is not safe for concurrent use.
type maker struct {
	*deriver
	merger *merger
	codes  listCodes

	underived []uint32           // rows of a list whose codes are to be derived
	list      [deriveBatch]int32 // the list of each of them
}

// emit makes the chunk of a group.
func (w *maker) emit(ctx context.Context, g group, emit func(ChunkBodies) error) error {
	t, err := w.gather(ctx, g)
	if err != nil {
		return err
	}
	c := ChunkBodies{FirstList: g.first, EndList: g.end, NumRows: g.rows}
	if c.Rows, err = t.rows(w.mdl.Axes()); err != nil {
		return fmt.Errorf("rows: %w", err)
	}
	blocks, err := w.code(ctx, g)
	if err != nil {
		return err
	}
	if c.Codes, err = blocks.file(w.coder(), g.row, w.merger.carried); err != nil {
		return fmt.Errorf("codes: %w", err)
	}
	if c.Vectors, err = t.originals(); err != nil {
		return fmt.Errorf("vectors: %w", err)
	}
	return emit(c)
}

// gather copies the rows of a group out of the sources.
func (w *maker) gather(ctx context.Context, g group) (*table, error) {
	t := &table{spec: w.spec, ids: make([]string, 0, g.rows), orders: make([]Order, 0, g.rows)}
	t.lists, t.spills = make([]int32, 0, g.rows), make([]int32, 0, g.rows)
	t.grow(g.rows, 0)
	columns := NewRows(w.spec).Attributes
	var turned []int32 // rows whose input has other axes
	var failed error
	for l := g.first; l < g.end; l++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		w.merger.rows(l, func(s *source, row int) {
			if s.part.Axes != w.mdl.Axes() {
				turned = append(turned, int32(len(t.ids)))
			}
			if err := t.carry(s, columns, row); err != nil && failed == nil {
				failed = fmt.Errorf("part %s: row %d: %w", s.part.ID, row, err)
			}
		})
		if failed != nil {
			return nil, failed
		}
	}
	if err := w.compareAnew(&t.compared, turned, func(row int) []byte { return t.vectors[row*w.spec.VectorBytes():][:w.spec.VectorBytes()] }); err != nil {
		return nil, err
	}
	var err error
	t.attributes, err = columnArrays(w.spec, columns, nil)
	return t, err
}

// carry appends a row of a source.
func (t *table) carry(s *source, columns []*Column, row int) error {
	p, to := s.part, len(t.ids)
	t.ids = append(t.ids, p.IDAt(row))
	t.orders = append(t.orders, p.OrderAt(row))
	t.lists = append(t.lists, s.lists[row])
	t.spills = append(t.spills, s.spills[row])
	for j, column := range columns {
		if err := column.AppendFrom(p.Attribute(j), row); err != nil {
			return fmt.Errorf("attribute %q: %w: %w", t.spec.Attributes[j].Name, err, schemas.ErrCorrupt)
		}
	}
	levels := len(t.spec.Ladder)
	copy(t.int8s[to*p.dim:][:p.dim], p.Int8[row*p.dim:])
	t.scales[to] = p.Scales[row]
	copy(t.norms[to*levels:][:levels], p.Norms[row*levels:])
	copy(t.vectors[to*p.width:][:p.width], p.Stored(row))
	return nil
}
