package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/events"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

type fixture struct {
	*testing.T
	bucket *store.Memory
	log    *commit.Log
	client *source.Client
	schema *jsonschema.Schema
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{T: t, bucket: store.NewMemory(), client: sourcetest.Topic(t, 3, nil)}
	f.log = index(t, f.bucket, "shop", 16)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	var err error
	if f.schema, err = c.Compile("../../schemas/event.schema.json"); err != nil {
		t.Fatal(err)
	}
	return f
}

func index(t *testing.T, b store.Bucket, name string, dim int) *commit.Log {
	t.Helper()
	spec := schemas.Spec{Name: name, Ladder: []int{dim}, Encoder: "e/" + name, Topic: schemas.Topic{Name: "t", Partitions: 1}}.WithDefaults()
	return buildtest.Create(t, b, &spec)
}

// publish adds a generation to an index, with some quality, and has it served.
func publish(t *testing.T, log *commit.Log) int64 {
	t.Helper()
	parent, err := log.Latest(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: 1, Builder: "b", Created: time.Now().UTC(), Checkpoint: map[string]int64{}}
	if parent != nil {
		m.Generation, m.Parent = parent.Generation+1, parent.Generation
		m.LiveRows = 10 * m.Parent
		m.Quality = &schemas.Quality{Recall: 0.95, Low: 0.9, High: 0.97, Queries: 256, Measured: m.Generation, Promoted: true, Objective: 0.9}
	}
	if err := log.Publish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	promote(t, log, schemas.Channel{Generation: m.Generation, Reason: "built", By: "b"})
	return m.Generation
}

func promote(t *testing.T, log *commit.Log, c schemas.Channel) {
	t.Helper()
	seen, err := log.Channel(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Promote(t.Context(), seen, c); err != nil {
		t.Fatal(err)
	}
}

// tell runs one that ends when all is told, and returns how many events it has sent.
func (f *fixture) tell(log *commit.Log) (n int) {
	f.Helper()
	if err := events.Run(f.Context(), events.Options{Log: log, Client: f.client, Once: true, Told: func(*schemas.Event) { n++ }}); err != nil {
		f.Fatal(err)
	}
	return n
}

// told is what the topic has of an index, in order, as text; every event is as its schema says.
func (f *fixture) told(name string) (keys []string, all []schemas.Event) {
	f.Helper()
	for p := range 3 {
		b, err := f.client.Bounds(f.Context(), p)
		if err != nil {
			f.Fatal(err)
		}
		for at := b.Start; at < b.End; {
			batch, err := f.client.Fetch(f.Context(), p, at, time.Second)
			if err != nil {
				f.Fatal(err)
			}
			for _, r := range batch.Records {
				if !strings.HasPrefix(string(r.Key), name+"/") {
					continue
				}
				document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(r.Value)))
				if err != nil {
					f.Fatal(err)
				}
				if err := f.schema.Validate(document); err != nil {
					f.Errorf("%s: %v", r.Value, err)
				}
				var e schemas.Event
				if err := json.Unmarshal(r.Value, &e); err != nil {
					f.Fatal(err)
				}
				keys, all = append(keys, string(r.Key)), append(all, e)
			}
			at = batch.Next
		}
	}
	return keys, all
}

func short(all []schemas.Event) (lines []string) {
	for _, e := range all {
		line := fmt.Sprint(e.Sequence, ": ", e.Generation)
		if e.Epoch != "" {
			line += fmt.Sprint(" of ", e.Epoch, " ", e.EpochSequence)
		}
		if e.Pinned {
			line += " pinned"
		}
		lines = append(lines, line)
	}
	return lines
}

func (f *fixture) want(name string, want ...string) {
	f.Helper()
	_, all := f.told(name)
	if got := short(all); !slices.Equal(got, want) {
		f.Errorf("told %q, want %q", got, want)
	}
}

