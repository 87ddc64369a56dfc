package fanout

import (
	"bytes"
	"cmp"
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
	var offsets map[string]int64
	if text := options.Get("min_offsets"); text != "" && json.Unmarshal([]byte(text), &offsets) != nil {
		return nil, r.refused(q, raw)
	}
	of, err := r.offsetsOf(offsets)
	if err != nil {
		return nil, r.refused(q, raw)
	}
	paths := make([]string, len(r.shards))
	for i := range paths {
		if paths[i], err = pathWith(options, len(offsets) > 0, of[i]); err != nil {
			return nil, err
		}
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

// arrowRow is a hit of an answer in Arrow, and where it is.
type arrowRow struct {
	query uint32
	hit
	shard, row int
}

// arrowPart is the answer of a shard.
type arrowPart struct {
	answer
	batch arrow.RecordBatch
	rows  []arrowRow
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
	r, err := ipc.NewReaderFromMessageReader(ipc.NewMessageReader(bytes.NewReader(raw), ipc.WithBodySizeLimit(maxAnswer)))
	if err != nil {
		return nil, fmt.Errorf("answer of shard %d: %w", shard, err)
	}
	defer r.Release()
	p = &arrowPart{}
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
	query, ok1 := p.batch.Column(0).(*array.Uint32)
	id, ok2 := p.batch.Column(1).(*array.String)
	score, ok3 := p.batch.Column(2).(*array.Float32)
	if !ok1 || !ok2 || !ok3 {
		return nil, fmt.Errorf("answer of shard %d: columns of %s, wanted: %v", shard, p.batch.Schema(), names)
	}
	for i := range query.Len() {
		p.rows = append(p.rows, arrowRow{query.Value(i), hit{id: id.Value(i), score: float64(score.Value(i))}, shard, i})
	}
	return p, nil
}

// mergeArrow makes one answer in Arrow of those of all shards.
func (r *Router) mergeArrow(replies []reply, k int) (answer *response, err error) {
	parts, abouts, rows := make([]*arrowPart, len(replies)), make([]client.About, len(replies)), []arrowRow{}
	for i, a := range replies {
		if parts[i], err = readArrow(a.body, i); err != nil {
			return nil, err
		}
		if !slices.EqualFunc(parts[i].batch.Schema().Fields(), parts[0].batch.Schema().Fields(), arrow.Field.Equal) {
			return nil, fmt.Errorf("answer of shard %d: its columns are not those of shard 0", i)
		}
		abouts[i], rows = parts[i].About, append(rows, parts[i].rows...)
	}
	slices.SortFunc(rows, func(a, b arrowRow) int { return cmp.Or(cmp.Compare(a.query, b.query), a.compare(b.hit)) })
	best := rows[:0]
	for len(rows) > 0 {
		n := slices.IndexFunc(rows, func(a arrowRow) bool { return a.query != rows[0].query })
		if n < 0 {
			n = len(rows)
		}
		of := r.first(rows[:n], k)
		best, rows = append(best, of...), rows[n:]
	}
	return writeArrow(parts, best, mergeAbout(abouts))
}

// first are the first k of the sorted hits of a query, each id once.
func (r *Router) first(rows []arrowRow, k int) []arrowRow {
	seen := make(map[string]bool, min(k, len(rows)))
	rows = slices.DeleteFunc(rows, func(row arrowRow) bool {
		if seen[row.id] {
			r.metrics.doubled.Inc()
			return true
		}
		seen[row.id] = true
		return false
	})
	return rows[:min(k, len(rows))]
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
		from := parts[row.shard].batch
		b.Field(0).(*array.Uint32Builder).Append(row.query)
		b.Field(1).(*array.StringBuilder).Append(row.id)
		b.Field(2).(*array.Float32Builder).Append(float32(row.score))
		for j := len(names); j < len(b.Fields()); j++ {
			serve.AppendTo(b.Field(j), from.Column(j), row.row)
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
