package build

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// history is a ledger that goes through a random history, and a plain map of what it has to know.
type history struct {
	t      *testing.T
	rng    *rand.Rand
	spec   *schemas.Spec
	cache  *store.Cache
	ledger *ledger
	parts  []*heldPart
	jobs   map[jobKind]*pastJob // that have begun
	truth  map[string]version
	offset int64
	ids    int
}

// pastJob is a job that has made its outputs, of what was there when it began.
type pastJob struct {
	inputs  []jobInput
	outputs []*heldPart
	base    *baseIDs // of a rewrite
}

func newHistory(t *testing.T, seed uint64, hash idHash) *history {
	t.Helper()
	h := &history{t: t, rng: rand.New(rand.NewPCG(seed, 3)), spec: testSpec(), jobs: map[jobKind]*pastJob{}, truth: map[string]version{}, ids: 1}
	var err error
	if h.cache, err = store.NewCache(t.TempDir(), store.NewMemory(), store.CacheOptions{}); err != nil {
		t.Fatal(err)
	}
	if h.ledger, err = newLedgerBy(h.cache, hash); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *history) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// part opens rows as a part.
func (h *history) part(rows *segment.Rows, chunk bool) *heldPart {
	h.t.Helper()
	vector := make([]float32, h.spec.Dim())
	vector[0] = 1
	for range rows.Len() {
		rows.AppendFloats(avx.Generic, vector)
		rows.Attributes[0].AppendNull()
	}
	body, err := segment.Write(h.spec, nil, avx.Generic, rows)
	h.must(err)
	opened, err := segment.OpenSegment(h.spec, strconv.FormatInt(h.offset, 10), body)
	h.must(err)
	p := &heldPart{Part: &replica.Part{Part: opened}, dead: roaring.New()}
	if chunk {
		p.chunk = &schemas.Chunk{Rows: schemas.Object{SHA256: fmt.Sprintf("%x", sha256.Sum256(body))}}
	} else {
		p.segment = &schemas.Segment{}
	}
	return p
}

// fold has the ledger take in some commits of upserts and deletes, some of which are older than what it knows.
func (h *history) fold() {
	h.t.Helper()
	var opened []*heldPart
	rows := 0
	for range 1 + h.rng.IntN(3) {
		r := segment.NewRows(h.spec)
		for range h.rng.IntN(40) {
			id, order := h.next()
			r.IDs, r.Orders = append(r.IDs, id), append(r.Orders, order)
			h.know(id, version{order: order})
		}
		opened = append(opened, h.part(r, false))
		rows += r.Len()
	}
	h.must(h.ledger.reserve(rows))
	for _, p := range opened {
		h.ledger.add(p)
		for row := range p.N {
			h.ledger.upsert(p, uint32(row))
		}
	}
	h.parts = append(h.parts, opened...)
	for range h.rng.IntN(12) {
		id, order := h.next()
		h.know(id, version{order: order, deleted: true})
		h.ledger.remove(segment.Tombstone{ID: id, Order: order})
	}
}

func (h *history) next() (string, segment.Order) {
	h.offset++
	return fmt.Sprintf("id-%d", h.rng.IntN(h.ids)), segment.Order{Version: int64(h.rng.IntN(3)), Timestamp: 1, Offset: h.offset}
}

func (h *history) know(id string, v version) {
	if old, ok := h.truth[id]; !ok || v.order.Compare(old.order) > 0 {
		h.truth[id] = v
	}
}

// begin begins a job of some parts that no other one has, if a builder would.
func (h *history) begin(kind jobKind) {
	h.t.Helper()
	if h.jobs[kind] != nil || kind != compaction && (h.jobs[rewrite] != nil || h.jobs[recode] != nil) {
		return
	}
	j := &pastJob{}
	rows := segment.NewRows(h.spec)
	end := func() {
		if rows.Len() > 0 {
			j.outputs = append(j.outputs, h.part(rows, kind != compaction))
			rows = segment.NewRows(h.spec)
		}
	}
	for _, p := range h.parts {
		taken := p.chunk != nil && kind != compaction || p.chunk == nil && (kind == rewrite && h.rng.IntN(4) > 0 || kind == compaction && h.rng.IntN(2) > 0)
		if !taken || p.busy {
			continue
		}
		p.busy = true
		in := jobInput{p, p.dead.Clone()}
		j.inputs = append(j.inputs, in)
		for row := range p.N {
			if kind == recode || !in.skip.ContainsInt(row) {
				rows.IDs, rows.Orders = append(rows.IDs, p.IDAt(row)), append(rows.Orders, p.OrderAt(row))
			}
			if kind == rewrite && h.rng.IntN(50) == 0 {
				end()
			}
		}
		if kind == recode {
			end()
		}
	}
	end()
	if kind == rewrite {
		var err error
		j.base, err = newBaseIDs(h.cache, h.ledger.hash, j.outputs)
		h.must(err)
	}
	h.jobs[kind] = j
}

