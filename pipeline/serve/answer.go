package serve

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
)

// searchAnswer is the hits of the queries of a request, which its encodings read from the snapshot: both need it held.
type searchAnswer struct {
	snap      *snapshot.Snapshot
	results   [][]search.Hit // of each query, the best first
	groups    [][]group      // instead of them, of each query; the one of the best hit first
	groupedBy int            // attribute
	many      bool           // answered as results; otherwise there is one query, answered as hits or groups
	fields    []int          // attributes to return, indices into the spec
	vectors   bool           // return them too
	about     about
}

// about is what an answer says beside its hits.
type about struct {
	Snapshot       snapshotInfo `json:"snapshot"`
	Usage          usage        `json:"usage"`
	Degraded       string       `json:"degraded,omitempty"`          // why the answer is less than what was asked for
	ExpectedRecall *float64     `json:"expected_recall,omitempty"`   // recall@10, as measured by the builder; absent where nothing was
	Interval       []float64    `json:"expected_interval,omitempty"` // 95 % confidence interval of it
}

// expect says what was measured of a choice. An exact search finds all, if it compares originals of the full width.
func (a *about) expect(c recall.Choice, originals bool) {
	switch {
	case c.Expected != nil:
		a.ExpectedRecall, a.Interval = &c.Expected.Recall, []float64{c.Expected.Low, c.Expected.High}
	case c.Plan.Exact && c.Plan.Dims == 0 && originals:
		one := 1.0
		a.ExpectedRecall = &one
	}
}

// usage is what all queries of a request cost together.
type usage struct {
	Plan         *planUsage `json:"plan,omitempty"` // absent when the search was exact
	Exact        bool       `json:"exact"`
	Lists        int        `json:"lists_probed"`
	Codes        int        `json:"codes_scanned"`
	Refined      int        `json:"refined"`
	Originals    int        `json:"originals,omitempty"` // scored
	Matching     *int64     `json:"matching,omitempty"`  // rows that the filter selects; absent without one
	Bytes        int64      `json:"bytes"`
	Dims         int        `json:"dims"`
	Microseconds int64      `json:"microseconds"`
}

type planUsage struct {
	NProbe    int     `json:"nprobe"`
	Margin    float64 `json:"margin,omitempty"`
	ScanDims  int     `json:"scan_dims"`
	Refine    int     `json:"refine"`
	Originals bool    `json:"originals,omitempty"`
}

func newUsage(plan search.Plan, u search.Usage, dim int, took time.Duration) usage {
	cost := usage{Exact: plan.Exact, Lists: u.Lists, Codes: u.Codes, Refined: u.Refined, Originals: u.Originals, Bytes: u.Bytes,
		Dims: plan.Width(dim), Microseconds: took.Microseconds()}
	if plan.Among != nil {
		matching := plan.Among.Count()
		cost.Matching = &matching
	}
	if !plan.Exact {
		cost.Plan = &planUsage{NProbe: plan.NProbe, Margin: plan.Margin, ScanDims: plan.ScanDims, Refine: plan.Refine, Originals: plan.Originals}
	}
	return cost
}

// hitBytes is about what a hit without attributes takes as JSON.
const hitBytes = 64

// json appends the answer to b. Hits are written by hand, straight from the mapping: nothing is allocated for a hit.
func (a *searchAnswer) json(b []byte) ([]byte, error) {
	about, err := json.Marshal(a.about)
	if err != nil {
		return nil, err
	}
	size := len(about) + 64
	for _, hits := range a.results {
		size += 16 + hitBytes*len(hits)
	}
	for _, groups := range a.groups {
		size += 16
		for _, g := range groups {
			size += 32 + hitBytes*len(g.hits)
		}
	}
	b = append(slices.Grow(b, size), '{')
	if a.many {
		b = append(b, `"results":[`...)
		for i := range max(len(a.results), len(a.groups)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(a.appendFound(append(b, '{'), i), '}')
		}
		b = append(b, ']')
	} else {
		b = a.appendFound(b, 0)
	}
	b = append(b, ',')
	b = append(b, about[1:]...) // goes on with the same object
	return append(b, '\n'), nil
}

// appendFound appends what query i found.
func (a *searchAnswer) appendFound(b []byte, i int) []byte {
	if a.groups == nil {
		return a.appendHits(append(b, `"hits":`...), a.results[i])
	}
	b = append(b, `"groups":[`...)
	for i, g := range a.groups[i] {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendScalar(append(b, `{"value":`...), g.value)
		b = append(b, `,"hits":`...)
		b = append(a.appendHits(b, g.hits), '}')
	}
	return append(b, ']')
}

func (a *searchAnswer) appendHits(b []byte, hits []search.Hit) []byte {
	b = append(b, '[')
	for i, h := range hits {
		if i > 0 {
			b = append(b, ',')
		}
		b = a.appendHit(b, h)
	}
	return append(b, ']')
}

func (a *searchAnswer) appendHit(b []byte, h search.Hit) []byte {
	p := a.snap.Parts()[h.Part]
	b = append(b, `{"id":`...)
	b = appendText(b, p.IDAt(h.Row))
	b = append(b, `,"score":`...)
	b = appendNumber(b, h.Score)
	for i, j := range a.fields {
		if i == 0 {
			b = append(b, `,"attributes":{`...)
		} else {
			b = append(b, ',')
		}
		b = appendText(b, a.snap.Spec().Attributes[j].Name)
		b = append(b, ':')
		b = appendScalar(b, p.Value(j, h.Row))
	}
	if len(a.fields) > 0 {
		b = append(b, '}')
	}
	if a.vectors {
		b = append(b, `,"vector":[`...)
		for i, x := range dequantised(a.snap, h.Part, h.Row) {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendNumber(b, x)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

// appendScalar appends the value of an attribute.
func appendScalar(b []byte, value any) []byte {
	switch v := value.(type) {
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		return strconv.AppendFloat(b, v, 'g', -1, 64)
	case string:
		return appendText(b, v)
	case time.Time:
		return append(v.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
	}
	return append(b, "null"...) // null, or a float that is not finite
}

// appendNumber appends a finite number.
func appendNumber(b []byte, x float32) []byte { return strconv.AppendFloat(b, float64(x), 'g', -1, 32) }

// appendText appends a JSON string. Texts with something to escape are left to the library, as are others than ASCII,
// which may not be UTF-8.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(s) // strings never fail
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
