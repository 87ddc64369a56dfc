package fanout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/arrowguard"
)

const (
	jsonType  = "application/json"
	arrowType = "application/vnd.apache.arrow.stream"
)

// searchArrow answers a search whose queries are an Arrow stream: its options stand in its URL.
func (r *Router) searchArrow(q *http.Request, raw []byte) (any, error) {
	options, err := url.ParseQuery(q.URL.RawQuery)
	if err != nil {
		return nil, r.refused(q, raw)
	}
	k := defaultK
	if text := options.Get("k"); text != "" {
		if k, err = strconv.Atoi(text); err != nil {
			return nil, r.refused(q, raw)
		}
	}
	var wanted offsets
	if text := options.Get("min_offsets"); text != "" && json.Unmarshal([]byte(text), &wanted) != nil {
		return nil, r.refused(q, raw)
	}
	of, err := r.offsetsOf(wanted)
	if err != nil {
		return nil, r.refused(q, raw)
	}
	paths := make([]string, len(r.shards))
	for i := range paths {
		if paths[i], err = pathWith(options, len(wanted) > 0, of[i]); err != nil {
			return nil, err
		}
	}
	if options.Has("group_by") {
		size := 1
		if text := options.Get("group_size"); text != "" {
			if size, err = strconv.Atoi(text); err != nil {
				return nil, r.refused(q, raw)
			}
		}
		return r.groups(q, arrowGroupsOf(raw, size, paths, k))
	}
	return r.searched(q, k, func(shard int) *request { return searchFor(paths[shard], raw) })
}

// pathWith is what a shard is asked: to wait for offsets of its own partitions only.
func pathWith(options url.Values, wait bool, offsets map[string]int64) (string, error) {
	if wait {
		options = maps.Clone(options)
		options.Del("min_offsets")
		if offsets != nil {
			text, err := json.Marshal(offsets)
			if err != nil {
				return "", err
			}
			options.Set("min_offsets", string(text))
		} else if !options.Has("max_staleness_seconds") {
			options.Del("wait_seconds") // for nothing
		}
	}
	return "search?" + options.Encode(), nil
}

// arrowRow is a hit of an answer in Arrow.
type arrowRow struct {
	query uint32
	hit
}

// arrowPart is the answer of a shard.
type arrowPart struct {
	answer
	shard int
	batch arrow.RecordBatch
	query *array.Uint32
	id    *array.String
	score *array.Float32
}

func (p *arrowPart) row(i int) arrowRow {
	return arrowRow{p.query.Value(i), hit{id: p.id.Value(i), score: float64(p.score.Value(i)), at: place{p.shard, i}}}
}

func (r arrowRow) before(o arrowRow) bool {
	return r.query < o.query || r.query == o.query && r.compare(o.hit) < 0
}

// names are the columns that come before attributes.
var names = []string{"query", "id", "score"}

// about are the fields of an answer beside its hits, which an Arrow stream has in the metadata of its schema.
func about(a *client.About) map[string]any {
	return map[string]any{"snapshot": &a.Snapshot, "usage": &a.Usage, "degraded": &a.Degraded, "expected_recall": &a.ExpectedRecall, "expected_interval": &a.Interval}
}

const metaPrefix = "adastream." // of names in metadata

