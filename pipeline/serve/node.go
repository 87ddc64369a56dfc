package serve

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/filter"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/trace"
	"github.com/adastream/adastream/schemas"
)

// Options of a Node. Log and Cache are required; the zero value of everything else works.
type Options struct {
	Log   *commit.Log
	Cache *store.Cache // local copies of the objects of the generations that are served
	Level avx.Level

	PollEvery  time.Duration // at most, between two looks at the channel; 0 is 250 ms
	MaxK       int           // most results of a query, and most vectors in an answer; 0 is 1000
	MaxBody    int64         // bytes of a request; 0 is 16 MiB
	MaxRunning int           // slots: queries at a time, one of each request and more if there are free ones; others wait; 0 is 64
	MaxWaiting int           // requests that wait, for a slot or a processor, and as many for newer records; others are refused at once; 0 is 16 times MaxRunning: a pause of the machine of a tenth of a second is no overload
	Timeout    time.Duration // of one request, waiting included; 0 is 5 s

	// Queries that waited longer than DegradeAfter for a slot, or come when half of MaxWaiting wait, get the cheapest plan that reaches the recall DegradeTo, if that
	// is less than they ask for; answers say so. Explicit plans and exact searches are left alone.
	DegradeTo    float64       // 0 is never
	DegradeAfter time.Duration // 0 is 20 ms

	Originals Originals // where they are; "" is local

	// MemoryBytes is what the generation that is served and the next one may want together, see footprint; one that does not fit
	// is not taken, and the old one goes on being served. 0 is no limit.
	MemoryBytes int64

	MaxBehind time.Duration // after which a node that serves an older generation than the channel names is not ready, see tooFarBehind; 0 is never

	MeasureShare float64 // of a core, at most 1, for measuring the recall of answers; 0 measures nothing

	// Admin makes the API answer the verbs of an administrator, below /v1/admin/. Whoever reaches it can use them: the handler
	// that is put in front has to ask for who it is.
	Admin bool

	Logger   *slog.Logger         // nil discards
	Registry *prometheus.Registry // nil makes a new one; Ops serves it at /metrics
	Tracer   *trace.Tracer        // nil traces nothing
}

// Validate joins all faults of o.
func (o Options) Validate() error {
	var faults []error
	if o.Log == nil {
		faults = append(faults, errors.New("query log: missing"))
	}
	if o.Cache == nil {
		faults = append(faults, errors.New("query cache: missing"))
	}
	for _, f := range []struct {
		name string
		bad  bool
		v    any
		zero string
	}{
		{"poll interval", o.PollEvery < 0, o.PollEvery, "250ms"},
		{"max k", o.MaxK < 0, o.MaxK, "1000"},
		{"max body", o.MaxBody < 0, o.MaxBody, "16 MiB"},
		{"max running", o.MaxRunning < 0, o.MaxRunning, "64"},
		{"max waiting", o.MaxWaiting < 0, o.MaxWaiting, "16 times max running"},
		{"timeout", o.Timeout < 0, o.Timeout, "5s"},
		{"degrade after", o.DegradeAfter < 0, o.DegradeAfter, "20ms"},
		{"memory", o.MemoryBytes < 0, o.MemoryBytes, "no limit"},
		{"max behind", o.MaxBehind < 0, o.MaxBehind, "no limit"},
	} {
		if f.bad {
			faults = append(faults, fmt.Errorf("query %s %v: must be positive, or 0 for %s", f.name, f.v, f.zero))
		}
	}
	if !slices.Contains([]Originals{"", OriginalsLocal, OriginalsRemote, OriginalsNone}, o.Originals) {
		faults = append(faults, fmt.Errorf("query originals %q: must be local, remote or none", o.Originals))
	}
	if !(o.DegradeTo >= 0 && o.DegradeTo <= 1) {
		faults = append(faults, fmt.Errorf("query degrade to %v: must be a recall up to 1, or 0 for never", o.DegradeTo))
	}
	if !(o.MeasureShare >= 0 && o.MeasureShare <= 1) {
		faults = append(faults, fmt.Errorf("query measure share %v: must be a share of one core, from 0 for none to 1", o.MeasureShare))
	}
	return errors.Join(faults...)
}

