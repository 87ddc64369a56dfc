package client

import (
	"encoding/json"
	"time"

	"github.com/adastream/adastream/schemas"
)

// How says how to search, and which rows count. The zero value is 10 hits with the index's own target of recall.
type How struct {
	K int `json:"k,omitempty"` // hits of a query; 0 is 10

	// At most one of these five.
	TargetRecall float64  `json:"target_recall,omitempty"`
	Budget       *Budget  `json:"budget,omitempty"`
	Effort       *float64 `json:"effort,omitempty"` // 0 for the cheapest measured plan to 1 for the best
	Plan         *Plan    `json:"plan,omitempty"`
	Exact        bool     `json:"exact,omitempty"`

	Dims     int             `json:"dims,omitempty"`   // of all that is compared; 0 is all
	Filter   json.RawMessage `json:"filter,omitempty"` // see docs/filters.md
	MinScore *float64        `json:"min_score,omitempty"`
	Encoder  string          `json:"encoder,omitempty"` // that made the queries: refused if the rows are of another

	GroupBy     string `json:"group_by,omitempty"`     // an attribute: the answer has groups, K of them
	GroupSize   int    `json:"group_size,omitempty"`   // hits of a group, at most; 0 is 1
	GroupValues *[]any `json:"group_values,omitempty"` // that can be groups: texts, integers, bools or nil, or of each query a []any of them; a nil pointer is all
	Freshness
}

// Freshness is how new an answer has to be. The zero value takes what is there.
type Freshness struct {
	MinOffsets   map[string]int64 `json:"min_offsets,omitempty"`           // partition -> offset: everything before it
	MaxStaleness float64          `json:"max_staleness_seconds,omitempty"` // since the node knew that it serves the newest
	Wait         *float64         `json:"wait_seconds,omitempty"`          // for that, at most; nil is the node's default
}

// Budget is what a query may cost, on average. One field is positive.
type Budget struct {
	Microseconds float64 `json:"microseconds,omitempty"`
	Lists        float64 `json:"lists,omitempty"`
	Bytes        float64 `json:"bytes,omitempty"`
}

// Plan is how much of an index is looked at.
type Plan struct {
	NProbe    int     `json:"nprobe"`
	Margin    float64 `json:"margin,omitempty"`
	ScanDims  int     `json:"scan_dims,omitempty"`
	Refine    int     `json:"refine,omitempty"`
	Originals bool    `json:"originals,omitempty"` // decide among the candidates that may be the best
}

// Query is one query with all that can be asked. Vector or Like is given.
type Query struct {
	Vector []float32 `json:"vector,omitempty"` // D numbers
	Like   string    `json:"like,omitempty"`   // id of a row, which is then left out of the answer
	How

	Fields        *[]string `json:"fields,omitempty"` // attributes to return; nil is all
	IncludeVector bool      `json:"include_vector,omitempty"`
}

// Answer is what a query found.
type Answer struct {
	Hits   []Hit   `json:"hits,omitempty"`   // the best first
	Groups []Group `json:"groups,omitempty"` // instead of hits, of a query with GroupBy
	About
}

// Hit is a row that was found.
type Hit struct {
	ID         string         `json:"id"`
	Score      float32        `json:"score"`
	Attributes map[string]any `json:"attributes,omitempty"` // texts, bools, and numbers as json.Number, whose digits are all there; nil for null
	Vector     []float32      `json:"vector,omitempty"`
}

// Group is the best hits that have one value of an attribute.
type Group struct {
	Value any   `json:"value"` // as those of Hit
	Hits  []Hit `json:"hits,omitempty"`
}

// About is what an answer says beside its hits.
type About struct {
	Snapshot       Snapshot  `json:"snapshot"`
	Usage          Usage     `json:"usage"`
	Degraded       string    `json:"degraded,omitempty"`        // why the answer is less than what was asked for, or ""
	ExpectedRecall *float64  `json:"expected_recall,omitempty"` // nil where nothing was measured
	Interval       []float64 `json:"expected_interval,omitempty"`
}

