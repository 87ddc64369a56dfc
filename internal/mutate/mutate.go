// Package mutate runs the checks of fuzz targets on inputs that are broken blindly: good ones, changed at random. Go's fuzzer
// looks at coverage and makes some thousand inputs a second, this one makes as many as the check can take, so it goes where
// chance has to be tried often. A long run:
//
//	go test ./schemas/arrowguard -run TestMutations/FuzzGuard -mutations 50000000 -timeout 0
//
// One seed is one input: a failure prints it, with the input as a file of the corpus that [Fuzz] and a plain go test read.
package mutate

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"testing"
	"time"
)

var (
	mutations = flag.Int("mutations", 5000, "how many inputs to make for each target")
	firstSeed = flag.Uint64("seed", 1, "seed of the first input")
)

// Target makes what a fuzz target and a mutation run have in common: inputs to begin with, and the check of any input. The
// check may not keep its input.
type Target func(t testing.TB) (seeds [][]byte, check func(t testing.TB, input []byte))

// Fuzz is the body of a fuzz target.
func Fuzz(f *testing.F, target Target) {
	seeds, check := target(f)
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) { check(t, input) })
}

// Run checks mutated inputs of targets, which are named as their fuzz targets are.
func Run(t *testing.T, targets map[string]Target) {
	for _, name := range slices.Sorted(maps.Keys(targets)) {
		t.Run(name, func(t *testing.T) { run(t, name, targets[name]) })
	}
}

func run(t *testing.T, name string, target Target) {
	seeds, check := target(t)
	m := mutator{seeds: seeds}
	seed, began := *firstSeed, time.Now()
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("panic: %v\n%s", r, debug.Stack())
		}
		if t.Failed() {
			t.Logf("this was -seed %d; to keep it, write to testdata/fuzz/%s/%d:\n%s", seed, name, seed, corpusFile(m.input))
		}
	}()
	for range *mutations {
		check(t, m.next(seed))
		if t.Failed() {
			return
		}
		seed++
	}
	took := time.Since(began)
	t.Logf("%d inputs from seed %d on in %v, %.0f a second", *mutations, *firstSeed, took.Round(time.Millisecond), float64(*mutations)/took.Seconds())
}

// corpusFile is an input as Go's fuzzer keeps it.
func corpusFile(input []byte) string {
	return fmt.Sprintf("go test fuzz v1\n[]byte(%q)\n", input)
}

// Allocated returns the bytes that were ever allocated. Small objects may be counted late, but not great ones.
func Allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// mutator makes inputs.
type mutator struct {
	seeds  [][]byte
	source rand.PCG
	input  []byte
}

// longest bounds by how much changes make an input longer than it was, in bytes.
const longest = 1 << 12

// next returns the input of a seed, which stays as it is until the next one is made.
func (m *mutator) next(seed uint64) []byte {
	m.source.Seed(seed, 0)
	r := rand.New(&m.source)
	m.input = append(m.input[:0], m.seeds[r.IntN(len(m.seeds))]...)
	most := len(m.input) + longest
	// Few changes, so that most of an input is still good and what reads it gets far.
	for range 1 + bitsUp(r, 3) {
		if len(m.input) == 0 {
			m.input = append(m.input, byte(r.Uint32()))
		}
		m.change(r)
		m.input = m.input[:min(len(m.input), most)]
	}
	return m.input
}

// bitsUp is 0 with a chance of 1/2, 1 with 1/4 and so on, up to most.
func bitsUp(r *rand.Rand, most int) (n int) {
	for n < most && r.Uint32()&1 == 0 {
		n++
	}
	return n
}

// change makes one change somewhere in the input, which is not empty. Those that move what is behind them are rarer: a format
// with offsets seldom survives them.
func (m *mutator) change(r *rand.Rand) {
	at := r.IntN(len(m.input))
	switch n := r.IntN(16); {
	case n < 4:
		m.input[at] ^= 1 << r.IntN(8)
	case n < 6:
		m.input[at] = byte(r.Uint32())
	case n < 11:
		m.number(r, at)
	case n < 13:
		m.splice(r, at)
	case n == 13: // cut, often near the end, where less is lost
		m.input = m.input[:max(at, r.IntN(len(m.input)))]
	case n == 14: // a range away
		m.input = slices.Delete(m.input, at, at+m.extent(r, at))
	default: // a range again
		part := slices.Clone(m.input[at : at+m.extent(r, at)])
		for range 1 << bitsUp(r, 6) {
			m.input = slices.Insert(m.input, at, part...)
		}
	}
}

// extent is the length of a range that begins at an offset: mostly short, often of whole words.
func (m *mutator) extent(r *rand.Rand, at int) int {
	n := 1 + r.IntN(1<<(1+r.IntN(8)))
	if r.Uint32()&1 == 0 {
		n = (n + 7) &^ 7
	}
	return min(n, len(m.input)-at)
}

// splice overwrites a range with one of another seed, or, more seldom, goes on as that seed does.
func (m *mutator) splice(r *rand.Rand, at int) {
	other := m.seeds[r.IntN(len(m.seeds))]
	if len(other) == 0 {
		return
	}
	from := r.IntN(len(other))
	if r.Uint32()&1 == 0 {
		from = min(at, len(other)) // the same place: so formats are often continued as they should be
	}
	if r.IntN(4) == 0 {
		m.input = append(m.input[:at], other[from:]...)
		return
	}
	copy(m.input[at:at+m.extent(r, at)], other[from:])
}

// edges are numbers at which arithmetic goes wrong.
var edges = []uint64{
	0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 1000, 1 << 12, 1<<15 - 1, 1 << 15, 1<<16 - 1, 1 << 16, 1 << 20, 1 << 28, 1<<30 - 1,
	1 << 30, 1<<31 - 8, 1<<31 - 1, 1 << 31, 1<<31 + 1, 1<<32 - 8, 1<<32 - 1, 1 << 32, 1 << 40, 1 << 56, 1<<61 + 1, 1<<62 - 1, 1 << 62, 1<<63 - 8, 1<<63 - 1, 1 << 63, 1<<64 - 8, 1<<64 - 2, 1<<64 - 1,
}

// number overwrites a number: the digits at an offset, if it is in some, else 1, 2, 4 or 8 bytes, mostly on their boundary.
// The new one is near the old one or an edge.
func (m *mutator) number(r *rand.Rand, at int) {
	edge := edges[r.IntN(len(edges))]
	if digit(m.input[at]) && r.IntN(4) > 0 {
		end := at
		for end < len(m.input) && digit(m.input[end]) {
			end++
		}
		for at > 0 && digit(m.input[at-1]) {
			at--
		}
		m.input = slices.Replace(m.input, at, end, fmt.Appendf(nil, "%d", int64(edge))...)
		return
	}
	width := 1 << r.IntN(4)
	if r.IntN(8) > 0 {
		at &^= width - 1
	}
	field := m.input[at:min(at+width, len(m.input))]
	old := uint64(0)
	for i, b := range field {
		old |= uint64(b) << (8 * i)
	}
	switch r.IntN(4) {
	case 0:
		edge = old + edge
	case 1:
		edge = old - edge
	}
	for i := range field {
		field[i] = byte(edge >> (8 * i))
	}
}

func digit(b byte) bool { return '0' <= b && b <= '9' }