func (o Options) withDefaults() Options {
	if o.PollEvery == 0 {
		o.PollEvery = 250 * time.Millisecond
	}
	if o.MaxK == 0 {
		o.MaxK = 1000
	}
	if o.MaxBody == 0 {
		o.MaxBody = 16 << 20
	}
	if o.MaxRunning == 0 {
		o.MaxRunning = 64
	}
	if o.MaxWaiting == 0 {
		o.MaxWaiting = 16 * o.MaxRunning
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.DegradeAfter == 0 {
		o.DegradeAfter = 20 * time.Millisecond
	}
	if o.Originals == "" {
		o.Originals = OriginalsLocal
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	return o
}

// Node serves one index, or the epoch of it that its channel names. Its handlers may be used while Run runs, and answer 503
// until a first generation is loaded.
type Node struct {
	o       Options
	metrics *metrics

	log       atomic.Pointer[commit.Log] // Options.Log, or the same index as it was made anew in its place
	recent    recent
	live      *live
	current   atomic.Pointer[served]
	searchers sync.Pool     // *search.Searcher: scratch of one query at a time
	running   chan struct{} // the slots that are taken
	admitted  atomic.Int64  // Unix time in ns: when a request last asked for one of them
	waiting   atomic.Int64  // requests, for one of them
	awaiting  atomic.Int64  // requests, for newer records
	pressure  pressure
	documents sync.Pool     // of *documents, that read requests
	responses sync.Pool     // of *response, of searches
	reading   chan struct{} // generations from the store, for those who ask about them
	measuring chan struct{} // recall, for who asks
	started   time.Time
	pace      pace
	swaps     swapTimes
	filters   *filter.Cache
	originals *originals // of the store; nil if none are read there
	confirmed lastTime   // that what is served is what the channel names
	behind    behind
	news      commit.News // of what is served
	missing   missing
	proof     *proof

	mu     sync.Mutex
	follow error // why the newest generation could not be loaded, or nil

	// Owned by the goroutine of Run.
	cache        *store.Cache   // does without reading files through that an earlier process has
	recalled     int            // how many those are
	remembered   *commit.Served // what was served when that was written down for the next one
	rememberedAt time.Time
	followed     *commit.Served // what is served; nil at first, and while an index that was made anew is taken
	lookedAgain  time.Time      // for whether that is still in the store
	produced     int64          // newest record timestamp that was ever served of this epoch, Unix time in ms
	parts        map[string]*replica.Part
	model        *model.Model
}

// served is what queries are answered from. Its spec says which queries fit: a request that holds it sees nothing else.
type served struct {
	*snapshot.Snapshot
	index   *commit.Log // that it is a generation of
	epoch   string      // "" for the root
	trace   string      // of its swap, "" if that was not traced
	wants   footprint
	offsets json.RawMessage // its checkpoint: written once, not for each answer
	remote  search.Remote   // its originals, nil if they are here or not to be had
}

func (n *Node) newServed(s *snapshot.Snapshot, wants footprint, index *commit.Log, epoch, trace string) (*served, error) {
	offsets, err := json.Marshal(s.Manifest().Checkpoint)
	now := &served{Snapshot: s, index: index, epoch: epoch, trace: trace, wants: wants, offsets: offsets}
	if n.o.Originals == OriginalsRemote && !s.HasVectors() {
		now.remote = &remote{n.originals, now, n.o.Level}
	}
	return now, err
}

// filterBytes bounds what is remembered of filters: an eighth of a byte for each row and filter, twice.
const filterBytes = 64 << 20

// New returns a Node. It loads nothing until Run.
func New(o Options) (*Node, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	o.Logger = trace.Logger(o.Logger)
	o.Log = o.Log.Over(store.NewMeter(o.Registry, "query").Of(o.Log.Bucket()))
	n := &Node{
		o: o, metrics: newMetrics(o.Registry),
		running: make(chan struct{}, o.MaxRunning), reading: make(chan struct{}, storeReads), measuring: make(chan struct{}, 1),
		started: time.Now(),
		follow:  errors.New("no generation is loaded yet"),
		proof:   newProof(),
	}
	var err error
	if n.filters, err = filter.NewCache(filterBytes); err != nil {
		return nil, err
	}
	if o.Originals == OriginalsRemote {
		if n.originals, err = newOriginals(n.metrics, o.Logger); err != nil {
			return nil, err
		}
	}
	n.log.Store(o.Log)
	n.metrics.watch(n)
	o.Cache.Register(o.Registry, "query")
	n.metrics.memoryLimit.Set(float64(o.MemoryBytes))
	n.live = newLive(o.MeasureShare, search.New(o.Level), n.metrics)
	n.searchers.New = func() any { return search.New(o.Level) }
	return n, nil
}

// Run follows the channel until ctx ends, and returns nil then. Queries go on being answered from the last generation
// after it; Close ends that.
func (n *Node) Run(ctx context.Context) error {
	pause := &backoff.ExponentialBackOff{InitialInterval: n.o.PollEvery, RandomizationFactor: 0.3, Multiplier: 2, MaxInterval: 10 * time.Second}
	pause.Reset()
	n.cache, n.recalled = n.o.Cache.Recall(segment.Rules)
	defer n.proof.close()
	defer n.remember()
	var beside sync.WaitGroup
	beside.Go(func() { n.live.run(ctx) })
	beside.Go(func() { n.prove(ctx) })
	defer beside.Wait()
	wait, promoted := time.Duration(0), (<-chan struct{})(nil)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		case <-promoted:
		}
		if time.Since(n.rememberedAt) >= rememberEvery {
			n.remember()
		}
		looked := time.Now()
		promoted = n.log.Load().Promoted()
		err := n.advance(ctx)
		if ctx.Err() != nil {
			return nil
		}
		n.setFollow(err)
		if err != nil {
			n.metrics.loadFailed(err)
			n.o.Logger.Error("could not follow the channel", "generation", n.generation(), "error", err)
			wait, promoted = pause.NextBackOff(), nil
			continue
		}
		n.confirmed.set(looked)
		n.news.Tell()
		pause.Reset()
		wait = n.o.PollEvery
	}
}

