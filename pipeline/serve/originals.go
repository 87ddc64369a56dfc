package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Originals is where a node has the original vectors of chunks. Those of segments come with their rows.
type Originals string

// Where originals are.
const (
	OriginalsLocal  Originals = "local"  // with the other files of a generation
	OriginalsRemote Originals = "remote" // in the object store, where single ones are read that a query needs
	OriginalsNone   Originals = "none"   // nowhere: int8 rows decide, and answers say so
)

const (
	// originalsWait is how long a query waits for each so many reads, and half of the time that is left to it at most. A read of an
	// object store takes some 10 to 30 ms, and a tenth of a second once in a while.
	originalsWait, originalsWaitReads = 500 * time.Millisecond, 512
	// originalsHurry is of how much less than originalsWait a query that had to wait in vain says nothing about the store.
	originalsHurry = 5
	// originalsPause is for how long none are asked for after the store did not bring some, or none of an object that is missing or
	// damaged: else each query would wait in vain, in a place that others wait for.
	originalsPause = time.Second
	// originalsReads is how many reads are under way, and those of one query.
	originalsReads, originalsReadsEach = 64, 32
	// originalsGap is how many bytes between two originals are read with them, which is cheaper than another request, and
	// originalsRun how many bytes one read is at most, but for a single original.
	originalsGap, originalsRun = 16 << 10, 1 << 20
	// originalsBytes bounds the originals that are kept, as float32 and with what keeping them takes.
	originalsBytes, originalBytes = 64 << 20, 128
)

// originals reads single originals from the object store for all generations of a node.
type originals struct {
	metrics *metrics
	log     *slog.Logger
	wait    time.Duration // originalsWait
	reads   chan struct{} // that are under way
	until   atomic.Int64  // when to ask again, Unix time in ns
	kept    *otter.Cache[originalKey, []float32]

	mu     sync.Mutex
	starts map[string]int64     // of originals in files, by their SHA256
	bad    map[string]time.Time // files that are missing or damaged, by their SHA256, and when to ask for them again
	told   rate.Sometimes       // logs one of them
	apart  rate.Sometimes       // logs one that is not what its int8 row was made of
}

// originalKey is a row of a file of originals, by its SHA256.
type originalKey struct {
	file string
	row  int
}

func newOriginals(m *metrics, log *slog.Logger) (*originals, error) {
	kept, err := otter.New(&otter.Options[originalKey, []float32]{
		MaximumWeight: originalsBytes,
		Weigher:       func(_ originalKey, v []float32) uint32 { return uint32(originalBytes + 4*len(v)) },
	})
	return &originals{metrics: m, log: log, wait: originalsWait, reads: make(chan struct{}, originalsReads), kept: kept,
		starts: map[string]int64{}, bad: map[string]time.Time{}, told: rate.Sometimes{Interval: originalsPause}, apart: rate.Sometimes{Interval: originalsPause}}, err
}

// sweep forgets what is known of files of other chunks.
func (o *originals) sweep(chunks []schemas.Chunk) {
	files := make(map[string]bool, len(chunks))
	for _, c := range chunks {
		files[c.Vectors.SHA256] = true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.starts, func(file string, _ int64) bool { return !files[file] })
	maps.DeleteFunc(o.bad, func(file string, _ time.Time) bool { return !files[file] })
}

// remote is the originals of a generation. Who asks holds it.
type remote struct {
	*originals
	*served
	level avx.Level
}

// Originals implements [search.Remote].
func (r *remote) Originals(ctx context.Context, rows []search.Hit) [][]float32 {
	brought := make([][]float32, len(rows))
	var wanted []int // of rows
	for i, h := range rows {
		if brought[i], _ = r.kept.GetIfPresent(r.key(h)); brought[i] == nil {
			wanted = append(wanted, i)
		}
	}
	if len(wanted) == 0 {
		return brought
	}
	started := time.Now()
	switch err := r.fetch(ctx, rows, wanted, brought); {
	case err == nil:
		r.metrics.originalsSeconds.Observe(time.Since(started).Seconds())
	case ctx.Err() == nil: // else whoever asked is gone
		r.metrics.originalsLacking.WithLabelValues(lackOf(err)).Inc()
	}
	return brought
}

