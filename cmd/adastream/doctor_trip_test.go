package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/uuid"

	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/access"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/store/storetest"
	"github.com/adastream/adastream/schemas"
)

// tripTest is an index of a broker and a store: the real ones where the environment names them.
type tripTest struct {
	*channelTest
	kafka   cli.Kafka
	flags   specFlags
	node    cli.Node
	command standaloneCommand
}

func newTripTest(t *testing.T, metric string, change ...func(*specFlags)) *tripTest {
	t.Helper()
	brokers := sourcetest.Brokers(t)
	tt := &tripTest{channelTest: &channelTest{T: t, storage: cli.Store{Store: storetest.URL(t)}}, kafka: cli.Kafka{Brokers: brokers}}
	tt.flags = specFlags{Name: "trip", Topic: "trip-" + uuid.NewString(), Ladder: []int{8, 16}, Encoder: "e", Metric: metric, Vectors: "float32",
		Attribute: map[string]string{"n": "int64"}, Partitions: 3, Replication: 1, TargetRecall: 0.9, Prefix: "native", ListsPerRow: 2}
	for _, c := range change {
		c(&tt.flags)
	}
	if err := (&initCommand{Store: tt.storage, Kafka: tt.kafka, specFlags: tt.flags}).Run(t.Context(), &cli.Logging{}); err != nil {
		t.Fatal(err)
	}
	topic := tt.topic()
	t.Cleanup(func() { sourcetest.DeleteTopic(t, topic) })
	api := freeAddress(t)
	tt.node = cli.Node{URL: "http://" + api}
	tt.command = standaloneCommand{Dir: t.TempDir(), Store: tt.storage.Store, Brokers: brokers, Listen: api, OpsListen: freeAddress(t), specFlags: tt.flags}
	return tt
}

func (tt *tripTest) bucket() store.Bucket {
	tt.Helper()
	b, err := tt.storage.Bucket(tt.Context(), nil)
	if err != nil {
		tt.Fatal(err)
	}
	return b
}

func (tt *tripTest) topic() *source.Client {
	tt.Helper()
	c, err := tt.kafka.Client(tt.flags.Topic, slog.New(slog.DiscardHandler))
	if err != nil {
		tt.Fatal(err)
	}
	tt.Cleanup(func() { c.Close() })
	return c
}

// start runs all roles until stop is called.
func (tt *tripTest) start() (stop func()) {
	tt.Helper()
	ctx, cancel := context.WithCancel(tt.Context())
	ended := make(chan error, 1)
	go func() { ended <- tt.command.Run(ctx, &cli.Logging{}) }()
	awaitMetrics(tt.T, "http://"+tt.command.OpsListen+"/metrics", ended)
	return func() {
		cancel()
		if err := <-ended; err != nil {
			tt.Error(err)
		}
	}
}

func (tt *tripTest) doctor() *doctorCommand {
	return &doctorCommand{Store: tt.storage, Kafka: tt.kafka, Node: tt.node, Within: 60 * time.Second}
}

// wants that a doctor finds each of these lines, in this order, and ends well or not.
func (tt *tripTest) wants(c *doctorCommand, well bool, lines ...string) {
	tt.Helper()
	out, err := tt.outputOf(c)
	if (err == nil) != well {
		tt.Errorf("doctor ends with %v, want it to end well: %v", err, well)
	}
	if !regexp.MustCompile(`(?s)` + strings.Join(lines, `.*\n.*`)).MatchString(out) {
		tt.Errorf("doctor says\n%s\nwant lines like\n%s", out, strings.Join(lines, "\n"))
	}
}

// send sends n rows that are no doctor's.
func (tt *tripTest) send(n int) {
	tt.Helper()
	spec := schemas.Spec{Ladder: tt.flags.Ladder, Encoder: tt.flags.Encoder}
	row := tripRow(&spec, "", tripVector(16))
	b := array.NewRecordBuilder(memory.DefaultAllocator, row.Schema())
	rng := rand.New(rand.NewPCG(1, 2))
	list := b.Field(2).(*array.FixedSizeListBuilder)
	for i := range n {
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprint("row ", i))
		b.Field(1).AppendNull()
		list.Append(true)
		for range 16 {
			list.ValueBuilder().(*array.Float32Builder).Append(float32(3 * rng.NormFloat64()))
		}
	}
	producer := tt.topic().NewProducer(source.ProducerOptions{})
	defer producer.Close()
	if _, err := produce.Batch(tt.Context(), producer, produce.Topic{Partitions: tt.flags.Partitions}, b.NewRecordBatch()); err != nil {
		tt.Fatal(err)
	}
}

// awaitRows waits until the node serves so many.
func (tt *tripTest) awaitRows(n int64) {
	tt.Helper()
	c, err := client.New(tt.node.URL, client.Options{})
	if err != nil {
		tt.Fatal(err)
	}
	var a *client.Answer
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if a, err = c.Search(tt.Context(), client.Query{Vector: tripVector(16)}); err == nil && a.Snapshot.LiveRows == n {
			return
		}
	}
	tt.Fatalf("the node serves %+v (%v) after a minute, want %d rows", a, err, n)
}

