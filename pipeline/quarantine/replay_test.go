package quarantine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

const patience = 30 * time.Second

// settled is long enough for what a killed process has sent to arrive, on loopback, and a third of it for an acknowledgement.
func settled() time.Duration {
	if sourcetest.Real() {
		return 9 * time.Second
	}
	return 1500 * time.Millisecond
}

// payloadOf is a message of rows in JSON.
func payloadOf(t testing.TB, rows string) []byte {
	t.Helper()
	md := arrow.MetadataFrom(map[string]string{schemas.MetaEncoder: "mini"})
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "vector", Type: arrow.FixedSizeListOf(4, arrow.PrimitiveTypes.Float32), Nullable: true},
	}, &md)
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(rows))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	if err := errors.Join(w.Write(batch), w.Close()); err != nil {
		t.Fatal(err)
	}
	return []byte(out.String())
}

const (
	goodRow = `[{"id":"a","vector":[1,2,3,4]}]`
	zeroRow = `[{"id":"a","vector":[0,0,0,0]}]`
)

// rig is an index in a directory with a topic of its own, of two partitions.
type rig struct {
	t      testing.TB
	dir    string
	client *source.Client
	index  *commit.Log
}

func newRig(t testing.TB, change ...func(*schemas.Spec)) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), client: sourcetest.Topic(t, 2, nil)}
	spec := schemas.Spec{Name: "docs", Ladder: []int{4}, Encoder: "mini", Topic: schemas.Topic{Name: r.client.Options().Topic, Partitions: 2}}.WithDefaults()
	for _, c := range change {
		c(&spec)
	}
	b, err := store.Open(t.Context(), r.dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := commit.Create(t.Context(), b, &spec); err != nil {
		t.Fatal(err)
	}
	if r.index, err = commit.Open(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) replayer() *Replayer {
	return &Replayer{Index: r.index, Source: r.client, Settled: settled(), By: "mara@ops"}
}

// replayed is the number of messages of a partition that come from replays.
func (r *rig) replayed(partition int) int {
	r.t.Helper()
	bounds, err := r.client.Bounds(r.t.Context(), partition)
	if err != nil {
		r.t.Fatal(err)
	}
	n := 0
	for next := bounds.Start; next < bounds.End; {
		batch, err := r.client.Fetch(r.t.Context(), partition, next, time.Second)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, record := range batch.Records {
			for _, h := range record.Headers {
				if h.Key == Header {
					n++
				}
			}
		}
		next = batch.Next
	}
	return n
}

func (r *rig) states(at commit.Place) string {
	r.t.Helper()
	line, err := r.index.Resolutions(r.t.Context(), at)
	if err != nil {
		r.t.Fatal(err)
	}
	var states []string
	for _, l := range line {
		states = append(states, l.State)
	}
	return strings.Join(states, " ")
}

var place = commit.Place{Partition: 1, Offset: 12, Row: 3}

// mended is what was refused at a place, with a payload.
func mended(at commit.Place, payload []byte) ingest.Quarantined {
	return ingest.Quarantined{Partition: int32(at.Partition), Offset: at.Offset, Row: int32(at.Row), Payload: payload}
}

// killer is a store of a process that does not survive a put.
type killer struct {
	store.Bucket
	suffix string // of the key
	before bool
}

func (k killer) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	die := func() {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	ours := strings.HasSuffix(key, k.suffix)
	if ours && k.before {
		die()
	}
	err := k.Bucket.PutIfAbsent(ctx, key, body)
	if ours {
		die()
	}
	return err
}

// TestKilledProcess is the process that the next test kills.
func TestKilledProcess(t *testing.T) {
	dir, topic, brokers := os.Getenv("QUARANTINE_DIR"), os.Getenv("QUARANTINE_TOPIC"), os.Getenv("QUARANTINE_BROKERS")
	if dir == "" {
		t.Skip("is run by TestReplay_killed")
	}
	b, err := store.Open(t.Context(), dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	when, suffix, _ := strings.Cut(os.Getenv("QUARANTINE_KILL"), " ")
	index, err := commit.Open(t.Context(), killer{b, suffix, when == "before"})
	if err != nil {
		t.Fatal(err)
	}
	client, err := source.New(source.Options{Brokers: strings.Split(brokers, ","), Topic: topic})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	replayer := &Replayer{Index: index, Source: client, Settled: settled(), By: "mara@ops"}
	t.Fatal("survived: ", replayer.Replay(t.Context(), mended(place, payloadOf(t, goodRow)), 1))
}

// TestReplay_killed: whenever a replayer is killed with -9, the next one makes of it exactly one message.
func TestReplay_killed(t *testing.T) {
	for name, c := range map[string]struct {
		kills []string
		left  int    // messages in the log then
		want  string // states at the end
	}{
		"before it is announced":          {[]string{"before 0001"}, 0, "replaying replayed"},
		"before it is produced":           {[]string{"after 0001"}, 0, "replaying replaying replayed"},
		"after it is produced":            {[]string{"before 0002"}, 1, "replaying replayed"},
		"after it is noted":               {[]string{"after 0002"}, 1, "replaying replayed"},
		"twice before it is produced":     {[]string{"after 0001", "after 0002"}, 0, "replaying replaying replaying replayed"},
		"before and after it is produced": {[]string{"after 0001", "before 0003"}, 1, "replaying replaying replayed"},
		"twice after it is produced":      {[]string{"before 0002", "before 0002"}, 1, "replaying replayed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			for _, kill := range c.kills {
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledProcess$")
				cmd.Env = append(os.Environ(), "QUARANTINE_DIR="+r.dir, "QUARANTINE_TOPIC="+r.client.Options().Topic,
					"QUARANTINE_BROKERS="+strings.Join(r.client.Options().Brokers, ","), "QUARANTINE_KILL="+kill)
				out, err := cmd.CombinedOutput()
				if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
					t.Fatalf("it was not killed %s: %v\n%s", kill, err, out)
				}
			}
			if n := r.replayed(1); n != c.left {
				t.Errorf("%d messages are in the log, want %d", n, c.left)
			}
			done := strings.HasSuffix(r.states(place), schemas.Replayed)
			if err := r.replayer().Replay(t.Context(), mended(place, payloadOf(t, goodRow)), 1); done != errors.Is(err, schemas.ErrFenced) || !done && err != nil {
				t.Errorf("replayed again: %v", err)
			}
			if n := r.replayed(1); n != 1 {
				t.Errorf("%d messages are in the log, want 1", n)
			}
			if got := r.states(place); got != c.want {
				t.Errorf("it was %s, want %s", got, c.want)
			}
		})
	}
}