func (r *remote) key(h search.Hit) originalKey {
	return originalKey{r.Manifest().Chunks[h.Part].Vectors.SHA256, h.Row}
}

// Reasons why originals are lacking, beside those of [loadFaults].
var (
	errAway = errors.New("the store did not bring originals just now")
	errMany = errors.New("too many originals")
	errSlow = errors.New("originals took too long")
)

func lackOf(err error) string {
	switch reason := faultOf(err); {
	case reason != otherwise: // whatever else there is: somebody may have to look at it
		return reason
	case errors.Is(err, errAway):
		return "away"
	case errors.Is(err, errMany):
		return "many"
	case errors.Is(err, errSlow):
		return "slow"
	}
	return otherwise
}

// ofObject reports whether an error is about one object, so that originals of others may be had.
func ofObject(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, schemas.ErrCorrupt) || errors.Is(err, errAway)
}

// ofAll is an error unless it is about one object.
func ofAll(err error) error {
	if ofObject(err) {
		return nil
	}
	return err
}

// fetch fills in those of the originals that are wanted. An error says that some are not there; the others may be.
func (r *remote) fetch(ctx context.Context, rows []search.Hit, wanted []int, brought [][]float32) error {
	switch left := time.Duration(r.until.Load() - time.Now().UnixNano()); {
	case left > 0 && left <= originalsPause: // more is left where the clock was set back
		return errAway
	case len(wanted) > search.MostRemote: // where int8 rows hardly tell any apart
		return errMany
	}
	slices.SortFunc(wanted, func(a, b int) int {
		return cmp.Or(cmp.Compare(rows[a].Part, rows[b].Part), cmp.Compare(rows[a].Row, rows[b].Row))
	})
	runs := r.runs(rows, wanted)
	wait := r.wait * time.Duration(1+len(runs)/originalsWaitReads)
	if end, limited := ctx.Deadline(); limited {
		wait = min(wait, time.Until(end)/2)
	}
	hurried := wait < r.wait/originalsHurry
	limited, cancel := context.WithTimeoutCause(ctx, wait, errSlow)
	defer cancel()
	err := r.locate(limited, runs)
	if err == nil {
		err = r.read(limited, rows, runs, brought)
	}
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, store.ErrTransient) {
			err = fmt.Errorf("%w: %w", errSlow, err)
		}
		// A store that is too slow for a query which has hardly any time left may do for others.
		if ctx.Err() == nil && !(hurried && errors.Is(err, errSlow)) {
			r.until.Store(time.Now().Add(originalsPause).UnixNano())
			r.log.Warn("originals could not be read, int8 rows decide", "generation", r.Manifest().Generation, "error", err, "pause", originalsPause)
		}
		return err
	}
	var faults []error
	for _, run := range runs {
		faults = append(faults, run.fault)
	}
	return errors.Join(faults...)
}

// originalsOf is originals that are read together: rows [first, end) of a part.
type originalsOf struct {
	part       int
	first, end int
	wanted     []int // of what was asked for, those that are in it
	start      int64 // of the file's originals
	fault      error // of the object: some of what is wanted is not there
}

// runs of the rows that are wanted, which are in order.
func (r *remote) runs(rows []search.Hit, wanted []int) (runs []*originalsOf) {
	width := r.Spec().VectorBytes()
	for _, i := range wanted {
		h := rows[i]
		if n := len(runs); n > 0 {
			last := runs[n-1]
			if last.part == h.Part && (h.Row-last.end)*width <= originalsGap && (h.Row+1-last.first)*width <= originalsRun {
				last.end, last.wanted = h.Row+1, append(last.wanted, i)
				continue
			}
		}
		runs = append(runs, &originalsOf{part: h.Part, first: h.Row, end: h.Row + 1, wanted: []int{i}})
	}
	return runs
}

