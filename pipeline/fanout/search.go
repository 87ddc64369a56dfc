package fanout

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/pipeline/problem"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/schemas"
)

// searchBody is what the merging has to know of a request. All else is the nodes' to read, and to refuse.
type searchBody struct {
	K         *int     `json:"k"`
	Like      *string  `json:"like"`
	GroupBy   *string  `json:"group_by"`
	GroupSize *int     `json:"group_size"`
	Offsets   offsets  `json:"min_offsets"`
	Staleness *float64 `json:"max_staleness_seconds"`
	Wait      *float64 `json:"wait_seconds"`
}

// offsets are those of some partitions. None of them is null, which would become an offset of 0 on the way to a node that refuses it.
type offsets map[string]int64

// UnmarshalJSON implements json.Unmarshaler.
func (o *offsets) UnmarshalJSON(raw []byte) error {
	var given map[string]*int64
	if err := json.Unmarshal(raw, &given); err != nil {
		return err
	}
	*o = make(offsets, len(given))
	for partition, offset := range given {
		if offset == nil {
			return errors.New("an offset is null")
		}
		(*o)[partition] = *offset
	}
	return nil
}

// defaultK is how many hits a query has that does not say.
const defaultK = 10

// search answers POST /v1/search.
func (r *Router) search(q *http.Request) (any, error) {
	raw, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, err
	}
	if serve.SendsArrow(q) {
		return r.searchArrow(q, raw)
	}
	var body searchBody
	if err := readBody(raw, &body); err != nil {
		return nil, r.refused(q, raw)
	}
	path := pathOf(q)
	bodies, err := r.bodies(raw, body.Offsets, body.Staleness)
	if err != nil {
		return nil, r.refused(q, raw)
	}
	if body.Like != nil {
		if err := r.like(q, &body, bodies); err != nil {
			return nil, err
		}
	}
	k := defaultK
	if body.K != nil {
		k = *body.K
	}
	if body.GroupBy != nil {
		return r.groups(q, groupsOf(q, &body, bodies, k))
	}
	return r.searched(q, k, func(shard int) *request { return searchFor(path, bodies[shard]) })
}

// searched asks all shards, and merges what they find into the form that is wanted.
func (r *Router) searched(q *http.Request, k int, of func(shard int) *request) (any, error) {
	of = inFormOf(q, of)
	if !serve.WantsArrow(q) {
		parts, err := r.askSearch(q, of)
		if err != nil {
			return nil, err
		}
		all, err := r.merge(parts, k)
		if err != nil {
			return nil, err
		}
		return all.json()
	}
	replies, err := r.askAll(q.Context(), q.Header, of)
	if err != nil {
		return nil, err
	}
	return r.mergeArrow(replies, k)
}

// readBody reads what the merging has to know of a request, which fails where nodes would refuse what it is.
func readBody(raw []byte, into any) error {
	err := json.Unmarshal(raw, into)
	if err == nil && serve.RepeatedName(raw) != "" {
		err = errors.New("a name is given twice")
	}
	return err
}

func searchFor(path string, body []byte) *request {
	return &request{method: http.MethodPost, path: path, body: body}
}

// pathOf is what a request asks for, below /v1/. Which parameters are none of a request nodes say.
func pathOf(q *http.Request) string {
	path := strings.TrimPrefix(q.URL.Path, "/v1/")
	if q.URL.RawQuery != "" {
		path += "?" + q.URL.RawQuery
	}
	return path
}

// askSearch asks shards to search, but for those of which q is nil.
func (r *Router) askSearch(q *http.Request, of func(shard int) *request) ([]answer, error) {
	replies, err := r.askAll(q.Context(), q.Header, of)
	if err != nil {
		return nil, err
	}
	parts := make([]answer, len(replies))
	for i, a := range replies {
		if a.from == nil {
			continue
		}
		var err error
		if parts[i], err = readAnswer(a.body); err != nil {
			return nil, fmt.Errorf("answer of shard %d: %w", i, err)
		}
		parts[i].from = a.from
	}
	return parts, nil
}

// inFormOf makes requests of the content types of one.
func inFormOf(q *http.Request, of func(shard int) *request) func(shard int) *request {
	return func(shard int) *request {
		asked := of(shard)
		if asked == nil {
			return nil
		}
		if serve.SendsArrow(q) {
			asked.sends = arrowType
		}
		if serve.WantsArrow(q) {
			asked.wants = arrowType
		}
		return asked
	}
}

