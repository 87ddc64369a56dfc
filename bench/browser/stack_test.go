package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/cmd/adastream/sample"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/schemas"
)

const (
	partitions = 4
	batchRows  = 1000
)

// stack is `adastream standalone` as a process, with data.
type stack struct {
	t        *testing.T
	dir      string // of the process
	api      string // http://host:port
	client   *source.Client
	producer *source.Producer
}

// startStack builds the program, starts it and fills it: the words of the sample, some of them changed and deleted, and messages
// that are refused.
func startStack(t *testing.T) *stack {
	t.Helper()
	s := &stack{t: t, dir: t.TempDir()}
	program := filepath.Join(s.dir, "adastream")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/adastream")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	api, ops, kafka := freePort(t), freePort(t), freePort(t)
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "standalone", "--dir="+s.dir, "--name=words", "--ladder=8,16,32,64,128,256", "--encoder="+sample.Encoder,
		"--vectors=float16", "--attribute=class=utf8;letters=int64;phrase=bool;added=timestamp", fmt.Sprint("--partitions=", partitions),
		"--listen=127.0.0.1:"+api, "--ops-listen=127.0.0.1:"+ops, "--kafka-port="+kafka)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		err := command.Wait()
		if t.Failed() || err != nil {
			body, _ := os.ReadFile(log.Name())
			t.Logf("standalone ended with %v:\n%s", err, body)
		}
	})
	s.api = "http://127.0.0.1:" + api
	if s.client, err = source.New(source.Options{Brokers: []string{"127.0.0.1:" + kafka}, Topic: "words"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.client.Close() })
	s.producer = s.client.NewProducer(source.ProducerOptions{})
	t.Cleanup(func() { s.producer.Close() })
	s.until("it answers", func() bool { _, ok := s.get("/v1/snapshots"); return ok })
	s.fill()
	return s
}

func freePort(t *testing.T) string {
	t.Helper()
	a, err := fleet.Address()
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(a)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func (s *stack) until(what string, good func() bool) {
	s.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !good(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("waited two minutes until %s", what)
		}
	}
}

