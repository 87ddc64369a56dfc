package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// hooked is a store whose answer to the fetch of a segment is up to the test.
type hooked struct {
	store.Bucket
	segment atomic.Pointer[func(ctx context.Context) error]
}

func (h *hooked) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	if hook := h.segment.Load(); hook != nil && strings.HasPrefix(key, "segments/") {
		if err := (*hook)(ctx); err != nil {
			return nil, 0, err
		}
	}
	return h.Bucket.Open(ctx, key)
}

func readyz(n *Node) string {
	w := call(n.Ops(), http.MethodGet, "/readyz", "")
	return fmt.Sprint(w.Code, " ", strings.TrimSpace(w.Body.String()))
}

// A node that is behind for a reason of its own is ready until MaxBehind is over, and again once it has caught up. One that is
// behind for a reason that others share stays ready, as does one without a bound.
func TestMaxBehind(t *testing.T) {
	const bound = 50 * time.Millisecond
	other := errors.New("a disk that does not turn")
	full := fmt.Errorf("x: %w", store.ErrCacheFull)
	for name, c := range map[string]struct {
		fault error // of each fetch; nil is one that takes its time
		bound time.Duration
		ready string // how it begins, a pattern
	}{
		"still fetching":    {nil, bound, "503 generation 1 is served and the channel has named a newer one for [0-9a-z]+, allowed: 50ms: the newest one is being fetched"},
		"cache too small":   {full, bound, "503 "},
		"disk full":         {fmt.Errorf("x: %w", store.ErrDiskFull), bound, "503 "},
		"anything else":     {other, bound, "503 "},
		"no bound":          {other, 0, "200 ok, but stale: generation 2"},
		"no bound, fetches": {nil, 0, "200 ok"},
		"store away":        {fmt.Errorf("x: %w", store.ErrTransient), bound, "200 ok, but stale: generation 2"},
		"no right":          {fmt.Errorf("x: %w", store.ErrDenied), bound, "200 ok, but stale: generation 2"},
		"corrupt":           {fmt.Errorf("x: %w", schemas.ErrCorrupt), bound, "200 ok, but stale: generation 2"},
		"gone":              {fmt.Errorf("x: %w", store.ErrNotFound), bound, "200 ok, but stale: generation 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &hooked{Bucket: store.NewMemory()}
			p := newPublisherIn(t, b, newPublisher(t).log.Spec())
			n := p.node(Options{MaxBehind: c.bound})
			if got := readyz(n); !strings.HasPrefix(got, "503 no generation ") {
				t.Errorf("at first: %s", got)
			}
			p.add(0, 10)
			p.await(n, 1)
			going := make(chan struct{})
			hook := func(ctx context.Context) error {
				if c.fault != nil {
					return c.fault
				}
				select {
				case <-going:
				case <-ctx.Done():
				}
				return ctx.Err()
			}
			b.segment.Store(&hook)
			p.add(10, 20)
			for n.behind.duration() <= bound || c.fault != nil && n.Stale() == nil {
				time.Sleep(time.Millisecond)
			}
			if got := readyz(n); !regexp.MustCompile("^"+c.ready).MatchString(got) || c.fault != nil && !strings.HasSuffix(got, c.fault.Error()) {
				t.Errorf("behind: %s, want %s", got, c.ready)
			}
			b.segment.Store(nil)
			close(going)
			p.await(n, 2)
			for n.behind.duration() != 0 || n.Stale() != nil {
				time.Sleep(time.Millisecond)
			}
			if got := readyz(n); got != "200 ok" {
				t.Errorf("afterwards: %s", got)
			}
		})
	}
}

// However old the newest generation is, who serves it is ready: a builder that is down is no reason to give no answers.
func TestOldIsNotBehind(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 10)
	n := p.node(Options{MaxBehind: time.Nanosecond})
	p.await(n, 1)
	for n.confirmed.at.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	for deadline := time.Now().Add(20 * time.Millisecond); time.Now().Before(deadline); {
		if got := readyz(n); got != "200 ok" {
			t.Fatal(got)
		}
	}
}
