package segment

import (
	"cmp"
	"math"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/schemas"
)

// OpenSegment opens a segment file of an index. id, the content hash by which manifests know it, names it in errors
// too. The part aliases data, which must stay as it is for as long as the part or anything got from it is in use;
// only when data is not aligned to 8 bytes does the part hold a copy.
func OpenSegment(spec *schemas.Spec, id string, data []byte) (*Part, error) {
	name := "segment " + id
	f, err := openFile(name, schemas.KindSegment, data, func(f *file) *arrow.Schema { return spec.SegmentSchema(f.model, f.m, f.axes) })
	if err != nil {
		return nil, err
	}
	p := newPart(spec, id, f)
	p.Model, p.M = f.model, f.m
	p.vectors = f.vectorBytes()
	if p.Model == "" {
		if p.Axes != "" {
			return nil, corrupt(name, "%s %q, allowed without a model: none", schemas.MetaAxes, p.Axes)
		}
		for i, l := range p.lists {
			if l != -1 || p.spills[i] != coarse.NoSpill {
				return nil, corrupt(name, "row %d is in lists %d and %d, allowed without a model: -1", i, l, p.spills[i])
			}
		}
		return p, nil
	}
	p.codes, p.spillCodes = f.fixedBytes(schemas.StoredCode), f.fixedBytes(schemas.StoredSpillCode)
	if p.N > 0 {
		p.FirstList, p.EndList = int(p.lists[0]), int(p.lists[p.N-1])+1
	}
	if err := p.indexLists(name, false); err != nil {
		return nil, err
	}
	p.Spilled, _ = coarse.SortByList(p.spills, p.EndSpill())
	return p, nil
}

// OpenChunk opens the three files of a chunk. vectors may be nil: such a part has no originals. The part aliases the
// bytes as described at [OpenSegment].
func OpenChunk(spec *schemas.Spec, c schemas.Chunk, rows, codes, vectors []byte) (*Part, error) {
	return openChunk(spec, c, rows, codes, vectors, false)
}

// ReopenChunk opens the files of a chunk, of the same bytes, that [OpenChunk] of a program of the same [Rules] has opened before:
// it looks at what each list and block needs, and not at rows, so it takes no time that grows with them. Of files that have changed
// since, what the part gives out may be anything, a panic too.
func ReopenChunk(spec *schemas.Spec, c schemas.Chunk, rows, codes, vectors []byte) (*Part, error) {
	return openChunk(spec, c, rows, codes, vectors, true)
}

// Rules counts the changes of what opening looks for in rows: what a program with other rules has opened is to be opened anew.
const Rules = 1

func openChunk(spec *schemas.Spec, c schemas.Chunk, rows, codes, vectors []byte, again bool) (*Part, error) {
	open := openFile
	if again {
		open = reopenFile
	}
	name := "chunk " + c.ID
	f, err := open(objectName(name, c.Rows), schemas.KindRows, rows, func(f *file) *arrow.Schema { return spec.RowsSchema(f.axes) })
	if err != nil {
		return nil, err
	}
	if f.n != c.NumRows {
		return nil, corrupt(f.name, "%d rows, allowed: the %d of the manifest", f.n, c.NumRows)
	}
	p := newPart(spec, c.ID, f)
	p.FirstList, p.EndList = c.FirstList, c.EndList
	if err := p.indexLists(f.name, again); err != nil {
		return nil, err
	}
	if err := p.openBlocks(objectName(name, c.Codes), codes, again); err != nil {
		return nil, err
	}
	if vectors == nil {
		return p, nil
	}
	if err := p.openVectors(spec, objectName(name, c.Vectors), vectors); err != nil {
		return nil, err
	}
	return p, nil
}

