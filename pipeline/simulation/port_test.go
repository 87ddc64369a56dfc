package simulation

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"strings"

	"github.com/adastream/adastream/pipeline/store"
)

// errCrashed is the answer to a process that is dead: its code returns, and nothing that it does counts any more.
var errCrashed = errors.New("this process has crashed")

// port is the store as one process sees it. Each request waits for the scheduler.
type port struct {
	process *process

	blind func(kind requestKind, key string) bool // of a broken process: what it asks for is not there
	drops func(key string) bool                   // of a broken process: what it puts without doing so
}

type laneKey struct{}

// lane marks the requests of one goroutine of a process, so that those of several that arrive together have an order.
func lane(ctx context.Context, n int) context.Context { return context.WithValue(ctx, laneKey{}, n) }

func (p *port) do(ctx context.Context, r *request) *request {
	w := p.process.world
	r.port = p
	r.lane, _ = ctx.Value(laneKey{}).(int)
	if r.err = ctx.Err(); r.err != nil {
		return r
	}
	if p.blind != nil && p.blind(r.kind, r.key) {
		if r.kind != list {
			r.err = store.ErrNotFound
		}
		return r
	}
	if w.direct {
		w.directly.Lock()
		defer w.directly.Unlock()
		r.began = w.step
		if r.kind != pause {
			r.err = w.apply(r)
			w.log("%s %s %s: %v", p.process.name, r.kind, r.key, r.err)
		}
		return r
	}
	w.mu.Lock()
	if w.over || p.process.dead {
		w.mu.Unlock()
		r.err = errCrashed
		return r
	}
	r.began, r.done = w.step, make(chan struct{})
	w.arrived = append(w.arrived, r)
	w.mu.Unlock()
	<-r.done
	return r
}

// rest is a pause of any length.
func (p *port) rest(ctx context.Context) error {
	return p.do(ctx, &request{kind: pause}).err
}

func (p *port) String() string { return "sim://" }

func (p *port) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	if p.drops != nil && p.drops(key) {
		return nil
	}
	return p.do(ctx, &request{kind: put, key: key, body: body}).err
}

func (p *port) Get(ctx context.Context, key string) ([]byte, error) {
	r := p.do(ctx, &request{kind: get, key: key})
	return r.found, r.err
}

func (p *port) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	body, err := p.Get(ctx, key)
	return io.NopCloser(bytes.NewReader(body)), int64(len(body)), err
}

func (p *port) Range(ctx context.Context, key string, at, n int64) ([]byte, error) {
	body, err := p.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	return body[at : at+n], nil
}

func (p *port) Stat(ctx context.Context, key string) (store.Info, error) {
	r := p.do(ctx, &request{kind: stat, key: key})
	if r.err != nil {
		return store.Info{}, r.err
	}
	return r.infos[0], nil
}

func (p *port) List(ctx context.Context, prefix, startAfter string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		r := p.do(ctx, &request{kind: list, key: prefix, after: startAfter})
		if r.err != nil {
			yield(store.Info{}, r.err)
			return
		}
		for _, info := range r.infos {
			if p.blind != nil && p.blind(stat, info.Key) {
				continue
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (p *port) Delete(ctx context.Context, key string) error {
	return p.do(ctx, &request{kind: remove, key: key}).err
}

// without hides what is below a prefix from a broken process.
func without(prefix string) func(requestKind, string) bool {
	return func(_ requestKind, key string) bool { return strings.HasPrefix(key, prefix) }
}