// Each promotion is told once by tellers that follow one another, beside those of another index in the same topic.
func TestEachPromotionIsToldOnce(t *testing.T) {
	f := newFixture(t)
	other := index(t, store.NewMemory(), "shops", 16)
	if n := f.tell(f.log); n != 0 {
		t.Errorf("%d events of nothing", n)
	}
	publish(t, f.log)
	publish(t, f.log)
	if n := f.tell(f.log); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
	for range 90 { // more than the teller looks at first
		publish(t, other)
	}
	if n := f.tell(other); n != 90 {
		t.Errorf("%d events of the other index, want 90", n)
	}
	promote(t, f.log, schemas.Channel{Generation: 1, Pinned: true, Reason: "worse", By: "mara@ops"})
	for i, want := range []int{1, 0} {
		if n := f.tell(f.log); n != want {
			t.Errorf("%d: %d events, want %d", i, n, want)
		}
	}
	f.want("shop", "1: 1", "2: 2", "3: 1 pinned")
	keys, all := f.told("shop")
	if last := all[2]; keys[2] != "shop/0000/00000000000000000003" || last.Reason != "worse" || last.By != "mara@ops" || last.Encoder != "e/shop" || last.Dims != 16 || last.Promoted.IsZero() {
		t.Errorf("%s: %+v", keys[2], last)
	}
	if s := all[1].Snapshot; s == nil || s.LiveRows != 10 || s.Checkpoint == nil || s.Recall == nil || s.Recall.Recall != 0.95 || s.Created.IsZero() {
		t.Errorf("generation 2: %+v", s)
	}
}

// The shards of an index have a line each, also in one topic.
func TestShardsAreToldApart(t *testing.T) {
	f := newFixture(t)
	b := store.NewMemory()
	spec := schemas.Spec{Name: "mall", Ladder: []int{16}, Encoder: "e", Shards: 2, Topic: schemas.Topic{Name: "t", Partitions: 2}}.WithDefaults()
	if err := commit.Create(t.Context(), b, &spec); err != nil {
		t.Fatal(err)
	}
	shards, err := commit.OpenShards(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		publish(t, shards[0])
	}
	publish(t, shards[1])
	for range 2 {
		f.tell(shards[0])
		f.tell(shards[1])
	}
	keys, all := f.told("mall")
	if want := []string{"mall/0000/00000000000000000001", "mall/0000/00000000000000000002", "mall/0000/00000000000000000003", "mall/0001/00000000000000000001"}; !slices.Equal(keys, want) || all[0].Shard != 0 || all[3].Shard != 1 {
		t.Errorf("told %q: %+v", keys, all)
	}
}

// While an epoch is served its own promotions are told, and none of what its builder did before or after.
func TestEpochsAreTold(t *testing.T) {
	f := newFixture(t)
	publish(t, f.log)
	epoch := index(t, store.Under(f.bucket, "epochs/next"), "shop-next", 32)
	publish(t, epoch)
	publish(t, epoch)
	f.tell(f.log)
	promote(t, f.log, schemas.Channel{Epoch: "next", Reason: "new encoder", By: "mara@ops"})
	f.tell(f.log)
	publish(t, epoch)
	publish(t, epoch)
	f.tell(f.log)
	promote(t, f.log, schemas.Channel{Generation: 1, Reason: "back", By: "mara@ops"})
	publish(t, epoch)
	f.tell(f.log)
	f.want("shop", "1: 1", "2: 2 of next 2", "2: 3 of next 3", "2: 4 of next 4", "3: 1")
	_, all := f.told("shop")
	if e := all[2]; e.Encoder != "e/shop-next" || e.Dims != 32 || e.Index != "shop" || e.By != "b" {
		t.Errorf("%+v", e)
	}
}

// What was collected before it could be told is left out, and the sequence shows it; what was collected but for its promotion is told without
// what the manifest said.
func TestCollectedIsLeftOut(t *testing.T) {
	f := newFixture(t)
	publish(t, f.log)
	f.tell(f.log)
	for range 4 {
		publish(t, f.log)
	}
	buildtest.Collect(t, f.log)
	publish(t, f.log)
	f.tell(f.log)
	_, all := f.told("shop")
	if n := len(all); n < 3 || all[0].Sequence != 1 || all[n-1].Sequence != 6 || all[n-1].Snapshot == nil {
		t.Errorf("told %q", short(all))
	}
	for i := 1; i < len(all); i++ {
		if _, err := f.log.Promotion(t.Context(), all[i].Sequence); err != nil || all[i].Sequence <= all[i-1].Sequence {
			t.Errorf("told %q: %v", short(all), err)
		}
	}
}

