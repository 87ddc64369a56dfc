package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/schemas/arrowguard"
)

// Search asks one query.
func (c *Client) Search(ctx context.Context, q Query) (*Answer, error) {
	return ask[Answer](ctx, c, http.MethodPost, "/v1/search", q)
}

// Index says what queries are made of, and what the node takes of a request.
func (c *Client) Index(ctx context.Context) (*Index, error) {
	return ask[Index](ctx, c, http.MethodGet, "/v1/index", nil)
}

// Vector reads the live row of an id. If there is none, the error is a *Problem of the code not_found.
func (c *Client) Vector(ctx context.Context, id string) (*Vector, error) {
	escaped := strings.ReplaceAll(url.PathEscape(id), ".", "%2E") // "." and ".." are other places in a path
	return ask[Vector](ctx, c, http.MethodGet, "/v1/vectors/"+escaped, nil)
}

// Vectors reads the live rows of some ids, at most 1000 unless the node says otherwise.
func (c *Client) Vectors(ctx context.Context, r VectorsRequest) (*Vectors, error) {
	return ask[Vectors](ctx, c, http.MethodPost, "/v1/vectors:batchGet", r)
}

// Sample draws live rows at random, different ones, all of one generation, with their vectors: queries for a measurement. Count is
// at most 1000 unless the node says otherwise; 0 is 100. There are fewer if the index has not so many.
func (c *Client) Sample(ctx context.Context, count int) (*Sample, error) {
	request := struct {
		Count int `json:"count,omitempty"`
	}{count}
	return ask[Sample](ctx, c, http.MethodPost, "/v1/vectors:sample", request)
}

// Recall measures how good answers are now: seconds of work for the node.
func (c *Client) Recall(ctx context.Context, r RecallRequest) (*Recall, error) {
	return ask[Recall](ctx, c, http.MethodPost, "/v1/recall", r)
}

// Batch is the hits of many queries.
type Batch struct {
	// Hits has a row for each hit, in the order of queries, then the best first: query (uint32, from 0), id (utf8),
	// score (float32), of queries with GroupBy group, the value that those of a group have, and attr.NAME for each attribute asked for; both
	// in the stored type of the attribute. Those of a group stand together, the group of the best hit first.
	Hits arrow.RecordBatch
	About
}

// SearchBatch asks 1 to 1000 queries of dim numbers each, [n][dim], in one request, answered from one generation. Fields are the
// attributes to return, none without any.
func (c *Client) SearchBatch(ctx context.Context, vectors []float32, dim int, how How, fields ...string) (*Batch, error) {
	body, err := stream(vectors, dim)
	if err != nil {
		return nil, err
	}
	parameters, err := how.parameters(fields)
	if err != nil {
		return nil, err
	}
	raw, err := c.do(ctx, http.MethodPost, "/v1/search?"+parameters.Encode(), arrowType, arrowType, body)
	if err != nil {
		return nil, err
	}
	b, err := readBatch(raw)
	if err != nil {
		return nil, fmt.Errorf("answer to a batch: %w", err)
	}
	return b, nil
}

// stream is the queries as an Arrow stream.
func stream(vectors []float32, dim int) ([]byte, error) {
	if dim < 1 || len(vectors) == 0 || len(vectors)%dim != 0 {
		return nil, fmt.Errorf("vectors: %d values, allowed: a multiple of %d, the values of one", len(vectors), dim)
	}
	list := arrow.FixedSizeListOfNonNullable(int32(dim), arrow.PrimitiveTypes.Float32)
	schema := arrow.NewSchema([]arrow.Field{{Name: "vector", Type: list}}, nil)
	values := array.NewData(arrow.PrimitiveTypes.Float32, len(vectors), []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Float32Traits.CastToBytes(vectors))}, nil, 0, 0)
	rows := len(vectors) / dim
	column := array.MakeFromData(array.NewData(list, rows, []*memory.Buffer{nil}, []arrow.ArrayData{values}, 0, 0))
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	if err := w.Write(array.NewRecordBatch(schema, []arrow.Array{column}, int64(rows))); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil { // the end of the stream
		return nil, err
	}
	return out.Bytes(), nil
}

