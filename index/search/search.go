package search

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/filter"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/opq"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

// Usage is what a query cost.
type Usage struct {
	Lists     int   // lists probed
	Codes     int   // codes scanned
	Refined   int   // int8 rows scored
	Originals int   // originals scored
	Lacking   int   // queries whose originals should have decided and could not be brought, so that int8 rows did
	Many      int   // of these, because too many rows were as good as one another by their int8 rows
	Bytes     int64 // of those codes, rows and originals
}

const (
	// scanRows is how many rows one call of the scan kernel covers: enough to forget the call, few enough that the
	// reservoir's floor rises soon in a long list. A multiple of avx.BlockRows.
	scanRows = 32 * avx.BlockRows
	// scanAhead is how many runs ahead of the one being scanned codes are prefetched.
	scanAhead = 2
	// scoreRows is how many int8 rows one call covers.
	scoreRows = 256
	// noteRows is how many rows of segments are noted, or a run more, before they are scored.
	noteRows = 1 << 14
)

// Searcher answers queries on one goroutine; its memory is reused from call to call. Make one for each goroutine.
type Searcher struct {
	// Ahead, if it is set, is told of bytes of parts before they are read, a step of a query at a time. It must not keep them.
	Ahead func(soon [][]byte)

	level      avx.Level
	scratch    *model.Scratch
	shareBytes int // see the constant; tests, whose indexes are small, set it

	// Of the call. A Searcher at rest refers to no snapshot.
	snap  *snapshot.Snapshot
	parts []*segment.Part
	among *filter.Selection // rows that count, nil for all live ones

	*query         // the one at hand: of all methods but those of a batch
	one    query   // for a call of one
	batch  []query // for a call of many

	// Scratch of single steps.
	pruner   pruner
	visits   []visit
	fresh    []snapshot.Run // of segments
	hits     [scanRows]uint32
	dots     []int32
	scores   []float32
	original []float32
	wanted   []Hit           // rows whose originals are to be brought
	alone    []Hit           // see Refines
	at       []uint32        // rows of a part that count
	noted    [][]uint32      // for each part, rows that are to be scored; none between steps
	seen     snapshot.BitSet // rows of the base; none between calls
	baseRows []int32         // that are seen
	soon     [][]byte        // that Ahead is to be told of

	// Scratch of a batch.
	turns, order []turn  // as they came, and by list
	starts       []int32 // of each list in order
	together     []*query
}

// query is one query on its way.
type query struct {
	given  []float32 // as compared with originals of full width
	vector []float32 // as compared with int8 rows: rotated if the model rotates, and its prefix if those are prefixes
	quant  []int16   // the same / scale
	scale  float64
	norm   int     // level of the ladder by whose norms scores are divided, -1 if by none
	looked []int32 // see coarse.Quantizer.Look, nil if it is alone
	lut    opq.LUT
	probed snapshot.BitSet // lists
	found  reservoir
	top    Top
	usage  Usage

	// If the originals of what may be among the best decide.
	originals bool
	bound     bound
	maybe     []contender
	settled   Top         // the best of those that originals have decided on already
	brought   [][]float32 // their originals, nil for those that are at hand; none if all are
	lacking   bool        // some should have been brought and were not
	many      bool        // they would be more than are brought: int8 rows decide, those of the contenders so far and all that follow
	limit     int         // that maybe is pruned at
}

// New makes a searcher that uses the kernels of a level, which this machine must support.
func New(level avx.Level) *Searcher {
	s := &Searcher{level: level, scratch: model.NewScratch(), shareBytes: shareBytes, pruner: pruner{level: level}, dots: make([]int32, scoreRows)}
	s.query = &s.one
	return s
}

