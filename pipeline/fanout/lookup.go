package fanout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/pipeline/problem"
	"github.com/adastream/adastream/schemas"
)

// found is what a shard has of the ids that it was asked for.
type found struct {
	Vectors  []row           `json:"vectors"`
	Snapshot client.Snapshot `json:"snapshot"`
}

// row is one that is passed on as it is.
type row struct {
	id     string
	vector []float32 // if it was asked for
	raw    json.RawMessage
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *row) UnmarshalJSON(raw []byte) error {
	var known struct {
		ID     string    `json:"id"`
		Vector []float32 `json:"vector"`
	}
	v.raw = bytes.Clone(raw)
	err := json.Unmarshal(raw, &known)
	v.id, v.vector = known.ID, known.Vector
	return err
}

// MarshalJSON implements json.Marshaler.
func (v row) MarshalJSON() ([]byte, error) { return v.raw, nil }

// find asks all shards for the row of an id: the shard that has it, -1 for none, and what each of them said.
func (r *Router) find(q *http.Request, wanted client.VectorsRequest) (at int, all []found, err error) {
	raw, err := json.Marshal(wanted)
	if err != nil {
		return -1, nil, err
	}
	all, err = r.findIn(q, func(int) []byte { return raw })
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
		if err := json.Unmarshal(a.body, &all[i]); err != nil {
			return nil, fmt.Errorf("answer of shard %d: %w", i, err)
		}
	}
	return all, nil
}

// vector answers GET /v1/vectors/{id}.
func (r *Router) vector(q *http.Request) (any, error) {
	id := q.PathValue("id")
	at, all, err := r.find(q, client.VectorsRequest{IDs: []string{id}, IncludeVector: true})
	if err != nil {
		return nil, err
	}
	if at < 0 {
		return nil, &problem.Problem{Title: "no such vector", Status: http.StatusNotFound, Code: "not_found", Detail: fmt.Sprintf("no live row has the id %.*q", schemas.MaxIDBytes, id)}
	}
	body, err := with(all[at].Vectors[0].raw, map[string]any{"snapshot": mergeSnapshots(snapshotsOf(all))})
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
	IDs       []string         `json:"ids"`
	Offsets   map[string]int64 `json:"min_offsets"`
	Staleness *float64         `json:"max_staleness_seconds"`
}

type vectorsAnswer struct {
	Vectors  []row           `json:"vectors"` // in the order of the ids, without those that are missing
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
	if err := json.Unmarshal(raw, &body); err != nil {
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
	a := vectorsAnswer{Vectors: []row{}, Missing: []string{}, Snapshot: mergeSnapshots(snapshotsOf(all))}
	for _, id := range body.IDs {
		if v, there := of[id]; there {
			a.Vectors = append(a.Vectors, v)
		} else {
			a.Missing = append(a.Missing, id)
		}
	}
	return a, nil
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
