package model

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/schemas"
)

// How it is measured what prefixes are worth.
const (
	prefixRows         = 8 << 10
	prefixQueries      = 256
	leastPrefixQueries = 64 // fewer tell nothing
	prefixNeighbours   = 10
	prefixDraws        = 4   // of dimensions, for each level
	prefixGain         = 0.1 // of what a draw misses a prefix has to find: see docs/adr/0011
)

// Prefixes measures on a part of n searched vectors [n][Dim()], with queries held out from it, what the first dimensions are
// worth as the model sees them: which share of the ten nearest by all dimensions is among the ten nearest by those of each
// level, and among those by as many dimensions of the given vectors that are drawn at random. It returns nil when there are
// too few vectors to tell, or no level but the full width.
func (m *Model) Prefixes(ctx context.Context, level avx.Level, threads int, vectors []float32, n int) ([]schemas.PrefixRecall, error) {
	dim, rows := m.Dim(), min(n, prefixRows)
	queries := min(prefixQueries, rows/8)
	levels := m.ladder[:len(m.ladder)-1]
	if len(levels) == 0 || queries < leastPrefixQueries {
		return nil, nil
	}
	given := &neighbourhood{level: level, metric: m.metric, dim: dim, queries: queries, rows: make([]float32, 0, rows*dim)}
	for i := range rows {
		at := int(int64(i) * int64(n) / int64(rows))
		given.rows = append(given.rows, vectors[at*dim:][:dim]...)
	}
	rotated := *given
	rotated.rows = make([]float32, rows*dim)
	m.Rotate(level, rotated.rows, given.rows)

	truth := given.nearest(first(dim))
	found := make([]schemas.PrefixRecall, len(levels))
	draws := make([]float64, len(levels)*prefixDraws)
	rng := rand.New(rand.NewPCG(1, 2))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(threads)
	for l, d := range levels {
		found[l].Dims = d
		g.Go(func() error {
			found[l].Recall = overlap(truth, rotated.nearest(first(d)))
			return ctx.Err()
		})
		for i := range prefixDraws {
			drawn := rng.Perm(dim)[:d]
			g.Go(func() error {
				draws[l*prefixDraws+i] = overlap(truth, given.nearest(drawn))
				return ctx.Err()
			})
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, r := range draws {
		found[i/prefixDraws].Chance += r / prefixDraws
	}
	return found, nil
}

// NativePrefixes is [Model.Prefixes] of an index that does not rotate, before it has a model: of vectors as they are given.
func NativePrefixes(ctx context.Context, level avx.Level, threads int, spec *schemas.Spec, vectors []float32, n int) ([]schemas.PrefixRecall, error) {
	m := &Model{params: params{metric: spec.Metric, ladder: spec.Ladder}}
	return m.Prefixes(ctx, level, threads, vectors, n)
}

// CheckPrefixes refuses prefixes of which none is worth clearly more than as many dimensions drawn at random.
func CheckPrefixes(found []schemas.PrefixRecall) error {
	var figures []string
	for _, p := range found {
		if p.Recall-p.Chance >= prefixGain*(1-p.Chance) {
			return nil
		}
		figures = append(figures, fmt.Sprintf("of %d dimensions %.3f (any %d: %.3f)", p.Dims, p.Recall, p.Dims, p.Chance))
	}
	if len(figures) == 0 {
		return nil
	}
	return fmt.Errorf("prefixes carry no order, recall@%d of exact search on the prefix %s: the encoder is not a Matryoshka one, or has other widths; "+
		"make an index with prefix: %s (adastream init --prefix=%s), or with the full width as its whole ladder",
		prefixNeighbours, strings.Join(figures, ", "), schemas.PrefixRotate, schemas.PrefixRotate)
}

// neighbourhood is vectors of which some, the last of each of as many equal parts, are queries and the others what they ask
// for.
type neighbourhood struct {
	level        avx.Level
	metric       schemas.Metric
	dim, queries int
	rows         []float32 // [n][dim]
}

// first returns the dimensions [0, d).
func first(d int) []int {
	dims := make([]int, d)
	for i := range dims {
		dims[i] = i
	}
	return dims
}

// nearest returns for each query the best of the others by some dimensions alone, which are scaled to unit length again under
// cosine.
func (h *neighbourhood) nearest(dims []int) [][]int32 {
	var queries, base []float32
	n, width := len(h.rows)/h.dim, len(dims)
	for i := range n {
		v := make([]float32, width)
		for j, d := range dims {
			v[j] = h.rows[i*h.dim+d]
		}
		if h.metric == schemas.Cosine {
			mrl.Normalize(h.level, v, v)
		}
		if i*h.queries/n < (i+1)*h.queries/n {
			queries = append(queries, v...)
		} else {
			base = append(base, v...)
		}
	}
	rest := len(base) / width
	panels := avx.Pack(base, rest, width, nil)
	scores := make([]float32, queryBlock*rest)
	places := make([][]int32, h.queries)
	for start := 0; start < h.queries; start += queryBlock {
		block := min(queryBlock, h.queries-start)
		avx.ScoresRows(h.level, panels, queries[start*width:], block, width, scores, rest)
		for i := range block {
			places[start+i] = top(h.level, scores[i*rest:][:rest], prefixNeighbours)
		}
	}
	return places
}

// queryBlock is how many queries are scored at a time, so that scores stay in the cache.
const queryBlock = 16

// topBlock is how many scores are compared with the least of the top at a time.
const topBlock = 512

// top returns the places of the n largest scores, n being small, the largest first, of equal ones the first.
func top(level avx.Level, scores []float32, n int) []int32 {
	places := make([]int32, 0, n+1)
	var above [topBlock]uint32
	for start := 0; start < len(scores); start += topBlock {
		block := scores[start:min(start+topBlock, len(scores))]
		least := float32(math.Inf(-1))
		if len(places) == n {
			least = scores[places[n-1]]
		}
		for _, i := range above[:avx.AboveFloats(level, block, least, above[:])] {
			s := block[i]
			if len(places) == n && s <= scores[places[n-1]] {
				continue
			}
			at := len(places)
			for at > 0 && s > scores[places[at-1]] {
				at--
			}
			places = append(places, 0)
			copy(places[at+1:], places[at:])
			places[at] = int32(start) + int32(i)
			places = places[:min(len(places), n)]
		}
	}
	return places
}

// overlap is the share of the true places that were found.
func overlap(truth, found [][]int32) float64 {
	shared, all := 0, 0
	for q, places := range truth {
		all += len(places)
		for _, t := range places {
			for _, f := range found[q] {
				if t == f {
					shared++
				}
			}
		}
	}
	return float64(shared) / float64(all)
}