// end has the ledger take in a job that has begun.
func (h *history) end(kind jobKind) {
	h.t.Helper()
	j := h.jobs[kind]
	if j == nil {
		return
	}
	delete(h.jobs, kind)
	inputs := map[*heldPart]bool{}
	for _, in := range j.inputs {
		inputs[in.part] = true
	}
	switch kind {
	case rewrite:
		h.ledger.rebase(j.inputs, j.base)
	case recode:
		h.ledger.recoded(j.inputs, j.outputs)
	case compaction:
		h.ledger.joined(inputs, j.outputs)
	}
	h.parts = append(slices.DeleteFunc(h.parts, func(p *heldPart) bool { return inputs[p] }), j.outputs...)
	for p := range inputs {
		*p = heldPart{} // nothing may look at it any more
	}
}

// catchUp is what a rewrite does that is done, and not landed.
func (h *history) catchUp() {
	if j := h.jobs[rewrite]; j != nil {
		for _, in := range j.inputs {
			j.base.bury(in, in.died())
		}
	}
}

// drop ends jobs that have not landed.
func (h *history) drop() {
	for kind, j := range h.jobs {
		if j.base != nil {
			j.base.release()
		}
		for _, in := range j.inputs {
			in.part.busy = false
		}
		delete(h.jobs, kind)
	}
}

// restart is what a builder does that begins from the parts, their dead rows and the deletes.
func (h *history) restart() {
	h.t.Helper()
	h.drop()
	stones, moved := h.ledger.tombstones(), h.ledger.moved
	hash := h.ledger.hash
	h.ledger.release()
	var err error
	h.ledger, err = newLedgerBy(h.cache, newIDHash()) // as it is before it is known what was kept
	h.must(err)
	var chunks []*heldPart
	for _, p := range h.parts {
		p.number = 0
		if p.chunk != nil {
			chunks = append(chunks, p)
		}
	}
	base, err := keptBaseIDs(h.cache, chunks)
	if errors.Is(err, store.ErrNotFound) {
		base, err = newBaseIDs(h.cache, hash, chunks)
		h.must(err)
		if hash.key != (idKey{}) {
			h.must(base.keep(h.cache))
		}
	}
	h.must(err)
	h.must(h.ledger.restore(h.parts, base))
	for _, t := range stones {
		h.ledger.remove(t)
	}
	h.ledger.moved = moved
}

func (h *history) check(after string) {
	h.t.Helper()
	want, gone := map[string]segment.Order{}, map[string]segment.Order{}
	for id, v := range h.truth {
		if v.deleted {
			gone[id] = v.order
		} else {
			want[id] = v.order
		}
	}
	got := map[string]segment.Order{}
	for _, p := range h.parts {
		for row := range p.N {
			if p.dead.ContainsInt(row) {
				continue
			}
			id := p.IDAt(row)
			if _, twice := got[id]; twice {
				h.t.Fatalf("after %s: %s is live twice", after, id)
			}
			got[id] = p.OrderAt(row)
			if f, ok := h.ledger.find(id, h.ledger.hash.of(id)); !ok || f.place != (place{p, uint32(row)}) {
				h.t.Fatalf("after %s: %s is live, and not found where it is", after, id)
			}
		}
	}
	if !maps.Equal(got, want) || h.ledger.live != len(want) {
		h.t.Fatalf("after %s: %d live rows, %d by count, want %d: %s", after, len(got), h.ledger.live, len(want), difference(got, want))
	}
	d, taken, held := h.ledger.deltas, 0, 0
	for slot := range len(d.slots) / deltaSlot {
		if d.part(uint64(slot)) != nil {
			held++
		}
		if binary.LittleEndian.Uint32(d.slots[slot*deltaSlot+8:]) != emptySlot {
			taken++
		}
	}
	if d.taken != taken || d.held != held || 4*taken*deltaSlot > 3*len(d.slots) {
		h.t.Fatalf("after %s: %d of %d slots are taken, by %d rows: the table says %d by %d", after, taken, len(d.slots)/deltaSlot, held, d.taken, d.held)
	}
	segments := 0
	for _, p := range h.parts {
		if p.chunk == nil {
			segments++
		}
	}
	if len(d.parts)-d.forgotten != segments {
		h.t.Fatalf("after %s: %d parts have numbers, and %d of them are forgotten: there are %d", after, len(d.parts), d.forgotten, segments)
	}
	stones := map[string]segment.Order{}
	for _, t := range h.ledger.tombstones() {
		stones[t.ID] = t.Order
	}
	if !maps.Equal(stones, gone) {
		h.t.Fatalf("after %s: %d deletes, want %d: %s", after, len(stones), len(gone), difference(stones, gone))
	}
	for i := range 20 {
		id := fmt.Sprintf("id-%d", h.rng.IntN(h.ids)+i*h.ids)
		if _, ok := h.ledger.find(id, h.ledger.hash.of(id)); ok != (want[id] != segment.Order{}) {
			h.t.Fatalf("after %s: %s found: %v", after, id, ok)
		}
	}
}

