package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// Points at which a process is killed.
const (
	pointPut        = "before a put"     // the store never hears of it
	pointDone       = "after a put"      // the store did it, the process never hears of it
	pointDownload   = "in a download"    // after a part of the object
	pointDownloaded = "after a download" // a little later: while it is flushed, renamed, verified, mapped, swapped in
)

// point is one of them, at the next request that fits.
type point struct {
	at     string
	folder string        // of the key, for puts; "" is any
	share  float64       // of the object that passes, in a download
	late   time.Duration // after a download
}

func (p point) String() string {
	switch p.at {
	case pointDownload:
		return fmt.Sprintf("%s, %.0f%%", p.at, 100*p.share)
	case pointDownloaded:
		return fmt.Sprintf("%s, %v", p.at, p.late.Round(time.Millisecond))
	case pointPut, pointDone:
		return fmt.Sprintf("%s of %s/", p.at, p.folder)
	}
	return p.at
}

func (p point) fits(r *http.Request) bool {
	if p.at == pointDownload || p.at == pointDownloaded {
		return r.Method == http.MethodGet && isData(r.URL.Path)
	}
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/"+p.folder)
}

// trap kills a process at one of its requests.
type trap struct {
	point
	host   string // that its requests are for
	kill   func()
	sprung chan struct{} // closed when it has killed
}

// lay makes a trap wait until the function that it returns is called, which says whether it still waited.
func (i *injector) lay(t *trap) (lift func() bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.traps = append(i.traps, t)
	return func() bool {
		i.mu.Lock()
		defer i.mu.Unlock()
		n := slices.Index(i.traps, t)
		if n < 0 {
			return false
		}
		i.traps = slices.Delete(i.traps, n, n+1)
		return true
	}
}

// caught takes away the trap that a request springs, if there is one.
func (i *injector) caught(r *http.Request) *trap {
	i.mu.Lock()
	defer i.mu.Unlock()
	for n, t := range i.traps {
		if t.fits(r) && strings.HasPrefix(r.Host, t.host+":") {
			i.traps = slices.Delete(i.traps, n, n+1)
			return t
		}
	}
	return nil
}

// spring kills the process that sent r. Nobody hears the answer.
func (i *injector) spring(t *trap, w http.ResponseWriter, r *http.Request) {
	defer panic(http.ErrAbortHandler)
	defer close(t.sprung)
	defer t.kill()
	switch t.at {
	case pointDone:
		i.proxy.ServeHTTP(discard{http.Header{}}, r)
	case pointDownload, pointDownloaded:
		answer := &recorder{header: http.Header{}, status: http.StatusOK}
		i.proxy.ServeHTTP(answer, r)
		body := answer.body.Bytes()
		maps.Copy(w.Header(), answer.header)
		w.WriteHeader(answer.status)
		if t.at == pointDownload {
			body = body[:int(t.share*float64(len(body)))]
		}
		_, _ = w.Write(body)
		_ = http.NewResponseController(w).Flush()
		pause(context.Background(), t.late)
	}
}

// strike kills a member at a certain request, if there is such a one before long. A query node has an empty cache then, so that it has
// something to download.
func (c *campaign) strike(ctx context.Context, e event) error {
	m := c.member(e.target, e.index)
	release, ok := c.claim(m)
	if !ok {
		return nil
	}
	defer release()
	t := &trap{point: e.point, host: m.host, kill: m.kill, sprung: make(chan struct{})}
	if m.role == roleQuery {
		m.kill()
		c.totals.count(eventKill)
		if err := os.RemoveAll(m.cache); err != nil {
			return err
		}
		if err := m.start(); err != nil {
			return err
		}
	}
	lift := c.injectors[m.role].lay(t)
	select {
	case <-t.sprung:
	case <-time.After(e.lasts):
	case <-ctx.Done():
	}
	if !lift() {
		<-t.sprung
		c.totals.count(eventKill)
		c.totals.count(e.point.at)
	}
	if err := m.start(); err != nil {
		return err
	}
	return c.awaitNode(ctx, m)
}
