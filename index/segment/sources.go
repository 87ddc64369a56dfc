package segment

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"unsafe"

	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/schemas"
)

// notCarried is the number of a row that is left out.
const notCarried = -1

// merger is the sources of a merge, and where their rows go. Its makers do the work; from when rows are numbered they only read it.
type merger struct {
	spec    *schemas.Spec
	mdl     *model.Model
	memory  func(bytes int64) ([]byte, error)
	makers  []*maker // one for each thread
	sources []source
	starts  []int  // of each source's rows among those of all, and their end
	anew    byList // rows of foreign sources by their first list
	spilled byList // rows of all sources but chunks of the model by their second list
	carried int    // rows of the new base
}

// source is an input of a merge.
type source struct {
	part    *Part
	skip    []uint64 // bit words of the rows to leave out
	foreign bool     // lists and codes are of another model or absent: they are derived anew

	lists, spills []int32 // of each row
	numbers       []int32 // of each row in the new base, or notCarried
	base          []int32 // the same of all rows of its base, of a chunk of the model
}

// chunk reports whether the source is a chunk of the model, whose codes are those of its base.
func (s *source) chunk() bool { return !s.foreign && s.part.Blocks != nil }

// carries reports whether a row is not left out.
func (s *source) carries(row int) bool {
	word := row / 64
	return word >= len(s.skip) || s.skip[word]>>(row%64)&1 == 0
}

// byList is rows of several sources, numbered among those of all, list by list, each in the order of sources.
type byList struct{ rows, starts []uint32 }

func (b *byList) of(list int) []uint32 { return b.rows[b.starts[list]:b.starts[list+1]] }

// open makes sources of inputs, and finds the lists of all rows.
func (m *merger) open(ctx context.Context, inputs []Input) (err error) {
	m.sources, m.starts = make([]source, len(inputs)), []int{0}
	var loose, foreign int // rows of sources that are no chunks of the model, and of foreign ones
	for i, input := range inputs {
		s := &m.sources[i]
		if *s, err = m.newSource(input); err != nil {
			return fmt.Errorf("part %s: %w", input.Part.ID, err)
		}
		m.starts = append(m.starts, m.starts[i]+s.part.N)
		if !s.chunk() {
			loose += s.part.N
		}
		if s.foreign {
			foreign += s.part.N
		}
	}
	if rows := m.starts[len(inputs)]; rows > math.MaxUint32 {
		return fmt.Errorf("%d rows in all inputs, allowed: %d", rows, math.MaxUint32)
	}
	if err := m.joinBases(); err != nil {
		return err
	}
	if err := m.divide(loose, foreign); err != nil {
		return err
	}
	if err := m.assignForeign(ctx); err != nil {
		return err
	}
	if m.anew, err = m.sort(foreign, func(s *source) []int32 {
		if s.foreign {
			return s.lists
		}
		return nil
	}); err != nil {
		return err
	}
	m.spilled, err = m.sort(loose, func(s *source) []int32 {
		if s.chunk() {
			return nil
		}
		return s.spills
	})
	return err
}

func (m *merger) newSource(input Input) (source, error) {
	p := input.Part
	s := source{part: p, foreign: p.Model != m.mdl.ID(), lists: p.lists, spills: p.spills}
	switch {
	case !p.HasVectors():
		return s, errors.New("it was opened without vectors")
	case p.dim != m.spec.Dim() || p.vectorT != m.spec.Vectors || len(p.attributes) != len(m.spec.Attributes):
		return s, errors.New("it was opened by another spec")
	case !s.foreign && p.M != m.mdl.M():
		return s, fmt.Errorf("codes of %d sub-quantisers, allowed for this model: %d: %w", p.M, m.mdl.M(), schemas.ErrCorrupt)
	case !s.foreign && max(p.EndList, p.EndSpill()) > m.mdl.NList():
		return s, fmt.Errorf("lists up to %d, allowed for this model: below %d: %w", max(p.EndList, p.EndSpill())-1, m.mdl.NList(), schemas.ErrCorrupt)
	}
	if input.Skip != nil {
		s.skip = input.Skip.ToDense()
	}
	return s, nil
}

// joinBases makes sure that the chunks of the model are whole bases, and lets the sources of each share its numbers.
func (m *merger) joinBases() error {
	inputs := m.starts[len(m.sources)]
	var base []int32
	next := 0
	for i := range m.sources {
		s := &m.sources[i]
		if !s.chunk() {
			continue
		}
		if s.part.BaseRows > inputs { // before that many are allocated
			return fmt.Errorf("chunk %s is of a base of %d rows, allowed: all its chunks, which are at most the %d rows here", s.part.ID, s.part.BaseRows, inputs)
		}
		if next == len(base) {
			var err error
			if base, err = m.noNumbers(s.part.BaseRows); err != nil {
				return err
			}
			next = 0
		}
		if s.part.FirstRow != next || s.part.BaseRows != len(base) {
			return fmt.Errorf("chunk %s begins at row %d of a base of %d, allowed: at row %d of %d", s.part.ID, s.part.FirstRow, s.part.BaseRows, next, len(base))
		}
		s.base, s.numbers = base, base[next:][:s.part.N]
		next += s.part.N
	}
	if next != len(base) {
		return fmt.Errorf("chunks with the first %d rows of a base, allowed: all %d", next, len(base))
	}
	return nil
}

