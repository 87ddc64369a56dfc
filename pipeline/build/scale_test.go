package build

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/bulk"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

var (
	scaleRows   = flag.String("scale", "100000", "rows of the indexes of BenchmarkScale and BenchmarkRewrite, by commas")
	scaleDim    = flag.Int("scale-dim", 16, "dimensions of their vectors")
	scaleRepair = flag.String("scale-repair", string(model.Nothing), "what of the model its rewrite makes anew; empty = no rewrite")
	landRows    = flag.String("land", "100000", "rows that come during the rewrites of BenchmarkLand, by commas")
)

// BenchmarkScale measures what a builder takes on indexes of different sizes: heap and resident memory after loading, the
// time to load as a new process, with no more than objects in the cache and with all that a process before has left, to fold and
// publish a commit of 1,000 rows of which half have an id that is there, and to rewrite all. It takes 500 bytes of disk a row, half
// without a rewrite. The vectors are synthetic: topics of which each dimension has 0.9 of the deviation of the one before. What an
// iteration is is the commit; all else is done once.
//
//	go test -run xxx -bench Scale -benchtime 20x -timeout 2h ./pipeline/build -args -scale 250000,1000000,4000000
func BenchmarkScale(b *testing.B) {
	eachScale(b, benchmarkScale)
}

func eachScale(b *testing.B, run func(b *testing.B, n int)) {
	for _, text := range strings.Split(*scaleRows, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) { run(b, n) })
	}
}

func benchmarkScale(b *testing.B, n int) {
	ctx, dir, rng := b.Context(), b.TempDir(), rand.New(rand.NewPCG(1, 1))
	log := newScale(b)
	publishScale(b, log, n, rng)
	open := func() *Builder { return openScale(b, log, dir) }
	builder := open()
	if err := builder.load(ctx); err != nil { // fetches
		b.Fatal(err)
	}
	for _, left := range []string{builder.ledger.base.name, "opened.json"} {
		if err := os.Remove(filepath.Join(dir, left)); err != nil {
			b.Fatal(err)
		}
	}
	builder.drop()
	builder = open()
	started := time.Now()
	if err := builder.load(ctx); err != nil {
		b.Fatal(err)
	}
	loaded := time.Since(started)
	builder.remember()
	builder.drop()
	freshPeak(b)
	builder = open()
	before := heap()
	started = time.Now()
	if err := builder.load(ctx); err != nil {
		b.Fatal(err)
	}
	defer builder.drop()
	restarted := time.Since(started)
	held := heap() - before

	w := &world{t: b, rng: rng, log: builder.o.Log, level: builder.o.Level}
	b.ResetTimer()
	for b.Loop() {
		b.StopTimer()
		rows := scaleSegment(log.Spec(), n, w.next[0], scaleVectors(1000, rng), rng)
		w.append(0, w.next[0]+1000, 1, rows, nil, builder.model)
		b.StartTimer()
		if _, err := builder.fold(ctx); err != nil {
			b.Fatal(err)
		}
		if err := builder.publish(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(held)/float64(n), "heap-B/row")
	b.ReportMetric(loaded.Seconds(), "load-s")
	b.ReportMetric(restarted.Seconds(), "restart-s")
	b.ReportMetric(float64(resident("VmHWM"))/(1<<20), "peak-MiB")
	b.ReportMetric(float64(resident("RssAnon"))/(1<<20), "anon-MiB")
	body, err := json.Marshal(builder.manifest)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(body)), "manifest-B")
	if *scaleRepair == "" {
		return
	}
	freshPeak(b)
	started = time.Now()
	builder.start(ctx, &job{kind: rewrite, repair: model.Repair(*scaleRepair)}, builder.parts)
	j, anon := mostAnon(builder.done)
	b.ReportMetric(time.Since(started).Seconds(), "rewrite-s")
	started = time.Now()
	if err := builder.land(ctx, j); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(1000*time.Since(started).Seconds(), "land-ms")
	b.ReportMetric(float64(resident("VmHWM"))/(1<<20), "rewrite-peak-MiB")
	b.ReportMetric(float64(anon)/(1<<20), "rewrite-anon-MiB")
}

// BenchmarkRewrite measures what a rewrite does for each row, on a number of threads: chunks are merged by the model that they have,
// and by another one, so that lists and codes are found anew; they are stored and opened, and their ids hashed. Training and
// measuring are not in it. It takes 500 bytes of disk for an iteration and a row of 128 dimensions. A profile of the processors has
// what is measured by the tag bench=rewrite.
//
//	go test -run xxx -bench Rewrite -benchtime 2x ./pipeline/build -cpuprofile cpu.out -args -scale 100000 -scale-dim 128
//	go tool pprof -tagfocus bench=rewrite -top -cum cpu.out
func BenchmarkRewrite(b *testing.B) { eachScale(b, benchmarkRewrite) }

