package store_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/store/storetest"
)

// lines are those of a log.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// A store that is configured anew under daemons that run is noticed by them, and not by the next one that starts alone; what they say of it
// outlives probes that the store did not answer.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log, registry := &storetest.Turncoat{Bucket: store.NewMemory()}, make(lines, 1), prometheus.NewRegistry()
		var said error
		w := store.NewWatch(b, store.WatchOptions{Tell: func(err error) { said = err }, Logger: slog.New(slog.NewTextHandler(log, nil)), Registry: registry, Role: "builder"})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.Run(ctx)
		}()
		check := func(when string, ignores bool, says string) {
			t.Helper()
			time.Sleep(time.Hour)
			synctest.Wait()
			want := "0"
			if ignores {
				want = "1"
			}
			const name = "adastream_builder_store_ignores_condition"
			help := "# HELP " + name + " 1 since a probe found that the object store ignores put-if-absent, until one finds that it does not, else 0. It is probed each hour. Should never happen: two writers could both believe that they published.\n"
			if err := testutil.GatherAndCompare(registry, strings.NewReader(help+"# TYPE "+name+" gauge\n"+name+" "+want+"\n"), name); err != nil {
				t.Errorf("%s: %v", when, err)
			}
			if errors.Is(said, store.ErrIgnoresCondition) != ignores {
				t.Errorf("%s: told %v", when, said)
			}
			line := ""
			select {
			case line = <-log:
			default:
			}
			if says == "" != (line == "") || !strings.Contains(line, says) {
				t.Errorf("%s: log %q, want %q", when, line, says)
			}
			for info := range b.List(t.Context(), "", "") {
				t.Errorf("%s: left behind: %s", when, info.Key)
			}
		}
		check("all is well", false, "")
		b.Away.Store(true)
		check("the store is away", false, "level=WARN")
		b.Away.Store(false)
		b.Overwrites.Store(true)
		check("it overwrites", true, "level=ERROR")
		check("it still does", true, "level=ERROR")
		b.Away.Store(true)
		check("it is away after it did", true, "level=WARN")
		b.Away.Store(false)
		b.Overwrites.Store(false)
		check("it honours it again", false, "level=INFO")
		stop()
		<-done
	})
}

// TestProbeCosts: what plans count for each daemon and hour.
func TestProbeCosts(t *testing.T) {
	counts := map[string]*atomic.Int64{http.MethodPut: {}, http.MethodGet: {}, http.MethodDelete: {}}
	l := &line{fault: func(r *http.Request, _ sender) (*http.Response, error) {
		counts[r.Method].Add(1)
		return nil, nil
	}}
	o := quick
	o.Transport = l
	if err := store.Probe(t.Context(), open(t, new(fakeS3).serve(t), o)); err != nil {
		t.Fatal(err)
	}
	for method, want := range map[string]int64{http.MethodPut: 26, http.MethodGet: 23, http.MethodDelete: 4} {
		if got := counts[method].Load(); got != want {
			t.Errorf("%s: %d requests, want %d", method, got, want)
		}
	}
}