// OpenRows opens two of the three files of a chunk, which are called name in errors: its rows and their originals, for who
// reads rows and does not search. vectors may be nil: such a part has no originals. The part aliases the bytes as described at
// [OpenSegment]; nothing is known of its lists.
func OpenRows(spec *schemas.Spec, name string, rows, vectors []byte) (*Part, error) {
	f, err := openFile(name, schemas.KindRows, rows, func(f *file) *arrow.Schema { return spec.RowsSchema(f.axes) })
	if err != nil {
		return nil, err
	}
	p := newPart(spec, name, f)
	if vectors == nil {
		return p, nil
	}
	if err := p.openVectors(spec, name, vectors); err != nil {
		return nil, err
	}
	return p, nil
}

// openVectors opens the originals of the part's rows.
func (p *Part) openVectors(spec *schemas.Spec, name string, data []byte) error {
	v, err := openFile(name, schemas.KindVectors, data, func(*file) *arrow.Schema { return spec.VectorsSchema() })
	if err != nil {
		return err
	}
	if v.n != p.N {
		return corrupt(v.name, "%d vectors for %d rows", v.n, p.N)
	}
	p.vectors = v.vectorBytes()
	return nil
}

// objectName is how errors call an object of a chunk.
func objectName(chunk string, o schemas.Object) string {
	return cmp.Or(o.Key, chunk)
}

// newPart fills what segments and chunks have in common.
func newPart(spec *schemas.Spec, id string, f *file) *Part {
	p := &Part{
		ID:      id,
		Axes:    f.axes,
		N:       f.n,
		Int8:    f.child(schemas.StoredInt8).(*array.Int8).Int8Values(),
		Scales:  f.float32s(schemas.StoredScale),
		Norms:   f.child(schemas.StoredNorms).(*array.Float32).Float32Values(),
		ids:     f.column(schemas.StoredID).(*array.String),
		orders:  f.orders(),
		lists:   f.int32s(schemas.StoredList),
		spills:  f.int32s(schemas.StoredSpill),
		dim:     spec.Dim(),
		vectorT: spec.Vectors,
		width:   spec.VectorBytes(),
		index:   &idIndex{},
	}
	for _, a := range spec.Attributes {
		p.attributes = append(p.attributes, f.column(schemas.AttributePrefix+a.Name))
	}
	p.endSpill = sync.OnceValue(func() int {
		last := int32(coarse.NoSpill)
		for _, l := range p.spills {
			last = max(last, l)
		}
		return int(last) + 1
	})
	return p
}

// indexLists checks the order of lists and finds where each begins. Of what was opened before it takes the order as given.
func (p *Part) indexLists(name string, again bool) error {
	if p.FirstList < 0 || p.EndList < p.FirstList || p.EndList > MaxLists {
		return corrupt(name, "lists [%d, %d), allowed: within [0, %d)", p.FirstList, p.EndList, MaxLists)
	}
	if again {
		p.rowStarts = starts(p.lists, p.FirstList, p.EndList)
		return nil
	}
	p.rowStarts = make([]uint32, p.EndList-p.FirstList+1)
	next := 0 // lists below it, counted from FirstList, have begun
	for i, l := range p.lists {
		l := int(l) - p.FirstList
		if l < next-1 || l >= len(p.rowStarts)-1 {
			return corrupt(name, "column %q: row %d is in list %d, allowed: ascending within [%d, %d)", schemas.StoredList, i, l+p.FirstList, p.FirstList, p.EndList)
		}
		for ; next <= l; next++ {
			p.rowStarts[next] = uint32(i)
		}
	}
	for ; next < len(p.rowStarts); next++ {
		p.rowStarts[next] = uint32(p.N)
	}
	for i, l := range p.spills {
		if l < coarse.NoSpill || l >= MaxLists || l == p.lists[i] {
			return corrupt(name, "column %q: row %d of list %d is in list %d, allowed: another within [0, %d), or -1", schemas.StoredSpill, i, p.lists[i], l, MaxLists)
		}
	}
	return nil
}

// starts finds where each of the lists [first, end) begins in an ascending column of lists, and the end.
func starts(lists []int32, first, end int) []uint32 {
	all := make([]uint32, end-first+1)
	at := 0
	for i := range all {
		n, _ := slices.BinarySearch(lists[at:], int32(first+i))
		at += n
		all[i] = uint32(at)
	}
	return all
}