func benchmarkRewrite(b *testing.B, n int) {
	ctx, rng := b.Context(), rand.New(rand.NewPCG(1, 1))
	log := newScale(b)
	publishScale(b, log, n, rng)
	builder := openScale(b, log, b.TempDir())
	builder.o.ChunkBytes = 8 << 20 // dozens of chunks, as large indexes have
	if err := builder.load(ctx); err != nil {
		b.Fatal(err)
	}
	defer builder.drop()
	w := &world{t: b, rng: rng, log: log, level: builder.o.Level}
	w.append(0, w.next[0]+1000, 1, scaleSegment(log.Spec(), n, w.next[0], scaleVectors(1000, rng), rng), nil, builder.model) // else files would be those that are in the cache
	if _, err := builder.fold(ctx); err != nil {
		b.Fatal(err)
	}
	for _, repair := range []model.Repair{model.Nothing, model.Lists} {
		j := &job{kind: rewrite, repair: repair, mdl: builder.model}
		for _, p := range builder.parts {
			j.inputs = append(j.inputs, jobInput{p, p.dead.Clone()})
		}
		if repair != model.Nothing {
			if err := builder.train(ctx, j); err != nil {
				b.Fatal(err)
			}
		}
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("new=%s/threads=%d", repair, threads), func(b *testing.B) {
				builder.o.Threads = threads
				for b.Loop() {
					pprof.Do(ctx, pprof.Labels("bench", "rewrite"), func(ctx context.Context) {
						err := builder.merge(ctx, j)
						if err == nil {
							j.base, err = newBaseIDs(builder.o.Cache, builder.ledger.hash, j.outputs)
						}
						if err != nil {
							b.Fatal(err)
						}
						builder.keepBase(j.base)
					})
					b.StopTimer()
					j.release()
					j.outputs = nil
					if err := builder.sweep(builder.usedFiles()); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}

// BenchmarkMeasure measures what a rewrite takes to measure what it has made, on a number of threads.
//
//	go test -run xxx -bench Measure -benchtime 2x -timeout 1h ./pipeline/build -args -scale 1000000 -scale-dim 128
func BenchmarkMeasure(b *testing.B) { eachScale(b, benchmarkMeasure) }

func benchmarkMeasure(b *testing.B, n int) {
	ctx, rng := b.Context(), rand.New(rand.NewPCG(1, 1))
	log := newScale(b)
	publishScale(b, log, n, rng)
	builder := openScale(b, log, b.TempDir())
	if err := builder.load(ctx); err != nil {
		b.Fatal(err)
	}
	defer builder.drop()
	for _, threads := range []int{1, 2} {
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			builder.o.Threads = threads
			for b.Loop() {
				j := &job{kind: rewrite, mdl: builder.model, outputs: builder.parts}
				pprof.Do(ctx, pprof.Labels("bench", "measure"), func(ctx context.Context) {
					if err := builder.measure(ctx, j); err != nil {
						b.Fatal(err)
					}
				})
			}
		})
	}
}

// BenchmarkLand measures how long the main loop is held when a rewrite lands and more or less rows have come since it began, half of
// them with ids that its inputs may have: all of it, the longest of its steps, between which the loop folds, and the time of the
// processor. Rows come by 4,000, of 4,000 vectors.
//
//	go test -run xxx -bench Land -benchtime 1x -timeout 1h ./pipeline/build -args -land 0,1000000,4000000
func BenchmarkLand(b *testing.B) {
	for _, text := range strings.Split(*landRows, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("came=%d", n), func(b *testing.B) { benchmarkLand(b, n) })
	}
}

