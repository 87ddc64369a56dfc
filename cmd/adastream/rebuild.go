package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/build"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/rebuild"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

type rebuildCommand struct {
	FromOffsets  rebuildOffsetsCommand  `cmd:"" help:"Rebuild an index in another place from its topic, read from the beginning."`
	FromSegments rebuildSegmentsCommand `cmd:"" help:"Rebuild an index in another place from the data objects in its store alone, without records or topic."`
}

// rebuildInto are the flags of both.
type rebuildInto struct {
	cli.Index
	To   string `help:"Object store of the new index, empty: another place, or epochs/NAME of --store, which can then be promoted." required:"" placeholder:"URL"`
	Name string `help:"Name of the new index. Default: that of the old one. Ingestors of indexes of one name share a consumer group: choose another name if both continue." placeholder:"NAME"`
	Dir  string `help:"Directory for temporary copies, as large as the index. Default: the directory for temporary files." type:"path" placeholder:"DIR"`
	JSON bool   `help:"Print what was read, and what is served now, as JSON."`
}

type rebuildOffsetsCommand struct {
	rebuildInto
	cli.Kafka    `group:"Kafka:"`
	cli.Registry `group:"Avro messages:"`
	AcceptGap    bool `help:"Continue although the log no longer begins at 0. What retention deleted is lost, and a gap is recorded."`
}

type rebuildSegmentsCommand struct {
	rebuildInto
}

// site is where an index is rebuilt.
type site struct {
	from, to *commit.Log
	shards   []*commit.Log // of the new index
	level    avx.Level
	dir      string
	l        *cli.Logging
	json     bool
	done     rebuilt
}

// rebuilt is what came of it, as scripts read it.
type rebuilt struct {
	Store   string        `json:"store"`
	Read    *readObjects  `json:"read,omitempty"` // from segments
	Serving *rebuiltState `json:"serving"`        // null if it did not come to that
	Old     *rebuiltState `json:"old,omitempty"`  // newest of the old index, if that can be told
}

type readObjects struct {
	Objects  int      `json:"objects"`
	Versions int64    `json:"versions"`
	LiveRows int      `json:"live_rows"`
	Deletes  int      `json:"deletes"`
	Commits  int      `json:"commits"` // that were made
	Faults   []string `json:"faults"`
}

type rebuiltState struct {
	Generation int64            `json:"generation"`
	LiveRows   int64            `json:"live_rows"`
	Checkpoint map[string]int64 `json:"checkpoint"`
}

func stateOf(m *schemas.Manifest) *rebuiltState {
	return &rebuiltState{m.Generation, m.LiveRows, m.Checkpoint}
}

// open opens the old index and makes the new one. The caller removes the directory.
func (c *rebuildInto) open(ctx context.Context, l *cli.Logging) (*site, error) {
	s := &site{l: l, json: c.JSON}
	var err error
	if s.level, err = cli.Level(l.Logger()); err != nil {
		return nil, err
	}
	if s.from, err = c.ReadIndex(ctx, l.Logger(), cli.Wait{}); err != nil {
		return nil, err
	}
	spec := *s.from.Spec()
	if c.Name != "" {
		spec.Name = c.Name
	}
	b, err := cli.Store{Store: c.To, StoreCA: c.StoreCA}.Open(ctx, l.Logger(), cli.Wait{})
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	if b.String() == s.from.Bucket().String() {
		return nil, cli.Usage(fmt.Errorf("--to %s: is the old index itself, allowed: another place", c.To))
	}
	if err := commit.Create(ctx, b, &spec); err != nil {
		if errors.Is(err, store.ErrExists) || !errors.Is(err, store.ErrTransient) {
			err = cli.Usage(err)
		}
		return nil, fmt.Errorf("--to: %w", err)
	}
	shards, err := commit.OpenShards(ctx, b)
	if err != nil {
		return nil, err
	}
	s.shards, s.to = shards, shards[s.from.Shard()]
	s.done.Store = b.String()
	if s.dir, err = os.MkdirTemp(c.Dir, "adastream-rebuild-"); err != nil {
		return nil, cli.Usage(fmt.Errorf("--dir: %w", err))
	}
	return s, nil
}

func (s *site) cache(name string, of *commit.Log) (*store.Cache, error) {
	return store.NewCache(s.dir+string(os.PathSeparator)+name, of.Bucket(), store.CacheOptions{})
}

func (c *rebuildSegmentsCommand) Run(ctx context.Context, l *cli.Logging) error {
	s, err := c.open(ctx, l)
	if err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	return s.end(s.fromSegments(ctx))
}

func (s *site) fromSegments(ctx context.Context) error {
	cache, err := s.cache("from", s.from)
	if err != nil {
		return err
	}
	tell, end := told("read", progressbar.OptionShowBytes(true))
	report, err := rebuild.Run(ctx, rebuild.Options{From: s.from, To: s.to, Cache: cache, Level: s.level, Progress: tell})
	end()
	if err != nil {
		return err
	}
	s.done.Read = &readObjects{report.Objects, report.Rows, report.Live, report.Deletes, report.Commits, texts(report.Faults)}
	if !s.json {
		fmt.Printf("read %d objects with %d versions: %d live rows and %d deletes, in %d commits\n", report.Objects, report.Rows, report.Live, report.Deletes, report.Commits)
		for _, fault := range report.Faults {
			fmt.Println("BAD ", fault)
		}
	}
	ends := map[int]int64{}
	for _, p := range s.to.Partitions() {
		head, err := s.to.Head(ctx, p, 0)
		if err != nil {
			return err
		}
		ends[p] = head.Next
	}
	if err := s.build(ctx, ends, func(context.Context) error { return nil }, nothingStopped); err != nil {
		return err
	}
	if n := len(report.Faults); n > 0 {
		return fmt.Errorf("%d objects are damaged: what only they held is lost", n)
	}
	return nil
}

