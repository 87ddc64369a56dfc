package snapshot

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
)

// Snapshot is one generation, ready to be searched. It is safe for concurrent use.
type Snapshot struct {
	spec       *schemas.Spec
	manifest   *schemas.Manifest
	model      *model.Model
	parts      []*segment.Part
	hasVectors bool     // all of them
	dead       []BitSet // for each part
	live       int64
	buried     int64
	baseRows   int
	lists      lists
	refs       refs
}

// Open makes a snapshot of the generation m. Parts are those of m, in its order: chunks, then segments. Mdl is the
// model that m refers to, nil if it refers to none, and int8 rows are by its axes (see [segment.Turn]). Dead holds row
// numbers by the ID of a part; bitmaps of other parts are ignored, since a generation may share the file of its parent.
// Whatever does not agree with m is an error that wraps [schemas.ErrCorrupt] and says what.
//
// OnClose, which may be nil, runs once, when the snapshot is closed and no reader is left. If Open fails it never runs.
func Open(spec *schemas.Spec, m *schemas.Manifest, mdl *model.Model, parts []*segment.Part,
	dead map[string]*roaring.Bitmap, onClose func()) (*Snapshot, error) {
	s := &Snapshot{spec: spec, manifest: m, model: mdl, parts: parts, dead: make([]BitSet, len(parts))}
	s.hasVectors = !slices.ContainsFunc(parts, func(p *segment.Part) bool { return !p.HasVectors() })
	s.refs.last = onClose
	if err := s.open(dead); err != nil {
		return nil, fmt.Errorf("generation %d: %w", m.Generation, err)
	}
	return s, nil
}

func (s *Snapshot) open(dead map[string]*roaring.Bitmap) error {
	if err := checkModel(s.spec, s.manifest.Model, s.model); err != nil {
		return err
	}
	if err := checkParts(s.spec, s.manifest, s.model, s.parts); err != nil {
		return err
	}
	if err := s.bury(dead); err != nil {
		return err
	}
	if s.live != s.manifest.LiveRows {
		return corrupt("manifest counts %d live rows, its parts hold %d", s.manifest.LiveRows, s.live)
	}
	if err := s.checkBase(); err != nil {
		return err
	}
	var err error
	s.lists, err = newLists(s.model, s.parts)
	return err
}

// checkBase makes sure that the chunks are one base, so that codes are of rows that are there.
func (s *Snapshot) checkBase() error {
	chunks := s.parts[:len(s.manifest.Chunks)]
	for _, p := range chunks {
		if p.FirstRow != s.baseRows {
			return corrupt("chunk %s begins at row %d of its base, allowed after %d rows: row %d", p.ID, p.FirstRow, s.baseRows, s.baseRows)
		}
		s.baseRows += p.N
	}
	for _, p := range chunks {
		if p.BaseRows != s.baseRows {
			return corrupt("chunk %s is of a base of %d rows, the chunks have %d", p.ID, p.BaseRows, s.baseRows)
		}
	}
	return nil
}

// bury turns the bitmaps into words that a scan can test without a call, and counts the rows that are left.
func (s *Snapshot) bury(dead map[string]*roaring.Bitmap) error {
	for i, p := range s.parts {
		s.live += int64(p.N)
		rows := dead[p.ID]
		if rows == nil || rows.IsEmpty() {
			continue
		}
		if last := rows.Maximum(); int64(last) >= int64(p.N) {
			return corrupt("dead rows: part %s: row %d of %d", p.ID, last, p.N)
		}
		s.dead[i] = make(BitSet, max((p.N+63)/64, int(rows.DenseSize())))
		rows.WriteDenseTo(s.dead[i])
		s.buried += int64(rows.GetCardinality())
	}
	s.live -= s.buried
	return nil
}

// Acquire takes a reference for a reader, unless the snapshot is closed.
func (s *Snapshot) Acquire() bool { return s.refs.acquire() }

// Release gives up a reference that [Snapshot.Acquire] took. Like the counter of a [sync.WaitGroup] it panics when
// there is none: the caller may be about to read unmapped memory.
func (s *Snapshot) Release() { s.refs.release() }

// Close gives up the reference of the owner. From now on nobody can acquire the snapshot. Closing again does nothing.
func (s *Snapshot) Close() { s.refs.close() }

// Spec is the spec of the index.
func (s *Snapshot) Spec() *schemas.Spec { return s.spec }

// Manifest is the manifest of the generation.
func (s *Snapshot) Manifest() *schemas.Manifest { return s.manifest }

// Model is the model of the generation, nil while there is none.
func (s *Snapshot) Model() *model.Model { return s.model }

// Parts are the chunks, then the segments, in the order of the manifest. The caller must not change the slice.
func (s *Snapshot) Parts() []*segment.Part { return s.parts }

// HasVectors reports whether all parts were opened with their originals.
func (s *Snapshot) HasVectors() bool { return s.hasVectors }

// Live is the number of rows that are not dead.
func (s *Snapshot) Live() int64 { return s.live }

// Buried is the number of rows that are dead.
func (s *Snapshot) Buried() int64 { return s.buried }

// BitSet is a set of row numbers: bit row%64 of word row/64 is set. A nil set is empty, any other has all words.
type BitSet []uint64

// Has reports whether a row of the part is in the set.
func (b BitSet) Has(row int) bool { return b != nil && b[row/64]>>(uint(row)%64)&1 != 0 }

// Count returns how many of the rows [start, end) are in the set.
func (b BitSet) Count(start, end int) (n int) {
	if b == nil || start >= end {
		return 0
	}
	first, last := start/64, (end-1)/64
	for w := first; w <= last; w++ {
		word := b[w]
		if w == first {
			word &= ^uint64(0) << (start % 64)
		}
		if w == last {
			word &= ^uint64(0) >> (63 - (end-1)%64)
		}
		n += bits.OnesCount64(word)
	}
	return n
}

