package fanout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/pipeline/problem"
	"github.com/adastream/adastream/schemas"
)

// found is what a shard has of the ids that it was asked for.
type found struct {
	Vectors  []row
	Snapshot client.Snapshot
}

// row is one that is passed on as it is.
type row struct{ id, raw string }

// vector is that of a row which was asked for with it, in JSON.
func (v row) vector() string { return gjson.Get(v.raw, "vector").Raw }

func readFound(body []byte) (f found, err error) {
	rest, err := readObject(body, func(name string, value gjson.Result) (known bool, err error) {
		if name != "vectors" {
			return false, nil
		}
		return true, eachOf(value, func(of gjson.Result) error {
			id := of.Get("id")
			if id.Type != gjson.String {
				return fmt.Errorf("%.100s is no row", of.Raw)
			}
			f.Vectors = append(f.Vectors, row{id.Str, of.Raw})
			return nil
		})
	})
	if err != nil {
		return f, err
	}
	about := sampled{}
	err = json.Unmarshal(rest, &about)
	f.Snapshot = about.Snapshot
	return f, err
}

// writeRows writes an answer of rows, and of what is said of them.
func writeRows(rows []row, about any) (*response, error) {
	text, err := json.Marshal(about)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString(`{"vectors":`)
	list(&b, rows, func(v row) { b.WriteString(v.raw) })
	b.WriteByte(',')
	b.Write(text[1:])
	b.WriteByte('\n')
	return &response{jsonType, b.Bytes()}, nil
}

// find asks all shards for the row of an id: the shard that has it, -1 for none, and what each of them said.
func (r *Router) find(q *http.Request, body func(shard int) []byte) (at int, all []found, err error) {
	all, err = r.findIn(q, body)
	return slices.IndexFunc(all, func(f found) bool { return len(f.Vectors) > 0 }), all, err
}

func (r *Router) findIn(q *http.Request, body func(shard int) []byte) ([]found, error) {
	replies, err := r.askAll(q.Context(), q.Header, func(shard int) *request {
		return &request{method: http.MethodPost, path: "vectors:batchGet", body: body(shard)}
	})
	if err != nil {
		return nil, err
	}
	all := make([]found, len(replies))
	for i, a := range replies {
		if all[i], err = readFound(a.body); err != nil {
			return nil, fmt.Errorf("answer of shard %d: %w", i, err)
		}
	}
	return all, nil
}

// vector answers GET /v1/vectors/{id}.
func (r *Router) vector(q *http.Request) (any, error) {
	id := q.PathValue("id")
	raw, err := json.Marshal(client.VectorsRequest{IDs: []string{id}, IncludeVector: true})
	if err != nil {
		return nil, err
	}
	at, all, err := r.find(q, func(int) []byte { return raw })
	if err != nil {
		return nil, err
	}
	if at < 0 {
		return nil, &problem.Problem{Title: "no such vector", Status: http.StatusNotFound, Code: "not_found", Detail: fmt.Sprintf("no live row has the id %.*q", schemas.MaxIDBytes, id)}
	}
	body, err := with([]byte(all[at].Vectors[0].raw), map[string]any{"snapshot": mergeSnapshots(snapshotsOf(all))})
	return json.RawMessage(body), err
}

func snapshotsOf(all []found) []client.Snapshot {
	snapshots := make([]client.Snapshot, len(all))
	for i, f := range all {
		snapshots[i] = f.Snapshot
	}
	return snapshots
}

// vectorsBody is what the merging has to know of a request.
type vectorsBody struct {
	IDs       []string `json:"ids"`
	Offsets   offsets  `json:"min_offsets"`
	Staleness *float64 `json:"max_staleness_seconds"`
}

// aboutVectors is what an answer says beside its rows.
type aboutVectors struct {
	Missing  []string        `json:"missing"`
	Snapshot client.Snapshot `json:"snapshot"`
}

// vectors answers POST /v1/vectors:batchGet.
func (r *Router) vectors(q *http.Request) (any, error) {
	raw, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, err
	}
	var body vectorsBody
	if err := readBody(raw, &body); err != nil {
		return nil, r.refused(q, raw)
	}
	requests, err := r.bodies(raw, body.Offsets, body.Staleness)
	if err != nil {
		return nil, r.refused(q, raw)
	}
	all, err := r.findIn(q, func(shard int) []byte { return requests[shard] })
	if err != nil {
		return nil, err
	}
	of := map[string]row{}
	for _, f := range all {
		for _, v := range f.Vectors {
			if _, there := of[v.id]; there {
				r.metrics.doubled.Inc()
			}
			of[v.id] = v
		}
	}
	var rows []row // in the order of the ids, without those that are missing
	about := aboutVectors{Missing: []string{}, Snapshot: mergeSnapshots(snapshotsOf(all))}
	for _, id := range body.IDs {
		if v, there := of[id]; there {
			rows = append(rows, v)
		} else {
			about.Missing = append(about.Missing, id)
		}
	}
	return writeRows(rows, about)
}

// index answers GET /v1/index: what all shards take.
func (r *Router) index(q *http.Request) (any, error) {
	replies, err := r.askAll(q.Context(), q.Header, func(int) *request { return &request{method: http.MethodGet, path: "index"} })
	if err != nil {
		return nil, err
	}
	var all client.Index
	for i, a := range replies {
		var one client.Index
		if err := json.Unmarshal(a.body, &one); err != nil {
			return nil, fmt.Errorf("answer of shard %d: %w", i, err)
		}
		if i == 0 {
			all = one
			continue
		}
		l := &all.Limits
		l.K, l.Queries, l.Hits = min(l.K, one.Limits.K), min(l.Queries, one.Limits.Queries), min(l.Hits, one.Limits.Hits)
		l.BodyBytes, l.TimeoutSeconds = min(l.BodyBytes, one.Limits.BodyBytes), min(l.TimeoutSeconds, one.Limits.TimeoutSeconds)
	}
	return all, nil
}

// shardInfo is what is known of a shard.
type shardInfo struct {
	Shard      int              `json:"shard"`
	Here       bool             `json:"here"`              // in this process
	Peers      []string         `json:"peers"`             // host and port of others that have it
	Serving    *client.Snapshot `json:"serving"`           // null if nothing is, or nobody answers
	Partitions []int            `json:"partitions"`        // of the topic
	Problem    string           `json:"problem,omitempty"` // why nobody answers
}

// list answers GET /v1/shards.
func (r *Router) list(q *http.Request) (any, error) {
	infos := make([]shardInfo, len(r.shards))
	for i := range r.shards {
		s := &r.shards[i]
		infos[i] = shardInfo{Shard: i, Peers: []string{}, Partitions: r.o.Spec.TopicPartitionsOf(i)}
		for _, t := range s.targets {
			if t.own {
				infos[i].Here = true
			} else {
				infos[i].Peers = append(infos[i].Peers, t.name)
			}
		}
		a, err := r.ask(q.Context(), s, request{method: http.MethodGet, path: "stats"}, q.Header)
		var stats struct {
			Snapshot *client.Snapshot `json:"snapshot"`
		}
		if err == nil {
			err = json.Unmarshal(a.body, &stats)
		}
		if err != nil {
			infos[i].Problem = err.Error()
			continue
		}
		infos[i].Serving = stats.Snapshot
	}
	return struct {
		Index  string        `json:"index"`
		Shards []shardInfo   `json:"shards"`
		Spec   *schemas.Spec `json:"spec"`
	}{r.o.Spec.Name, infos, r.o.Spec}, nil
}
