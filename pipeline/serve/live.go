package serve

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/adastream/adastream/index/filter"
	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

const (
	// liveKeep is what each measured query leaves of the weight of those before it: the estimate is worth about a thousand
	// queries, the last five hundred of which have more than half of the weight.
	liveKeep = 1 - 1.0/500
	// liveSpread is how many times more queries there should be to take a sample from than it needs: else it would always
	// be the first one after a pause, which may be the same one each time.
	liveSpread = 4
	livePause  = 10 * time.Millisecond // at least, between two samples
)

// live measures how good the answers are that clients get: a few queries are asked again, exactly, on the snapshot that
// answered them. It does one at a time and rests after each for as long as keeps it to its share of a core. A query
// that comes while it works or rests costs it one atomic addition and is passed over.
type live struct {
	share    float64 // of a core, 0 for never
	searcher *search.Searcher
	metrics  *metrics

	ready   atomic.Bool  // for a sample
	seen    atomic.Int64 // queries since it was asked last
	every   atomic.Int64 // one of so many queries is taken
	samples chan *liveSample

	mu    sync.Mutex
	of    measurement
	tally recall.Tally
}

// measurement is what an estimate is about: generations that only add deltas share it.
type measurement struct {
	model string
	at    int64 // generation whose recall the builder measured
}

func measurementOf(m *schemas.Manifest) (of measurement) {
	if m.Model != nil {
		of.model = m.Model.ID
	}
	if m.Quality != nil {
		of.at = m.Quality.Measured
	}
	return of
}

// liveSample is a query with its answer. It has a reference on the snapshot.
type liveSample struct {
	snap  *snapshot.Snapshot
	query []float32
	like  *string // id that is left out of the answer
	k     int
	among *filter.Selection
	hits  []search.Hit
}

func newLive(share float64, searcher *search.Searcher, m *metrics) *live {
	return &live{share: share, searcher: searcher, metrics: m, samples: make(chan *liveSample, 1)}
}

// offer is told of each request that was answered, while the caller holds snap. Exact answers are what others are measured
// by. It never waits.
func (l *live) offer(snap *snapshot.Snapshot, q *queries, k int, plan search.Plan, results [][]search.Hit) {
	if l.share == 0 || plan.Exact || snap.Model() == nil {
		return
	}
	l.seen.Add(int64(len(results)))
	if !l.ready.Load() || rand.Int64N(max(1, l.every.Load())) >= int64(len(results)) || !snap.Acquire() {
		return
	}
	if !l.ready.CompareAndSwap(true, false) { // who has done that owes a sample: stop waits for it
		snap.Release()
		return
	}
	i, dim := rand.IntN(len(results)), snap.Spec().Dim()
	l.samples <- &liveSample{ // there is room: who sets ready has taken the one before
		snap: snap, query: slices.Clone(q.vectors[i*dim : (i+1)*dim]), like: q.like, k: k, among: plan.Among, hits: slices.Clone(results[i]),
	}
}

// run measures until ctx ends.
func (l *live) run(ctx context.Context) {
	if l.share == 0 {
		return
	}
	for pause := livePause; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		s := l.await(ctx)
		if s == nil {
			return
		}
		started := time.Now()
		l.measure(ctx, s)
		s.snap.Release()
		pause = max(livePause, pauseAfter(time.Since(started), l.share))
	}
}

// pauseAfter is how long to rest after work, to have worked for a share of the time.
func pauseAfter(took time.Duration, share float64) time.Duration {
	return time.Duration(float64(took) * (1/share - 1))
}

// await takes a sample, or returns nil when ctx ends.
func (l *live) await(ctx context.Context) *liveSample {
	l.ready.Store(true)
	for {
		l.every.Store(l.seen.Swap(0) / liveSpread)
		select {
		case s := <-l.samples:
			return s
		case <-time.After(time.Second): // queries have become rarer: take one of fewer
		case <-ctx.Done():
			l.stop()
			return nil
		}
	}
}

// stop ends being ready, and lets go of a sample that is on its way.
func (l *live) stop() {
	if !l.ready.CompareAndSwap(true, false) {
		(<-l.samples).snap.Release()
	}
}

// measure compares an answer with the exact one.
func (l *live) measure(ctx context.Context, s *liveSample) {
	truth, _, err := searchOthers(yielding{ctx}, l.searcher, s.snap, s.query, s.like, s.k, search.Plan{Exact: true, Among: s.among})
	if err != nil {
		return // the node stops: the query itself was answered before
	}
	l.add(measurementOf(s.snap.Manifest()), recall.Compare(s.snap, truth, s.hits))
}

// searchOthers finds the k rows that a query finds beside the row of an id that it is like, nil for none.
func searchOthers(ctx context.Context, s *search.Searcher, snap *snapshot.Snapshot, query []float32, like *string, k int, plan search.Plan) ([]search.Hit, search.Usage, error) {
	wanted := k
	if like != nil {
		wanted++
	}
	hits, u, err := s.Search(ctx, snap, query, wanted, plan, nil)
	if err != nil || like == nil {
		return hits, u, err
	}
	hits = without(snap, hits, *like)
	return hits[:min(k, len(hits))], u, nil
}

// without leaves out the row of an id.
func without(snap *snapshot.Snapshot, hits []search.Hit, id string) []search.Hit {
	return slices.DeleteFunc(hits, func(h search.Hit) bool { return snap.Parts()[h.Part].IDAt(h.Row) == id })
}

// yielding is a context that lets other goroutines go first whenever it is asked, as a search does every few hundred rows:
// an exact search of a large index would have a core for itself for long.
type yielding struct{ context.Context }

func (y yielding) Err() error {
	runtime.Gosched()
	return y.Context.Err()
}

// add takes in what was found for a query, if that is still about what is served.
func (l *live) add(of measurement, f recall.Found) {
	l.metrics.measured.Inc()
	l.mu.Lock()
	defer l.mu.Unlock()
	if of != l.of {
		return
	}
	l.tally.Fade(liveKeep)
	l.tally.Add(f)
	l.metrics.live(l.estimate())
}

// serves is told what is served from now on: an estimate of another measurement is forgotten.
func (l *live) serves(m *schemas.Manifest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if of := measurementOf(m); of != l.of {
		l.of, l.tally = of, recall.Tally{}
		l.metrics.live(nil)
	}
}

// current is the recall of late answers, nil when none was measured.
func (l *live) current() *schemas.Estimate {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.estimate()
}

func (l *live) estimate() *schemas.Estimate {
	n := l.tally.Effective()
	if n == 0 {
		return nil
	}
	low, high := l.tally.Interval(recall.Z95)
	return &schemas.Estimate{Recall: l.tally.Mean(), Low: low, High: high, Queries: int(math.Round(n))}
}
