package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/schemas"
)

// targets are the settings of Adastream: it is told what recall to have, and finds what that takes by itself. There are none
// below what is compared: as long as it has no model its answers are exact, whatever they are asked to be.
var targets = []float64{0.95, 0.96, 0.97, 0.98, 0.99}

const (
	topic       = "runbook"
	encoder     = "benchmark"
	messageRows = 4096 // that are split among the partitions, a message each
	most        = 250  // queries of a request: on a busy machine more may take longer than a node allows
	patience    = 2 * time.Minute
)

// adastream is `adastream standalone`: producer, and client of its API, are in this process.
type adastream struct {
	task     *task
	process  *fleet.Process
	dir      string
	kafka    *source.Client
	producer *source.Producer
	url      string // of its API
	api      *client.Client
	ids      int // partitions
}

func startAdastream(ctx context.Context, o *options, t *task) (_ *adastream, err error) {
	dir, err := os.MkdirTemp(t.dir, "adastream-")
	if err != nil {
		return nil, err
	}
	var addresses [3]string
	for i := range addresses {
		if addresses[i], err = fleet.Address(); err != nil {
			return nil, err
		}
	}
	_, port, err := net.SplitHostPort(addresses[0])
	if err != nil {
		return nil, err
	}
	ladder := fmt.Sprint(t.ladder[0])
	for _, width := range t.ladder[1:] {
		ladder += fmt.Sprintf(",%d", width)
	}
	a := &adastream{task: t, dir: dir, ids: o.Partitions, url: "http://" + addresses[1]}
	if a.process, err = t.bin.Start("adastream", []string{fmt.Sprintf("GOMAXPROCS=%d", o.Threads)}, "standalone", "--dir", dir, "--kafka-port", port,
		"--listen", addresses[1], "--ops-listen", addresses[2], "--name", topic, "--partitions", fmt.Sprint(o.Partitions), "--ladder", ladder,
		"--encoder", encoder, "--vectors", "float16"); err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := fleet.AwaitOK(ready, "http://"+addresses[2]+"/readyz"); err != nil {
		return nil, errors.Join(err, errors.New(a.process.Log()), a.close())
	}
	if a.kafka, err = source.New(source.Options{Brokers: []string{addresses[0]}, Topic: topic}); err != nil {
		return nil, errors.Join(err, a.close())
	}
	a.producer = a.kafka.NewProducer(source.ProducerOptions{})
	a.api, err = client.New(a.url, client.Options{})
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *adastream) about() about {
	b := about{Engine: "Adastream standalone", Version: "this tree", Deletes: "dead rows in a bitmap, dropped when chunks are rewritten"}
	for _, target := range targets {
		b.Settings = append(b.Settings, fmt.Sprintf("target_recall=%.2f", target))
	}
	return b
}

func (a *adastream) update(ctx context.Context, s *step) (time.Duration, error) {
	started := time.Now()
	var messages []source.Message
	first, vector, n := s.Start, s.Start, s.rows()
	if s.Operation == opReplace {
		first, vector = s.TagsStart, s.IDsStart
	}
	for at := 0; at < n; at += messageRows {
		rows := min(messageRows, n-at)
		var batch arrow.RecordBatch
		if s.Operation == opDelete {
			batch = deletes(first+at, rows)
		} else {
			batch = a.upserts(first+at, vector+at, rows)
		}
		some, err := produce.Messages(ctx, produce.Topic{Partitions: a.ids}, batch)
		if err != nil {
			return 0, err
		}
		messages = append(messages, some...)
	}
	err := a.producer.Send(ctx, messages...)
	return time.Since(started), err
}

var messageOf = arrow.MetadataFrom(map[string]string{schemas.MetaEncoder: encoder})

func tags(first, n int) arrow.Array {
	b := array.NewInt64Builder(memory.DefaultAllocator)
	for i := range n {
		b.Append(int64(first + i))
	}
	return b.NewArray()
}

func deletes(first, n int) arrow.RecordBatch {
	op := array.NewStringBuilder(memory.DefaultAllocator)
	for range n {
		op.Append(schemas.OpDelete)
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: schemas.ColumnID, Type: arrow.PrimitiveTypes.Int64}, {Name: schemas.ColumnOp, Type: arrow.BinaryTypes.String}}, &messageOf)
	return array.NewRecordBatch(schema, []arrow.Array{tags(first, n), op.NewArray()}, int64(n))
}

