package serve

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/store"
)

// removeAll deletes the index that a node serves.
func (p *publisher) removeAll() {
	p.t.Helper()
	var keys []string
	for info, err := range p.bucket.List(p.t.Context(), "", "") {
		if err != nil {
			p.t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	for _, key := range keys {
		if err := p.bucket.Delete(p.t.Context(), key); err != nil {
			p.t.Fatal(err)
		}
	}
}

// awaitStale waits until n says that it does not serve what is in the store, and why.
func (p *publisher) awaitStale(n *Node, why string) {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		err := n.Stale()
		if err != nil && strings.Contains(err.Error(), why) {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("says %v after a minute, want %q", err, why)
		}
	}
}

// hitIDs are what a search finds.
func hitIDs(t *testing.T, api http.Handler) (generation int64, ids []string) {
	t.Helper()
	w := call(api, http.MethodPost, "/v1/search", `{"vector":`+vectorJSON(unit(1))+`,"k":100}`)
	var a answerJSON
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusOK {
		t.Errorf("%d %s: %v", w.Code, w.Body, err)
	}
	for _, h := range a.Hits {
		ids = append(ids, h.ID)
	}
	return a.Snapshot.Generation, ids
}

// An index that is removed is served on, and the node says that it has gone. One that is made anew in its place is followed once it has
// promoted something, though its promotions count from 1: no query fails meanwhile, and each is answered by one of the two.
func TestAnIndexThatWasMadeAnewIsFollowed(t *testing.T) {
	old := newPublisher(t)
	for row := range 5 {
		old.add(row, row+1)
	}
	n := old.node(Options{})
	old.await(n, 5)

	ended := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-ended:
				return
			default:
			}
			switch generation, ids := hitIDs(t, n.API()); {
			case generation == 5 && len(ids) == 5, generation < 5 && len(ids) == int(generation):
			default:
				t.Errorf("generation %d has %q", generation, ids)
				return
			}
		}
	})
	stop := sync.OnceFunc(func() { close(ended); asking.Wait() })
	defer stop()

	old.removeAll()
	old.awaitStale(n, "00005 is gone")
	if err := n.Ready(); err != nil {
		t.Errorf("is not ready: %v", err)
	}
	anew := newPublisherIn(t, old.bucket, old.log.Spec())
	old.awaitStale(n, "has promoted nothing yet")
	anew.add(20, 21)
	anew.awaitServed(n, "", 1)
	anew.add(21, 22)
	anew.awaitServed(n, "", 2)
	stop()
	if _, ids := hitIDs(t, n.API()); len(ids) != 2 || !strings.Contains(strings.Join(ids, " "), "20") || n.Stale() != nil {
		t.Errorf("found %q, stale: %v", ids, n.Stale())
	}
}

// An index that was made anew while the node could not look, and has had as many promotions as the old one, is another one all the same.
func TestAnIndexWithAsManyPromotionsIsAnotherOne(t *testing.T) {
	old := newPublisher(t)
	old.add(0, 1)
	cache, err := store.NewCache(t.TempDir(), old.bucket, store.CacheOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(Options{Log: old.log, Cache: cache, PollEvery: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	n.cache = cache
	look := func() {
		t.Helper()
		if err := n.advance(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	look()
	old.removeAll()
	newPublisherIn(t, old.bucket, old.log.Spec()).add(20, 21)
	look()
	if _, ids := hitIDs(t, n.API()); len(ids) != 1 || !strings.Contains(ids[0], "20") {
		t.Errorf("found %q", ids)
	}
}

// An index of another spec in its place is not served, by what is known of the old one: the node says what there is.
func TestAnIndexOfAnotherSpecIsNotFollowed(t *testing.T) {
	old := newPublisher(t)
	old.add(0, 1)
	n := old.node(Options{})
	old.await(n, 1)
	old.removeAll()
	spec := *old.log.Spec()
	spec.Encoder = "other"
	anew := newPublisherIn(t, old.bucket, &spec)
	for row := range 3 {
		anew.add(row, row+1)
	}
	old.awaitStale(n, "has another spec")
	if generation, ids := hitIDs(t, n.API()); generation != 1 || len(ids) != 1 || n.Ready() != nil {
		t.Errorf("generation %d has %q, ready: %v", generation, ids, n.Ready())
	}
}