// Close drops the node's hold of the current generation, once Run has returned. Queries that run keep theirs; new ones
// get 503.
func (n *Node) Close() {
	if s := n.current.Swap(nil); s != nil {
		s.Close()
	}
}

// Ready says why no query should come here, or nil: none would be answered, or others may have a newer generation and MaxBehind is
// over. Safe for concurrent use.
func (n *Node) Ready() error {
	if n.current.Load() != nil {
		return cmp.Or(n.proof.err(), n.tooFarBehind())
	}
	if err := n.Stale(); err != nil {
		return err
	}
	return errors.New("no generation has been promoted yet")
}

// Stale says why queries may be answered from a generation that is not the newest: the store is away, or an object of
// the newest one is corrupt. A stale node goes on serving, so it is ready all the same, but see MaxBehind. Safe for concurrent use.
func (n *Node) Stale() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.follow
}

func (n *Node) setFollow(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.follow = err
}

// hold returns the current snapshot with a reference taken, or nil before the first. The caller releases it.
func (n *Node) hold() *served {
	for {
		s := n.current.Load()
		if s == nil || s.Acquire() {
			return s
		}
		// It was closed between the load and the acquire: a newer one is there.
	}
}

func (n *Node) generation() int64 {
	s := n.hold()
	if s == nil {
		return 0
	}
	defer s.Release()
	return s.Manifest().Generation
}

// advance loads the generation that the channel names, if it has a record that is newer than the one that is served, or if
// that names an epoch and the epoch's own channel has. If parts of what is served are damaged, and stay because of no newer generation
// or of one that cannot be taken, it loads what is served once more.
func (n *Node) advance(ctx context.Context) error {
	newest, err := n.newest(ctx)
	switch {
	case err != nil:
	case newest == nil:
		n.behind.end() // an epoch's own channel may have failed to answer before
	default:
		n.behind.begin(time.Now())
		if err = n.take(ctx, newest); err == nil {
			n.behind.end()
		}
	}
	if len(n.proof.bad()) > 0 && n.followed != nil {
		err = errors.Join(err, n.take(ctx, n.followed))
	}
	return err
}

// stillEvery is how many looks at the channel there are to one at whether what is served is still in the store.
const stillEvery = 40

// newest is what the channel names, nil if that is served. Before anything newer is taken, and now and then, it looks whether what is
// served is of the index that is there: one that was made anew in its place is followed from its beginning, once it has promoted
// something. Until then, and if it is of another spec or there is none, what was loaded is served.
func (n *Node) newest(ctx context.Context) (*commit.Served, error) {
	log := n.log.Load()
	to, err := log.Follow(ctx, n.followed)
	if err != nil || n.followed == nil || to == nil && time.Since(n.lookedAgain) < stillEvery*n.o.PollEvery {
		return to, err
	}
	gone := log.Still(ctx, n.followed)
	if gone == nil {
		n.lookedAgain = time.Now()
		return to, nil
	}
	if !errors.Is(gone, commit.ErrReplaced) {
		return nil, gone
	}
	n.lookedAgain = time.Time{} // and at the next look, until another one is followed
	if log, err = log.Again(ctx); err == nil {
		to, err = log.Follow(ctx, nil)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", gone, err)
	case to == nil:
		return nil, fmt.Errorf("%w: the one in its place has promoted nothing yet", gone)
	}
	n.o.Logger.Warn("the index was recreated in its place, following it from its beginning", "generation", n.generation(), "reason", gone)
	n.log.Store(log)
	n.followed = nil
	return to, nil
}

