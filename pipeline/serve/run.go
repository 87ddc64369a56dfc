package serve

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/pipeline/store"
)

// workerQueries is how many queries of a request are worth a worker more.
const workerQueries = 16

// run answers queries: results[i] has the hits of query i, at most k. The request holds a slot. A request of many
// queries also takes slots that are free at this moment, one for each further core that it can use: it has an idle node
// for itself and leaves a busy one to others.
func (n *Node) run(ctx context.Context, snap *snapshot.Snapshot, q *queries, k int, plan search.Plan) (results [][]search.Hit, u search.Usage, err error) {
	dim := snap.Spec().Dim()
	count := len(q.vectors) / dim
	results = make([][]search.Hit, count)
	room := make([]search.Hit, count*k)
	for i := range results {
		results[i] = room[i*k : i*k : (i+1)*k]
	}
	more := n.admitMore(min(runtime.GOMAXPROCS(0), (count+workerQueries-1)/workerQueries) - 1)
	defer n.leave(more)

	shares := make([]share, 1+more)
	for w := range shares {
		start, end := w*count/len(shares), (w+1)*count/len(shares)
		shares[w] = share{kind: q.kind, first: start, vectors: q.vectors[start*dim : end*dim], results: results[start:end]}
	}
	var others sync.WaitGroup
	for w := 1; w < len(shares); w++ {
		others.Go(func() { n.runShare(ctx, snap, &shares[w], k, plan) })
	}
	n.runShare(ctx, snap, &shares[0], k, plan)
	others.Wait()
	for _, s := range shares {
		if s.err != nil { // of the first bad query: shares are in the order of queries, and each ends at its first
			return nil, u, q.locate(s.err, s.first+s.at)
		}
		u.Add(s.usage)
	}
	return results, u, nil
}

// share is what one worker does of a request.
type share struct {
	kind    planKind
	first   int // query of the request
	vectors []float32
	results [][]search.Hit

	usage search.Usage
	at    int // query that the error is about
	err   error
}

func (n *Node) runShare(ctx context.Context, snap *snapshot.Snapshot, s *share, k int, plan search.Plan) {
	searcher := n.searchers.Get().(*search.Searcher)
	defer n.searchers.Put(searcher)
	started := time.Now()
	searcher.Ahead = n.missing.ahead()
	thread, faults := store.MajorFaults()
	s.usage, s.at, s.err = searcher.SearchBatch(ctx, snap, s.vectors, k, plan, s.results)
	n.missing.note(thread, faults)
	if s.err == nil {
		n.metrics.searched(s.kind, s.usage, len(s.results), time.Since(started), n.swaps.near(time.Now()))
	}
}

// locate makes a fault of a query vector one of query i of the request, in the request's words.
func (q *queries) locate(err error, i int) error {
	var bad *search.QueryError
	if !errors.As(err, &bad) {
		return err
	}
	rest, ok := strings.CutPrefix(bad.Field, "vector")
	if !ok {
		return err
	}
	field := q.field
	if q.many {
		field = fmt.Sprintf("%s[%d]", q.field, i)
	}
	return &search.QueryError{Field: field + rest, Value: bad.Value, Allowed: bad.Allowed}
}
