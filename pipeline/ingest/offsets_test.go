package ingest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/store"
)

// TestOffsetsOfTheGroup_commitFails_isCounted: the group does not take the offsets, because its generation is over. That is counted, and they
// are kept for another try unless there are newer ones; the chain, which says where to go on, knows nothing of it.
func TestOffsetsOfTheGroup_commitFails_isCounted(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	joined, leave := context.WithCancel(t.Context())
	var ended *source.Assignment
	_ = r.client.Join(joined, "group-"+uuid.NewString(), func(_ context.Context, a *source.Assignment) {
		ended = a
		leave()
	})
	if ended == nil {
		t.Fatal("never in the group")
	}
	run := r.start()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := &offsets{}
	o.mark(0, 17)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		o.run(ctx, ended, run.metrics, slog.New(slog.DiscardHandler))
	}()
	for deadline := time.Now().Add(patience); testutil.ToFloat64(run.metrics.transient.WithLabelValues("offsets")) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a failure is not counted")
		}
	}
	cancel()
	<-stopped
	if kept := o.take(); kept[0] != 17 {
		t.Errorf("kept %v, want the offset that could not be told", kept)
	}
	if next := r.next(0); next != 0 {
		t.Errorf("the chain ends at %d", next)
	}
}
