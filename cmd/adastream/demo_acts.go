package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sort"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/cmd/adastream/sample"
	"github.com/adastream/adastream/pipeline/files"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/schemas"
)

// words is the sample in memory: what the index is checked against.
type words struct {
	n, dim  int
	id      []string
	vectors []float32
	row     map[string]int
}

func readWords() (*words, error) {
	r, err := files.Arrow(bytes.NewReader(sample.Words))
	if err != nil {
		return nil, err
	}
	w := &words{row: map[string]int{}}
	for {
		batch, err := r.Next()
		if errors.Is(err, io.EOF) {
			return w, nil
		}
		if err != nil {
			return nil, err
		}
		ids := batch.Column(0).(*array.String)
		list := batch.Column(2).(*array.FixedSizeList)
		w.dim = int(list.DataType().(*arrow.FixedSizeListType).Len())
		halves := list.ListValues().(*array.Float16).Values()
		for i := range int(batch.NumRows()) {
			id := ids.Value(i)
			w.row[id] = w.n
			w.id = append(w.id, id)
			w.n++
			for _, h := range halves[i*w.dim : (i+1)*w.dim] {
				w.vectors = append(w.vectors, h.Float32())
			}
		}
	}
}

func (w *words) vector(i int) []float32 { return w.vectors[i*w.dim : (i+1)*w.dim] }

// serving is what GET /v1/snapshots says.
type serving struct {
	Serving *struct {
		Generation int64            `json:"generation"`
		LiveRows   int64            `json:"live_rows"`
		AsOf       time.Time        `json:"as_of"`
		Model      string           `json:"model"`
		Offsets    map[string]int64 `json:"offsets"`
		Quality    *schemas.Quality `json:"quality"`
	} `json:"serving"`
}

func (d *demo) serving(ctx context.Context) (serving, error) {
	var s serving
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.apiURL()+"/v1/snapshots", nil)
	if err != nil {
		return s, err
	}
	response, err := d.http.Do(r)
	if err != nil {
		return s, err
	}
	defer response.Body.Close()
	return s, json.NewDecoder(response.Body).Decode(&s)
}

// until polls what is served until it is as wanted.
func (d *demo) until(ctx context.Context, what string, good func(serving) bool) (serving, error) {
	deadline := time.Now().Add(demoWait)
	for {
		s, err := d.serving(ctx)
		if err != nil {
			return s, err
		}
		if s.Serving != nil && good(s) {
			return s, nil
		}
		if time.Now().After(deadline) {
			return s, fmt.Errorf("%s: not done within %v", what, demoWait)
		}
		pause(ctx, 20*time.Millisecond)
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
	}
}

// stream sends the sample while the client searches, and shows how the index follows.
func (d *demo) stream(ctx context.Context) error {
	r, err := files.Arrow(bytes.NewReader(sample.Words))
	if err != nil {
		return err
	}
	show, stop := context.WithCancel(ctx)
	shown := make(chan []time.Duration, 1)
	go func() { shown <- d.show(show) }()
	defer stop()
	err = produce.All(ctx, d.producer, produce.Topic{Partitions: demoPartitions}, r, demoRows, func(rows int64) {
		d.produced.Add(rows)
		pause(ctx, demoPause)
	})
	if err != nil {
		return err
	}
	s, err := d.until(ctx, "all rows searchable under a model", func(s serving) bool {
		return s.Serving.LiveRows == int64(d.words.n) && s.Serving.Model != ""
	})
	if err != nil {
		return err
	}
	stop()
	fresh := <-shown
	fmt.Println()
	d.check(s.Serving.LiveRows == int64(d.words.n), "all %d rows are searchable, each ID once", d.words.n)
	sort.Slice(fresh, func(i, j int) bool { return fresh[i] < fresh[j] })
	if n := len(fresh); n > 0 {
		p50, p99 := fresh[n/2], fresh[min(n-1, n*99/100)]
		d.check(p99 < 5*time.Second, "freshness: p50 %v, p99 %v over %d generations", p50.Round(time.Millisecond), p99.Round(time.Millisecond), n)
	}
	return nil
}

// show prints a line each half second until ctx ends, and returns for each generation how old its newest record was when
// the client could first find it.
func (d *demo) show(ctx context.Context) (fresh []time.Duration) {
	terminal := isTerminal(os.Stdout)
	generation, last := int64(0), time.UnixMilli(0) // as of which an index is that has no rows
	for ctx.Err() == nil {
		s, err := d.serving(ctx)
		if err == nil && s.Serving != nil {
			if s.Serving.Generation != generation {
				if !s.Serving.AsOf.Equal(last) {
					fresh = append(fresh, time.Since(s.Serving.AsOf))
				}
				generation, last = s.Serving.Generation, s.Serving.AsOf
			}
			d.line(terminal, s, fresh)
		}
		pause(ctx, 25*time.Millisecond)
	}
	return fresh
}