func (s *stack) get(path string) ([]byte, bool) {
	r, err := http.Get(s.api + path)
	if err != nil {
		return nil, false
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return body, err == nil && r.StatusCode == http.StatusOK
}

// serving is what the node says of its generation.
type serving struct {
	Generation int64 `json:"generation"`
	LiveRows   int64 `json:"live_rows"`
	Quality    *struct{ Measured int64 }
	Live       *struct{ Queries int }
}

func (s *stack) serving() (v serving) {
	body, ok := s.get("/v1/snapshots")
	if !ok {
		return v
	}
	var answer struct{ Serving *serving }
	if err := json.Unmarshal(body, &answer); err == nil && answer.Serving != nil {
		v = *answer.Serving
	}
	return v
}

// fill sends everything, in stages that make generations of all kinds, and searches meanwhile, so that there is something to see.
func (s *stack) fill() {
	t := s.t
	ctx, stop := context.WithCancel(t.Context())
	go s.search(ctx)
	t.Cleanup(stop)
	words := readWords(t)
	send := func(from, to int) {
		for ; from < to; from += batchRows {
			s.send(words.batch(from, min(from+batchRows, to), time.Now()))
		}
	}
	send(0, 5000)
	s.until("5,000 rows are searchable", func() bool { return s.serving().LiveRows == 5000 })
	send(5000, 12_000)
	s.until("there is a model", func() bool { v := s.serving(); return v.LiveRows == 12_000 && v.Quality != nil })
	first := s.serving().Quality.Measured
	send(12_000, 20_000)
	send(0, 1000) // so that there are enough new rows for new chunks
	s.until("all rows are in chunks", func() bool { v := s.serving(); return v.LiveRows == 20_000 && v.Quality.Measured > first })
	s.refuse(words)
	send(0, 200)
	s.send(words.deletes(100, 130))
	s.until("rows are deleted", func() bool { return s.serving().LiveRows == 20_000-30 })
	s.until("the quarantine is committed", func() bool {
		body, ok := s.get("/ui/quarantine?partition=1")
		return ok && bytes.Contains(body, []byte("malformed"))
	})
	s.until("recall was measured of many answers", func() bool { v := s.serving(); return v.Live != nil && v.Live.Queries > 50 })
}

// search asks for one word after the other.
func (s *stack) search(ctx context.Context) {
	words := readWords(s.t)
	for i := 0; ctx.Err() == nil; i++ {
		body := fmt.Sprintf(`{"like":%q}`, words.ids.Value(i*37%20_000))
		if r, err := http.Post(s.api+"/v1/search", "application/json", strings.NewReader(body)); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
		select {
		case <-ctx.Done():
		case <-time.After(25 * time.Millisecond):
		}
	}
}

func (s *stack) send(b arrow.RecordBatch) {
	s.t.Helper()
	defer b.Release()
	if _, err := produce.Batch(s.t.Context(), s.producer, produce.Topic{Partitions: partitions}, b); err != nil {
		s.t.Fatal(err)
	}
}

// refuse sends what cannot be indexed, among them text that no page should believe.
func (s *stack) refuse(w *words) {
	t := s.t
	t.Helper()
	var messages []source.Message
	for i := range 3 {
		messages = append(messages, source.Message{Partition: 1, Value: fmt.Appendf(nil, "<script>alert(%d)</script>", i)})
	}
	b := w.batch(0, 4, time.Now())
	other := arrow.NewMetadata([]string{schemas.MetaEncoder}, []string{`other-model/9 <img src=x onerror=alert(1)>`})
	wrong := array.NewRecordBatch(arrow.NewSchema(b.Schema().Fields(), &other), b.Columns(), b.NumRows())
	value, err := produce.Encode(wrong)
	if err != nil {
		t.Fatal(err)
	}
	messages = append(messages, source.Message{Partition: 2, Value: value})
	if value, err = produce.Encode(w.broken()); err != nil {
		t.Fatal(err)
	}
	messages = append(messages, source.Message{Partition: 0, Value: value})
	if err := s.producer.Send(t.Context(), messages...); err != nil {
		t.Fatal(err)
	}
}

// words are the sample.
type words struct {
	ids, classes *array.String
	vectors      *array.FixedSizeList
}

func readWords(t testing.TB) *words {
	r, err := ipc.NewFileReader(bytes.NewReader(sample.Words))
	if err != nil {
		t.Fatal(err)
	}
	w := &words{}
	var ids, classes []arrow.Array
	var vectors []arrow.Array
	for i := range r.NumRecords() {
		b, err := r.RecordBatchAt(i)
		if err != nil {
			t.Fatal(err)
		}
		at := func(name string) arrow.Array { return b.Column(b.Schema().FieldIndices(name)[0]) }
		ids, vectors = append(ids, at("id")), append(vectors, at("vector"))
		text := array.NewStringBuilder(memory.DefaultAllocator)
		classColumn := at("class")
		for row := range classColumn.Len() {
			text.Append(classColumn.ValueStr(row))
		}
		classes = append(classes, text.NewArray())
	}
	join := func(arrays []arrow.Array) arrow.Array {
		a, err := array.Concatenate(arrays, memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	w.ids, w.classes, w.vectors = join(ids).(*array.String), join(classes).(*array.String), join(vectors).(*array.FixedSizeList)
	return w
}

func encoder() *arrow.Metadata {
	m := arrow.NewMetadata([]string{schemas.MetaEncoder}, []string{sample.Encoder})
	return &m
}

// batch is the rows [from, to) with attributes.
func (w *words) batch(from, to int, added time.Time) arrow.RecordBatch {
	letters, phrase := array.NewInt64Builder(memory.DefaultAllocator), array.NewBooleanBuilder(memory.DefaultAllocator)
	stamp := array.NewTimestampBuilder(memory.DefaultAllocator, &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"})
	for i := from; i < to; i++ {
		letters.Append(int64(len(w.ids.Value(i))))
		phrase.Append(strings.Contains(w.ids.Value(i), "-"))
		stamp.Append(arrow.Timestamp(added.UnixMilli()))
	}
	columns := []arrow.Array{
		array.NewSlice(w.ids, int64(from), int64(to)), array.NewSlice(w.classes, int64(from), int64(to)), array.NewSlice(w.vectors, int64(from), int64(to)),
		letters.NewArray(), phrase.NewArray(), stamp.NewArray(),
	}
	names := []string{"id", "class", "vector", "letters", "phrase", "added"}
	fields := make([]arrow.Field, len(names))
	for i, name := range names {
		fields[i] = arrow.Field{Name: name, Type: columns[i].DataType(), Nullable: true}
	}
	return array.NewRecordBatch(arrow.NewSchema(fields, encoder()), columns, int64(to-from))
}

// deletes removes rows.
func (w *words) deletes(from, to int) arrow.RecordBatch {
	op := array.NewStringBuilder(memory.DefaultAllocator)
	for range to - from {
		op.Append(schemas.OpDelete)
	}
	columns := []arrow.Array{array.NewSlice(w.ids, int64(from), int64(to)), op.NewArray()}
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: columns[0].DataType()}, {Name: "op", Type: columns[1].DataType()}}, encoder())
	return array.NewRecordBatch(schema, columns, int64(to-from))
}

// broken is a message with two good rows, one whose vector has a NaN and one without an id.
func (w *words) broken() arrow.RecordBatch {
	ids := array.NewStringBuilder(memory.DefaultAllocator)
	vectors := array.NewFixedSizeListBuilder(memory.DefaultAllocator, 256, arrow.FixedWidthTypes.Float16)
	values := vectors.ValueBuilder().(*array.Float16Builder)
	for i := range 2 {
		if i == 0 {
			ids.Append("not-a-vector")
		} else {
			ids.AppendNull()
		}
		vectors.Append(true)
		for j := range 256 {
			x := float32(1)
			if i == 0 && j == 7 {
				x = float32(math.NaN())
			}
			values.Append(float16.New(x))
		}
	}
	columns := []arrow.Array{ids.NewArray(), vectors.NewArray()}
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: columns[0].DataType(), Nullable: true}, {Name: "vector", Type: columns[1].DataType()}}, encoder())
	return array.NewRecordBatch(schema, columns, 2)
}