// Search appends to dst the k live rows of snap whose inner product with the query is largest, as far as the plan
// finds them, best first. The query is as given, not normalised. The caller holds a reference on snap. A mistake in the
// query, in k or in the plan is a [*QueryError]; the only other error is that of ctx, which is checked at every list.
func (s *Searcher) Search(ctx context.Context, snap *snapshot.Snapshot, query []float32, k int, plan Plan, dst []Hit) ([]Hit, Usage, error) {
	k, err := wanted(snap, k, plan)
	if err != nil {
		return dst, Usage{}, err
	}
	defer s.end()
	if err := s.begin(snap, query, k, plan); err != nil {
		return dst, Usage{}, err
	}
	if err := s.answer(ctx, plan); err != nil {
		return dst, s.usage, err
	}
	if _, err := s.bring(ctx, plan.Remote, s.query); err != nil {
		return dst, s.usage, err
	}
	dst = append(dst, s.best()...)
	return dst, s.usage, nil
}

// wanted checks k and a plan, and returns how many hits there will be.
func wanted(snap *snapshot.Snapshot, k int, plan Plan) (int, error) {
	if k < 1 {
		return 0, mistake("k", strconv.Itoa(k), "at least 1")
	}
	if err := plan.Validate(snap); err != nil {
		return 0, err
	}
	rows := snap.Live()
	if plan.Among != nil {
		rows = plan.Among.Count()
	}
	return int(min(int64(k), rows)), nil
}

// answer fills top.
func (s *Searcher) answer(ctx context.Context, plan Plan) error {
	switch {
	case s.top.k == 0: // no live row
		return nil
	case plan.Exact || s.snap.Model() == nil:
		return s.scoreAll(ctx)
	case s.among != nil:
		return s.probeAmong(ctx, plan)
	default:
		return s.probe(ctx, plan)
	}
}

func (s *Searcher) begin(snap *snapshot.Snapshot, query []float32, k int, plan Plan) error {
	spec := snap.Spec()
	dim, width := spec.Dim(), plan.Width(spec.Dim())
	s.given, s.vector, s.quant = resize(s.given, dim), resize(s.vector, dim), resize(s.quant, width)
	if err := Prepare(spec, query, s.given); err != nil {
		return err
	}
	level := s.level
	if plan.Exact { // see Prepare
		level = avx.Generic
	}
	snap.Model().Rotate(level, s.vector, s.given)
	s.norm, s.looked = -1, nil
	if width < dim {
		s.vector = s.vector[:width]
		if spec.Metric == schemas.Cosine {
			if norm := mrl.Normalize(avx.Generic, s.vector, s.vector); norm < segment.MinLength {
				return mistake("vector", fmt.Sprintf("its first %d values are zero or nearly so", width), "a direction in the dims asked for")
			}
			s.norm = mrl.Ladder(spec.Ladder).LevelOf(width - 1)
		}
	}
	s.scale = mrl.QuantizeQuery(s.quant, s.vector)
	s.snap, s.parts, s.among, s.usage = snap, snap.Parts(), plan.Among, Usage{}
	s.noted = resize(s.noted, len(s.parts))
	s.originals = k > 0 && s.scale > 0 && (plan.Originals || plan.Exact || snap.Model() == nil) && (snap.HasVectors() || plan.Remote != nil)
	if s.originals {
		s.bound = s.newBound()
	}
	s.restart(k)
	return nil
}

// restart forgets the rows that were offered.
func (s *Searcher) restart(k int) {
	s.top.Reset(s.parts, k)
	s.settled.Reset(s.parts, k)
	s.maybe, s.limit = s.maybe[:0], leastContenders
	s.brought, s.lacking, s.many = s.brought[:0], false, false
}

// end lets go of the snapshot, and of originals that were brought for who did not wait for them.
func (s *Searcher) end() {
	s.snap, s.parts, s.among = nil, nil, nil
	s.top.Reset(nil, 0)
	s.settled.Reset(nil, 0)
	s.forget()
}

// probe scores the rows that the plan leads to. Should there be too few it goes on with more lists.
func (s *Searcher) probe(ctx context.Context, plan Plan) error {
	for {
		lists, err := s.choose(ctx, plan)
		if err != nil {
			return err
		}
		if err := s.lists(ctx, lists); err != nil {
			return err
		}
		s.refine()
		if s.enough() {
			return nil
		}
		s.restart(s.top.k)
		nlist := s.snap.Model().NList()
		if plan.NProbe >= nlist && plan.Margin == 0 { // the best codes are of dead rows
			return s.scoreAll(ctx)
		}
		plan.NProbe, plan.Margin = min(4*plan.NProbe, nlist), 0
	}
}