func (d *demo) line(terminal bool, s serving, fresh []time.Duration) {
	elapsed := time.Since(d.started)
	if !terminal && elapsed < d.nextLine {
		return
	}
	d.nextLine = elapsed + time.Second
	recall := "exact"
	if q := s.Serving.Quality; q != nil {
		recall = fmt.Sprintf("%.3f", q.Recall)
	} else if s.Serving.Model != "" {
		recall = "?"
	}
	freshness := "-"
	if len(fresh) > 0 {
		freshness = fresh[len(fresh)-1].Round(10 * time.Millisecond).String()
	}
	end := "\n"
	if terminal {
		end = "\r"
	}
	fmt.Printf("%5.1f s  sent %6d  searchable %6d  generation %3d  freshness %-6s  recall@10 %-5s  queries %5d, failed %d%s",
		elapsed.Seconds(), d.produced.Load(), s.Serving.LiveRows, s.Serving.Generation, freshness, recall, d.queries.Load(), d.failed.Load(), end)
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// measure compares the default plan's answers, as a client gets them, with exact neighbours computed here.
func (d *demo) measure(ctx context.Context) error {
	const queries, k = 200, 10
	level, err := avx.Best()
	if err != nil {
		return err
	}
	scores := make([]float32, d.words.n)
	found, codes := 0, 0
	for q := range queries {
		row := q * (d.words.n / queries)
		a, err := d.ask(ctx, client.Query{Vector: d.words.vector(row), How: client.How{K: k}})
		if err != nil {
			return err
		}
		codes += a.Usage.Codes + a.Usage.Refined
		avx.DotRows(level, d.words.vector(row), d.words.vectors, d.words.dim, scores)
		order := make([]int, d.words.n)
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(i, j int) int {
			if scores[i] != scores[j] {
				return map[bool]int{true: -1, false: 1}[scores[i] > scores[j]]
			}
			return i - j
		})
		truth := map[string]bool{}
		for _, i := range order[:k] {
			truth[d.words.id[i]] = true
		}
		for _, h := range a.Hits {
			if truth[h.ID] {
				found++
			}
		}
	}
	recall := float64(found) / (queries * k)
	d.check(recall >= 0.95, "recall@10 %.3f over %d queries against brute force over the sample, touching %d of %d rows per query", recall, queries, codes/queries, d.words.n)
	return nil
}

// change upserts and deletes, and proves that the next generation shows it.
func (d *demo) change(ctx context.Context) error {
	guitar := d.words.vector(d.words.row["guitar"])
	if err := d.send(ctx, "air-guitar", "imaginary instrument", guitar, schemas.OpUpsert); err != nil {
		return err
	}
	if err := d.send(ctx, "sitar", "", make([]float32, d.words.dim), schemas.OpDelete); err != nil {
		return err
	}
	if err := d.send(ctx, "violin", "moved", d.words.vector(d.words.row["espresso"]), schemas.OpUpsert); err != nil {
		return err
	}
	sent := time.Now()
	for {
		a, err := d.ask(ctx, client.Query{Like: "guitar", How: client.How{K: 20}})
		if err != nil {
			return err
		}
		seen := map[string]bool{}
		for _, h := range a.Hits {
			seen[h.ID] = true
		}
		if seen["air-guitar"] && !seen["sitar"] && !seen["violin"] {
			d.check(true, "generation %d shows an added, a changed and a deleted word %v after they were sent", a.Snapshot.Generation, time.Since(sent).Round(time.Millisecond))
			return nil
		}
		if time.Since(sent) > demoWait {
			d.check(false, "a change is not visible after %v", demoWait)
			return nil
		}
		pause(ctx, 20*time.Millisecond)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// send makes one message of one row.
func (d *demo) send(ctx context.Context, id, class string, vector []float32, op string) error {
	md := arrow.MetadataFrom(map[string]string{schemas.MetaEncoder: sample.Encoder})
	schema := arrow.NewSchema([]arrow.Field{
		{Name: schemas.ColumnID, Type: arrow.BinaryTypes.String},
		{Name: schemas.ColumnOp, Type: arrow.BinaryTypes.String},
		{Name: "class", Type: arrow.BinaryTypes.String},
		{Name: schemas.ColumnVector, Type: arrow.FixedSizeListOf(int32(d.words.dim), arrow.FixedWidthTypes.Float16)},
	}, &md)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.StringBuilder).Append(id)
	b.Field(1).(*array.StringBuilder).Append(op)
	b.Field(2).(*array.StringBuilder).Append(class)
	list := b.Field(3).(*array.FixedSizeListBuilder)
	list.Append(true)
	for _, x := range vector {
		list.ValueBuilder().(*array.Float16Builder).Append(float16.New(x))
	}
	_, err := produce.Batch(ctx, d.producer, produce.Topic{Partitions: demoPartitions}, b.NewRecordBatch())
	return err
}

// guitar prints neighbours that a person can judge.
func (d *demo) guitar(ctx context.Context) error {
	a, err := d.ask(ctx, client.Query{Like: "guitar", How: client.How{K: 8}})
	if err != nil {
		return err
	}
	fmt.Println("\nsimilar to guitar:")
	printAnswer(os.Stdout, a)
	fmt.Println()
	instruments := 0
	for _, h := range a.Hits {
		if h.Attributes["class"] == "musical instrument" {
			instruments++
		}
	}
	d.check(instruments >= 5, "%d of %d neighbours of guitar are musical instruments", instruments, len(a.Hits))
	return nil
}
