package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/bench/dataset"
	"github.com/adastream/adastream/index/search"
)

const (
	jsonType  = "application/json"
	arrowType = "application/vnd.apache.arrow.stream"

	batchQueries = 1000 // of a request: what a node takes at most
)

// client sends queries of a set over one connection.
type client struct {
	set   *dataset.Set
	url   string
	http  *http.Client
	found []int32 // [Queries][K], of the last run
	spent spent   // of the last run
}

// spent is where the time of a run went.
type spent struct {
	encode, decode time.Duration // of the client: requests and answers
	search         time.Duration // of the server, as it says
}

func newClient(set *dataset.Set, url string) *client {
	return &client{set: set, url: url + "/v1/search", found: make([]int32, set.Queries*dataset.K),
		http: &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1, DisableCompression: true}}}
}

// search runs the first queries by a plan.
func (c *client) search(ctx context.Context) dataset.Search {
	return func(p search.Plan, queries int, batched bool) ([]int32, time.Duration, error) {
		found := c.found[:queries*dataset.K]
		for i := range found {
			found[i] = -1
		}
		c.spent = spent{}
		step, ask := 1, c.one
		if batched {
			step, ask = batchQueries, c.many
		}
		started := time.Now()
		for first := 0; first < queries; first += step {
			if err := ask(ctx, p, first, min(first+step, queries)); err != nil {
				return nil, 0, err
			}
		}
		return found, time.Since(started), nil
	}
}

// one asks one query in JSON.
func (c *client) one(ctx context.Context, p search.Plan, first, _ int) error {
	started := time.Now()
	body := append(make([]byte, 0, 16*c.set.Dim), `{"vector":[`...)
	for i, x := range c.set.Query(first) {
		if i > 0 {
			body = append(body, ',')
		}
		body = strconv.AppendFloat(body, float64(x), 'g', -1, 32)
	}
	body = fmt.Appendf(body, `],"k":%d,"fields":[],`, dataset.K)
	if p.Exact {
		body = append(body, `"exact":true}`...)
	} else {
		body = fmt.Appendf(body, `"plan":{"nprobe":%d,"scan_dims":%d,"refine":%d,"originals":%t}}`, p.NProbe, p.ScanDims, p.Refine, p.Originals)
	}
	c.spent.encode += time.Since(started)
	raw, err := c.post(ctx, c.url, jsonType, body)
	if err != nil {
		return err
	}
	defer c.decoded(time.Now())
	var a struct {
		Hits []struct {
			ID string `json:"id"`
		} `json:"hits"`
		Usage usage `json:"usage"`
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	for i, h := range a.Hits {
		if c.found[first*dataset.K+i], err = rowOf(h.ID); err != nil {
			return err
		}
	}
	c.spent.search += a.Usage.took()
	return nil
}

// many asks the queries [first, end) in Arrow.
func (c *client) many(ctx context.Context, p search.Plan, first, end int) error {
	started := time.Now()
	body, err := c.stream(first, end)
	if err != nil {
		return err
	}
	parameters := url.Values{"k": {strconv.Itoa(dataset.K)}}
	if p.Exact {
		parameters.Set("exact", "true")
	} else {
		parameters.Set("plan.nprobe", strconv.Itoa(p.NProbe))
		parameters.Set("plan.scan_dims", strconv.Itoa(p.ScanDims))
		parameters.Set("plan.refine", strconv.Itoa(p.Refine))
		parameters.Set("plan.originals", strconv.FormatBool(p.Originals))
	}
	c.spent.encode += time.Since(started)
	raw, err := c.post(ctx, c.url+"?"+parameters.Encode(), arrowType, body)
	if err != nil {
		return err
	}
	defer c.decoded(time.Now())
	r, err := ipc.NewReader(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	defer r.Release()
	var u usage
	if text, ok := r.Schema().Metadata().GetValue("adastream.usage"); !ok || json.Unmarshal([]byte(text), &u) != nil {
		return fmt.Errorf("answer: usage %q", text)
	}
	c.spent.search += u.took()
	rank, last := 0, uint32(0)
	for r.Next() {
		query, id := r.RecordBatch().Column(0).(*array.Uint32), r.RecordBatch().Column(1).(*array.String)
		for i := range query.Len() {
			if query.Value(i) != last {
				rank, last = 0, query.Value(i)
			}
			if c.found[(first+int(last))*dataset.K+rank], err = rowOf(id.Value(i)); err != nil {
				return err
			}
			rank++
		}
	}
	return r.Err()
}

// rowOf reads the id of a row.
func rowOf(id string) (int32, error) {
	row, err := strconv.ParseInt(id, 10, 32)
	return int32(row), err
}

// stream is the queries [first, end) as a request.
func (c *client) stream(first, end int) ([]byte, error) {
	n, dim := end-first, c.set.Dim
	list := arrow.FixedSizeListOfNonNullable(int32(dim), arrow.PrimitiveTypes.Float32)
	values := memory.NewBufferBytes(arrow.Float32Traits.CastToBytes(c.set.Vectors[first*dim : end*dim]))
	items := array.NewData(list.Elem(), n*dim, []*memory.Buffer{nil, values}, nil, 0, 0)
	column := array.MakeFromData(array.NewData(list, n, []*memory.Buffer{nil}, []arrow.ArrayData{items}, 0, 0))
	schema := arrow.NewSchema([]arrow.Field{{Name: "vector", Type: list}}, nil)
	out := bytes.NewBuffer(make([]byte, 0, 4*n*dim+4096))
	w := ipc.NewWriter(out, ipc.WithSchema(schema))
	if err := w.Write(array.NewRecordBatch(schema, []arrow.Array{column}, int64(n))); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (c *client) post(ctx context.Context, url, kind string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", kind)
	response, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, raw)
	}
	return raw, err
}

func (c *client) decoded(since time.Time) { c.spent.decode += time.Since(since) }

// usage is what an answer says of its cost.
type usage struct {
	Microseconds int64 `json:"microseconds"`
}

func (u usage) took() time.Duration { return time.Duration(u.Microseconds) * time.Microsecond }

// table prints what a few settings give: recall, and for each form queries a second and shares of the time. The rest is
// HTTP on both sides, and the server's reading and writing.
func (c *client) table(ctx context.Context, out io.Writer, settings []search.Plan, queries int) error {
	run := c.search(ctx)
	fmt.Fprintf(out, "%-24s %7s  %10s  %7s  %9s  %7s  %7s  %5s\n", "setting", "recall", "form", "queries", "queries/s", "search", "client", "rest")
	lists := 0 // of the last line
	for _, p := range settings {
		n := queries
		switch {
		case p.Exact:
			n = min(n, 100)
		case p.NProbe < 2*lists: // every power of two, with the fewest rows
			continue
		}
		lists = p.NProbe
		for _, batched := range []bool{false, true} {
			found, took, err := run(p, n, batched)
			if err != nil {
				return err
			}
			form := "one, JSON"
			if batched {
				form = "Arrow"
			}
			share := func(d time.Duration) float64 { return 100 * d.Seconds() / took.Seconds() }
			client := c.spent.encode + c.spent.decode
			fmt.Fprintf(out, "%-24s %7.4f  %10s  %7d  %9.0f  %5.1f %%  %5.1f %%  %3.0f %%\n", dataset.Describe(p), c.set.Recall(found, n), form, n,
				float64(n)/took.Seconds(), share(c.spent.search), share(client), share(took-c.spent.search-client))
		}
	}
	return nil
}
