package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// herd is many query nodes in this process that follow one channel, and what they ask of the store together.
type herd struct {
	Nodes    []int         `help:"How many nodes, one run each." default:"10,100,1000"`
	Poll     time.Duration `help:"Time between two looks of a node at the channel." default:"250ms"`
	Every    time.Duration `help:"Time between two generations, each with one new object." default:"1s"`
	Duration time.Duration `help:"Of one run." default:"15s"`
	Objects  int           `help:"New objects of a generation." default:"3"`
	Together bool          `help:"Start all nodes in the same instant, instead of within ten seconds."`
	Cached   bool          `help:"Put a cache in front of the store that all nodes share, as peers or a CDN would be: objects never change, and a listing is kept for as long as --poll."`
}

// Run prints a line for each number of nodes.
func (h *herd) Run(ctx context.Context, _ *indexed) error {
	fmt.Printf("a look each %v, a generation with %d new objects each %v, for %v; cache in front: %v\n\n", h.Poll, h.Objects, h.Every, h.Duration, h.Cached)
	fmt.Println("| nodes | LIST/s | GET/s | most requests in 0.1 s | of these in the busiest | swap after promotion, p50 | p99 | all swapped |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	for _, n := range h.Nodes {
		if err := h.run(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

const herdDim = 16

func (h *herd) run(ctx context.Context, nodes int) error {
	dir, err := os.MkdirTemp("", "adastream-herd-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	level, err := avx.Best()
	if err != nil {
		return err
	}
	origin := &counted{Bucket: store.NewMemory(), began: time.Now()}
	spec := schemas.Spec{Name: "herd", Ladder: []int{herdDim}, Encoder: "e", Topic: schemas.Topic{Name: "t", Partitions: 1}}.WithDefaults()
	if err := commit.Create(ctx, origin, &spec); err != nil {
		return err
	}
	writer, err := commit.Open(ctx, origin)
	if err != nil {
		return err
	}
	p := &herdPublisher{log: writer, level: level, objects: h.Objects}
	if err := p.next(ctx); err != nil {
		return err
	}
	var front store.Bucket = origin
	if h.Cached {
		front = &shared{Bucket: origin, keep: h.Poll, objects: map[string][]byte{}, listings: map[string]listing{}}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	all := make([]*serve.Node, nodes)
	for i := range all {
		log, err := commit.Open(ctx, front)
		if err != nil {
			return err
		}
		cache, err := store.NewCache(filepath.Join(dir, fmt.Sprint(i)), front, store.CacheOptions{})
		if err != nil {
			return err
		}
		if all[i], err = serve.New(serve.Options{Log: log, Cache: cache, Level: level, PollEvery: h.Poll, Originals: serve.OriginalsNone}); err != nil {
			return err
		}
	}
	for _, node := range all {
		g.Go(func() error {
			if !h.Together {
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(rand.N(10 * time.Second)):
				}
			}
			return node.Run(ctx)
		})
	}
	for _, node := range all {
		for node.Ready() != nil && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
	origin.start()
	delays, err := h.publish(ctx, p, all)
	if err != nil {
		return err
	}
	origin.print(nodes, delays)
	cancel()
	err = g.Wait()
	for _, node := range all {
		node.Close()
	}
	return err
}

// publish makes generations, and returns how long after each promotion each node served it.
func (h *herd) publish(ctx context.Context, p *herdPublisher, nodes []*serve.Node) (delays []time.Duration, err error) {
	clear(p.promoted) // nodes came to the first one when they were started
	tick := time.NewTicker(h.Every)
	defer tick.Stop()
	for end := time.Now().Add(h.Duration); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
		if err := p.next(ctx); err != nil {
			return nil, err
		}
	}
	for _, node := range nodes { // the last generation is for all to reach
		for node.View().Manifest.Generation != p.served.Generation && ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
		for _, swap := range node.View().Swaps {
			if at, ok := p.promoted[swap.Generation]; ok {
				delays = append(delays, swap.At.Sub(at))
			}
		}
	}
	slices.Sort(delays)
	return delays, nil
}

// herdPublisher makes generations of new segments only.
type herdPublisher struct {
	log      *commit.Log
	level    avx.Level
	objects  int
	served   *schemas.Channel
	made     int64
	promoted map[int64]time.Time
}

func (p *herdPublisher) next(ctx context.Context) error {
	p.made++
	m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: p.made, Parent: p.made - 1, Builder: fmt.Sprint("herd-", p.made), Created: time.Now().UTC(), Checkpoint: map[string]int64{}}
	for i := range p.objects {
		rows := segment.NewRows(p.log.Spec())
		for row := range 20 {
			rows.IDs = append(rows.IDs, fmt.Sprintf("%d-%d-%d", p.made, i, row))
			rows.Orders = append(rows.Orders, segment.Order{Offset: p.made, Row: int32(row)})
			for range herdDim {
				rows.AppendFloats(avx.Generic, []float32{float32(rand.NormFloat64())})
			}
		}
		body, err := segment.Write(p.log.Spec(), nil, p.level, rows)
		if err != nil {
			return err
		}
		o, err := p.log.PutCompacted(ctx, body)
		if err != nil {
			return err
		}
		m.Segments = append(m.Segments, schemas.Segment{ID: o.SHA256, Object: o, NumRows: 20})
		m.LiveRows += 20
	}
	if err := p.log.Publish(ctx, m); err != nil {
		return err
	}
	made, err := p.log.Promote(ctx, p.served, schemas.Channel{Generation: m.Generation, Reason: "herd", By: m.Builder})
	if err != nil {
		return err
	}
	if p.promoted == nil {
		p.promoted = map[int64]time.Time{}
	}
	p.served, p.promoted[m.Generation] = made, time.Now()
	return nil
}

// counted is a bucket that notes when it was asked.
type counted struct {
	store.Bucket
	began       time.Time
	lists, gets atomic.Int64

	mu      sync.Mutex
	tenths  []int // requests in each 0.1 s since began
	counted bool
}

// start forgets what was before.
func (c *counted) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began, c.tenths, c.counted = time.Now(), nil, true
	c.lists.Store(0)
	c.gets.Store(0)
}

func (c *counted) note(of *atomic.Int64) {
	of.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.counted {
		return
	}
	for at := int(time.Since(c.began) / (100 * time.Millisecond)); len(c.tenths) <= at; {
		c.tenths = append(c.tenths, 0)
	}
	c.tenths[len(c.tenths)-1]++
}

func (c *counted) Get(ctx context.Context, key string) ([]byte, error) {
	c.note(&c.gets)
	return c.Bucket.Get(ctx, key)
}

func (c *counted) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	c.note(&c.gets)
	return c.Bucket.Open(ctx, key)
}

func (c *counted) List(ctx context.Context, prefix, startAfter string) iter.Seq2[store.Info, error] {
	c.note(&c.lists)
	return c.Bucket.List(ctx, prefix, startAfter)
}

func (c *counted) print(nodes int, delays []time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seconds := time.Since(c.began).Seconds()
	most := slices.Max(c.tenths)
	mean := float64(c.lists.Load()+c.gets.Load()) / seconds / 10
	at := func(share float64) time.Duration {
		return delays[int(share*float64(len(delays)-1))].Round(time.Millisecond)
	}
	fmt.Printf("| %d | %.0f | %.0f | %d | %.1f times the mean | %v | %v | %v |\n", nodes, float64(c.lists.Load())/seconds, float64(c.gets.Load())/seconds, most, float64(most)/mean, at(0.5), at(0.99), at(1))
}

// shared is a cache that all nodes have in front of a store. What is there never changes.
type shared struct {
	store.Bucket
	keep time.Duration // a listing

	once     singleflight.Group
	mu       sync.Mutex
	objects  map[string][]byte
	listings map[string]listing
}

type listing struct {
	at    time.Time
	infos []store.Info
}

func (s *shared) Get(ctx context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	body, ok := s.objects[key]
	s.mu.Unlock()
	if ok {
		return body, nil
	}
	got, err, _ := s.once.Do(key, func() (any, error) {
		body, err := s.Bucket.Get(ctx, key)
		if err == nil {
			s.mu.Lock()
			s.objects[key] = body
			s.mu.Unlock()
		}
		return body, err
	})
	if err != nil {
		return nil, err
	}
	return got.([]byte), nil
}

func (s *shared) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	body, err := s.Get(ctx, key)
	return io.NopCloser(bytes.NewReader(body)), int64(len(body)), err
}

func (s *shared) List(ctx context.Context, prefix, startAfter string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		key := prefix + "\x00" + startAfter
		got, err, _ := s.once.Do("list "+key, func() (any, error) {
			s.mu.Lock()
			kept, ok := s.listings[key]
			s.mu.Unlock()
			if ok && time.Since(kept.at) < s.keep {
				return kept, nil
			}
			fresh := listing{at: time.Now()}
			for info, err := range s.Bucket.List(ctx, prefix, startAfter) {
				if err != nil {
					return listing{}, err
				}
				fresh.infos = append(fresh.infos, info)
			}
			s.mu.Lock()
			s.listings[key] = fresh
			s.mu.Unlock()
			return fresh, nil
		})
		if err != nil {
			yield(store.Info{}, err)
			return
		}
		for _, info := range got.(listing).infos {
			if !yield(info, nil) {
				return
			}
		}
	}
}