// take loads a generation and serves it. Parts that the current one has too are shared, but for damaged ones.
func (n *Node) take(ctx context.Context, to *commit.Served) (err error) {
	started := time.Now()
	if damaged := n.proof.bad(); len(damaged) > 0 {
		n.parts, n.remembered = maps.Clone(n.parts), nil // what is written down has files that are gone
		for _, p := range damaged {
			if n.parts[p.key] == p.Part {
				delete(n.parts, p.key)
			}
		}
	}
	m, err := to.Manifest(ctx)
	if err != nil {
		return err
	}
	ctx, span := n.o.Tracer.Continue(ctx, "swap", trace.From(m.Trace))
	defer func() { span.End(err) }()
	span.Int("adastream.generation", m.Generation)
	wants := footprintOf(to.Index.Spec(), m, n.o.Originals == OriginalsLocal && byOriginals(to.Index.Spec(), m))
	if err := n.admitGeneration(wants); err != nil {
		return fmt.Errorf("%s: %w", to, err)
	}
	n.swaps.begin()
	defer func() { n.swaps.end(time.Now()) }()
	s, fetched, err := n.open(ctx, to, m)
	if err != nil {
		return fmt.Errorf("%s: %w", to, err)
	}
	now, err := n.newServed(s, wants, to.Index, to.Record.Epoch, span.Parent())
	if err != nil {
		s.Close()
		return fmt.Errorf("%s: %w", to, err)
	}
	old := n.current.Swap(now)
	if !n.follows(to.Record.Epoch) {
		n.produced = 0
	}
	n.followed = to
	n.proof.serves(n.parts)
	n.metrics.memory.Set(float64(wants.sum()))
	n.live.serves(m)
	if old != nil {
		old.Close()
	}
	n.swapped(to, m, fetched, time.Since(started))
	n.o.Logger.InfoContext(ctx, "serving", "generation", m.Generation, "epoch", to.Record.Epoch, "encoder", s.Spec().Encoder,
		"live_rows", m.LiveRows, "new_parts", fetched, "recalled_files", n.recalled, "took", time.Since(started).Round(time.Millisecond))
	if err := n.sweep(m); err != nil { // the generation is served all the same, and the next swap sweeps again
		n.o.Logger.Warn("files that are no longer used could not be removed from the cache", "generation", m.Generation, "error", err)
	}
	return nil
}

// follows reports whether what is served is of an epoch.
func (n *Node) follows(epoch string) bool {
	return n.followed != nil && n.followed.Record.Epoch == epoch
}

// swapped counts a swap. Only one that brings newer records says how fresh they are; the first one of an epoch does not: its
// records may have been searchable elsewhere since long before this node was started.
func (n *Node) swapped(to *commit.Served, m *schemas.Manifest, fetched int, took time.Duration) {
	info := Swap{Generation: m.Generation, Epoch: to.Record.Epoch, Record: to.Record, At: time.Now(), Took: took.Round(time.Millisecond), LiveRows: m.LiveRows, NewParts: fetched}
	if n.produced > 0 && m.Produced > n.produced {
		info.Freshness = time.Since(time.UnixMilli(m.Produced)).Round(time.Millisecond)
	}
	n.produced = max(n.produced, m.Produced)
	n.metrics.swapped(to, m, info.Freshness, took)
	n.recent.add(info, m)
}

// sweep frees the cache of files that the current generation does not use and no query has mapped.
func (n *Node) sweep(m *schemas.Manifest) error {
	if n.originals != nil {
		n.originals.sweep(m.Chunks)
	}
	keep := partFiles(m, n.o.Originals)
	if m.Model != nil {
		keep[m.Model.SHA256] = true
	}
	if m.Dead != nil {
		keep[m.Dead.SHA256] = true
	}
	_, err := n.cache.Sweep(func(sha256 string) bool { return keep[sha256] })
	return err
}
