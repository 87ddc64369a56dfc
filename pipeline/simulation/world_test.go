package simulation

import (
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/adastream/adastream/pipeline/store"
)

// world is one schedule: a store, the processes that use it, and the scheduler that decides which request comes next and what
// goes wrong with it. All decisions come from the seed.
type world struct {
	rng    *rand.Rand
	odds   odds
	broken rule
	truth  *truth

	pageParts int // of generations, at most

	objects map[string]stored
	keys    []string // of objects, in order
	gone    []vanished
	clock   time.Time // of the store's clock, which jumps

	mu      sync.Mutex
	arrived []*request // since the scheduler last looked
	pending []*request
	asleep  map[*process]int // until which step

	running sync.WaitGroup
	step    int
	last    *process // whose request was the last one
	over    bool     // every request fails from now on

	direct   bool // requests are answered at once: one process, no faults
	directly sync.Mutex

	trace   io.Writer // nil for none
	failure string    // first violation, "" for none
}

// odds are the probabilities of this schedule.
type odds struct {
	crash, fault, late float64 // of a request: its process dies, the answer is an error, a lost put or delete takes effect much later
	sleep              float64 // of a process, with each request: it does nothing for a long time
	stick              float64 // that the process which was last goes on
	jump               float64 // of the store's clock, with each request
}

type stored struct {
	body  []byte
	info  store.Info
	since int // step
}

// vanished is a deleted object: a listing that began before may still show it.
type vanished struct {
	info  store.Info
	since int // step at which it was deleted
}

// process is one life of an actor. What it had under way is lost when it dies.
type process struct {
	name  string
	actor int
	world *world
	dead  bool
}

type requestKind int

const (
	put requestKind = iota
	settle
	get
	stat
	list
	remove
	pause // no request: a moment in which the process does nothing
)

func (k requestKind) String() string {
	return [...]string{"put", "settle", "get", "stat", "list", "delete", "pause"}[k]
}

// request is one request to the store that waits for the scheduler.
type request struct {
	lane  int
	port  *port // nil once nobody waits for the answer: then it is on its way through the network
	kind  requestKind
	key   string
	after string // of a list
	body  []byte // of a put
	doubt error  // of a settle: why the put has to be read back
	began int    // step

	done  chan struct{}
	err   error
	found []byte
	infos []store.Info
}

func newWorld(seed uint64) *world {
	return &world{
		rng: rand.New(rand.NewPCG(seed, 1)), truth: newTruth(), objects: map[string]stored{}, asleep: map[*process]int{},
		clock: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC),
	}
}

func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure == "" {
		w.failure = fmt.Sprintf("step %d: ", w.step) + fmt.Sprintf(format, args...)
	}
}

func (w *world) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure != ""
}

// log adds a line to the trace.
func (w *world) log(format string, args ...any) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, "%5d "+format+"\n", append([]any{w.step}, args...)...)
	}
}

// run lets the actors do steps requests. What is under way then is lost, or arrives.
func (w *world) run(steps int) {
	for !w.failed() {
		synctest.Wait()
		w.admit()
		if w.step == steps || len(w.pending) == 0 {
			break
		}
		w.step++
		w.tick()
		w.serve(w.choose())
	}
	synctest.Wait()
	w.admit()
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	for _, r := range w.pending {
		if r.port != nil {
			w.answer(r, errCrashed)
		}
	}
	w.running.Wait()
	w.admit()
	for _, r := range w.pending {
		if r.port == nil && !w.failed() {
			w.apply(r)
		}
	}
	w.pending = nil
}

// admit takes over what has arrived, in an order that does not depend on how goroutines were run.
func (w *world) admit() {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortFunc(w.arrived, func(a, b *request) int {
		return cmp.Or(cmp.Compare(a.port.process.actor, b.port.process.actor), cmp.Compare(a.lane, b.lane), cmp.Compare(a.kind, b.kind), cmp.Compare(a.key, b.key), cmp.Compare(a.after, b.after))
	})
	w.pending = append(w.pending, w.arrived...)
	w.arrived = w.arrived[:0]
}

// tick moves the store's clock, at times by hours, at times back.
func (w *world) tick() {
	w.clock = w.clock.Add(time.Duration(w.rng.IntN(20)) * time.Second)
	if w.rng.Float64() < w.odds.jump {
		w.clock = w.clock.Add(time.Duration(w.rng.IntN(240)-60) * time.Minute)
	}
}

// choose takes the next request from those that are pending.
func (w *world) choose() *request {
	at := w.rng.IntN(len(w.pending))
	if w.last != nil && w.rng.Float64() < w.odds.stick {
		if i := slices.IndexFunc(w.pending, func(r *request) bool { return r.port != nil && r.port.process == w.last }); i >= 0 {
			at = i
		}
	}
	for range 4 { // to find one that is awake
		if r := w.pending[at]; r.port == nil || w.asleep[r.port.process] <= w.step {
			break
		}
		at = w.rng.IntN(len(w.pending))
	}
	r := w.pending[at]
	w.pending = slices.Delete(w.pending, at, at+1)
	if w.last = nil; r.port != nil {
		w.last = r.port.process
		if w.rng.Float64() < w.odds.sleep {
			w.asleep[r.port.process] = w.step + int(20*w.rng.ExpFloat64())
		}
	}
	return r
}