// readArrow reads what a node of a shard answered.
func readArrow(raw []byte, shard int) (p *arrowPart, err error) {
	defer func() {
		if fault := recover(); fault != nil { // of the library, on what is no answer
			err = fmt.Errorf("answer of shard %d: %v", shard, fault)
		}
	}()
	// A node compresses nothing, and no row has less than a byte.
	r, err := arrowguard.Open(raw, arrowguard.Limits{MaxMessage: maxAnswer, MaxUncompressed: int64(len(raw)), MaxRows: len(raw)})
	if err != nil {
		return nil, fmt.Errorf("answer of shard %d: %w", shard, err)
	}
	defer r.Release()
	p = &arrowPart{shard: shard}
	for name, into := range about(&p.About) {
		if text, ok := r.Schema().Metadata().GetValue(metaPrefix + name); ok {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				return nil, fmt.Errorf("answer of shard %d: %s: %w", shard, name, err)
			}
		}
	}
	if !r.Next() {
		return nil, errors.Join(fmt.Errorf("answer of shard %d: no record batch", shard), r.Err())
	}
	p.batch = r.RecordBatch()
	p.batch.Retain()
	if p.batch.NumCols() < int64(len(names)) {
		return nil, fmt.Errorf("answer of shard %d: %d columns", shard, p.batch.NumCols())
	}
	var ok1, ok2, ok3 bool
	p.query, ok1 = p.batch.Column(0).(*array.Uint32)
	p.id, ok2 = p.batch.Column(1).(*array.String)
	p.score, ok3 = p.batch.Column(2).(*array.Float32)
	if !ok1 || !ok2 || !ok3 {
		return nil, fmt.Errorf("answer of shard %d: columns of %s, wanted: %v", shard, p.batch.Schema(), names)
	}
	for _, f := range p.batch.Schema().Fields()[len(names):] {
		if stored, ok := schemas.AttributeTypeOf(f.Type); !ok || stored.ArrowType().ID() != f.Type.ID() { // others are no type of [serve.AppendTo]
			return nil, fmt.Errorf("answer of shard %d: %s is of type %s, which no attribute has", shard, f.Name, f.Type)
		}
	}
	if err := array.ValidateRecordFull(p.batch); err != nil { // values are read without looking again
		return nil, fmt.Errorf("answer of shard %d: %w", shard, err)
	}
	return p, nil
}

// mergeArrow makes one answer in Arrow of those of all shards.
func (r *Router) mergeArrow(replies []reply, k int) (answer *response, err error) {
	parts, abouts := make([]*arrowPart, len(replies)), make([]client.About, len(replies))
	for i, a := range replies {
		if parts[i], err = readArrow(a.body, i); err != nil {
			return nil, err
		}
		abouts[i] = parts[i].About
	}
	if err := sameColumns(parts); err != nil {
		return nil, err
	}
	return writeArrow(parts, r.bestRows(parts, k), mergeAbout(abouts))
}

// sameColumns refuses answers that cannot be one. Nil is none.
func sameColumns(parts []*arrowPart) error {
	for _, p := range parts {
		if p != nil && !slices.EqualFunc(p.batch.Schema().Fields(), parts[0].batch.Schema().Fields(), arrow.Field.Equal) {
			return fmt.Errorf("answer of shard %d: its columns are not those of shard 0", p.shard)
		}
	}
	return nil
}

// bestRows are the k best of each query. Those of a shard are in the order of queries, then the best first.
func (r *Router) bestRows(parts []*arrowPart, k int) []arrowRow {
	var best []arrowRow
	next, seen := make([]int, len(parts)), map[string]bool{}
	for {
		var least *arrowRow
		for i, p := range parts {
			if next[i] < p.query.Len() {
				if row := p.row(next[i]); least == nil || row.before(*least) {
					least = &row
				}
			}
		}
		if least == nil {
			return best
		}
		next[least.at.part]++
		if len(best) > 0 && best[len(best)-1].query != least.query {
			clear(seen)
		}
		switch {
		case len(seen) == k:
		case seen[least.id]:
			r.metrics.doubled.Inc()
		default:
			seen[least.id], best = true, append(best, *least)
		}
	}
}

func writeArrow(parts []*arrowPart, rows []arrowRow, all client.About) (*response, error) {
	var keys, values []string
	for name, value := range about(&all) {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		if s := string(text); s != "null" && s != `""` {
			keys, values = append(keys, metaPrefix+name), append(values, s)
		}
	}
	metadata := arrow.NewMetadata(keys, values)
	schema := arrow.NewSchema(parts[0].batch.Schema().Fields(), &metadata)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Reserve(len(rows))
	for _, row := range rows {
		from := parts[row.at.part].batch
		b.Field(0).(*array.Uint32Builder).Append(row.query)
		b.Field(1).(*array.StringBuilder).Append(row.id)
		b.Field(2).(*array.Float32Builder).Append(float32(row.score))
		for j := len(names); j < len(b.Fields()); j++ {
			serve.AppendTo(b.Field(j), from.Column(j), row.at.row)
		}
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	if err := errors.Join(w.Write(batch), w.Close()); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return &response{arrowType, out.Bytes()}, nil
}
