package segment

import (
	"cmp"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/schemas"
)

// OpenSegment opens a segment file of an index. id, the content hash by which manifests know it, names it in errors
// too. The part aliases data, which must stay as it is for as long as the part or anything got from it is in use;
// only when data is not aligned to 8 bytes does the part hold a copy.
func OpenSegment(spec *schemas.Spec, id string, data []byte) (*Part, error) {
	name := "segment " + id
	f, err := openFile(name, schemas.KindSegment, data, spec.SegmentSchema)
	if err != nil {
		return nil, err
	}
	p := newPart(spec, id, f)
	p.Model, p.M = f.model, f.m
	p.vectors = f.vectorBytes()
	if p.Model == "" {
		for i, l := range p.lists {
			if l != -1 {
				return nil, corrupt(name, "row %d is in list %d, allowed without a model: -1", i, l)
			}
		}
		return p, nil
	}
	p.codes = f.fixedBytes(schemas.StoredCode)
	if p.N > 0 {
		p.FirstList, p.EndList = int(p.lists[0]), int(p.lists[p.N-1])+1
	}
	return p, p.indexLists(name)
}

// OpenChunk opens the three files of a chunk. vectors may be nil: such a part has no originals. The part aliases the
// bytes as described at [OpenSegment].
func OpenChunk(spec *schemas.Spec, c schemas.Chunk, rows, codes, vectors []byte) (*Part, error) {
	name := "chunk " + c.ID
	f, err := openFile(objectName(name, c.Rows), schemas.KindRows, rows, func(string, int) *arrow.Schema { return spec.RowsSchema() })
	if err != nil {
		return nil, err
	}
	if f.n != c.NumRows {
		return nil, corrupt(f.name, "%d rows, allowed: the %d of the manifest", f.n, c.NumRows)
	}
	p := newPart(spec, c.ID, f)
	p.FirstList, p.EndList = c.FirstList, c.EndList
	if err := p.indexLists(f.name); err != nil {
		return nil, err
	}
	if err := p.openBlocks(objectName(name, c.Codes), codes); err != nil {
		return nil, err
	}
	if vectors == nil {
		return p, nil
	}
	v, err := openFile(objectName(name, c.Vectors), schemas.KindVectors, vectors, func(string, int) *arrow.Schema { return spec.VectorsSchema() })
	if err != nil {
		return nil, err
	}
	if v.n != p.N {
		return nil, corrupt(v.name, "%d vectors for %d rows", v.n, p.N)
	}
	p.vectors = v.vectorBytes()
	return p, nil
}

// objectName is how errors call an object of a chunk.
func objectName(chunk string, o schemas.Object) string {
	return cmp.Or(o.Key, chunk)
}

// newPart fills what segments and chunks have in common.
func newPart(spec *schemas.Spec, id string, f *file) *Part {
	p := &Part{
		ID:      id,
		N:       f.n,
		Int8:    f.child(schemas.StoredInt8).(*array.Int8).Int8Values(),
		Scales:  f.float32s(schemas.StoredScale),
		Norms:   f.child(schemas.StoredNorms).(*array.Float32).Float32Values(),
		ids:     f.column(schemas.StoredID).(*array.String),
		orders:  f.orders(),
		lists:   f.int32s(schemas.StoredList),
		dim:     spec.Dim(),
		vectorT: spec.Vectors,
		width:   storedBytes(spec),
	}
	for _, a := range spec.Attributes {
		p.attributes = append(p.attributes, f.column(schemas.AttributePrefix+a.Name))
	}
	return p
}

// indexLists checks the order of lists and finds where each begins.
func (p *Part) indexLists(name string) error {
	if p.FirstList < 0 || p.EndList < p.FirstList || p.EndList > MaxLists {
		return corrupt(name, "lists [%d, %d), allowed: within [0, %d)", p.FirstList, p.EndList, MaxLists)
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
	return nil
}

// openBlocks opens the codes of a chunk and checks that its blocks are those of the lists of its rows.
func (p *Part) openBlocks(name string, data []byte) error {
	f, err := openFile(name, schemas.KindCodes, data, schemas.CodesSchema)
	if err != nil {
		return err
	}
	if f.model == "" {
		return corrupt(name, "%s is absent", schemas.MetaModel)
	}
	p.Model, p.M, p.Blocks = f.model, f.m, f.fixedBytes(schemas.StoredBlock)
	p.blockStarts = make([]uint32, len(p.rowStarts))
	list, rows := f.int32s(schemas.StoredList), f.int32s(schemas.StoredRows)
	block := 0
	for l := p.FirstList; l < p.EndList; l++ {
		p.blockStarts[l-p.FirstList] = uint32(block)
		start, end := p.ListRange(l)
		for ; start < end; start += avx.BlockRows {
			want := min(avx.BlockRows, end-start)
			if block >= f.n || int(list[block]) != l || int(rows[block]) != want {
				return corrupt(name, "block %d of %d is not one of %d rows of list %d", block, f.n, want, l)
			}
			block++
		}
	}
	p.blockStarts[len(p.blockStarts)-1] = uint32(block)
	if block != f.n {
		return corrupt(name, "%d blocks, allowed: the %d that the rows fill", f.n, block)
	}
	return nil
}
