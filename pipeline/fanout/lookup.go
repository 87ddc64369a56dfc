package fanout

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/pipeline/problem"
	"github.com/adastream/adastream/schemas"
)

// find asks all shards for the rows of some ids. Each shard's answer has its vectors as they came too.
func (r *Router) find(q *http.Request, wanted client.VectorsRequest) ([]client.Vectors, [][]json.RawMessage, error) {
	raw, err := json.Marshal(wanted)
	if err != nil {
		return nil, nil, err
	}
	bodies := make([][]byte, len(r.shards))
	for i := range bodies {
		bodies[i] = raw
	}
	return r.findIn(q, bodies)
}

func (r *Router) findIn(q *http.Request, requests [][]byte) ([]client.Vectors, [][]json.RawMessage, error) {
	bodies, err := r.askAll(q.Context(), q.Header, func(shard int) request {
		return request{http.MethodPost, "vectors:batchGet", requests[shard]}
	})
	if err != nil {
		return nil, nil, err
	}
	found, raw := make([]client.Vectors, len(bodies)), make([][]json.RawMessage, len(bodies))
	for i, body := range bodies {
		var rows struct {
			Vectors []json.RawMessage `json:"vectors"`
		}
		err := json.Unmarshal(body, &found[i])
		if err == nil {
			err = json.Unmarshal(body, &rows)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("answer of shard %d: %w", i, err)
		}
		raw[i] = rows.Vectors
	}
	return found, raw, nil
}

// vector answers GET /v1/vectors/{id}.
func (r *Router) vector(q *http.Request) (any, error) {
	id := q.PathValue("id")
	found, raw, err := r.find(q, client.VectorsRequest{IDs: []string{id}, IncludeVector: true})
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(found, func(v client.Vectors) bool { return len(v.Vectors) > 0 })
	if at < 0 {
		return nil, &problem.Problem{Title: "no such vector", Status: http.StatusNotFound, Code: "not_found", Detail: fmt.Sprintf("no live row has the id %.*q", schemas.MaxIDBytes, id)}
	}
	body, err := with(raw[at][0], map[string]any{"snapshot": mergeSnapshots(snapshotsOf(found))})
	return json.RawMessage(body), err
}

func snapshotsOf(found []client.Vectors) []client.Snapshot {
	snapshots := make([]client.Snapshot, len(found))
	for i, v := range found {
		snapshots[i] = v.Snapshot
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
	Vectors  []json.RawMessage `json:"vectors"` // in the order of the ids, without those that are missing
	Missing  []string          `json:"missing"`
	Snapshot client.Snapshot   `json:"snapshot"`
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
	found, rows, err := r.findIn(q, requests)
	if err != nil {
		return nil, err
	}
	of := map[string]json.RawMessage{}
	for i, v := range found {
		for j, row := range v.Vectors {
			if _, there := of[row.ID]; there {
				r.metrics.doubled.Inc()
			}
			of[row.ID] = rows[i][j]
		}
	}
	a := vectorsAnswer{Vectors: []json.RawMessage{}, Missing: []string{}, Snapshot: mergeSnapshots(snapshotsOf(found))}
	for _, id := range body.IDs {
		if row, there := of[id]; there {
			a.Vectors = append(a.Vectors, row)
		} else {
			a.Missing = append(a.Missing, id)
		}
	}
	return a, nil
}

// index answers GET /v1/index: what all shards take.
func (r *Router) index(q *http.Request) (any, error) {
	bodies, err := r.askAll(q.Context(), q.Header, func(int) request { return request{http.MethodGet, "index", nil} })
	if err != nil {
		return nil, err
	}
	var all client.Index
	for i, body := range bodies {
		var one client.Index
		if err := json.Unmarshal(body, &one); err != nil {
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
		body, err := r.ask(q.Context(), s, request{http.MethodGet, "stats", nil}, q.Header)
		var stats struct {
			Snapshot *client.Snapshot `json:"snapshot"`
		}
		if err == nil {
			err = json.Unmarshal(body, &stats)
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