// Dead returns the dead rows of a part. The caller must not change them.
func (s *Snapshot) Dead(part int) BitSet { return s.dead[part] }

// Find returns where the live row of an id is.
func (s *Snapshot) Find(id string) (part, row int, ok bool) {
	for i, p := range s.parts {
		for row := range p.Find(id) {
			if !s.dead[i].Has(row) {
				return i, row, true
			}
		}
	}
	return 0, 0, false
}

// BaseRows is the number of rows in all chunks.
func (s *Snapshot) BaseRows() int { return s.baseRows }

// Locate returns the chunk of a row of the base, and the row's number there.
func (s *Snapshot) Locate(baseRow int) (part, row int) {
	chunks := s.parts[:len(s.manifest.Chunks)]
	part, found := slices.BinarySearchFunc(chunks, baseRow, func(p *segment.Part, row int) int { return cmp.Compare(p.FirstRow, row) })
	if !found {
		part--
	}
	return part, baseRow - chunks[part].FirstRow
}

// Runs returns what is in a list, in the order of parts; no run is empty. The caller must not change it.
// List is in [0, Model().NList()).
func (s *Snapshot) Runs(list int32) []Run { return s.lists.runs(list) }

// Unlisted returns the parts whose rows are in no list of the model, ascending: all of them if there is no model.
func (s *Snapshot) Unlisted() []int { return s.lists.unlisted }

// checkModel compares the model that is there with the one that the manifest refers to.
func checkModel(spec *schemas.Spec, ref *schemas.ModelRef, mdl *model.Model) error {
	switch {
	case ref == nil && mdl == nil:
		return nil
	case ref == nil:
		return corrupt("model %s is there, the manifest has none", mdl.ID())
	case mdl == nil:
		return corrupt("model %s of the manifest is not there", ref.ID)
	case mdl.ID() != ref.ID:
		return corrupt("model %s is there, the manifest has %s", mdl.ID(), ref.ID)
	case mdl.NList() != ref.NList:
		return corrupt("model %s has %d lists, the manifest says %d", ref.ID, mdl.NList(), ref.NList)
	case mdl.Dim() != spec.Dim():
		return corrupt("model %s is for %d dimensions, the index has %d", ref.ID, mdl.Dim(), spec.Dim())
	case mdl.Metric() != spec.Metric:
		return corrupt("model %s is for metric %s, the index has %s", ref.ID, mdl.Metric(), spec.Metric)
	case (mdl.Axes() != "") != spec.Rotates():
		return corrupt("model %s has axes %q, the prefixes of the index are %q", ref.ID, mdl.Axes(), spec.Prefix)
	}
	return nil
}

// checkParts compares each part with its line in the manifest.
func checkParts(spec *schemas.Spec, m *schemas.Manifest, mdl *model.Model, parts []*segment.Part) error {
	if want := len(m.Chunks) + len(m.Segments); len(parts) != want {
		return corrupt("%d parts, the manifest has %d", len(parts), want)
	}
	if len(m.Chunks) > 0 && mdl == nil {
		return corrupt("%d chunks without a model", len(m.Chunks))
	}
	seen := make(map[string]bool, len(parts))
	for i, p := range parts {
		if seen[p.ID] {
			return corrupt("part %s is there twice", p.ID)
		}
		seen[p.ID] = true
		var err error
		if i < len(m.Chunks) {
			err = checkChunk(m.Chunks[i], mdl, p)
		} else {
			err = checkSegment(m.Segments[i-len(m.Chunks)], p)
		}
		if err != nil {
			return err
		}
		if p.Axes != mdl.Axes() {
			return corrupt("part %s has int8 rows by axes %q, the model of the generation has %q", p.ID, p.Axes, mdl.Axes())
		}
		if p.N > math.MaxInt32 || len(p.Int8) != p.N*spec.Dim() || len(p.Scales) != p.N {
			return corrupt("part %s: %d rows of %d dimensions with %d int8 values and %d scales",
				p.ID, p.N, spec.Dim(), len(p.Int8), len(p.Scales))
		}
	}
	return nil
}

func checkChunk(c schemas.Chunk, mdl *model.Model, p *segment.Part) error {
	switch {
	case p.ID != c.ID:
		return corrupt("part %s stands where the manifest has chunk %s", p.ID, c.ID)
	case p.N != c.NumRows:
		return corrupt("chunk %s has %d rows, the manifest says %d", c.ID, p.N, c.NumRows)
	case p.FirstList != c.FirstList || p.EndList != c.EndList:
		return corrupt("chunk %s covers lists [%d, %d), the manifest says [%d, %d)", c.ID, p.FirstList, p.EndList, c.FirstList, c.EndList)
	case p.Model != mdl.ID():
		return corrupt("chunk %s is of model %q, the generation of %s", c.ID, p.Model, mdl.ID())
	case p.M != mdl.M():
		return corrupt("chunk %s has codes of %d sub-quantisers, model %s has %d", c.ID, p.M, mdl.ID(), mdl.M())
	}
	return nil
}

func checkSegment(g schemas.Segment, p *segment.Part) error {
	switch {
	case p.ID != g.ID:
		return corrupt("part %s stands where the manifest has segment %s", p.ID, g.ID)
	case p.N != g.NumRows:
		return corrupt("segment %s has %d rows, the manifest says %d", g.ID, p.N, g.NumRows)
	case p.Model != g.Model:
		return corrupt("segment %s is of model %q, the manifest says %q", g.ID, p.Model, g.Model)
	}
	return nil
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, schemas.ErrCorrupt)...)
}
