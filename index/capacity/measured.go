package capacity

import "math"

// What was measured, on the machine that docs/performance.md and README.md call the EPYC (AVX2, no AVX-512), unless said otherwise.
const (
	// Codes that fill up the last block of a list: half a block.
	blockWaste = 16

	// Bytes of the builder's scratch memory for a live row: 10 in the table of the base and up to 64 in that of deltas, which a quarter
	// of the rows may be in, TestLedger_takesNoHeapForRows; and while a rewrite runs, 20 of its own, TestMergeMemory, then 10 in the
	// table of the next base.
	scratchBytes = 10 + 64/4 + 20

	// Bytes of its heap for each thread that merges: what a chunk of 32 MiB is made of, its files, and as much garbage. 104 to 168 MiB at
	// 0.25 to 4 million rows on one thread, process included: BenchmarkScale of pipeline/build, rewrite-anon-MiB.
	mergeBytes = 128 << 20
	// Threads whose chunks may be made at once: 256 MiB of them, AtOnceBytes of index/segment.
	mergeThreads = 8

	// Bytes that a process takes before it has an index: go run ./bench/figures, query node of the sample.
	processBytes = 40 << 20

	// Bytes of a node's heap for a row once ids are looked up: pipeline/serve, footprint.
	nodeIDBytes = 12

	// Rows that a core of the builder takes in, training, measuring, merging and five rewrites included, of 256 dimensions:
	// go run ./bench/figures on the corpus. Small indexes that are trained again and again: 2,600.
	builderRows = 5552

	// Rows a second that were kept fresh, of 256 dimensions, all daemons on two cores: go run ./bench/figures --rate 20000.
	freshRows = 20000

	// Microseconds of a request with one query in JSON beside its search: GOMAXPROCS=1 go test ./pipeline/serve -bench HTTP, client included.
	httpMicros = 197
	// Share of a batch that Arrow over HTTP costs beside the library: the same benchmark.
	arrowShare = 0.11

	// Originals that int8 rows left open for a query: docs/elastic-search.md, 18 on the corpus.
	decided = 18

	// Seconds between a builder's looks at a chain of loads that is at rest: loadsEvery of pipeline/build.
	restSeconds = 10

	// Rows and dimensions of the corpus on which the table of searchMicros was measured.
	corpusRows, corpusDims = 472754, 256
	// Searches cost as the rows to this power: 250,000 to 4 million rows of 128 dimensions took 36 to 135 microseconds. docs/performance.md, Growth.
	growth = 0.48
	// Where the training sample allows fewer lists than that wants, codes to scan grow as what is missing to this power: on the corpus 8,192
	// lists need half the codes of 2,752. docs/adr/0009-many-lists.md.
	fewerLists = 0.63
	// No search is cheaper than choosing lists and making tables.
	leastMicros = 40
	// Rows that an exact search compares in a microsecond: 472,754 of 256 dimensions in 19.9 to 31.4 ms.
	exactRows = 18
)

// searchMicros are microseconds of one core for a query that asks for a recall, on the corpus: go run ./bench/elastic. Beyond the last
// one no measured plan sufficed there, and all rows were compared.
var searchMicros = []struct{ recall, micros float64 }{{0.5, 47}, {0.8, 83}, {0.9, 130}, {0.95, 238}, {0.98, 766}}

// search is what a query takes of a core, in microseconds, and whether it compares all rows.
func search(s sizes) (micros float64, exact bool) {
	last := searchMicros[len(searchMicros)-1]
	if s.n < 8192 || s.w.Recall > last.recall {
		return leastMicros + s.n/exactRows*s.d/corpusDims, true
	}
	micros = searchMicros[0].micros
	for i := 1; i < len(searchMicros); i++ {
		low, high := searchMicros[i-1], searchMicros[i]
		if s.w.Recall > low.recall {
			share := math.Min(1, (s.w.Recall-low.recall)/(high.recall-low.recall))
			micros = low.micros * math.Pow(high.micros/low.micros, share)
		}
	}
	micros *= math.Pow(s.n/corpusRows, growth) * s.d / corpusDims * fewer(s)
	if s.w.ListsPerRow == 1 {
		micros *= 1.87 // adastream-lean at 0.95
	}
	return math.Max(leastMicros, micros), false
}

// fewer is how much dearer a search is for lists that the training sample does not allow.
func fewer(s sizes) float64 {
	return math.Pow(max(1, min(12*math.Sqrt(s.n), s.n/32)/s.lists/1.1), fewerLists)
}

// segmentMicros are microseconds of one core from a row's message to its segment: BenchmarkMessageToSegment of pipeline/ingest, without a
// model 960,000 rows/s; with 1,024 and 4,096 lists of 256 dimensions 102,000 and 90,000. What grows with lists was measured to
// 65,536 of them, by assigning alone, docs/adr/0009-many-lists.md.
func segmentMicros(s sizes) float64 {
	micros := 1.04
	if s.n >= 8192 {
		micros += 7.5 + 0.04*math.Sqrt(s.lists)
	}
	return micros * s.d / 256
}