// upserts gives n tags the vectors that begin with one.
func (a *adastream) upserts(first, vector, n int) arrow.RecordBatch {
	dim := a.task.vectors.dim
	halves := make([]float16.Num, n*dim)
	for i, x := range a.task.vectors.rows[vector*dim : (vector+n)*dim] {
		halves[i] = float16.New(x)
	}
	list := arrow.FixedSizeListOfNonNullable(int32(dim), arrow.FixedWidthTypes.Float16)
	values := array.NewData(list.Elem(), n*dim, []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Float16Traits.CastToBytes(halves))}, nil, 0, 0)
	column := array.MakeFromData(array.NewData(list, n, []*memory.Buffer{nil}, []arrow.ArrayData{values}, 0, 0))
	schema := arrow.NewSchema([]arrow.Field{{Name: schemas.ColumnID, Type: arrow.PrimitiveTypes.Int64}, {Name: schemas.ColumnVector, Type: list}}, &messageOf)
	return array.NewRecordBatch(schema, []arrow.Array{tags(first, n), column}, int64(n))
}

// settle asks for an answer that has all that the topic has.
func (a *adastream) settle(ctx context.Context) (time.Duration, error) {
	started := time.Now()
	how := client.How{K: 1, Freshness: client.Freshness{MinOffsets: map[string]int64{}}}
	for p := range a.ids {
		b, err := a.kafka.Bounds(ctx, p)
		if err != nil {
			return 0, err
		}
		how.MinOffsets[strconv.Itoa(p)] = b.End
	}
	for {
		_, err := a.api.SearchBatch(ctx, a.task.queries[:a.task.vectors.dim], a.task.vectors.dim, how)
		var late *client.Problem
		if over, ended := a.process.Ended(); over {
			return 0, fmt.Errorf("it has ended: %w\n%s", ended, a.process.Log())
		}
		if errors.As(err, &late) && late.Code == "not_fresh" && time.Since(started) < patience {
			continue
		}
		return time.Since(started), err
	}
}

func (a *adastream) search(ctx context.Context, setting int) (*answers, error) {
	dim := a.task.vectors.dim
	queries := len(a.task.queries) / dim
	result := &answers{found: make([]int32, queries*k)}
	for i := range result.found {
		result.found[i] = -1
	}
	codes, refined := 0, 0
	started := time.Now()
	for first := 0; first < queries; first += most {
		end := min(first+most, queries)
		batch, err := a.api.SearchBatch(ctx, a.task.queries[first*dim:end*dim], dim, client.How{K: k, TargetRecall: targets[setting]})
		if err != nil {
			return nil, err
		}
		hits, err := batch.Of(end - first)
		if err != nil {
			return nil, err
		}
		for q, some := range hits {
			for i, h := range some {
				tag, err := strconv.ParseInt(h.ID, 10, 32)
				if err != nil {
					return nil, err
				}
				result.found[(first+q)*k+i] = int32(tag)
			}
		}
		codes, refined = codes+batch.Usage.Codes, refined+batch.Usage.Refined
		result.how = "exact"
		if p := batch.Usage.Plan; p != nil {
			result.how = fmt.Sprintf("nprobe=%d refine=%d", p.NProbe, p.Refine)
		}
	}
	result.took = time.Since(started)
	result.how += fmt.Sprintf(", of a query %d codes and %d int8 rows", codes/queries, refined/queries)
	var state struct {
		Serving struct{ Chunks, Segments int }
	}
	if err := fleet.Call(ctx, http.DefaultClient, a.url+"/v1/snapshots", nil, &state); err != nil {
		return nil, err
	}
	result.how += fmt.Sprintf(", in %d chunks and %d segments", state.Serving.Chunks, state.Serving.Segments)
	return result, nil
}

func (a *adastream) usage() (*usage, error) {
	u := &usage{}
	var err1, err2, err3 error
	u.resident, u.peak, _, err1 = a.process.Resident()
	u.cpu, err2 = a.process.CPU()
	u.queued, err3 = a.process.Queued()
	return u, errors.Join(err1, err2, err3)
}

func (a *adastream) close() error {
	if a.producer != nil {
		a.producer.Close()
	}
	if a.kafka != nil {
		_ = a.kafka.Close() // its broker ends with it
	}
	a.process.Kill()
	return os.RemoveAll(a.dir)
}