// A teller that runs while its index is made anew ends, and tells nothing of the other one.
func TestIndexIsMadeAnewMeanwhile(t *testing.T) {
	f := newFixture(t)
	publish(t, f.log)
	told, ended := make(chan int64, 10), make(chan error, 1)
	go func() {
		ended <- events.Run(t.Context(), events.Options{Log: f.log, Client: f.client, PollEvery: 5 * time.Millisecond, Told: func(e *schemas.Event) { told <- e.Sequence }})
	}()
	if got := <-told; got != 1 {
		t.Fatalf("told %d, want 1", got)
	}
	b := f.log.Bucket()
	for info, err := range b.List(t.Context(), "", "") {
		if err = errors.Join(err, b.Delete(t.Context(), info.Key)); err != nil {
			t.Fatal(err)
		}
	}
	anew := index(t, b, "shop", 16)
	publish(t, anew)
	publish(t, anew)
	if err := <-ended; err == nil || errors.Is(err, schemas.ErrTransient) || !strings.Contains(err.Error(), "made anew") {
		t.Errorf("ended with %v", err)
	}
	if len(told) > 0 {
		t.Errorf("told %d of another index", <-told)
	}
}

// A teller goes on until it is stopped.
func TestTellerFollows(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan int64, 10), make(chan error, 1)
	go func() {
		ended <- events.Run(ctx, events.Options{Log: f.log, Client: f.client, PollEvery: 5 * time.Millisecond, Told: func(e *schemas.Event) { told <- e.Sequence }})
	}()
	for want := int64(1); want <= 3; want++ {
		publish(t, f.log)
		select {
		case got := <-told:
			if got != want {
				t.Errorf("told %d, want %d", got, want)
			}
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(time.Minute):
			t.Fatalf("%d is not told within a minute", want)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// An index that was made anew under the name of one whose events the topic has begins at the first sequence again: neither its promotions
// up to that of the other, nor those after it, are taken for told.
func TestIndexIsMadeAnew(t *testing.T) {
	f := newFixture(t)
	for range 3 {
		publish(t, f.log)
	}
	if n := f.tell(f.log); n != 3 {
		t.Fatalf("told %d, want 3", n)
	}
	anew := index(t, store.NewMemory(), "shop", 16)
	for range 4 {
		err := events.Run(t.Context(), events.Options{Log: anew, Client: f.client, Once: true})
		if err == nil || errors.Is(err, schemas.ErrTransient) || !strings.Contains(err.Error(), "sequence 3") || !strings.Contains(err.Error(), "made anew") {
			t.Errorf("%v, want to be told of the other index", err)
		}
		publish(t, anew)
	}
	f.want("shop", "1: 1", "2: 2", "3: 3")
}

// Who has patience ends with the reason when a broker, or a store, stays away; what was told before counts anew.
func TestPatience(t *testing.T) {
	f := newFixture(t)
	publish(t, f.log)
	away, err := source.New(source.Options{Brokers: []string{"127.0.0.1:1"}, Topic: "t"})
	if err != nil {
		t.Fatal(err)
	}
	defer away.Close()
	ended := make(chan error)
	go func() {
		ended <- events.Run(t.Context(), events.Options{Log: f.log, Client: away, Once: true, Patience: time.Millisecond})
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, schemas.ErrTransient) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("it still waits for a broker that is away")
	}
	b := &failingOnce{Bucket: f.bucket}
	log, err := commit.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, f.log)
	told := 0
	err = events.Run(t.Context(), events.Options{Log: log, Client: f.client, Once: true, Patience: 500 * time.Millisecond, Told: func(*schemas.Event) { told++; b.fail = true }})
	if err != nil || told != 2 {
		t.Errorf("%d told, %v", told, err)
	}
}

// failingOnce fails the next listing whenever it is told to.
type failingOnce struct {
	store.Bucket
	fail bool
}

func (b *failingOnce) List(ctx context.Context, prefix, startAfter string) iter.Seq2[store.Info, error] {
	if b.fail {
		b.fail = false
		return func(yield func(store.Info, error) bool) { yield(store.Info{}, schemas.ErrTransient) }
	}
	return b.Bucket.List(ctx, prefix, startAfter)
}
