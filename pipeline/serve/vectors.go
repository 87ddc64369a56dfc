package serve

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

func dequantised(snap *snapshot.Snapshot, part, row int) []float32 {
	p, dim := snap.Parts()[part], snap.Spec().Dim()
	rotated, v := make([]float32, dim), make([]float32, dim)
	for i, x := range p.Int8[row*dim : (row+1)*dim] {
		rotated[i] = float32(x) * p.Scales[row]
	}
	snap.Model().Unrotate(v, rotated)
	return v
}

// vectorInfo is a row.
type vectorInfo struct {
	ID         string         `json:"id"`
	Attributes map[string]any `json:"attributes,omitempty"`
	Vector     []float32      `json:"vector,omitempty"` // as searched, from its int8 form
	Version    int64          `json:"version"`
	Partition  int32          `json:"partition"`
	Offset     int64          `json:"offset"`
}

// row is the live row of an id, with some attributes and perhaps its vector.
func (s *served) row(id string, fields []int, vector bool) (v vectorInfo, ok bool) {
	part, row, ok := s.Find(id)
	if !ok {
		return v, false
	}
	return s.rowAt(part, row, fields, vector), true
}

func (s *served) rowAt(part, row int, fields []int, vector bool) vectorInfo {
	p := s.Parts()[part]
	order := p.OrderAt(row)
	v := vectorInfo{ID: p.IDAt(row), Version: order.Version, Partition: order.Partition, Offset: order.Offset}
	if vector {
		v.Vector = dequantised(s.Snapshot, part, row)
	}
	if len(fields) > 0 {
		v.Attributes = make(map[string]any, len(fields))
	}
	for _, j := range fields {
		v.Attributes[s.Spec().Attributes[j].Name] = p.Value(j, row)
	}
	return v
}

type vectorAnswer struct {
	vectorInfo
	Snapshot snapshotInfo `json:"snapshot"`
}

// vector answers GET /v1/vectors/{id}.
func (n *Node) vector(r *http.Request) (*response, error) {
	snap := n.hold()
	if snap == nil {
		return nil, errNotReady
	}
	defer snap.Release()
	id := r.PathValue("id")
	v, ok := snap.row(id, allFields(snap.Spec()), true)
	if !ok {
		return nil, &problem{Title: "no such vector", Status: http.StatusNotFound, Code: codeNotFound, Detail: fmt.Sprintf("no live row has the id %.*q", schemas.MaxIDBytes, id)}
	}
	return jsonResponse(vectorAnswer{v, snap.info()})
}

// vectorsBody is the body of POST /v1/vectors:batchGet.
type vectorsBody struct {
	IDs           []*string `json:"ids"`    // pointers tell nulls, which are no ids
	Fields        []string  `json:"fields"` // attributes wanted; all of them when absent
	IncludeVector bool      `json:"include_vector"`
	freshness
}

type vectorsAnswer struct {
	Vectors  []vectorInfo `json:"vectors"` // in the order of the ids, without those that are missing
	Missing  []string     `json:"missing"`
	Snapshot snapshotInfo `json:"snapshot"`
}

// vectors answers POST /v1/vectors:batchGet.
func (n *Node) vectors(r *http.Request) (*response, error) {
	var body vectorsBody
	if err := decodeBody(r, &body); err != nil {
		return nil, err
	}
	if len(body.IDs) < 1 || len(body.IDs) > n.o.MaxK {
		return nil, invalid(fmt.Sprintf("ids: %d", len(body.IDs)), fmt.Sprintf("1 to %d", n.o.MaxK))
	}
	if at := slices.Index(body.IDs, nil); at >= 0 {
		return nil, invalid(fmt.Sprintf("ids[%d]: null", at), "the id of a row")
	}
	if err := n.awaitFresh(r.Context(), &body.freshness); err != nil {
		return nil, err
	}
	if _, err := n.admit(r.Context()); err != nil {
		return nil, err
	}
	defer n.leave(1)
	snap := n.hold()
	if snap == nil {
		return nil, errNotReady
	}
	defer snap.Release()
	fields, err := fieldsOf(snap.Spec(), body.Fields)
	if err != nil {
		return nil, err
	}
	a := vectorsAnswer{Vectors: make([]vectorInfo, 0, len(body.IDs)), Missing: []string{}, Snapshot: snap.info()}
	for _, id := range body.IDs {
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		if v, ok := snap.row(*id, fields, body.IncludeVector); ok {
			a.Vectors = append(a.Vectors, v)
		} else {
			a.Missing = append(a.Missing, *id)
		}
	}
	return jsonResponse(a)
}

// sampleBody is the body of POST /v1/vectors:sample.
type sampleBody struct {
	Count *int `json:"count"` // default 100
}

type sampleAnswer struct {
	Vectors  []vectorInfo `json:"vectors"` // fewer than asked for if there are not so many
	Snapshot snapshotInfo `json:"snapshot"`
}

// sample answers POST /v1/vectors:sample: rows as POST /v1/recall draws them, with their vectors.
func (n *Node) sample(r *http.Request) (*response, error) {
	var body sampleBody
	if err := decodeBody(r, &body); err != nil {
		return nil, err
	}
	count := DefaultMeasured
	if body.Count != nil {
		count = *body.Count
	}
	if most := min(n.o.MaxK, MaxMeasured); count < 1 || count > most {
		return nil, invalid(fmt.Sprintf("count: %d", count), fmt.Sprintf("1 to %d", most))
	}
	if _, err := n.admit(r.Context()); err != nil {
		return nil, err
	}
	defer n.leave(1)
	snap := n.hold()
	if snap == nil {
		return nil, errNotReady
	}
	defer snap.Release()
	a := sampleAnswer{Vectors: []vectorInfo{}, Snapshot: snap.info()}
	for _, h := range draw(snap, count) {
		a.Vectors = append(a.Vectors, snap.rowAt(h.Part, h.Row, nil, true))
	}
	return jsonResponse(a)
}

// fieldsOf returns the indices of the attributes of some names, of all if names is nil. Each is there once, so an answer has no more
// of a row than the row has.
func fieldsOf(spec *schemas.Spec, names []string) ([]int, error) {
	if names == nil {
		return allFields(spec), nil
	}
	picked := make([]int, 0, len(spec.Attributes))
	for _, name := range names {
		at := spec.AttributeAt(name)
		switch {
		case at < 0:
			return nil, invalid(fmt.Sprintf("fields: %.*q is not an attribute of the index", schemas.MaxNameBytes, name), spec.AttributeNames())
		case slices.Contains(picked, at):
			return nil, invalid(fmt.Sprintf("fields: %q is given twice", name), "each attribute once")
		}
		picked = append(picked, at)
	}
	return picked, nil
}

func allFields(spec *schemas.Spec) []int {
	all := make([]int, len(spec.Attributes))
	for i := range all {
		all[i] = i
	}
	return all
}