// serve decides what becomes of a request.
func (w *world) serve(r *request) {
	if r.port == nil {
		w.log("late %s %s", r.kind, r.key)
		w.apply(r)
		return
	}
	if w.rng.Float64() < w.odds.crash {
		w.crash(r)
		return
	}
	writes := r.kind == put || r.kind == remove
	if r.kind != pause && w.rng.Float64() < w.odds.fault {
		how := w.rng.IntN(3)
		switch {
		case writes && how == 0: // the answer is lost
			err := w.apply(r)
			if err == nil && w.rng.IntN(2) == 0 && r.kind == put {
				w.await(r, store.ErrUnknown)
				return
			}
			w.answer(r, fmt.Errorf("%s %s: no answer: %w", r.kind, r.key, store.ErrUnknown))
		case writes && how == 1 && w.rng.Float64() < w.odds.late: // it is given up and arrives later
			w.pending = append(w.pending, r.orphan())
			w.answer(r, fmt.Errorf("%s %s: timed out: %w", r.kind, r.key, store.ErrUnknown))
		default:
			w.answer(r, fmt.Errorf("%s %s: reset by peer: %w", r.kind, r.key, store.ErrTransient))
		}
		return
	}
	err := w.apply(r)
	if r.kind == put && err != nil {
		w.await(r, err) // as the real store does: something is there, and only reading tells whose it is
		return
	}
	w.answer(r, err)
}

// await has a put read back, which happens later.
func (w *world) await(r *request, doubt error) {
	r.kind, r.doubt = settle, doubt
	w.pending = append(w.pending, r)
	w.log("%s is to read back %s", r.port.process.name, r.key)
}

// crash ends a process with everything that it has under way: each of its writes has happened, or will, or never does.
func (w *world) crash(r *request) {
	p := r.port.process
	p.dead = true
	w.log("%s crashes", p.name)
	w.pending = append(w.pending, r)
	for _, r := range slices.Clone(w.pending) {
		if r.port == nil || r.port.process != p {
			continue
		}
		w.pending = slices.DeleteFunc(w.pending, func(other *request) bool { return other == r })
		if r.kind == put || r.kind == remove {
			switch w.rng.IntN(3) {
			case 0:
				w.apply(r)
			case 1:
				w.pending = append(w.pending, r.orphan())
			}
		}
		w.answer(r, errCrashed)
	}
}

// orphan is a write that goes on without anybody who waits for it.
func (r *request) orphan() *request {
	return &request{kind: r.kind, key: r.key, body: r.body, began: r.began}
}

func (w *world) answer(r *request, err error) {
	r.err = err
	w.log("%s %s %s: %v", r.port.process.name, r.kind, r.key, err)
	close(r.done)
}

// apply has a request take effect on the store.
func (w *world) apply(r *request) error {
	there, ok := w.objects[r.key]
	switch r.kind {
	case put:
		switch {
		case !ok:
			w.create(r.key, r.body)
		case w.broken == storeIgnoresCondition:
			there.body = r.body
			w.objects[r.key] = there
		case string(there.body) != string(r.body):
			return fmt.Errorf("put %s: %w", r.key, store.ErrExists)
		}
	case settle:
		switch {
		case !ok && r.doubt == store.ErrUnknown:
			return fmt.Errorf("put %s: %w", r.key, store.ErrUnknown)
		case !ok:
			return fmt.Errorf("put %s: refused as existing, yet absent when read back: %w", r.key, store.ErrTransient)
		case string(there.body) != string(r.body):
			return fmt.Errorf("put %s: %w", r.key, store.ErrExists)
		}
	case get, stat:
		if !ok {
			return fmt.Errorf("%s %s: %w", r.kind, r.key, store.ErrNotFound)
		}
		r.found, r.infos = there.body, append(r.infos, there.info)
	case list:
		r.infos = w.listing(r)
	case remove:
		if ok {
			w.remove(r.key, there)
		}
	}
	return nil
}

func (w *world) create(key string, body []byte) {
	w.objects[key] = stored{body: body, info: store.Info{Key: key, Size: int64(len(body)), Modified: w.clock}, since: w.step}
	at, _ := slices.BinarySearch(w.keys, key)
	w.keys = slices.Insert(w.keys, at, key)
	if err := w.truth.created(w, key, body); err != nil {
		w.fail("put %s: %v", key, err)
	}
}

func (w *world) remove(key string, there stored) {
	delete(w.objects, key)
	at, _ := slices.BinarySearch(w.keys, key)
	w.keys = slices.Delete(w.keys, at, at+1)
	w.gone = append(w.gone, vanished{there.info, w.step})
	if err := w.truth.removed(key); err != nil {
		w.fail("delete %s: %v", key, err)
	}
}

// listing shows what was there when it began, and of what was put or deleted since then any part.
func (w *world) listing(r *request) []store.Info {
	var infos []store.Info
	first, found := slices.BinarySearch(w.keys, max(r.key, r.after))
	if found && r.after >= r.key {
		first++
	}
	for _, key := range w.keys[first:] {
		if !strings.HasPrefix(key, r.key) {
			break
		}
		if o := w.objects[key]; o.since <= r.began || w.rng.IntN(2) == 0 {
			infos = append(infos, o.info)
		}
	}
	extra := false
	for i := len(w.gone) - 1; i >= 0 && w.gone[i].since > r.began; i-- {
		key := w.gone[i].info.Key
		if _, again := w.objects[key]; !again && strings.HasPrefix(key, r.key) && key > r.after && w.rng.IntN(2) == 0 {
			infos, extra = append(infos, w.gone[i].info), true
		}
	}
	if extra {
		slices.SortFunc(infos, func(a, b store.Info) int { return strings.Compare(a.Key, b.Key) })
		infos = slices.CompactFunc(infos, func(a, b store.Info) bool { return a.Key == b.Key })
	}
	return infos
}