func benchmarkLand(b *testing.B, n int) {
	const base, each = 50_000, 4000
	ctx, rng := b.Context(), rand.New(rand.NewPCG(1, 1))
	log := newScale(b)
	publishScale(b, log, base, rng)
	builder := openScale(b, log, b.TempDir())
	if err := builder.load(ctx); err != nil {
		b.Fatal(err)
	}
	defer builder.drop()
	w := &world{t: b, rng: rng, log: log, level: builder.o.Level}
	vectors := scaleVectors(each, rng)
	var all, longest, worked time.Duration
	for b.Loop() {
		b.StopTimer()
		builder.start(ctx, &job{kind: rewrite, repair: model.Nothing}, builder.parts)
		j := <-builder.done
		for came := 0; came < n; {
			for commits := 0; came < n && commits < foldLimit; commits++ {
				size := min(each, n-came)
				w.append(0, w.next[0]+int64(size), 1, scaleSegment(log.Spec(), base, w.next[0], vectors[:size**scaleDim], rng), nil, builder.model)
				came += size
			}
			if _, err := builder.fold(ctx); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
		b.StartTimer()
		for again := true; again; {
			started, before := time.Now(), processor(b)
			if err := builder.land(ctx, j); err != nil {
				b.Fatal(err)
			}
			took := time.Since(started)
			all, longest, worked = all+took, max(longest, took), worked+processor(b)-before
			if again = builder.jobs[rewrite] != nil; again {
				j = <-builder.done
			}
		}
	}
	b.ReportMetric(1000*all.Seconds()/float64(b.N), "held-ms")
	b.ReportMetric(1000*longest.Seconds(), "longest-ms")
	b.ReportMetric(1000*worked.Seconds()/float64(b.N), "cpu-ms")
}

// processor is the time of the processor that this process has taken, 0 where there is no /proc.
func processor(b *testing.B) time.Duration {
	threads, err := filepath.Glob("/proc/self/task/*/schedstat")
	if err != nil {
		b.Fatal(err)
	}
	var sum time.Duration
	for _, thread := range threads {
		var ran time.Duration
		stat, _ := os.ReadFile(thread)
		_, _ = fmt.Sscan(string(stat), &ran)
		sum += ran
	}
	return sum
}

// newScale makes an index without rows.
func newScale(b *testing.B) *commit.Log {
	ctx := b.Context()
	spec := schemas.Spec{Name: "scale", Ladder: []int{*scaleDim / 2, *scaleDim}, Encoder: "e", Vectors: schemas.Float16, Topic: schemas.Topic{Name: "t", Partitions: 1},
		Defaults: schemas.Defaults{TargetRecall: 0.5}}.WithDefaults()
	bucket, err := store.Open(ctx, "file://"+b.TempDir(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	if err := commit.Create(ctx, bucket, &spec); err != nil {
		b.Fatal(err)
	}
	log, err := commit.Open(ctx, bucket)
	if err != nil {
		b.Fatal(err)
	}
	return log
}

// openScale is a builder with the cache in dir.
func openScale(b *testing.B, log *commit.Log, dir string) *Builder {
	cache, err := store.NewCache(dir, log.Bucket(), store.CacheOptions{})
	if err != nil {
		b.Fatal(err)
	}
	builder, err := New(Options{Log: log, Cache: cache, Level: level(b), Threads: runtime.NumCPU()})
	if err != nil {
		b.Fatal(err)
	}
	return builder
}

// mostAnon waits for a job, and returns the most anonymous memory, heap that is, of this process meanwhile.
func mostAnon(done chan *job) (*job, int64) {
	most := int64(0)
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		select {
		case j := <-done:
			tick.Stop()
			return j, most
		case <-tick.C:
			most = max(most, resident("RssAnon"))
		}
	}
}

// publishScale writes a generation of n rows as a builder would: chunks of one model, no deltas.
func publishScale(b *testing.B, log *commit.Log, n int, rng *rand.Rand) {
	ctx, spec := b.Context(), log.Spec()
	vectors := scaleVectors(n, rng)
	m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: 1, Builder: "scale", Created: time.Now().UTC(),
		Checkpoint: map[string]int64{"0": 0}, LiveRows: int64(n)}
	built, err := bulk.Build(ctx, spec, vectors, n, bulk.Options{Level: level(b), Threads: runtime.NumCPU()}, func(bodies segment.ChunkBodies) error {
		c, err := log.PutChunk(ctx, bodies)
		m.Chunks = append(m.Chunks, c)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	o, err := log.PutModel(ctx, built.Model)
	if err != nil {
		b.Fatal(err)
	}
	m.Model = &schemas.ModelRef{ID: built.Model.ID(), Object: o, TrainedRows: built.Model.TrainedRows(), NList: built.Model.NList(), Repair: string(model.Everything)}
	if err := log.Publish(ctx, m); err != nil {
		b.Fatal(err)
	}
}

// scaleSegment makes the rows of a commit, of some vectors: every other one has the id of a row of the index.
func scaleSegment(spec *schemas.Spec, n int, start int64, vectors []float32, rng *rand.Rand) *segment.Rows {
	rows := segment.NewRows(spec)
	rows.AppendFloats(avx.Generic, vectors)
	for i := range int64(len(vectors) / *scaleDim) {
		id := "new-" + strconv.FormatInt(start+i, 10)
		if i%2 == 0 {
			id = strconv.Itoa(rng.IntN(n))
		}
		rows.IDs = append(rows.IDs, id)
		rows.Orders = append(rows.Orders, segment.Order{Timestamp: 1, Offset: start + i})
	}
	return rows
}

func scaleVectors(n int, rng *rand.Rand) []float32 {
	vectors := make([]float32, 0, n**scaleDim)
	for range n {
		vectors = appendScale(vectors, rng)
	}
	return vectors
}

// appendScale appends the vector of a row.
func appendScale(vectors []float32, rng *rand.Rand) []float32 {
	topic := rand.New(rand.NewPCG(uint64(rng.IntN(10_000)), 2))
	deviation := 1.0
	for range *scaleDim {
		vectors = append(vectors, float32(deviation*(topic.NormFloat64()+0.4*rng.NormFloat64())))
		deviation *= 0.9
	}
	v := vectors[len(vectors)-*scaleDim:]
	mrl.Normalize(avx.Generic, v, v)
	return vectors
}

func heap() int64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// freshPeak lets VmHWM begin anew.
func freshPeak(b *testing.B) {
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Log(err)
	}
}

// resident is a line of /proc/self/status in bytes, 0 where there is none.
func resident(field string) (bytes int64) {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			_, _ = fmt.Sscan(rest, &bytes)
		}
	}
	return bytes << 10
}
