package cmd

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/store"
)

// An operator who begins anew removes an index while everything runs and more comes, and makes it again in the same place. Ingestor and
// builder end, and say why; once they are started again the new index has all of the topic, each id once, and no search has failed.
func TestIndexIsMadeAnewUnderItsDaemons(t *testing.T) {
	f := newFleetTest(t)
	start := map[string]func() *fleet.Process{
		"ingestor": func() *fleet.Process {
			p, _ := f.start("ingestor", "--brokers", f.brokers, "--flush-age", "50ms")
			return p
		},
		"builder": func() *fleet.Process {
			p, _ := f.start("builder", "--min-train-rows", "1000", "--publish-every", "100ms")
			return p
		},
	}
	running := map[string]*fleet.Process{}
	for name, s := range start {
		running[name] = s()
	}
	api, err := fleet.Address()
	if err != nil {
		t.Fatal(err)
	}
	_, ops := f.start("query", "--listen", api, "--poll-every", "50ms")
	var client searcher
	stopClient := client.run(t, "http://"+api, ops)

	producer := f.client.NewProducer(source.ProducerOptions{})
	defer producer.Close()
	rng := rand.New(rand.NewPCG(5, 1))
	from := 0
	more := func(batches int) {
		t.Helper()
		for range batches {
			if _, err := produce.Batch(t.Context(), producer, produce.Topic{Partitions: partitions}, batch(rng, from, batchRows)); err != nil {
				t.Fatal(err)
			}
			from += batchRows
		}
	}
	more(10)
	before, ends := f.readTopic()
	f.await(ends)
	more(5) // some of which the ingestor has in hand
	f.removeAll()
	for {
		err := f.tryInit(f.storage)
		if err == nil {
			break
		}
		t.Log(err) // what was put while it was removed
		f.removeAll()
	}
	for deadline := time.Now().Add(time.Minute); len(running) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d daemons have not ended", len(running))
		}
		more(1)
		for name, p := range running {
			if ended, err := p.Ended(); ended {
				if err == nil || !strings.Contains(p.Log(), "removed or made anew") {
					t.Errorf("%s ended with %v:\n%s", name, err, last(p.Log(), 1000))
				}
				delete(running, name)
			}
		}
	}
	for _, s := range start {
		s()
	}
	want, ends := f.readTopic()
	m := f.await(ends)
	f.checkGeneration(m, want)
	for id, w := range want {
		if _, old := before[id]; old || w.deleted {
			continue
		}
		// Only the new one has it. Until that has promoted something the node goes on with the old one.
		for deadline := time.Now().Add(time.Minute); missing(t.Context(), "http://"+api, id) == nil; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the node does not take the new index")
			}
		}
		break
	}
	f.checkServed("http://"+api, m, want)
	stopClient()
	if n := client.failed.Load(); n > 0 || client.asked.Load() == 0 {
		t.Errorf("%d of %d searches failed, the first: %v", n, client.asked.Load(), client.first.Load())
	}
}

// removeAll removes the index, but for what is put meanwhile.
func (f *fleetTest) removeAll() {
	f.Helper()
	b, err := store.Open(f.Context(), f.storage, store.Options{})
	if err != nil {
		f.Fatal(err)
	}
	for info, err := range b.List(f.Context(), "", "") {
		if err = errors.Join(err, b.Delete(f.Context(), info.Key)); err != nil {
			f.Fatal(err)
		}
	}
}