// TestReplay_race: of those who replay the same at the same time one does, and so of those who find it unfinished.
func TestReplay_race(t *testing.T) {
	for _, unfinished := range []bool{false, true} {
		t.Run(fmt.Sprintf("unfinished %v", unfinished), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			if unfinished {
				if _, err := r.index.Settle(t.Context(), place, nil, schemas.Resolution{State: schemas.Replaying, To: 0, ID: "a", By: "mara@ops"}); err != nil {
					t.Fatal(err)
				}
			}
			errs := make([]error, 6)
			var group sync.WaitGroup
			for i := range errs {
				group.Go(func() { errs[i] = r.replayer().Replay(t.Context(), mended(place, payloadOf(t, goodRow)), 1) })
			}
			group.Wait()
			won := 0
			for _, err := range errs {
				if err == nil {
					won++
				} else if !errors.Is(err, schemas.ErrFenced) {
					t.Error(err)
				}
			}
			if n := r.replayed(1); won != 1 || n != 1 {
				t.Errorf("%d replayed it, %d messages are in the log", won, n)
			}
		})
	}
}

// TestReplay_endToEnd: what an ingestor refused comes back mended, and is in the chain once.
func TestReplay_endToEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	producer := r.client.NewProducer(source.ProducerOptions{})
	defer producer.Close()
	if err := producer.Send(t.Context(), source.Message{Partition: 1, Value: payloadOf(t, zeroRow)}, source.Message{Partition: 1, Value: []byte("rubbish")}); err != nil {
		t.Fatal(err)
	}
	ingestor, err := ingest.New(ingest.Options{Shards: []*commit.Log{r.index}, Source: r.client, Group: r.client.Options().Topic, FlushAge: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- ingestor.Run(ctx) }()
	await := func(end int64) (rows int) {
		t.Helper()
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if head, err := r.index.Head(t.Context(), 1, 0); err != nil {
				t.Fatal(err)
			} else if head.Next < end {
				continue
			}
			for c, err := range r.index.Commits(t.Context(), 1) {
				if err != nil {
					t.Fatal(err)
				}
				rows += c.Rows
			}
			return rows
		}
		t.Fatalf("the chain does not reach %d", end)
		return 0
	}
	if rows := await(2); rows != 0 {
		t.Fatalf("%d rows at first", rows)
	}
	var refused []ingest.Quarantined
	for q, err := range Items(t.Context(), r.index, 1) {
		if err != nil {
			t.Fatal(err)
		}
		refused = append(refused, q)
	}
	if len(refused) != 2 || refused[0].Reason != schemas.ReasonZero || refused[1].Row != ingest.WholeMessage {
		t.Fatalf("refused %+v", refused)
	}
	row, message := PlaceOf(refused[0]), PlaceOf(refused[1])
	replayer := r.replayer()
	if err := replayer.Replay(t.Context(), mended(row, refused[0].Payload), 1); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), schemas.ReasonZero) {
		t.Errorf("replayed as it is: %v", err)
	}
	if err := replayer.Replay(t.Context(), mended(row, payloadOf(t, goodRow)), 2); err == nil || !strings.Contains(err.Error(), "allowed: 0 to 1") {
		t.Errorf("to partition 2: %v", err)
	}
	if got := r.states(row); got != "" {
		t.Errorf("what was not replayed is %s", got)
	}
	if err := replayer.Replay(t.Context(), mended(row, payloadOf(t, goodRow)), 1); err != nil {
		t.Fatal(err)
	}
	if err := Drop(t.Context(), r.index, message, "mara@ops", "rubbish", false); err != nil {
		t.Fatal(err)
	}
	if rows := await(3); rows != 1 {
		t.Errorf("%d rows are in the chain, want 1", rows)
	}
	resolved, err := r.index.Resolved(t.Context(), 1)
	if err != nil || len(resolved) != 2 || resolved[row].State != schemas.Replayed || resolved[message].State != schemas.Dropped || resolved[message].Reason != "rubbish" {
		t.Errorf("resolved %+v, %v", resolved, err)
	}
	if err := replayer.Replay(t.Context(), mended(message, payloadOf(t, goodRow)), 1); !errors.Is(err, schemas.ErrFenced) {
		t.Errorf("replayed what was dropped: %v", err)
	}
	if err := Drop(t.Context(), r.index, row, "mara@ops", "", true); !errors.Is(err, schemas.ErrFenced) {
		t.Errorf("dropped what was replayed: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestReplay_behindTransaction: a message that is in the log behind an open transaction cannot be read yet, and is not taken for
// absent.
func TestReplay_behindTransaction(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	topic := r.client.Options().Topic
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.client.Options().Brokers...), kgo.DefaultProduceTopic(topic), kgo.TransactionalID("tx-"+topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Partition: 1, Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	announced, err := r.index.Settle(t.Context(), place, nil, schemas.Resolution{State: schemas.Replaying, To: 1, ID: "a", By: "mara@ops"})
	if err != nil {
		t.Fatal(err)
	}
	producer := r.client.NewProducer(source.ProducerOptions{})
	defer producer.Close()
	if err := producer.Send(t.Context(), source.Message{Partition: 1, Value: payloadOf(t, goodRow), Headers: []kafka.Header{{Key: Header, Value: []byte(announced.ID)}}}); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), settled()+2*time.Second)
	defer cancel()
	if err := r.replayer().Replay(short, mended(place, payloadOf(t, goodRow)), 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while the transaction is open: %v, want a wait for its end", err)
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	if err := r.replayer().Replay(t.Context(), mended(place, payloadOf(t, goodRow)), 1); err != nil {
		t.Fatal(err)
	}
	if n := r.replayed(1); n != 1 || r.states(place) != "replaying replayed" {
		t.Errorf("%d messages are in the log, it was %s", n, r.states(place))
	}
}

// TestUnfinished: what cannot be known is said, and given up only by who says so.
func TestUnfinished(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if _, err := r.index.Settle(t.Context(), place, nil, schemas.Resolution{State: schemas.Replaying, To: 0, From: 7, ID: "a", By: "mara@ops"}); err != nil {
		t.Fatal(err)
	}
	if err := r.replayer().Replay(t.Context(), mended(place, payloadOf(t, goodRow)), 1); !errors.Is(err, source.ErrOutOfRange) || r.replayed(1) != 0 {
		t.Errorf("the log does not hold what it should: %v", err)
	}
	if err := Drop(t.Context(), r.index, place, "o@h", "", false); err == nil || !strings.Contains(err.Error(), "unfinished") {
		t.Errorf("drop: %v", err)
	}
	if err := Drop(t.Context(), r.index, place, "o@h", "", true); err != nil || r.states(place) != "replaying dropped" {
		t.Errorf("drop: %v, %s", err, r.states(place))
	}
}

// TestReplay_single: a message of one row is replayed as what it is, with its key where that is the id.
func TestReplay_single(t *testing.T) {
	t.Parallel()
	for key, messages := range map[string]*schemas.Messages{
		"a": {Format: schemas.MessagesJSON, Op: "op"},
		"":  {Format: schemas.MessagesJSON, Op: "op", Key: "id"},
	} {
		r := newRig(t, func(s *schemas.Spec) { s.Messages = messages })
		replayer := r.replayer()
		if err := replayer.Replay(t.Context(), mended(place, []byte(`{"id":"a","vector":[0,0,0,0]}`)), 1); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), schemas.ReasonZero) {
			t.Errorf("replayed as it is: %v", err)
		}
		if err := replayer.Replay(t.Context(), mended(place, nil), 1); !errors.Is(err, ErrRefused) {
			t.Errorf("replayed a tombstone, of which the key is not known: %v", err)
		}
		mends := []string{`{"id":"a","vector":[1,2,3,4]}`, `{"id":"a","op":"delete"}`}
		for i, mend := range mends {
			if err := replayer.Replay(t.Context(), mended(commit.Place{Partition: 1, Offset: int64(i)}, []byte(mend)), 1); err != nil {
				t.Fatal(err)
			}
		}
		batch, err := r.client.Fetch(t.Context(), 1, 0, patience)
		if err != nil || len(batch.Records) != len(mends) {
			t.Fatal(len(batch.Records), err)
		}
		for i, record := range batch.Records {
			if string(record.Key) != key || string(record.Value) != mends[i] {
				t.Errorf("key %q, value %s, want %q, %s", record.Key, record.Value, key, mends[i])
			}
		}
	}
}

// What was loaded from a file was in no partition of the topic: it goes where its id belongs.
func TestReplay_loaded(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(s *schemas.Spec) { s.Loads = 1 })
	at := commit.Place{Partition: 2, Offset: 5, Row: 0}
	if to, err := r.replayer().Home(t.Context(), mended(place, payloadOf(t, zeroRow))); err != nil || to != 1 {
		t.Errorf("what was in partition 1 goes to %d, %v", to, err)
	}
	if _, err := r.replayer().Home(t.Context(), mended(at, payloadOf(t, zeroRow))); !errors.Is(err, ErrRefused) {
		t.Errorf("what cannot be read goes somewhere: %v", err)
	}
	q := mended(at, payloadOf(t, goodRow))
	to, err := r.replayer().Home(t.Context(), q)
	if want := source.PartitionOf("a", 2); err != nil || to != want {
		t.Fatalf("a goes to %d, %v, want %d", to, err, want)
	}
	if err := r.replayer().Replay(t.Context(), q, to); err != nil {
		t.Fatal(err)
	}
	if n, states := r.replayed(to), r.states(at); n != 1 || states != "replaying replayed" {
		t.Errorf("%d messages, states %s", n, states)
	}
}