// choose scores the rows that are in no list, and returns the lists to search. They are valid until the next choice.
func (s *Searcher) choose(ctx context.Context, plan Plan) ([]coarse.Probe, error) {
	if err := s.enterLists(ctx, plan); err != nil {
		return nil, err
	}
	lists := s.snap.Model().Probe(s.level, s.quant, s.scale, plan.NProbe, plan.Margin, s.looked, s.scratch)
	s.noteProbed(lists)
	return lists, nil
}

// enterLists scores the rows that are in no list, and makes ready to scan.
func (s *Searcher) enterLists(ctx context.Context, plan Plan) error {
	for _, i := range s.snap.Unlisted() {
		if err := s.score(ctx, i, 0, s.parts[i].N); err != nil {
			return err
		}
	}
	s.found.reset(s.candidates(plan), 2*s.snap.BaseRows())
	s.snap.Model().LUT(s.level, s.vector, plan.ScanDims, &s.lut, s.scratch)
	return nil
}

// noteProbed remembers which lists are searched: a row that is in two of them is met in its first.
func (s *Searcher) noteProbed(lists []coarse.Probe) {
	if words := (s.snap.Model().NList() + 63) / 64; len(s.probed) != words {
		s.probed = make(snapshot.BitSet, words)
	}
	clear(s.probed)
	for _, p := range lists {
		s.probed[p.List/64] |= 1 << (p.List % 64)
	}
}

// candidates returns how many codes are kept for refining: those of k rows at least, of which each may have two, and more as
// there are dead rows among them.
func (s *Searcher) candidates(plan Plan) int {
	rows := int64(s.snap.BaseRows())
	if s.among != nil {
		rows = s.among.BaseCount()
	}
	n := min(max(int64(plan.Refine), 2*int64(s.top.k)), 2*rows)
	if s.among == nil {
		n = withDead(s.snap, n)
	}
	return int(max(1, min(n, 2*rows)))
}

// withDead is among how many rows there are n live ones, where dead ones are everywhere.
func withDead(snap *snapshot.Snapshot, n int64) int64 { return n + n*snap.Buried()/max(snap.Live(), 1) }

// enough reports whether k live rows were met.
func (s *Searcher) enough() bool { return s.top.Len() >= s.top.k }

// visit is a run of a list, whose codes score so much more than they say.
type visit struct {
	snapshot.Run
	base float32
}