// Whatever a ledger goes through, jobs that begin and land at any time beside one another and whatever else is folded meanwhile, it knows
// what a plain map of all versions knows: with a hash that tells all ids apart, with one of 8 values, and with one that is the same for all.
func TestLedger_knowsWhatAMapKnows(t *testing.T) {
	all := newIDHash()
	for name, hash := range map[string]idHash{
		"all apart": all,
		"8 values":  {of: func(id string) uint64 { return all.of(id) & 7 * (1<<61 + 1) }},
		"one value": {of: func(string) uint64 { return 1<<64 - 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(12) {
				h := newHistory(t, seed, hash)
				for step := range 60 {
					h.ids = 1 + h.rng.IntN(1<<h.rng.IntN(12)) // now and then the same few ids again and again
					after := "a fold"
					switch kind := []jobKind{rewrite, recode, compaction}[h.rng.IntN(3)]; h.rng.IntN(20) {
					case 0:
						after = "a restart"
						h.restart()
					case 1, 2, 3, 4:
						after = "the begin of a " + string(kind)
						h.begin(kind)
					case 5, 6, 7, 8:
						after = "the end of a " + string(kind)
						h.end(kind)
					case 9, 10:
						after = "catching up"
						h.catchUp()
					default:
						h.fold()
					}
					h.check(fmt.Sprintf("step %d of seed %d, %s", step, seed, after))
				}
				h.drop()
				h.ledger.release()
				_, err := h.cache.Sweep(func(string) bool { return false })
				h.must(err)
				if left := h.cache.Stats().Bytes; left != 0 {
					t.Errorf("seed %d: %d bytes of scratch memory are not given back", seed, left)
				}
			}
		})
	}
}

// An id that comes and goes again and again takes one slot, and so does one that changes.
func TestLedger_oneIDManyTimes(t *testing.T) {
	h := newHistory(t, 1, idHash{of: func(string) uint64 { return 7 }})
	defer func() { h.ledger.release() }()
	for range 500 {
		h.fold()
	}
	h.check("500 folds")
	if taken := h.ledger.deltas.taken; taken > 1 {
		t.Errorf("one id takes %d slots", taken)
	}
}

// The ledger's heap does not grow with its rows.
func TestLedger_takesNoHeapForRows(t *testing.T) {
	h := newHistory(t, 1, newIDHash())
	const n = 100_000
	rows := segment.NewRows(h.spec)
	for i := range n {
		rows.IDs, rows.Orders = append(rows.IDs, strconv.Itoa(i)), append(rows.Orders, segment.Order{Offset: int64(i)})
	}
	base := h.part(rows, true)
	rows = segment.NewRows(h.spec)
	for i := range n {
		rows.IDs, rows.Orders = append(rows.IDs, strconv.Itoa(n+i)), append(rows.Orders, segment.Order{Offset: int64(i)})
	}
	deltas := h.part(rows, false)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	table, err := newBaseIDs(h.cache, h.ledger.hash, []*heldPart{base})
	h.must(err)
	h.must(h.ledger.restore([]*heldPart{base, deltas}, table))
	runtime.GC()
	runtime.ReadMemStats(&after)
	if took := int64(after.HeapAlloc) - int64(before.HeapAlloc); took > n/10 {
		t.Errorf("%d rows take %d bytes of heap", 2*n, took)
	}
	scratch := h.cache.Stats().Bytes
	t.Logf("%.1f bytes of scratch memory a row of the base, and %.1f a row of the deltas", float64(h.ledger.base.n*baseSlot)/n, float64(scratch-int64(h.ledger.base.n*baseSlot))/n)
	if scratch > (10+64)*n+1<<16 {
		t.Errorf("%d bytes of scratch memory for %d rows of the base and as many of the deltas, want at most 10 and 64 a row", scratch, n)
	}
	runtime.KeepAlive(base)
	h.ledger.release()
}

// A table is not larger than what it was made for once that is gone, and knows no more parts than there are and some.
func TestLedger_tableShrinks(t *testing.T) {
	h := newHistory(t, 1, newIDHash())
	defer func() { h.ledger.release() }()
	h.ids = 1 << 20
	for range 200 {
		h.fold()
	}
	most := len(h.ledger.deltas.slots)
	for h.begin(rewrite); ; h.begin(rewrite) { // each leaves some segments
		h.end(rewrite)
		if h.ledger.deltas.held == 0 {
			break
		}
	}
	h.fold()
	h.check("all was rewritten")
	if now := len(h.ledger.deltas.slots); now > most/16 {
		t.Errorf("the table has %d bytes, and had %d", now, most)
	}
	h.ids = 1
	for range 2 * mostForgotten {
		h.fold()
		h.begin(compaction)
		h.end(compaction)
	}
	h.check("compactions")
	if d := h.ledger.deltas; d.forgotten > mostForgotten+100 {
		t.Errorf("%d parts are forgotten and have their numbers", d.forgotten)
	}
}