// openBlocks opens the codes of a chunk. It checks that they are of rows of the base, that the chunk's own rows are coded
// once in each of their lists that the chunk has, and in no other. Whether codes of other chunks' rows are in the right lists
// it cannot tell. Of what was opened before it looks at no codes.
func (p *Part) openBlocks(name string, data []byte, again bool) error {
	f, err := openFile(name, schemas.KindCodes, data, func(f *file) *arrow.Schema { return schemas.CodesSchema(f.model, f.m, 0, 0) })
	if err != nil {
		return err
	}
	if f.model == "" {
		return corrupt(name, "%s is absent", schemas.MetaModel)
	}
	if p.BaseRows, err = f.number(schemas.MetaBaseRows, math.MaxInt32); err != nil {
		return err
	}
	if p.FirstRow, err = f.number(schemas.MetaFirstRow, p.BaseRows-p.N); err != nil {
		return err
	}
	p.Model, p.M, p.Blocks = f.model, f.m, f.fixedBytes(schemas.StoredBlock)
	p.CodeRows = f.child(schemas.StoredBaseRows).(*array.Int32).Int32Values()
	p.blockRows = f.int32s(schemas.StoredRows)
	list := f.int32s(schemas.StoredList)
	if again {
		p.blockStarts = starts(list, p.FirstList, p.EndList)
		return nil
	}
	p.blockStarts = make([]uint32, len(p.rowStarts))
	var own ownCodes
	block := 0
	for l := p.FirstList; l < p.EndList; l++ {
		first := block
		for block < f.n && int(list[block]) == l {
			block++
		}
		p.blockStarts[l-p.FirstList] = uint32(first)
		if err := p.checkCodes(name, l, first, block, &own); err != nil {
			return err
		}
	}
	p.blockStarts[len(p.blockStarts)-1] = uint32(block)
	if block != f.n {
		return corrupt(name, "block %d is of list %d, allowed: ascending within [%d, %d)", block, list[block], p.FirstList, p.EndList)
	}
	return p.checkOwn(name, own)
}

// ownCodes counts the codes of a chunk's own rows.
type ownCodes struct{ first, second int }

// checkCodes checks blocks [first, end), which are those of list l.
func (p *Part) checkCodes(name string, l, first, end int, own *ownCodes) error {
	last := int32(-1)
	for block := first; block < end; block++ {
		rows := int(p.blockRows[block])
		if rows < 1 || rows > avx.BlockRows || block+1 < end && rows < avx.BlockRows {
			return corrupt(name, "block %d of list %d has %d codes, allowed: %d, or fewer in the last one of the list", block, l, rows, avx.BlockRows)
		}
		for i, row := range p.CodeRows[block*avx.BlockRows:][:rows] {
			if row <= last || int(row) >= p.BaseRows {
				return corrupt(name, "code %d of block %d is of base row %d, allowed: ascending below %d", i, block, row, p.BaseRows)
			}
			last = row
			switch at := int(row) - p.FirstRow; {
			case at < 0 || at >= p.N: // a row of another chunk
			case int(p.lists[at]) == l:
				own.first++
			case int(p.spills[at]) == l:
				own.second++
			default:
				return corrupt(name, "code %d of block %d, of list %d, is of row %d, which is in lists %d and %d", i, block, l, at, p.lists[at], p.spills[at])
			}
		}
	}
	return nil
}

// checkOwn makes sure that no code of the chunk's own rows is missing.
func (p *Part) checkOwn(name string, own ownCodes) error {
	if own.first != p.N {
		return corrupt(name, "codes of %d rows in their first list, allowed: of all %d", own.first, p.N)
	}
	second := 0
	for _, l := range p.spills {
		if int(l) >= p.FirstList && int(l) < p.EndList {
			second++
		}
	}
	if own.second != second {
		return corrupt(name, "codes of %d rows in their second list, allowed: of all %d that have theirs in the chunk", own.second, second)
	}
	return nil
}