// Snapshot is the generation that an answer came from.
type Snapshot struct {
	Generation int64            `json:"generation"`
	Epoch      string           `json:"epoch,omitempty"`
	Encoder    string           `json:"encoder"`
	AsOf       time.Time        `json:"as_of"` // timestamp of the newest record in it
	AgeSeconds float64          `json:"age_seconds"`
	LiveRows   int64            `json:"live_rows"`
	Model      string           `json:"model,omitempty"`
	Offsets    map[string]int64 `json:"offsets"` // partition -> offset: everything before it is searchable

	// Shards are those that an answer was merged from; none of an index of one. Generation is then the lowest of theirs, AgeSeconds
	// that of the oldest, AsOf of the newest, and the rest is of all together.
	Shards []ShardSnapshot `json:"shards,omitempty"`
}

// ShardSnapshot is the generation of a shard.
type ShardSnapshot struct {
	Shard      int       `json:"shard"`
	Generation int64     `json:"generation"`
	AsOf       time.Time `json:"as_of"`
	AgeSeconds float64   `json:"age_seconds"`
	LiveRows   int64     `json:"live_rows"`
	Model      string    `json:"model,omitempty"`
}

// Usage is what the queries of a request cost together.
type Usage struct {
	Plan         *Plan  `json:"plan,omitempty"` // nil if the search was exact
	Exact        bool   `json:"exact"`
	Lists        int    `json:"lists_probed"`
	Codes        int    `json:"codes_scanned"`
	Refined      int    `json:"refined"`
	Originals    int    `json:"originals,omitempty"` // rows scored by them
	Matching     *int64 `json:"matching,omitempty"`  // rows that the filter selects; nil without one
	Bytes        int64  `json:"bytes"`
	Dims         int    `json:"dims"`
	Microseconds int64  `json:"microseconds"`
}

// Index is what is searched.
type Index struct {
	Name   string        `json:"name"`
	Dims   int           `json:"dims"` // numbers of a query
	Spec   *schemas.Spec `json:"spec"` // with its ladder, encoder and attributes
	Limits struct {
		K              int     `json:"k"`
		Queries        int     `json:"queries"`        // of a request
		Hits           int     `json:"hits,omitempty"` // K times queries
		BodyBytes      int64   `json:"body_bytes"`
		TimeoutSeconds float64 `json:"timeout_seconds"`
	} `json:"limits"`
}

// Vector is a live row.
type Vector struct {
	ID         string         `json:"id"`
	Attributes map[string]any `json:"attributes,omitempty"` // as those of Hit
	Vector     []float32      `json:"vector,omitempty"`     // from its int8 form; nil unless asked for
	Version    int64          `json:"version"`
	Partition  int32          `json:"partition"`
	Offset     int64          `json:"offset"`
}

// VectorsRequest asks for the rows of some ids.
type VectorsRequest struct {
	IDs           []string  `json:"ids"`
	Fields        *[]string `json:"fields,omitempty"` // attributes to return; nil is all
	IncludeVector bool      `json:"include_vector,omitempty"`
	Freshness
}

// Vectors is those rows, all of one generation.
type Vectors struct {
	Vectors  []Vector `json:"vectors"` // in the order of the ids
	Missing  []string `json:"missing"` // ids of no live row
	Snapshot Snapshot `json:"snapshot"`
}

// Sample is rows drawn at random.
type Sample struct {
	Vectors  []Vector `json:"vectors"` // without attributes
	Snapshot Snapshot `json:"snapshot"`
}

// RecallRequest asks how good answers are. Exact, MinScore, groups and Freshness of How are not for it.
type RecallRequest struct {
	Queries int `json:"queries,omitempty"` // rows to draw as queries; 0 is 100
	How
}

// Recall is what was measured.
type Recall struct {
	Recall            float64    `json:"recall"`
	Interval          [2]float64 `json:"interval"`
	Queries           int        `json:"queries"`
	Complete          bool       `json:"complete"` // false if time was over before all queries were measured
	K                 int        `json:"k"`
	Truth             string     `json:"truth"` // originals or int8
	ExactMicroseconds float64    `json:"exact_microseconds"`
	Microseconds      float64    `json:"microseconds"`
	About
}