// locate finds where the originals of the parts of runs begin in their files, once for each file. An error is about all of them.
func (r *remote) locate(ctx context.Context, runs []*originalsOf) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(originalsReadsEach)
	for first := 0; first < len(runs); {
		end := first + 1
		for end < len(runs) && runs[end].part == runs[first].part {
			end++
		}
		ofFile := runs[first:end]
		first = end
		g.Go(func() error {
			start, err := r.start(ctx, r.Manifest().Chunks[ofFile[0].part])
			for _, run := range ofFile {
				run.start, run.fault = start, err
			}
			return ofAll(err)
		})
	}
	return g.Wait()
}

// start is where the originals of a chunk begin in their file.
func (r *remote) start(ctx context.Context, c schemas.Chunk) (start int64, err error) {
	r.mu.Lock()
	start, known := r.starts[c.Vectors.SHA256]
	r.mu.Unlock()
	if known {
		return start, nil
	}
	head, err := r.readRange(ctx, c, 0, min(segment.HeadBytes, c.Vectors.Size))
	if err != nil {
		return 0, err
	}
	if start, err = segment.LocateVectors(r.Spec(), c, head); err != nil {
		r.pause(c, err)
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starts[c.Vectors.SHA256] = start
	return start, nil
}

// read reads runs, each of which is taken as it comes, and then forgotten. An error is about all of them.
func (r *remote) read(ctx context.Context, rows []search.Hit, runs []*originalsOf, brought [][]float32) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(originalsReadsEach)
	width := int64(r.Spec().VectorBytes())
	for _, run := range runs {
		if run.fault != nil {
			continue
		}
		g.Go(func() error {
			stored, err := r.readRange(ctx, r.Manifest().Chunks[run.part], run.start+int64(run.first)*width, int64(run.end-run.first)*width)
			if err == nil {
				err = r.take(rows, run, stored, brought)
			}
			run.fault = err
			return ofAll(err)
		})
	}
	return g.Wait()
}

func (r *remote) readRange(ctx context.Context, c schemas.Chunk, at, n int64) ([]byte, error) {
	if r.paused(c) {
		return nil, fmt.Errorf("%s: %w", c.Vectors.Key, errAway)
	}
	select {
	case r.reads <- struct{}{}:
		defer func() { <-r.reads }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b, err := r.index.Bucket().Range(ctx, c.Vectors.Key, at, n)
	r.metrics.originalsReads.Inc()
	r.metrics.originalsBytes.Add(float64(len(b)))
	if ofObject(err) {
		r.pause(c, err)
	}
	return b, err
}

// paused reports whether a chunk's originals are not asked for at present.
func (r *remote) paused(c schemas.Chunk) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Before(r.bad[c.Vectors.SHA256])
}

// pause has a chunk's originals not asked for, for a while, because of what is wrong with their file.
func (r *remote) pause(c schemas.Chunk, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad[c.Vectors.SHA256] = time.Now().Add(originalsPause)
	r.told.Do(func() { // all may be gone, from under a node that is behind
		r.log.Warn("originals of a chunk could not be read, int8 rows decide", "generation", r.Manifest().Generation, "error", why, "pause", originalsPause)
	})
}

// take checks each original against its int8 row: the sum that objects are known by is that of a whole one.
func (r *remote) take(rows []search.Hit, run *originalsOf, stored []byte, brought [][]float32) error {
	dim, width := r.Spec().Dim(), r.Spec().VectorBytes()
	buffer := make([]float32, 2*dim)
	var faults []error
	for _, i := range run.wanted {
		h, v := rows[i], make([]float32, dim)
		segment.ReadVector(r.Spec(), r.level, stored[(h.Row-run.first)*width:][:width], v)
		if err := search.Agrees(r.level, r.Snapshot, h.Part, h.Row, v, buffer); err != nil {
			faults = append(faults, fmt.Errorf("%s: row %d: %w", r.Manifest().Chunks[h.Part].Vectors.Key, h.Row, err))
			continue
		}
		brought[i] = v
		r.kept.Set(r.key(h), v)
	}
	r.metrics.originalsFetched.Add(float64(len(run.wanted) - len(faults)))
	if len(faults) > 0 {
		r.apart.Do(func() { // all of a file may be so, and each query finds some
			r.log.Error("an original in the store does not match its int8 row", "error", faults[0], "others_of_the_read", len(faults)-1)
		})
	}
	return errors.Join(faults...)
}
