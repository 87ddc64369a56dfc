package ingest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/store"
)

// handOver is the longest time that a partition may stand still under steady load when the group changes. It is about a second; with
// the race detector, beside ten times the work that there are cores for, 4.7 s were seen. Where a member does not leave, or is not asked to give up
// what it has, it is the session timeout, of 10 s, since its last heartbeat.
const handOver = 8 * time.Second

// TestHandOver_isPrompt: under steady load an ingestor joins, and later leaves. No partition stands still for long, and no
// more than a cut of each is worked on twice.
func TestHandOver_isPrompt(t *testing.T) {
	const partitions = 4
	r := newRig(t, partitions, store.NewMemory())
	group := "group-" + uuid.NewString()
	member := func() *running {
		client := sibling(t, r.client, r.client.Options().MaxBytes)
		return r.start(func(o *Options) { o.Group, o.Source = group, client })
	}
	load, stopLoad := context.WithCancel(t.Context())
	var loading sync.WaitGroup
	defer loading.Wait()
	defer stopLoad()
	message := traffic(t, 1, 3)[0]
	loading.Go(func() {
		p := r.client.NewProducer(source.ProducerOptions{Linger: time.Millisecond})
		defer p.Close()
		for tick := time.NewTicker(20 * time.Millisecond); load.Err() == nil; <-tick.C {
			for id := range partitions {
				if err := p.Send(load, source.Message{Partition: id, Value: message.Value}); err != nil && load.Err() == nil {
					t.Error(err)
				}
			}
		}
	})
	moves := func(n int64) {
		t.Helper()
		for id := range partitions {
			r.await(id, r.next(id)+n)
		}
	}
	owns := func(run *running, n int) {
		t.Helper()
		r.until(fmt.Sprintf("%d partitions", n), func() bool { return len(run.board.status()) == n })
	}

	first := member()
	owns(first, partitions)
	moves(20)
	second := member()
	owns(second, partitions/2)
	moves(20)
	first.stop(t)
	owns(second, partitions)
	moves(20)
	second.stop(t)

	for id := range partitions {
		commits, err := r.log.Since(t.Context(), id, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		longest := time.Duration(0)
		for i := 1; i < len(commits); i++ {
			longest = max(longest, commits[i].Created.Sub(commits[i-1].Created))
		}
		t.Logf("partition %d: %d commits, the longest pause is %s", id, len(commits), longest)
		if longest > handOver {
			t.Errorf("partition %d stood still for %s, allowed: %s", id, longest, handOver)
		}
	}
	fenced := testutil.ToFloat64(first.metrics.fenced) + testutil.ToFloat64(second.metrics.fenced)
	if fenced > partitions {
		t.Errorf("%v cuts were worked on twice, allowed: one for each of %d partitions", fenced, partitions)
	}
	t.Logf("%v cuts were worked on twice", fenced)
}