func (c *rebuildOffsetsCommand) Run(ctx context.Context, l *cli.Logging) error {
	s, err := c.open(ctx, l)
	if err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	return s.end(c.fromOffsets(ctx, s))
}

func (c *rebuildOffsetsCommand) fromOffsets(ctx context.Context, s *site) error {
	log := s.l.Logger()
	client, err := c.Kafka.Client(s.to.Spec().Topic.Name, log)
	if err != nil {
		return err
	}
	defer client.Close()
	known, err := c.Registry.Client()
	if err != nil {
		return err
	}
	ends := map[int]int64{}
	if n := s.to.Spec().Loads; n > 0 {
		log.Warn("the topic does not have what was loaded from files: load it again into the new index, or use from-segments", "loads", n)
	}
	for _, p := range s.to.Spec().TopicPartitionsOf(s.to.Shard()) {
		bounds, err := client.Bounds(ctx, p)
		if err != nil {
			return err
		}
		if bounds.Start > 0 && !c.AcceptGap {
			return fmt.Errorf("partition %d: the log begins at %d, what was before is lost; --accept-gap goes on without it, from-segments may still have it", p, bounds.Start)
		}
		ends[p] = bounds.End
	}
	ingestor, err := ingest.New(ingest.Options{
		Shards: s.shards, Source: client, Schemas: known, Group: "adastream-rebuild-" + uuid.NewString(), Level: s.level, Logger: log.With("role", "ingestor"),
		AcceptGap: c.AcceptGap, AcceptPoison: true, // floods of the past were dealt with, and who waits here for the end of the log would wait for good
	})
	if err != nil {
		return err
	}
	return s.build(ctx, ends, ingestor.Run, ingestor.Stopped)
}

// nothingStopped is of a feed that has ended.
func nothingStopped() map[int]error { return nil }

// build runs a builder beside feed until the new index serves all up to the given offsets, or a partition of them stops.
func (s *site) build(ctx context.Context, ends map[int]int64, feed func(context.Context) error, stopped func() map[int]error) error {
	cache, err := s.cache("to", s.to)
	if err != nil {
		return err
	}
	builder, err := build.New(build.Options{Log: s.to, Cache: cache, Level: s.level, Logger: s.l.Logger().With("role", "builder")})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return builder.Run(ctx) })
	g.Go(func() error { return feed(ctx) })
	g.Go(func() error {
		defer cancel()
		m, err := s.await(ctx, ends, stopped)
		if err != nil {
			return err
		}
		s.done.Serving = stateOf(m)
		if old, err := s.from.Latest(ctx, 0); err == nil && old != nil { // it may be too broken for that
			s.done.Old = stateOf(old)
		}
		return nil
	})
	return g.Wait()
}

// await waits for a promoted generation that holds all up to the given offsets. It fails if a partition of them has stopped.
func (s *site) await(ctx context.Context, ends map[int]int64, stopped func() map[int]error) (*schemas.Manifest, error) {
	all := int64(0)
	for _, n := range ends {
		all += n
	}
	tell, end := told("served offsets")
	defer end()
	for {
		m, err := s.promoted(ctx)
		if err != nil && !errors.Is(err, store.ErrTransient) {
			return nil, err
		}
		done := m != nil
		served := int64(0)
		for p, end := range ends {
			if m != nil {
				served += min(m.Checkpoint[strconv.Itoa(p)], end)
			}
			done = done && m.Checkpoint[strconv.Itoa(p)] >= end
		}
		tell(served, all)
		if done {
			return m, nil
		}
		for p, fault := range stopped() {
			if end, awaited := ends[p]; awaited && (m == nil || m.Checkpoint[strconv.Itoa(p)] < end) {
				return nil, fmt.Errorf("partition %d stopped before offset %d: %w; when it is mended, rebuild to another, empty place", p, end, fault)
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (s *site) promoted(ctx context.Context) (*schemas.Manifest, error) {
	c, err := s.to.Channel(ctx, 0)
	if err != nil || c == nil {
		return nil, err
	}
	return s.to.Manifest(ctx, c.Generation)
}

// end says what came of it, which ended with err.
func (s *site) end(err error) error {
	if s.json {
		return errors.Join(err, printJSON(s.done))
	}
	if now := s.done.Serving; now != nil {
		fmt.Printf("serving generation %d of %s: %d live rows, all up to %v\n", now.Generation, s.done.Store, now.LiveRows, now.Checkpoint)
	}
	if old := s.done.Old; old != nil {
		fmt.Printf("the old one has %d live rows, all up to %v\n", old.LiveRows, old.Checkpoint)
	}
	return err
}