// refused is what a node says to a request that cannot be read here: the error is its.
func (r *Router) refused(q *http.Request, raw []byte) error {
	as := inFormOf(q, func(int) *request { return &request{method: q.Method, path: pathOf(q), body: raw} })
	_, err := r.ask(q.Context(), &r.shards[0], *as(0), q.Header)
	if err == nil {
		err = errors.New("a node answers a request that cannot be read here")
	}
	return err
}

// bodies are the request as each shard gets it: each is to wait for offsets of its own partitions only.
func (r *Router) bodies(raw []byte, offsets map[string]int64, staleness *float64) ([][]byte, error) {
	bodies := make([][]byte, len(r.shards))
	if len(offsets) == 0 {
		for i := range bodies {
			bodies[i] = raw
		}
		return bodies, nil
	}
	of, err := r.offsetsOf(offsets)
	if err != nil {
		return nil, err
	}
	for i := range bodies {
		changed := map[string]any{"min_offsets": of[i]}
		if of[i] == nil {
			changed["min_offsets"] = nil
			if staleness == nil {
				changed["wait_seconds"] = nil // for nothing
			}
		}
		if bodies[i], err = with(raw, changed); err != nil {
			return nil, err
		}
	}
	return bodies, nil
}

// offsetsOf are those of the partitions of each shard, nil of one that has none of them.
func (r *Router) offsetsOf(offsets map[string]int64) ([]map[string]int64, error) {
	of := make([]map[string]int64, len(r.shards))
	for text, offset := range offsets {
		p, err := strconv.Atoi(text)
		if err != nil || !r.o.Spec.HasPartition(p) || strconv.Itoa(p) != text {
			return nil, errors.New("no partition")
		}
		shard := r.o.Spec.ShardOf(p)
		if of[shard] == nil {
			of[shard] = map[string]int64{}
		}
		of[shard][text] = offset
	}
	return of, nil
}

// with is a JSON object with other values in some fields, and without those whose value is nil.
func with(raw []byte, changed map[string]any) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	for name, value := range changed {
		maps.DeleteFunc(fields, func(there string, _ json.RawMessage) bool { return strings.EqualFold(there, name) }) // as it would be read
		if value == nil {
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		fields[name] = text
	}
	return json.Marshal(fields)
}

// like gives the other shards the vector of a row that only one has. It is looked up as fresh as the search is to be: the row may be what
// the search is to wait for.
func (r *Router) like(q *http.Request, body *searchBody, bodies [][]byte) error {
	wanted := client.VectorsRequest{IDs: []string{*body.Like}, Fields: &[]string{}, IncludeVector: true}
	wanted.MinOffsets, wanted.Wait = body.Offsets, body.Wait
	if body.Staleness != nil {
		wanted.MaxStaleness = *body.Staleness
	}
	raw, err := json.Marshal(wanted)
	if err != nil {
		return err
	}
	lookups, err := r.bodies(raw, body.Offsets, body.Staleness)
	if err != nil {
		return err
	}
	at, all, err := r.find(q, func(shard int) []byte { return lookups[shard] })
	if err != nil {
		return err
	}
	if at < 0 {
		return &problem.Problem{Title: "no such vector", Status: http.StatusNotFound, Code: "not_found", Detail: fmt.Sprintf("like: no live row has the id %.*q", schemas.MaxIDBytes, *body.Like)}
	}
	vector := json.RawMessage(all[at].Vectors[0].vector())
	for i := range bodies {
		if i == at {
			continue // it leaves the row itself out
		}
		if bodies[i], err = with(bodies[i], map[string]any{"like": nil, "vector": vector}); err != nil {
			return err
		}
	}
	return nil
}

// merge makes one answer of those of all shards.
func (r *Router) merge(parts []answer, k int) (a *answer, err error) {
	a = &answer{About: mergeAbout(aboutOf(parts))}
	switch first := parts[0]; {
	case first.Hits != nil:
		a.Hits, err = r.best(parts, k, func(p answer) ([]hit, bool) { return p.Hits, p.Hits != nil })
	case first.Results != nil:
		a.Results = make([]result, len(first.Results))
		for n := range a.Results {
			a.Results[n].hits, err = r.best(parts, k, func(p answer) ([]hit, bool) {
				if len(p.Results) != len(a.Results) {
					return nil, false
				}
				return p.Results[n].hits, p.Results[n].hits != nil
			})
			if err != nil {
				return nil, err
			}
		}
	default:
		err = errors.New("answer of shard 0: it has neither hits nor results")
	}
	return a, err
}

func aboutOf(parts []answer) []client.About {
	abouts := make([]client.About, len(parts))
	for i, p := range parts {
		abouts[i] = p.About
	}
	return abouts
}

