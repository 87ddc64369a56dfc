package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/pipeline/source"
)

// changed is what restarts and changes cost.
type changed struct {
	Builder   float64         `json:"builder_ready_seconds"`
	Loaded    used            `json:"builder_loaded"` // when it was ready
	Query     float64         `json:"query_ready_seconds"`
	Published []float64       `json:"published_after_seconds"` // a change of 1,000 rows, since the topic has it
	Served    []float64       `json:"served_after_seconds"`
	Manifest  int64           `json:"manifest_bytes"`
	Jobs      jobs            `json:"jobs"`
	Roles     map[string]used `json:"roles"`
}

const changeRows = 1000

// change restarts builder and query node, and changes some rows that are there, spread over all of them, again and again.
func (b *bench) change() error {
	index, err := b.index()
	if err != nil {
		return err
	}
	b.watcher.roles()
	c := &changed{}
	began := time.Now()
	builder, ops, err := b.daemon("builder", "--log-level", "debug", "--keep-for=0s", "--collect-every="+b.CollectEvery.String())
	if err != nil {
		return err
	}
	defer builder.Kill()
	daemons := []*fleet.Process{builder}
	if err := b.awaitReady(ops, daemons...); err != nil {
		return err
	}
	c.Builder = time.Since(began).Seconds()
	if c.Loaded.Resident, _, c.Loaded.Anonymous, err = builder.Resident(); err != nil {
		return err
	}
	fmt.Printf("change: the builder was ready after %.2f s, with %d MiB anonymous\n", c.Builder, c.Loaded.Anonymous>>20)
	ingestor, _, err := b.daemon("ingestor", "--brokers", b.Brokers)
	if err != nil {
		return err
	}
	defer ingestor.Kill()
	daemons = append(daemons, ingestor)
	client, err := source.New(source.Options{Brokers: strings.Split(b.Brokers, ","), Topic: b.Name})
	if err != nil {
		return err
	}
	defer client.Close()
	c.Query, err = b.withNode(0, func(n *node) error {
		fmt.Printf("  the query node was ready after %.2f s\n", n.ready)
		m, err := index.Latest(b.ctx, 0)
		if err != nil {
			return err
		}
		for i := range b.Changes {
			acknowledged, err := b.changeOnce(i)
			if err != nil {
				return err
			}
			ends := map[string]int64{}
			for p := range b.Partitions {
				bounds, err := client.Bounds(b.ctx, p)
				if err != nil {
					return err
				}
				ends[fmt.Sprint(p)] = bounds.End
			}
			for !reached(m.Checkpoint, ends) {
				if err := errors.Join(ended(daemons), pause(b.ctx, 5*time.Millisecond)); err != nil {
					return err
				}
				newer, err := index.Latest(b.ctx, m.Generation)
				if err != nil {
					return err
				}
				if newer != nil {
					m = newer
				}
			}
			c.Published = append(c.Published, time.Since(acknowledged).Seconds())
			for {
				about, err := n.generation(b)
				if err != nil {
					return err
				}
				if about >= m.Generation {
					break
				}
				if err := pause(b.ctx, 5*time.Millisecond); err != nil {
					return err
				}
			}
			c.Served = append(c.Served, time.Since(acknowledged).Seconds())
		}
		if m, err = b.settle(index, builder, daemons, m.LiveRows); err != nil {
			return err
		}
		info, err := b.bucket.Stat(b.ctx, fmt.Sprintf("manifests/0000/%020d", m.Generation))
		if err != nil {
			return err
		}
		c.Manifest = info.Size
		return pause(b.ctx, b.CollectEvery+time.Second) // one more collection
	})
	if err != nil {
		return errors.Join(err, b.keepLogs(daemons))
	}
	c.Roles = b.watcher.roles()
	if err := os.WriteFile(filepath.Join(b.dir, "builder-change.log"), []byte(builder.Log()), 0o600); err != nil {
		return err
	}
	if c.Jobs, err = jobsOf(builder.Log()); err != nil {
		return err
	}
	fmt.Printf("  %d times 1,000 changed rows: searchable in a generation %.2f s after the topic had them (median), in the node %.2f; manifest %d bytes\n",
		b.Changes, quantile(c.Published, 0.5), quantile(c.Served, 0.5), c.Manifest)
	c.Jobs.print()
	printRoles(c.Roles)
	if err := b.record("change", c); err != nil {
		return err
	}
	return stop(daemons)
}

func reached(checkpoint, ends map[string]int64) bool {
	for p, end := range ends {
		if checkpoint[p] < end {
			return false
		}
	}
	return true
}

// changeOnce gives rows all over the index other vectors, and returns when that was acknowledged.
func (b *bench) changeOnce(i int) (time.Time, error) {
	dim := b.law.dims()
	rows := make([]float32, changeRows*dim)
	if err := b.law.draw(changedRows, i, rows); err != nil {
		return time.Time{}, err
	}
	name := filepath.Join(b.dir, fmt.Sprintf("change-%d.fbin", i))
	if err := writeFbin(name, rows, dim); err != nil {
		return time.Time{}, err
	}
	defer os.Remove(name)
	ids := filepath.Join(b.dir, "change.ids")
	f, err := os.Create(ids)
	if err != nil {
		return time.Time{}, err
	}
	for r := range changeRows {
		fmt.Fprintln(f, (r*b.Rows/changeRows+i)%b.Rows)
	}
	if err := f.Close(); err != nil {
		return time.Time{}, err
	}
	err = b.ours("produce", "produce", "--brokers", b.Brokers, "--topic", b.Name, "--encoder", encoder, "--ids", ids, name)
	return time.Now(), err
}

// awaitReady waits until a daemon is ready, or one has ended.
func (b *bench) awaitReady(ops string, daemons ...*fleet.Process) error {
	for {
		waiting, cancel := context.WithTimeout(b.ctx, time.Second)
		err := fleet.AwaitOK(waiting, ops+"/readyz")
		cancel()
		if err == nil {
			return nil
		}
		if err := errors.Join(ended(daemons), context.Cause(b.ctx)); err != nil {
			return err
		}
	}
}
