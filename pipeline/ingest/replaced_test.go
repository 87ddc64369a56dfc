package ingest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
	"github.com/adastream/adastream/pipeline/store"
)

// TestRecreatedTopic_stops: a log that ends before the chain is another log, which no flag mends.
func TestRecreatedTopic_stops(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	r.produce(1, traffic(t, 5, 37)...)
	run := r.start()
	r.await(0, 5)
	run.stop(t)

	sourcetest.DeleteTopic(t, r.client)
	r.client = sourcetest.TopicOn(t, r.client.Options(), 1, nil)
	r.produce(1, traffic(t, 2, 41)...)
	run = r.start(func(o *Options) { o.AcceptGap = true })
	err := r.stopped(run, 0)
	var gap *GapError
	if !errors.As(err, &gap) || gap.Overrun() || gap.Next != 5 || gap.End != 2 || !strings.Contains(err.Error(), "new topic needs a new index") {
		t.Errorf("stopped with %v", err)
	}
	run.stop(t)
}

// TestIndexRemoved_ends: whoever worked on an index ends, whether something comes or not, and leaves the one that is made in its place to
// those who open that.
func TestIndexRemoved_ends(t *testing.T) {
	for name, anew := range map[string]func(r *rig){
		"and nothing comes":          func(*rig) {},
		"and something comes":        func(r *rig) { r.produce(1, traffic(t, 5, 41)...) },
		"made anew":                  func(r *rig) { r.create() },
		"made anew, something comes": func(r *rig) { r.create(); r.produce(1, traffic(t, 5, 41)...) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1, store.NewMemory())
			r.produce(1, traffic(t, 5, 37)...)
			run := r.start(func(o *Options) { o.FollowEvery = 20 * time.Millisecond })
			r.await(0, 5)
			for info, err := range r.edge.List(r.context(), "", "") {
				if err = errors.Join(err, r.edge.Delete(r.context(), info.Key)); err != nil {
					t.Fatal(err)
				}
			}
			anew(r)
			select {
			case err := <-run.done:
				if !errors.Is(err, commit.ErrReplaced) || !strings.Contains(err.Error(), "start again") {
					t.Errorf("ended with %v, want ErrReplaced", err)
				}
			case <-time.After(patience):
				t.Fatal("does not end")
			}
			for info, err := range r.edge.List(r.context(), "commits/", "") {
				t.Errorf("committed %s, %v", info.Key, err)
			}
			if strings.HasPrefix(name, "made anew") {
				run = r.start()
				r.await(0, r.end(0))
				run.stop(t)
			}
		})
	}
}

// TestTopicGone_whoHasNoPartitionsSaysSo: after a rebalance nobody has any, nobody fetches, and all would look well.
func TestTopicGone_whoHasNoPartitionsSaysSo(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	r.produce(1, traffic(t, 5, 37)...)
	name := "group-" + uuid.NewString()
	group := func(o *Options) { o.Group = name }
	run := []*running{r.start(group), r.start(group)}
	r.await(0, 5)
	ready := func(want bool) {
		t.Helper()
		for _, one := range run {
			for end := time.Now().Add(patience); (one.Ready() == nil) != want; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("ready: %v, want it to be: %v", one.Ready(), want)
				}
			}
		}
	}
	ready(true)
	sourcetest.DeleteTopic(t, r.client)
	ready(false)
	if err := errors.Join(run[0].Ready(), run[1].Ready()); !strings.Contains(err.Error(), "topic: ") {
		t.Errorf("the one that stands by says nothing of the topic: %v", err)
	}
	for _, one := range run {
		one.stop(t)
	}
}

// TestRecreatedTopic_whileTheStoreIsAway_stops: nobody asked the broker meanwhile, and the new log is long enough.
func TestRecreatedTopic_whileTheStoreIsAway_stops(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	topic, err := r.client.Topic(r.context())
	if err != nil {
		t.Fatal(err)
	}
	if topic.TopicID == "" {
		t.Fatal("the broker gives topics no ids")
	}
	r.spec.Topic.ID = topic.TopicID
	r.edge = newEdge(store.NewMemory())
	r.create()
	back := make(chan struct{})
	away := make(chan struct{}, 100)
	r.edge.fail(func(string) error {
		away <- struct{}{}
		<-back
		return nil
	}, nil)
	r.produce(1, traffic(t, 3, 43)...)
	run := r.start()
	<-away
	r.produce(1, traffic(t, 3, 47)...) // what is fetched ahead
	time.Sleep(unwatched + 200*time.Millisecond)
	sourcetest.DeleteTopic(t, r.client)
	r.client = sourcetest.TopicOn(t, r.client.Options(), 1, nil)
	r.produce(10, traffic(t, 40, 53)...)
	close(back)
	if err := r.stopped(run, 0); !strings.Contains(err.Error(), "is another one than the index was made for") {
		t.Errorf("stopped with %v", err)
	}
	if next := r.next(0); next > 6 {
		t.Errorf("the chain goes on to %d with what is of another topic", next)
	}
	run.stop(t)
}

// TestOtherTopic_isRefused: the same name is not the same topic, even if its log is long enough.
func TestOtherTopic_isRefused(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	r.spec.Topic.ID = "AAAAAAAAAAAAAAAAAAAAAA"
	bucket := store.NewMemory()
	r.edge = newEdge(bucket)
	r.create()
	run := r.start()
	if err := <-run.done; err == nil || !strings.Contains(err.Error(), `needed: "AAAAAAAAAAAAAAAAAAAAAA"`) {
		t.Errorf("run ended with %v", err)
	}
}

// TestAddedPartition_stopsAlone: the builder would never look at its chain.
func TestAddedPartition_stopsAlone(t *testing.T) {
	r := newRig(t, 2, store.NewMemory())
	r.spec.Topic.Partitions = 1
	r.edge = newEdge(store.NewMemory())
	r.create()
	r.produce(1, source.Message{Value: plainMessage(t)})
	run := r.start()
	r.await(0, 1)
	if err := r.stopped(run, 1); !strings.Contains(err.Error(), "more partitions than the 1") {
		t.Errorf("stopped with %v", err)
	}
	run.stop(t)
}