// best merges the hits of one query, of each shard the best first, until there are k.
func (r *Router) best(parts []answer, k int, of func(answer) ([]hit, bool)) ([]hit, error) {
	left, most := make([][]hit, len(parts)), 0
	for i, p := range parts {
		hits, ok := of(p)
		if !ok {
			return nil, fmt.Errorf("answer of shard %d: it is of another shape than that of shard 0", i)
		}
		left[i], most = hits, most+len(hits)
		if err := readFirst(hits, i); err != nil {
			return nil, err
		}
	}
	merged := make([]hit, 0, min(k, most))
	seen := make(map[string]bool, cap(merged))
	for len(merged) < cap(merged) {
		at := -1
		for i, hits := range left {
			if len(hits) > 0 && (at < 0 || hits[0].compare(left[at][0]) < 0) {
				at = i
			}
		}
		if at < 0 {
			break
		}
		if best := left[at][0]; !seen[best.id] {
			seen[best.id], merged = true, append(merged, best)
		} else {
			r.metrics.doubled.Inc()
		}
		left[at] = left[at][1:]
		if err := readFirst(left[at], at); err != nil {
			return nil, err
		}
	}
	return merged, nil
}

func readFirst(hits []hit, shard int) error {
	if len(hits) == 0 {
		return nil
	}
	if err := hits[0].read(); err != nil {
		return fmt.Errorf("answer of shard %d: %w", shard, err)
	}
	return nil
}

// addWork counts what other searches looked at as well.
func addWork(u, more *client.Usage) {
	u.Lists, u.Codes, u.Refined = u.Lists+more.Lists, u.Codes+more.Codes, u.Refined+more.Refined
	u.Originals, u.Bytes = u.Originals+more.Originals, u.Bytes+more.Bytes
}

// mergeAbout says of all shards together what each says of itself.
func mergeAbout(parts []client.About) client.About {
	snapshots := make([]client.Snapshot, len(parts))
	all, u := parts[0], &client.Usage{Exact: true}
	rows, recall, low, high, expected := 0.0, 0.0, 0.0, 0.0, true
	for i, p := range parts {
		snapshots[i] = p.Snapshot
		all.Degraded = cmp.Or(all.Degraded, p.Degraded)
		u.Exact = u.Exact && p.Usage.Exact
		addWork(u, &p.Usage)
		u.Dims, u.Microseconds = max(u.Dims, p.Usage.Dims), max(u.Microseconds, p.Usage.Microseconds)
		if m := p.Usage.Matching; m != nil {
			sum := *m
			if u.Matching != nil {
				sum += *u.Matching
			}
			u.Matching = &sum
		}
		// Of the best hits of all, each shard has a share like that of the rows.
		n := float64(p.Snapshot.LiveRows)
		rows += n
		switch {
		case n == 0: // nothing can be missed there
		case p.ExpectedRecall == nil:
			expected = false
		case len(p.Interval) == 2:
			recall, low, high = recall+n**p.ExpectedRecall, low+n*p.Interval[0], high+n*p.Interval[1]
		default: // an exact search
			recall, low, high = recall+n**p.ExpectedRecall, low+n**p.ExpectedRecall, high+n**p.ExpectedRecall
		}
	}
	all.Snapshot, all.Usage, all.ExpectedRecall, all.Interval = mergeSnapshots(snapshots), *u, nil, nil
	if expected && rows > 0 {
		recall /= rows
		all.ExpectedRecall = &recall
		if !u.Exact {
			all.Interval = []float64{low / rows, high / rows}
		}
	}
	return all
}

// mergeSnapshots is as old as the oldest of them, and says which they are.
func mergeSnapshots(of []client.Snapshot) client.Snapshot {
	all := client.Snapshot{Generation: of[0].Generation, Epoch: of[0].Epoch, Encoder: of[0].Encoder, Offsets: map[string]int64{}}
	for i, s := range of {
		all.Generation, all.AgeSeconds, all.LiveRows = min(all.Generation, s.Generation), max(all.AgeSeconds, s.AgeSeconds), all.LiveRows+s.LiveRows
		if s.AsOf.After(all.AsOf) {
			all.AsOf = s.AsOf
		}
		maps.Copy(all.Offsets, s.Offsets)
		all.Shards = append(all.Shards, client.ShardSnapshot{Shard: i, Generation: s.Generation, AsOf: s.AsOf, AgeSeconds: s.AgeSeconds, LiveRows: s.LiveRows, Model: s.Model})
	}
	return all
}
