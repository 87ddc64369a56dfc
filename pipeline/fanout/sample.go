package fanout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"

	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/pipeline/serve"
)

// sampleOf draws rows of all shards, from each about as many as it has of all rows.
func (r *Router) sampleOf(q *http.Request, count int) (rows []row, about client.Snapshot, err error) {
	raw, err := json.Marshal(map[string]int{"count": count})
	if err != nil {
		return nil, about, err
	}
	replies, err := r.askAll(q.Context(), q.Header, func(int) *request { return &request{method: http.MethodPost, path: "vectors:sample", body: raw} })
	if err != nil {
		return nil, about, err
	}
	all, live := make([]found, len(replies)), int64(0)
	for i, a := range replies {
		if all[i], err = readFound(a.body); err != nil {
			return nil, about, fmt.Errorf("answer of shard %d: %w", i, err)
		}
		live += all[i].Snapshot.LiveRows
	}
	rows = []row{}
	left := make([]int64, len(all)) // of each shard
	for i, f := range all {
		left[i] = f.Snapshot.LiveRows
	}
	for ; len(rows) < count && live > 0; live-- {
		at := rand.Int64N(live)
		shard := slices.IndexFunc(left, func(n int64) bool { at -= n; return at < 0 })
		left[shard]--
		if from := &all[shard]; len(from.Vectors) > 0 {
			rows, from.Vectors = append(rows, from.Vectors[0]), from.Vectors[1:]
		}
	}
	return rows, mergeSnapshots(snapshotsOf(all)), nil
}

// sample answers POST /v1/vectors:sample.
func (r *Router) sample(q *http.Request) (any, error) {
	raw, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, err
	}
	var body struct {
		Count *int `json:"count"`
	}
	if readStrictly(raw, &body) != nil {
		return nil, r.refused(q, raw)
	}
	count := serve.DefaultMeasured
	if body.Count != nil {
		count = *body.Count
	}
	rows, about, err := r.sampleOf(q, count)
	if err != nil {
		return nil, err
	}
	return writeRows(rows, sampled{about})
}

// sampled is what is said of rows that were drawn.
type sampled struct {
	Snapshot client.Snapshot `json:"snapshot"`
}

// readStrictly reads an object as nodes do: no field that is not known, none that is null or given twice.
func readStrictly(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	var fields map[string]json.RawMessage
	if err := readBody(raw, &fields); err != nil {
		return err
	}
	for name, value := range fields {
		if string(value) == "null" {
			return fmt.Errorf("%s: null", name)
		}
	}
	return nil
}
