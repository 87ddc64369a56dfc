package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/adastream/adastream/bench/fleet"
)

// askTimeout is more than the limit that a node has for a query.
const askTimeout = 8 * time.Second

// clients ask the query nodes all along.
type clients struct {
	nodes []*member
	batch int // queries in a request

	queries, failed, excused, backwards, stale, tokens atomic.Int64

	mu     sync.Mutex
	faults []string // the first ones
}

func (c *clients) report(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.faults) < 20 {
		c.faults = append(c.faults, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

func (c *clients) complaints() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.faults)
}

// search asks batch by batch until ctx ends. An answer is owed by each node that is up; one that the campaign does something
// to owes none, and the client goes to another one.
func (c *clients) search(ctx context.Context, rng *rand.Rand, every time.Duration) {
	newest := map[*member]int64{}
	for ; ctx.Err() == nil; pause(ctx, every) {
		vectors := make([][]float32, c.batch)
		for i := range vectors {
			vectors[i] = vector(rng)
		}
		body, _ := json.Marshal(map[string]any{"vectors": vectors, "k": 5}) // floats always are JSON
		first := rng.IntN(len(c.nodes))
		for i := range c.nodes {
			node := c.nodes[(first+i)%len(c.nodes)]
			if !node.up.Load() {
				continue
			}
			before := node.disturbed.Load()
			var a searchAnswer
			err := call(ctx, "http://"+node.api+"/v1/search", body, &a)
			if err == nil && len(a.Results) != c.batch {
				err = fmt.Errorf("%d results of %d queries", len(a.Results), c.batch)
			}
			if ctx.Err() != nil {
				return
			}
			if err != nil && node.disturbed.Load() != before {
				c.excused.Add(int64(c.batch))
				continue
			}
			c.queries.Add(int64(c.batch))
			if err != nil {
				c.failed.Add(int64(c.batch))
				c.report("search failed at %s: %v", node.name, err)
				break
			}
			if g := a.Snapshot.Generation; g < newest[node] {
				c.backwards.Add(1)
				c.report("%s answered from generation %d after %d", node.name, g, newest[node])
			} else {
				newest[node] = g
			}
			break
		}
	}
}

type searchAnswer struct {
	Results []struct {
		Hits []hit
	}
	Hits     []hit
	Snapshot struct{ Generation int64 }
}

type hit struct {
	ID    string
	Score float64
}

// call asks a daemon; a body makes it a POST.
func call(ctx context.Context, url string, body []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return fleet.Call(ctx, http.DefaultClient, url, body, into)
}

type vectorAnswer struct {
	Version   int64
	Partition int32
	Offset    int64
	Vector    []float32
}

type snapshotsAnswer struct {
	Serving *struct {
		Generation int64
		Offsets    map[string]int64
	}
}

// probe writes an item, waits until a node says that it has folded that, and reads it back there: what comes must not be
// older. Such items are in one partition, have no version and are never deleted.
func (c *clients) probe(ctx context.Context, g *generator, rng *rand.Rand) {
	for serial := int64(1); ctx.Err() == nil; serial++ {
		pause(ctx, 100*time.Millisecond)
		item := rng.IntN(50)
		r := row{id: fmt.Sprint("p", item), serial: -serial, vector: vector(rng)}
		value, err := message([]row{r})
		if err != nil {
			c.report("probe: %v", err)
			return
		}
		g.mu.Lock() // so that nothing is produced while a round is settled
		p := int32(item % partitions)
		result := g.plain.ProduceSync(context.WithoutCancel(ctx), &kgo.Record{Partition: p, Value: value})
		g.mu.Unlock()
		record, err := result.First()
		if err != nil {
			continue
		}
		var reads sync.WaitGroup
		for _, node := range c.nodes {
			reads.Go(func() { c.readBack(ctx, node, r.id, p, record.Offset) })
		}
		reads.Wait()
	}
}

// readBack gives up after a while: faults may hold back what is fresh as long as they last.
func (c *clients) readBack(ctx context.Context, node *member, id string, partition int32, offset int64) {
	for deadline := time.Now().Add(5 * time.Second); ctx.Err() == nil && time.Now().Before(deadline); pause(ctx, 50*time.Millisecond) {
		var s snapshotsAnswer
		if !node.up.Load() || call(ctx, "http://"+node.api+"/v1/snapshots", nil, &s) != nil || s.Serving == nil {
			continue
		}
		if s.Serving.Offsets[strconv.Itoa(int(partition))] <= offset {
			continue
		}
		var v vectorAnswer
		err := call(ctx, "http://"+node.api+"/v1/vectors/"+id, nil, &v)
		switch {
		case errors.Is(err, fleet.ErrNotFound), err == nil && v.Offset < offset:
			c.stale.Add(1)
			c.report("%s: %s of partition %d is offset %d (%v) after its generation %d had folded %d", node.name, id, partition, v.Offset, err, s.Serving.Generation, offset)
		case err != nil:
			continue // the node went away
		}
		c.tokens.Add(1)
		return
	}
}