// The row of the doctor is found by either metric, among rows that are longer too, and gone afterwards; again and again.
func TestDoctorSendsAndFindsARow(t *testing.T) {
	for _, metric := range []string{"cosine", "ip"} {
		t.Run(metric, func(t *testing.T) {
			tt := newTripTest(t, metric)
			defer tt.start()()
			c := tt.doctor()
			c.Search = true
			tt.awaitRows(0) // nodes answer before there is anything
			tt.wants(c, true, `ok   search  +after [0-9.]+m?s: generation 1, 0 hits of 0 rows`)
			tt.send(200)
			tt.awaitRows(200)
			tt.wants(c, true, `ok   node serves the index  +trip, 16 dimensions`, `ok   search  +after [0-9.]+m?s: generation [0-9]+, 10 hits of 200 rows`)
			c.Produce = true
			for range 2 {
				tt.wants(c, true, `ok   row is sent  +after .*: adastream-doctor, before offset [0-9]+ of partition [0-2]`, `ok   row is committed  +after .*: up to offset`,
					`ok   row is in a generation  +after .*: [0-9]+`, `ok   row is searchable  +after [0-9.]+m?s: generation [0-9]+, found first`, `ok   row is deleted  +after .*: generation [0-9]+`)
				tt.awaitRows(200)
			}
			c.Search, c.JSON = false, true
			var told checkup
			read(t, tt.output(c), &told)
			last := told.Checks[len(told.Checks)-2:]
			if last[0].Check != "row is in a generation" || !last[0].OK || last[0].Seconds <= 0 || last[1].Text == "" || last[1].Check != "row is deleted" {
				t.Errorf("without a node: %+v", last)
			}
			tt.awaitRows(200)
		})
	}
}

// The row is a message such as the index reads.
func TestDoctorSendsWhatTheIndexReads(t *testing.T) {
	file := filepath.Join(t.TempDir(), "messages.json")
	if err := os.WriteFile(file, []byte(`{"format":"json","envelope":"debezium","id":"sku","vector":"embedding","version":"$.source.lsn"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	tt := newTripTest(t, "cosine", func(f *specFlags) { f.Messages = file })
	defer tt.start()()
	tt.awaitRows(0)
	c := tt.doctor()
	c.Search, c.Produce = true, true
	for range 2 {
		tt.wants(c, true, `ok   row is sent`, `ok   row is searchable  +after [0-9.]+m?s: generation [0-9]+, found first`, `ok   row is deleted  +after .*: generation [0-9]+`)
		tt.awaitRows(0)
	}
}

// Without one of the roles the doctor says which is missing; the row does not stay even so.
func TestDoctorSaysWhereTheRowIsStuck(t *testing.T) {
	tt := newTripTest(t, "cosine")
	c := tt.doctor()
	c.Produce, c.Within = true, 200*time.Millisecond
	tt.wants(c, false, `BAD  row is committed  +not done within 200ms \(--within\): is an ingestor running`, `ok   row is deleted  +after .*: the delete is sent`)
	c.Search = true
	tt.wants(c, false, `ok   log has all uncommitted offsets  +2 offsets not committed yet; nothing is committed at all`, `BAD  node serves the index  +.*connection refused.*--url`)

	log, err := commit.Open(t.Context(), tt.bucket())
	if err != nil {
		t.Fatal(err)
	}
	ingestor, err := ingest.New(ingest.Options{Shards: []*commit.Log{log}, Source: tt.topic(), Group: tt.flags.Topic})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- ingestor.Run(ctx) }()
	c.Search, c.Within = false, 5*time.Second
	tt.wants(c, false, `ok   row is committed`, `BAD  row is in a generation  +not done within 5s \(--within\): is a builder running`, `ok   row is deleted  +after .*: the delete is sent`)
	c.Produce = false
	tt.wants(c, true, `ok   newest generation  +none yet: is a builder running\?; commits have been waiting for the builder for [0-9]+s`)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}

	defer tt.start()()
	partition := source.PartitionOf(tripID, tt.flags.Partitions)
	bounds, err := tt.topic().Bounds(t.Context(), partition)
	if err != nil {
		t.Fatal(err)
	}
	node, err := tt.node.Client()
	if err != nil {
		t.Fatal(err)
	}
	wait := 5.0
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		found, err := node.Vectors(t.Context(), client.VectorsRequest{IDs: []string{tripID}, Freshness: client.Freshness{MinOffsets: map[string]int64{fmt.Sprint(partition): bounds.End}, Wait: &wait}})
		if err == nil {
			if len(found.Missing) != 1 {
				t.Errorf("the row is there: %+v", found)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// A node of another index, one that asks for a token, and a generation that is pinned are told before anything is sent.
func TestDoctorSendsNothingInVain(t *testing.T) {
	tt := newTripTest(t, "cosine")
	token, line, err := access.NewToken(access.Token{Name: "web", Scopes: []access.Scope{access.Search}})
	if err != nil {
		t.Fatal(err)
	}
	tt.command.TokensFile = filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tt.command.TokensFile, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	defer tt.start()()
	other := newTripTest(t, "cosine")
	c := other.doctor()
	c.Produce, c.Search, c.Node = true, true, tt.node
	other.wants(c, false, `BAD  node serves the index  +401 `)
	c.Token = cli.Secret(token)
	other.wants(c, false, `BAD  node serves the index  +it serves trip of topic `+tt.flags.Topic+`.*--url and --store do not match`)
	if b, err := other.topic().Bounds(t.Context(), source.PartitionOf(tripID, 3)); err != nil || b.End != 0 {
		t.Errorf("something was sent: %+v, %v", b, err)
	}
	c = tt.doctor()
	c.Produce, c.Search, c.Node.Token = true, true, cli.Secret(token)
	tt.wants(c, true, `ok   row is searchable`)
	tt.output(&snapshotPinCommand{Index: cli.Index{Store: tt.storage}, Current: true, Reason: "r"})
	tt.wants(c, false, `ok   served  +generation [0-9]+, pinned, by .*: r`, `BAD  channel  +generation [0-9]+ is pinned.*unpin`)
	c.Produce = false
	tt.wants(c, true, `ok   search`)
}
