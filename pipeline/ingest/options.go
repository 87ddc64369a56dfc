package ingest

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/registry"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/trace"
	"github.com/adastream/adastream/schemas"
)

// Options of an Ingestor. Shards, Source and Group are required; the zero value of everything else works.
type Options struct {
	Shards []*commit.Log  // of the index, all of them in their order
	Source *source.Client // of the index's topic
	Group  string         // consumer group whose members share the partitions
	Level  avx.Level
	Limits Limits // of each message

	// Registry of the schemas of Avro messages; nil if the spec has them all.
	Schemas *registry.Client

	FlushAge   time.Duration // how old the first record of a cut may become before it is committed, and how soon after another a smaller cut may be; 0 is 300 ms
	FlushRows  int           // rows after which a cut is committed, deletes and quarantined ones included; 0 is 65,536
	FlushBytes int64         // decoded bytes after which a cut is committed; 0 is 32 MiB
	// MaxBuffered is the decoded bytes that all partitions together may hold: with many of them each gets an equal share,
	// but at least 1 MiB, if that is less than FlushBytes. Beside that a partition holds up to two fetches of
	// Source.Options().MaxBytes, what the last message of a cut brought beyond the limit, and the segment that is being
	// written. 0 is 512 MiB.
	MaxBuffered int64

	// AcceptGap goes on where the log begins when retention has deleted offsets that were not ingested, and records the
	// loss in the chain. Without it such a partition stops.
	AcceptGap bool
	// AcceptPoison goes on when nearly all that a partition brings is refused, and quarantines it. Without it such a
	// partition stops.
	AcceptPoison bool
	// FollowEvery is how often a newer model is looked for. 0 is 1 s.
	FollowEvery time.Duration
	// ProbeEvery is the time between two probes whether the store honours put-if-absent still. 0 is store.WatchEvery.
	ProbeEvery time.Duration
	// Writer names this process in the commits that it writes, each of which adds an id of its own. "" is "ingestor".
	Writer string

	Logger   *slog.Logger          // nil discards
	Registry prometheus.Registerer // nil registers nothing
	Tracer   *trace.Tracer         // nil traces nothing
}

// Validate joins all faults of o.
func (o Options) Validate() error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(o.Shards) == 0 || len(o.Shards) != o.Shards[0].Spec().Shards {
		bad("ingestor shards: %d, allowed: all of an index", len(o.Shards))
	}
	if o.Source == nil {
		bad("ingestor source: missing")
	}
	if len(o.Shards) > 0 && o.Source != nil {
		if got, want := o.Source.Options().Topic, o.spec().Topic.Name; got != want {
			bad("ingestor source: topic %q, allowed: %q, the one of the index", got, want)
		}
	}
	if len(o.Shards) > 0 && o.Schemas == nil {
		if m := o.spec().Messages; m != nil && m.Format == schemas.MessagesAvro && len(m.Schemas) == 0 {
			bad("ingestor schemas: missing, needed: a schema registry (--schema-registry), as messages of the index are Avro and its spec has no schemas")
		}
	}
	if o.Group == "" {
		bad("ingestor group: empty, allowed: the name of a consumer group")
	}
	for _, d := range []struct {
		name  string
		value int64
		zero  string
	}{
		{"flush age", int64(o.FlushAge), "300ms"},
		{"flush rows", int64(o.FlushRows), "65536"},
		{"flush bytes", o.FlushBytes, "32 MiB"},
		{"max buffered", o.MaxBuffered, "512 MiB"},
		{"follow interval", int64(o.FollowEvery), "1s"},
		{"probe interval", int64(o.ProbeEvery), store.WatchEvery.String()},
	} {
		if d.value < 0 {
			bad("ingestor %s: %d, allowed: positive, or 0 for %s", d.name, d.value, d.zero)
		}
	}
	return errors.Join(append(faults, o.Limits.Validate())...)
}

func (o *Options) spec() *schemas.Spec { return o.Shards[0].Spec() }

func (o Options) withDefaults() Options {
	if o.FlushAge == 0 {
		o.FlushAge = 300 * time.Millisecond
	}
	if o.FlushRows == 0 {
		o.FlushRows = 65536
	}
	if o.FlushBytes == 0 {
		o.FlushBytes = 32 << 20
	}
	if o.MaxBuffered == 0 {
		o.MaxBuffered = 512 << 20
	}
	if o.FollowEvery == 0 {
		o.FollowEvery = time.Second
	}
	if o.Writer == "" {
		o.Writer = "ingestor"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	return o
}

// leastShare is the smallest share of MaxBuffered, in bytes: below it segments become too small to be worth their puts.
const leastShare = 1 << 20

// flushBytes is the size of a cut when there are that many partitions.
func (o Options) flushBytes(partitions int) int64 {
	share := o.MaxBuffered / int64(max(1, partitions))
	return min(o.FlushBytes, max(leastShare, share))
}
