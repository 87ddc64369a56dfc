// Package load makes segments straight from files, in chains of commits that an index has for that beside those of its topic.
//
// A load has parts, each of which is a process: part i has a chain in each shard, [schemas.Spec.LoadPartition]. Which rows are of which
// part follows from the files alone, and the offset of a row from its number in the part. So the position is the chain, as
// for a partition of the topic: after a stop each chain goes on at its end, rows before it are read again and left out, and of two
// processes with the same part one wins each key.
package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/files"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/schemas"
)

// Options of a load. Shards, Name, Files, Open and Input are required; the zero value of everything else works.
type Options struct {
	Shards []*commit.Log // of the index, all of them in their order
	Level  avx.Level

	Name        string // of the load, the same for all parts
	Part, Parts int    // Part is from 0 on; 0 Parts are 1
	Files       []string
	Open        func(file string, firstID, skip int64) (*files.Reader, error) // skip is of [files.Options]
	Input       string                                                        // see [Input]

	// Timestamp is that of all rows, which decides which version of an id is newer. Zero is when the load began, whichever part did.
	Timestamp time.Time
	// Abandon ends an unfinished load of another name where it is, and begins this one.
	Abandon bool
	// AcceptPoison goes on when nearly all rows of a piece are refused, and quarantines them.
	AcceptPoison bool

	FlushRows  int   // rows of a shard after which they are committed; 0 is 65,536
	FlushBytes int64 // the same in decoded bytes; 0 is 32 MiB, or less with more than 16 shards, down to 1 MiB
	Threads    int   // segments that are written at a time; 0 is the number of CPUs

	Writer  string           // names this process in the commits that it writes; "" is "load"
	Read    func(rows int64) // is told, unless nil, of rows that were read or passed over
	Metrics *Metrics         // nil counts nothing
	Logger  *slog.Logger     // nil discards
}

// maxBuffered is the decoded bytes of all shards together, about, beside what is being written.
const maxBuffered, leastShare = 512 << 20, 1 << 20

// Validate joins all faults of o.
func (o *Options) Validate() error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(o.Shards) == 0 || len(o.Shards) != o.Shards[0].Spec().Shards {
		bad("shards of a load: %d, allowed: all of an index", len(o.Shards))
		return errors.Join(faults...)
	}
	if loads := o.Shards[0].Spec().Loads; loads == 0 {
		bad("loads of the index spec: 0, allowed: an index that was made with --loads=N, for loads of up to N parts")
	} else if o.Parts < 0 || o.Parts > loads {
		bad("parts of a load: %d, allowed: 1 to %d, the loads of the index spec", o.Parts, loads)
	}
	if o.Part < 0 || o.Part >= max(1, o.Parts) {
		bad("part of a load: %d, allowed: 0 to %d", o.Part, max(1, o.Parts)-1)
	}
	if len(o.Files) == 0 || o.Open == nil {
		bad("files of a load: %d, allowed: 1 and more, and how to open them", len(o.Files))
	}
	if o.FlushRows < 0 || o.FlushBytes < 0 || o.Threads < 0 {
		bad("flush rows %d, flush bytes %d, threads %d of a load, allowed: positive, or 0 for the default", o.FlushRows, o.FlushBytes, o.Threads)
	}
	l := schemas.Load{Name: o.Name, Parts: max(1, o.Parts), Input: o.Input, Timestamp: 1}
	if !o.Timestamp.IsZero() {
		l.Timestamp = o.Timestamp.UnixMilli()
	}
	return errors.Join(append(faults, l.Validate())...)
}

func (o Options) withDefaults() Options {
	o.Parts = max(1, o.Parts)
	if o.FlushRows == 0 {
		o.FlushRows = 65536
	}
	if o.FlushBytes == 0 {
		o.FlushBytes = min(32<<20, max(leastShare, maxBuffered/int64(len(o.Shards))))
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.Writer == "" {
		o.Writer = "load"
	}
	if o.Read == nil {
		o.Read = func(int64) {}
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(prometheus.NewRegistry())
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Report is what a run did.
type Report struct {
	Already     bool           // the part was loaded before: nothing was done
	Timestamp   time.Time      // of the rows
	Read        int64          // rows of the part, of all shards
	Passed      int64          // of Read, those that were committed by an earlier run
	Rows        int64          // upserts that were committed
	Deletes     int64          // deletes that were committed
	Refused     map[string]int // rows that were quarantined, by reason
	Quarantined int64          // their sum
	Commits     int            // records, those without rows included
}

// loader is one run.
type loader struct {
	Options
	spec    *schemas.Spec
	shards  []*shard
	decoder *ingest.Decoder
	writing chan struct{} // has room for what may be written at a time
	mu      sync.Mutex    // of what is counted in report
	report  Report
}

// Run loads a part, or the rest of it. An error that wraps schemas.ErrFenced says that another process is at the same part.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	l := &loader{Options: o, spec: o.Shards[0].Spec(), writing: make(chan struct{}, o.Threads)}
	l.report.Refused = map[string]int{}
	arrowSpec := *l.spec
	arrowSpec.Messages = nil // which are those of the topic: what comes from files is Arrow
	var err error
	if l.decoder, err = ingest.NewDecoder(&arrowSpec, o.Level, ingest.Limits{MaxMessage: maxBuffered, MaxUncompressed: maxBuffered}, func(column string) {
		o.Logger.Info("a column is ignored, the index does not declare it", "column", column)
	}); err != nil {
		return nil, err
	}
	if err := l.begin(ctx); err != nil {
		return nil, fmt.Errorf("load %s, part %d of %d: %w", o.Name, o.Part, o.Parts, err)
	}
	if !l.report.Already {
		if err := l.run(ctx); err != nil {
			return &l.report, fmt.Errorf("load %s, part %d of %d: %w", o.Name, o.Part, o.Parts, err)
		}
	}
	o.Metrics.done.Set(1)
	return &l.report, nil
}

func (l *loader) run(ctx context.Context) error {
	following, stop := context.WithCancel(ctx)
	defer stop()
	for _, s := range l.shards {
		go s.follow(following)
	}
	g, gctx := errgroup.WithContext(ctx)
	r := &rows{files: l.Files, open: l.Open, part: l.Part, parts: l.Parts, encoder: l.spec.Encoder, read: l.Metrics.filesRead.Inc,
		passed: l.passed(), skipped: l.count}
	l.Metrics.files.Set(float64(r.count()))
	err := r.each(gctx, func(file string, batch arrow.RecordBatch, number int64) error {
		return l.take(gctx, g, file, batch, number)
	})
	if err == nil {
		err = l.end(gctx, g, r.number)
	}
	if also := g.Wait(); also != nil {
		err = also // which ended gctx, and so the rest
	}
	if err == nil {
		l.report.Passed = l.report.Read - l.report.Rows - l.report.Deletes - l.report.Quarantined
	}
	return err
}

// passed is how many rows of the part, from its start, all chains have.
func (l *loader) passed() int64 {
	rows := l.shards[0].next()
	for _, s := range l.shards[1:] {
		rows = min(rows, s.next())
	}
	return rows
}

// followEvery is how often a newer model is looked for.
const followEvery = time.Second

// follow keeps the model of a shard until ctx ends. A fault is told and tried again.
func (s *shard) follow(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.follower.Follow(ctx); err != nil && ctx.Err() == nil {
			s.logger.Warn("following the model failed", "error", err)
		}
	}
}