// lists scans the codes of some lists, and scores their rows that have no codes in blocks yet: those of all lists together, for segments are
// many, and each has few rows in a list.
func (s *Searcher) lists(ctx context.Context, probes []coarse.Probe) error {
	// Where the runs are is looked up for all lists first: these look-ups miss the cache, but do not wait for each other.
	s.visits, s.fresh = s.visits[:0], s.fresh[:0]
	for _, p := range probes {
		for _, r := range s.snap.Runs(p.List) {
			if r.Kind == snapshot.Codes {
				s.visits = append(s.visits, visit{r, p.Base})
			} else {
				s.fresh = append(s.fresh, r)
			}
		}
	}
	s.usage.Lists += len(probes)
	s.aheadOfVisits()
	for i, v := range s.visits {
		var ahead []byte
		if i+scanAhead < len(s.visits) {
			ahead = s.blocks(s.visits[i+scanAhead].Run)
		}
		s.scan(v, ahead)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	noted := 0
	for _, r := range s.fresh {
		s.noteFresh(r)
		if noted += int(r.End - r.Start); noted >= noteRows {
			s.scoreNoted()
			noted = 0
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	s.scoreNoted()
	return ctx.Err()
}

// search searches a run on its own. Ahead is what will be read soon.
func (s *Searcher) search(ctx context.Context, v visit, ahead []byte) error {
	if v.Kind == snapshot.Codes {
		s.scan(v, ahead)
		return ctx.Err()
	}
	s.noteFresh(v.Run)
	rows := s.noted[v.Part]
	s.aheadOfRows(int(v.Part), rows)
	s.scoreAt(int(v.Part), rows)
	s.noted[v.Part] = rows[:0]
	return ctx.Err()
}

// blocks returns the codes of a run, and what follows them, nil if it is of a segment.
func (s *Searcher) blocks(r snapshot.Run) []byte {
	if r.Kind != snapshot.Codes {
		return nil
	}
	p := s.parts[r.Part]
	return p.Blocks[int(r.Start)/avx.BlockRows*avx.BlockBytes(p.M):]
}

// scan puts the codes of a run that may be among the best candidates into the reservoir. Ahead is what will be scanned soon.
func (s *Searcher) scan(v visit, ahead []byte) {
	stride, subs := avx.BlockBytes(s.parts[v.Part].M), s.lut.Subs+s.lut.Subs%2
	offset, scale := v.base+s.lut.Bias, s.lut.Scale
	codes := s.blocks(v.Run)
	for first := v.Start; first < v.End; first += scanRows {
		sum, ok := s.found.threshold(offset, scale)
		if !ok {
			return
		}
		n := int(min(scanRows, v.End-first))
		blocks := (n + avx.BlockRows - 1) / avx.BlockRows
		hits := avx.ScanPQ4(s.level, codes, blocks, stride, subs, s.lut.Table, n, sum, ahead, s.hits[:])
		s.usage.Codes += n
		s.usage.Bytes += int64(n * subs / 2)
		codes = codes[blocks*stride:]
		if s.among != nil {
			s.keepAmong(v.Part, first, offset, s.hits[:hits])
			continue
		}
		s.found.take(&s.pruner, s.hits[:hits], v.Part, first, offset, scale)
	}
}

// score offers the rows [start, end) of a part.
func (s *Searcher) score(ctx context.Context, part, start, end int) error {
	if s.among != nil {
		return s.scoreAmong(ctx, part, start, end)
	}
	p, dead, dim := s.parts[part], s.snap.Dead(part), s.snap.Spec().Dim()
	for ; start < end; start += scoreRows {
		if err := ctx.Err(); err != nil {
			return err
		}
		dots := s.dots[:min(scoreRows, end-start)]
		avx.DotI8(s.level, s.quant, p.Int8[start*dim:], dim, dots)
		s.refined(len(dots))
		if s.originals && !s.many {
			s.contendAll(part, start, dots)
			continue
		}
		for i, dot := range dots {
			if !dead.Has(start + i) {
				s.offer(part, start+i, s.scoreOf(p, start+i, dot))
			}
		}
	}
	return nil
}

// noteFresh notes the live rows of a run of a segment that count, in their second list but for those that are met in their first.
func (s *Searcher) noteFresh(r snapshot.Run) {
	p, rows := s.parts[r.Part], s.noted[r.Part]
	before, n := len(rows), int(r.End-r.Start)
	rows = slices.Grow(rows, n)[:before+n]
	k := before
	if r.Kind == snapshot.Rows {
		for row := r.Start; row < r.End; row++ {
			rows[k] = uint32(row)
			k++
		}
	} else {
		for _, row := range p.Spilled[r.Start:r.End] { // half of them are met in their first list, and no branch could tell which
			rows[k] = uint32(row)
			list := p.ListAt(int(row))
			k += 1 - int(s.probed[list/64]>>(uint(list)%64)&1)
		}
	}
	if dead := s.snap.Dead(int(r.Part)); dead != nil || s.among != nil {
		some := rows[before:k]
		k = before
		for _, row := range some {
			rows[k] = row
			step := 0
			if !dead.Has(int(row)) && (s.among == nil || s.among.Has(int(r.Part), int(row))) {
				step = 1
			}
			k += step
		}
	}
	s.noted[r.Part] = rows[:k]
}

// scoreNoted offers the rows that are noted, part by part, and leaves none.
func (s *Searcher) scoreNoted() {
	s.aheadOfNoted()
	for part, rows := range s.noted {
		if len(rows) > 0 {
			s.scoreAt(part, rows)
			s.noted[part] = rows[:0]
		}
	}
}

// refine offers the rows of the best candidates of the scan.
func (s *Searcher) refine() {
	s.refineSome(s.found.best(&s.pruner))
	s.forgetSeen()
}

// refineSome offers the rows of some candidates that were not seen before, part by part.
func (s *Searcher) refineSome(c []candidate) {
	s.noteCandidates(c)
	s.scoreNoted()
}

// scoreAt offers some rows of a part.
func (s *Searcher) scoreAt(part int, at []uint32) {
	s.dots, s.scores = resize(s.dots, max(len(at), scoreRows)), resize(s.scores, len(at))
	dots, scores, p := s.dots[:len(at)], s.scores, s.parts[part]
	avx.DotI8At(s.level, s.quant, p.Int8, s.snap.Spec().Dim(), at, dots)
	for i, row := range at { // apart from what depends on the scores, so that cache misses do not wait for each other
		scores[i] = s.scoreOf(p, int(row), dots[i])
	}
	if s.originals && !s.many {
		for i, row := range at {
			s.offer(part, int(row), scores[i])
		}
	} else { // as offer, with the floor at hand: a tenth of a query that meets many rows of segments
		floor := s.top.Floor()
		for i, row := range at {
			if scores[i] >= floor {
				s.top.Push(Hit{Part: part, Row: int(row), Score: scores[i]})
				floor = s.top.Floor()
			}
		}
	}
	s.refined(len(at))
}

// refined counts int8 rows that were scored.
func (s *Searcher) refined(rows int) {
	s.usage.Refined += rows
	s.usage.Bytes += int64(rows * len(s.quant))
}

// noteCandidates notes the live rows of the candidates that were not seen before, each once.
func (s *Searcher) noteCandidates(c []candidate) {
	if words := (s.snap.BaseRows() + 63) / 64; len(s.seen) < words {
		s.seen = make(snapshot.BitSet, words)
	}
	before := len(s.baseRows)
	s.baseRows = slices.Grow(s.baseRows, len(c))[:before+len(c)]
	rows := s.baseRows[before:]
	s.aheadOfNumbers(c)
	for i, x := range c { // on its own, so that cache misses do not wait for each other
		rows[i] = s.parts[x.part].CodeRows[x.code]
	}
	for i, x := range c {
		base := int(rows[i])
		word, bit := &s.seen[base/64], uint64(1)<<(base%64)
		if *word&bit != 0 {
			continue
		}
		*word |= bit
		part, row := int(x.part), base-s.parts[x.part].FirstRow
		if row < 0 || row >= s.parts[part].N { // spilled to a list of another chunk
			part, row = s.snap.Locate(base)
		}
		if !s.snap.Dead(part).Has(row) {
			s.noted[part] = append(s.noted[part], uint32(row))
		}
	}
}

// forgetSeen has no row seen.
func (s *Searcher) forgetSeen() {
	for _, base := range s.baseRows {
		s.seen[base/64] = 0
	}
	s.baseRows = s.baseRows[:0]
}

// scoreOf is the score of an int8 row. Every one's is computed here, so equal rows have equal scores.
func (s *Searcher) scoreOf(p *segment.Part, row int, dot int32) float32 {
	score := float64(dot) * s.scale * float64(p.Scales[row])
	if s.norm >= 0 {
		norm := s.prefixNorm(p, row)
		if norm == 0 {
			return 0 // a prefix without a direction
		}
		score /= norm
	}
	return float32(score)
}

// prefixNorm is the length of the prefix of a row that the query compares, under cosine.
func (s *Searcher) prefixNorm(p *segment.Part, row int) float64 {
	return float64(p.Norms[row*len(s.snap.Spec().Ladder)+s.norm])
}

// offer takes a row into the answer, or makes it a contender, if its int8 row scores well enough.
func (s *Searcher) offer(part, row int, score float32) {
	if s.originals && !s.many {
		s.contend(part, row, score)
	} else {
		s.keep(part, row, score)
	}
}

// keep adds a row to the answer if it is good enough.
func (s *Searcher) keep(part, row int, score float32) {
	if score >= s.top.Floor() {
		s.top.Push(Hit{Part: part, Row: row, Score: score})
	}
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}
