package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/bench/dataset"
	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/client"
)

// served is a query node with some memory.
type served struct {
	Limit   int64           `json:"limit_bytes"` // 0 is none
	Wants   int64           `json:"wants_bytes"`
	Fetched float64         `json:"fetched_seconds"` // until it was ready, with an empty cache; 0 if it was not
	Ready   float64         `json:"ready_seconds"`   // the same with a cache, of which nothing is in memory
	Cold    []asked         `json:"cold"`            // windows after that
	Warm    []asked         `json:"warm"`            // one for each target
	Roles   map[string]used `json:"roles"`
}

// asked is what some queries came to.
type asked struct {
	Target  float64 `json:"target"`
	After   float64 `json:"after_seconds"`
	Lasted  float64 `json:"seconds"`
	Queries int     `json:"queries"`
	Known   int     `json:"known"` // of them, those that recall is of
	PerS    float64 `json:"queries_per_second"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	Node    float64 `json:"node_p50_ms"` // as the node says
	Recall  float64 `json:"recall"`
	Read    float64 `json:"disk_kib_per_query"`
	Failed  int     `json:"failed"`
}

// ownMemory is what a query node has beside the index, in any case: its program and heap.
const ownMemory = 96 << 20

// serve starts a query node again and again, each time with other memory.
func (b *bench) serve() error {
	if rows, err := b.truth.read(b.dir); err != nil || rows < b.Rows {
		return fmt.Errorf("step feed has got in %d rows of %d: %w", rows, b.Rows, err)
	}
	index, err := b.index()
	if err != nil {
		return err
	}
	m, err := index.Latest(b.ctx, 0)
	if err != nil {
		return err
	}
	wants := m.Model.Size
	for _, c := range m.Chunks {
		wants += c.Rows.Size + c.Codes.Size
	}
	for _, s := range m.Segments {
		wants += s.Size - int64(s.NumRows*index.Spec().VectorBytes())
	}
	cache := b.dir + "/cache/query"
	if err := os.RemoveAll(cache); err != nil {
		return err
	}
	b.watcher.roles()
	first, err := b.withNode(0, func(*node) error { return nil })
	if err != nil {
		return err
	}
	fmt.Printf("serve: rows, codes and model are %d MiB; fetched and ready after %.1f s\n", wants>>20, first)
	for _, share := range b.Limits {
		s := &served{Wants: wants, Fetched: first}
		if share > 0 {
			s.Limit = int64(share*float64(wants)) + ownMemory
		}
		if err := evict(cache); err != nil {
			return err
		}
		b.watcher.roles()
		s.Ready, err = b.withNode(s.Limit, func(n *node) error {
			fmt.Printf("with %s: ready %.1f s after a cold start\n", memory(s.Limit), n.ready)
			began := time.Now()
			for time.Since(began) < b.Cold {
				after := time.Since(began)
				a, err := n.ask(b, 0.9, b.Window)
				if err != nil {
					return err
				}
				a.After = after.Seconds()
				s.Cold = append(s.Cold, a)
				a.print()
			}
			for _, target := range b.Targets {
				a, err := n.ask(b, target, b.Warm)
				if err != nil {
					return err
				}
				a.After = time.Since(began).Seconds()
				s.Warm = append(s.Warm, a)
				a.print()
			}
			return nil
		})
		if err != nil {
			return err
		}
		s.Roles = b.watcher.roles()
		printRoles(s.Roles)
		if err := b.record("serve", s); err != nil {
			return err
		}
	}
	return nil
}

func memory(limit int64) string {
	if limit == 0 {
		return "no limit of memory"
	}
	return fmt.Sprintf("%d MiB", limit>>20)
}

func (a *asked) print() {
	fmt.Printf("  target %.2f after %3.0f s: %6.0f queries/s, p50 %.2f, p99 %.2f ms, in the node %.2f; recall %.4f; %.0f KiB of disk a query, %d failed\n",
		a.Target, a.After, a.PerS, a.P50, a.P99, a.Node, a.Recall, a.Read, a.Failed)
}

// node is a query node that serves the index.
type node struct {
	process *fleet.Process
	client  *client.Client
	ready   float64 // seconds until it was
	asked   atomic.Int64
}

// withNode starts a node, does something with it and stops it; it returns the time until it was ready. It has no originals, as the
// design for more rows than memory is: exact searches compare int8 rows.
func (b *bench) withNode(limit int64, do func(*node) error) (ready float64, err error) {
	api, err := fleet.Address()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	p, ops, err := b.daemon("query", "--listen", api, "--originals", "none", "--memory-bytes", "0", "--measure-share", "0")
	if err != nil {
		return 0, err
	}
	if limit > 0 {
		group, err := newCage(limit)
		if err != nil {
			p.Kill()
			return 0, err
		}
		defer func() { err = errors.Join(err, group.remove()) }()
		if err := group.take(p.Pid()); err != nil {
			p.Kill()
			return 0, err
		}
	}
	defer func() { err = errors.Join(err, b.end(p, "query.log")) }()
	if err := b.awaitReady(ops, p); err != nil {
		return 0, err
	}
	n := &node{process: p, ready: time.Since(began).Seconds()}
	if n.client, err = client.New("http://"+api, client.Options{Attempts: 1}); err != nil {
		return 0, err
	}
	return n.ready, do(n)
}

// generation is the one that answers are of.
func (n *node) generation(b *bench) (int64, error) {
	answer, err := n.client.Search(b.ctx, client.Query{Vector: b.queries[:b.law.dims()]})
	if err != nil {
		return 0, err
	}
	return answer.Snapshot.Generation, nil
}

// knownEvery is which of the queries that are asked is one whose neighbours are known.
const knownEvery = 16

// ask asks queries for so long, some at a time.
func (n *node) ask(b *bench, target float64, lasting time.Duration) (asked, error) {
	var mu sync.Mutex
	var took, inNode []float64
	hits, known, failed := 0, 0, 0
	before := readBytes(n.process.Pid())
	began := time.Now()
	g, ctx := errgroup.WithContext(b.ctx)
	for range b.Connections {
		g.Go(func() error {
			for time.Since(began) < lasting && ctx.Err() == nil {
				i := int(n.asked.Add(1) - 1)
				sent := time.Now()
				answer, err := n.search(ctx, b.query(i), target)
				ms := time.Since(sent).Seconds() * 1000
				if over, _ := n.process.Ended(); over {
					return fmt.Errorf("the query node has ended: %w", err)
				}
				found := 0
				if err == nil && i%knownEvery == 0 {
					if found, err = b.truth.recallOf(i/knownEvery, answer.Hits); err != nil {
						return err
					}
				}
				mu.Lock()
				if err != nil {
					failed++
				} else {
					took, inNode = append(took, ms), append(inNode, float64(answer.Usage.Microseconds)/1000)
					if i%knownEvery == 0 {
						hits, known = hits+found, known+1
					}
				}
				mu.Unlock()
			}
			return nil
		})
	}
	err := g.Wait()
	a := asked{Target: target, Lasted: time.Since(began).Seconds(), Queries: len(took), Known: known, Failed: failed}
	if known > 0 {
		count := float64(len(took))
		a.PerS, a.P50, a.P99, a.Node = count/a.Lasted, quantile(took, 0.5), quantile(took, 0.99), quantile(inNode, 0.5)
		a.Recall = float64(hits) / float64(known) / dataset.K
		a.Read = float64(readBytes(n.process.Pid())-before) / 1024 / count
	}
	return a, err
}

// query is the i-th one that is asked.
func (b *bench) query(i int) []float32 {
	of, at, dim := b.others, i-i/knownEvery, b.law.dims()
	if i%knownEvery == 0 {
		of, at = b.queries, i/knownEvery
	}
	return of[at%(len(of)/dim)*dim:][:dim]
}

func (n *node) search(ctx context.Context, vector []float32, target float64) (*client.Answer, error) {
	return n.client.Search(ctx, client.Query{Vector: vector, How: client.How{K: dataset.K, TargetRecall: target}, Fields: &[]string{}})
}

func quantile(of []float64, q float64) float64 {
	slices.Sort(of)
	return of[int(q*float64(len(of)-1))]
}

// readBytes is what a process has had read from disks, 0 if that is not known.
func readBytes(pid int) int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(raw), "\nread_bytes: ")
	n, _ := strconv.ParseInt(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]), 10, 64)
	return n
}