// divide gives the other sources their numbers, and foreign ones their lists.
func (m *merger) divide(loose, foreign int) error {
	numbers, err := m.noNumbers(loose)
	if err != nil {
		return err
	}
	lists, err := valuesOf[int32](m, foreign)
	if err != nil {
		return err
	}
	spills, err := valuesOf[int32](m, foreign)
	if err != nil {
		return err
	}
	for i := range m.sources {
		s := &m.sources[i]
		if !s.chunk() {
			s.numbers, numbers = numbers[:s.part.N], numbers[s.part.N:]
		}
		if s.foreign {
			s.lists, lists = lists[:s.part.N], lists[s.part.N:]
			s.spills, spills = spills[:s.part.N], spills[s.part.N:]
		}
	}
	return nil
}

// noNumbers returns n numbers of rows that are left out, as all are at first.
func (m *merger) noNumbers(n int) ([]int32, error) {
	numbers, err := valuesOf[int32](m, n)
	for i := range numbers {
		numbers[i] = notCarried
	}
	return numbers, err
}

// valuesOf returns n zeros from the merger's memory.
func valuesOf[T int32 | uint32](m *merger, n int) ([]T, error) {
	if m.memory == nil || n == 0 {
		return make([]T, n), nil
	}
	bytes, err := m.memory(int64(n) * 4)
	if err != nil {
		return nil, fmt.Errorf("memory for %d rows: %w", n, err)
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(bytes))), n), nil
}

// assignRun is how many of a source's rows a thread assigns before it takes others.
const assignRun = 16384

// assignForeign finds the lists of foreign sources: of a merge under a new model half of the time goes there.
func (m *merger) assignForeign(ctx context.Context) error {
	type rows struct {
		source     *source
		start, end int
	}
	var runs []rows
	for i := range m.sources {
		s := &m.sources[i]
		for start := 0; s.foreign && start < s.part.N; start += assignRun {
			runs = append(runs, rows{s, start, min(start+assignRun, s.part.N)})
		}
	}
	return Share(ctx, m.makers, len(runs), func(ctx context.Context, w *maker, i int) error {
		r := runs[i]
		if err := w.assignAnew(ctx, r.source, r.start, r.end); err != nil {
			return fmt.Errorf("part %s: %w", r.source.part.ID, err)
		}
		return nil
	})
}

// assignAnew finds the lists of rows [from, end) of a foreign source.
func (d *deriver) assignAnew(ctx context.Context, s *source, from, end int) error {
	batch := d.assignBatch(end - from)
	for start := from; start < end; start += batch {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(batch, end-start)
		for i := range n {
			if err := d.search(d.row(i), s.part.Stored(start+i)); err != nil {
				return fmt.Errorf("row %d: %w: %w", start+i, err, schemas.ErrCorrupt)
			}
		}
		d.mdl.Assign(d.level, d.vectors(n), n, s.lists[start:start+n], s.spills[start:start+n], d.scratch)
	}
	return nil
}

// sort sorts up to most rows by the lists that of says they are in. Those of a source of which it says nothing, and those in no list,
// are left out.
func (m *merger) sort(most int, of func(s *source) []int32) (b byList, err error) {
	b.starts = make([]uint32, m.mdl.NList()+1)
	if b.rows, err = valuesOf[uint32](m, most); err != nil {
		return b, err
	}
	for i := range m.sources {
		for _, l := range of(&m.sources[i]) {
			if l != coarse.NoSpill {
				b.starts[l+1]++
			}
		}
	}
	for l := range m.mdl.NList() {
		b.starts[l+1] += b.starts[l]
	}
	next := slices.Clone(b.starts)
	for i := range m.sources {
		for row, l := range of(&m.sources[i]) {
			if l != coarse.NoSpill {
				b.rows[next[l]] = uint32(m.starts[i] + row)
				next[l]++
			}
		}
	}
	return b, nil
}

// rows calls visit for each row of a list that is to be carried over, in the order of inputs, then of rows.
func (m *merger) rows(list int, visit func(s *source, row int)) {
	anew := m.anew.of(list)
	for i := range m.sources {
		s := &m.sources[i]
		if s.foreign {
			for ; len(anew) > 0 && int(anew[0]) < m.starts[i+1]; anew = anew[1:] {
				if row := int(anew[0]) - m.starts[i]; s.carries(row) {
					visit(s, row)
				}
			}
			continue
		}
		start, end := s.part.ListRange(list)
		for row := start; row < end; row++ {
			if s.carries(row) {
				visit(s, row)
			}
		}
	}
}

// sourceOf finds a row, by its number among those of all sources.
func (m *merger) sourceOf(number uint32) (s *source, row int) {
	i := sort.SearchInts(m.starts, int(number)+1) - 1
	return &m.sources[i], int(number) - m.starts[i]
}