// parameters are the options of an Arrow request, which stand in its URL: those of the JSON form, nested ones with a point,
// filter, min_offsets and group_values as JSON.
func (h How) parameters(fields []string) (url.Values, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var options map[string]any
	if err := d.Decode(&options); err != nil {
		return nil, err
	}
	values := url.Values{}
	for name, option := range options {
		if name == "filter" { // as it was given: a map would lose a name that is there twice, which the node refuses
			values.Set(name, string(h.Filter))
			continue
		}
		switch option := option.(type) {
		case map[string]any:
			if name == "min_offsets" {
				if err := setJSON(values, name, option); err != nil {
					return nil, err
				}
				continue
			}
			for inner, v := range option {
				values.Set(name+"."+inner, fmt.Sprint(v))
			}
		case []any:
			if err := setJSON(values, name, option); err != nil {
				return nil, err
			}
		default:
			values.Set(name, fmt.Sprint(option))
		}
	}
	if len(fields) > 0 {
		values.Set("fields", strings.Join(fields, ","))
	}
	return values, nil
}

func setJSON(values url.Values, name string, option any) error {
	text, err := json.Marshal(option)
	values.Set(name, string(text))
	return err
}

// readBatch reads an answer, which may come of who is no node: it is guarded before the Arrow library makes room for what it claims, and
// looked through, as its values are read without looking again.
func readBatch(raw []byte) (b *Batch, err error) {
	defer func() {
		if fault := recover(); fault != nil { // of the library, on what is no answer
			b, err = nil, fmt.Errorf("%v", fault)
		}
	}()
	r, err := arrowguard.Open(raw, arrowguard.Limits{Table: true, MaxMessage: len(raw)})
	if err != nil {
		return nil, err
	}
	defer r.Release()
	b = &Batch{}
	for name, into := range map[string]any{"snapshot": &b.Snapshot, "usage": &b.Usage, "degraded": &b.Degraded, "expected_recall": &b.ExpectedRecall, "expected_interval": &b.Interval} {
		if text, ok := r.Schema().Metadata().GetValue("adastream." + name); ok {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if !r.Next() {
		return nil, errors.Join(errors.New("no record batch"), r.Err())
	}
	b.Hits = r.RecordBatch()
	b.Hits.Retain()
	if err := array.ValidateRecordFull(b.Hits); err != nil {
		return nil, err
	}
	return b, nil
}

// Of returns the hits of each of n queries, without attributes.
func (b *Batch) Of(n int) ([][]Hit, error) {
	results := make([][]Hit, n)
	err := b.each(n, func(query, _ int, h Hit) { results[query] = append(results[query], h) })
	return results, err
}

// GroupsOf returns the groups of each of n queries that asked for them, without attributes.
func (b *Batch) GroupsOf(n int) ([][]Group, error) {
	if b.Hits.NumCols() < 4 || b.Hits.ColumnName(3) != "group" {
		return nil, errors.New("hits: column 3 is not group")
	}
	results := make([][]Group, n)
	var fault error
	err := b.each(n, func(query, row int, h Hit) {
		value, err := valueOf(b.Hits.Column(3), row)
		if err != nil {
			fault = err
			return
		}
		groups := results[query]
		if last := len(groups) - 1; last >= 0 && groups[last].Value == value {
			groups[last].Hits = append(groups[last].Hits, h)
			return
		}
		results[query] = append(groups, Group{value, []Hit{h}})
	})
	return results, errors.Join(err, fault)
}

// each hands over the hits of n queries and which rows they are.
func (b *Batch) each(n int, take func(query, row int, h Hit)) error {
	if b.Hits.NumCols() < 3 {
		return errors.New("hits: columns are not query, id and score")
	}
	query, ok1 := b.Hits.Column(0).(*array.Uint32)
	id, ok2 := b.Hits.Column(1).(*array.String)
	score, ok3 := b.Hits.Column(2).(*array.Float32)
	if !ok1 || !ok2 || !ok3 {
		return errors.New("hits: columns are not query, id and score")
	}
	for i := range query.Len() {
		q := int(query.Value(i))
		if q >= n {
			return errors.New("hits: of query " + strconv.Itoa(q) + ", there were " + strconv.Itoa(n))
		}
		take(q, i, Hit{ID: strings.Clone(id.Value(i)), Score: score.Value(i)})
	}
	return nil
}

// valueOf is the value of a group as one of JSON, as those of [Hit].
func valueOf(column arrow.Array, i int) (any, error) {
	if column.IsNull(i) {
		return nil, nil
	}
	switch c := column.(type) {
	case *array.String:
		return strings.Clone(c.Value(i)), nil
	case *array.Int64:
		return json.Number(strconv.FormatInt(c.Value(i), 10)), nil
	case *array.Boolean:
		return c.Value(i), nil
	}
	return nil, fmt.Errorf("hits: groups of type %s", column.DataType())
}
