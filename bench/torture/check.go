package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// checker compares what the store holds with the truth. It reads the store without faults.
type checker struct {
	log   *commit.Log
	cache *store.Cache
	heads [partitions]int64 // end of the chain that was read
	last  *schemas.Manifest // newest that was read

	lost, doubled, wrong int64
	faults               []string
}

func (c *checker) report(format string, args ...any) {
	if len(c.faults) < 20 {
		c.faults = append(c.faults, fmt.Sprintf(format, args...))
	}
}

// await waits for a promoted generation that has folded everything.
func (c *checker) await(ctx context.Context, ends [partitions]int64) (*schemas.Manifest, error) {
	var m *schemas.Manifest
	for {
		channel, err := c.log.Channel(ctx, 0)
		if err == nil && channel != nil {
			m, err = c.log.Manifest(ctx, channel.Generation)
		}
		if err != nil && ctx.Err() == nil {
			return nil, err
		}
		done := m != nil
		for p, end := range ends {
			done = done && m.Checkpoint[strconv.Itoa(p)] >= end
		}
		if done {
			return m, nil
		}
		select {
		case <-ctx.Done():
			if m == nil {
				return nil, fmt.Errorf("nothing is promoted, want up to %v: %w", ends, ctx.Err())
			}
			return nil, fmt.Errorf("generation %d is promoted with %v, want %v: %w", m.Generation, m.Checkpoint, ends, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// generation reads all live rows of a generation: each item exactly once, with its last version.
func (c *checker) generation(ctx context.Context, m *schemas.Manifest, want map[string]version) error {
	dead, err := replica.Dead(ctx, c.cache, m.Dead)
	if err != nil {
		return err
	}
	seen := make(map[string]bool, len(want))
	for _, chunk := range m.Chunks {
		p, err := replica.ChunkWithVectors(ctx, c.cache, c.log.Spec(), chunk)
		if err != nil {
			return err
		}
		c.part(p, func(row int) bool { return dead[p.ID] != nil && dead[p.ID].ContainsInt(row) }, seen, want)
	}
	for _, s := range m.Segments {
		p, err := replica.Segment(ctx, c.cache, c.log.Spec(), s)
		if err != nil {
			return err
		}
		c.part(p, func(row int) bool { return dead[p.ID] != nil && dead[p.ID].ContainsInt(row) }, seen, want)
	}
	live := int64(0)
	for id, v := range want {
		if v.deleted {
			continue
		}
		live++
		if !seen[id] {
			c.lost++
			c.report("generation %d: %s is lost, want %s", m.Generation, id, v)
		}
	}
	if live != m.LiveRows {
		c.wrong++
		c.report("generation %d: %d live rows, want %d", m.Generation, m.LiveRows, live)
	}
	return nil
}

func (v version) String() string {
	return fmt.Sprintf("version %d timestamp %d partition %d offset %d row %d", v.version, v.timestamp, v.partition, v.offset, v.row)
}

func (c *checker) part(p *replica.Part, dead func(row int) bool, seen map[string]bool, want map[string]version) {
	defer p.Release()
	vector := make([]float32, dim)
	for row := range p.N {
		if dead(row) {
			continue
		}
		id, order := p.IDAt(row), p.OrderAt(row)
		w, ok := want[id]
		p.Vector(0, row, vector)
		switch {
		case seen[id]:
			c.doubled++
			c.report("%s is there twice", id)
		case !ok || w.deleted:
			c.wrong++
			c.report("%s is there as %+v, it was deleted by %s or never sent", id, order, w)
		case order != segment.Order{Version: w.version, Timestamp: w.timestamp, Partition: w.partition, Offset: w.offset, Row: w.row}:
			c.wrong++
			c.report("%s is %+v, want %s", id, order, w)
		case !slices.Equal(vector, w.vector):
			c.wrong++
			c.report("%s has another vector than %s", id, w)
		}
		seen[strings.Clone(id)] = true // ids alias the mapping
	}
}

// chains reads the commits that came since the last time: a line without holes or overlaps, but for those of the past that
// were collected. Then the manifests: one after another, with checkpoints that do not fall.
func (c *checker) chains(ctx context.Context, m *schemas.Manifest) error {
	for p := range partitions {
		before, err := c.collected(ctx, p)
		if err != nil {
			return err
		}
		prefix := fmt.Sprintf("commits/%06d/", p)
		after := ""
		if c.heads[p] > 0 {
			after = fmt.Sprintf("%s%020d", prefix, c.heads[p]-1)
		}
		for info, err := range c.log.Bucket().List(ctx, prefix, after) {
			if err != nil {
				return err
			}
			var record schemas.Commit
			if err := c.record(ctx, info.Key, &record); err != nil {
				if errors.Is(err, store.ErrNotFound) {
					continue // collected since it was listed
				}
				return err
			}
			if record.Start > c.heads[p] && record.Start < before {
				c.heads[p] = record.Start
			}
			if record.Start != c.heads[p] || record.End <= record.Start || record.Partition != p || len(record.Quarantined) > 0 {
				c.wrong++
				c.report("%s is [%d, %d) of partition %d with %v refused, the one before ended at %d", info.Key, record.Start, record.End, record.Partition, record.Quarantined, c.heads[p])
			}
			c.heads[p] = record.End
		}
		if checkpoint := m.Checkpoint[strconv.Itoa(p)]; c.heads[p] < checkpoint {
			c.wrong++
			c.report("generation %d: checkpoint of partition %d is %d, its chain ends at %d", m.Generation, p, checkpoint, c.heads[p])
		}
	}
	return c.manifests(ctx)
}

// collected is the position of a partition before which commits may be gone.
func (c *checker) collected(ctx context.Context, partition int) (int64, error) {
	collection, err := c.log.Collection(ctx)
	if err != nil || collection == nil {
		return 0, err
	}
	return collection.Before[strconv.Itoa(partition)], nil
}

func (c *checker) manifests(ctx context.Context) error {
	const prefix = "manifests/0000/"
	after := ""
	if c.last != nil {
		after = fmt.Sprintf("%s%020d", prefix, c.last.Generation)
	}
	for info, err := range c.log.Bucket().List(ctx, prefix, after) {
		if err != nil {
			return err
		}
		m := new(schemas.Manifest)
		if err := c.record(ctx, info.Key, m); err != nil {
			if errors.Is(err, store.ErrNotFound) {
				continue // an old one, deleted since it was listed
			}
			return err
		}
		if l := c.last; l != nil && l.Generation+1 == m.Generation {
			for p, end := range l.Checkpoint {
				if m.Checkpoint[p] < end {
					c.wrong++
					c.report("checkpoint of partition %s falls from %d to %d in generation %d", p, end, m.Checkpoint[p], m.Generation)
				}
			}
		}
		c.last = m
	}
	return nil
}

func (c *checker) record(ctx context.Context, key string, into any) error {
	raw, err := c.log.Bucket().Get(ctx, key)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// served asks a node, once it serves m, for some items by id and by their own vectors.
func (c *checker) served(ctx context.Context, node *member, m *schemas.Manifest, want map[string]version, rng *rand.Rand, sample int) error {
	for {
		var s snapshotsAnswer
		err := call(ctx, "http://"+node.api+"/v1/snapshots", nil, &s)
		if err == nil && s.Serving != nil && s.Serving.Generation >= m.Generation {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: waiting for generation %d: %w (last: %v, %+v)", node.name, m.Generation, ctx.Err(), err, s.Serving)
		case <-time.After(50 * time.Millisecond):
		}
	}
	for id, w := range want { // in random order
		if sample--; sample < 0 {
			break
		}
		var v vectorAnswer
		err := call(ctx, "http://"+node.api+"/v1/vectors/"+id, nil, &v)
		switch {
		case w.deleted && errors.Is(err, fleet.ErrNotFound):
			continue
		case w.deleted || err != nil || v.Offset != w.offset || v.Partition != w.partition || v.Version != w.version:
			c.wrong++
			c.report("%s serves %s as version %d partition %d offset %d (%v), want %s, deleted %v", node.name, id, v.Version, v.Partition, v.Offset, err, w, w.deleted)
			continue
		}
		if rng.IntN(4) > 0 {
			continue
		}
		body, _ := json.Marshal(map[string]any{"vector": w.vector, "k": 1, "exact": true}) // floats always are JSON
		var a searchAnswer
		if err := call(ctx, "http://"+node.api+"/v1/search", body, &a); err != nil || len(a.Hits) != 1 || a.Hits[0].ID != id {
			c.wrong++
			c.report("%s: the nearest of %s is %+v (%v)", node.name, id, a.Hits, err)
		}
	}
	return nil
}
