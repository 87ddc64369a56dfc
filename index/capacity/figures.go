package capacity

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

func index(s sizes, p *Plan) {
	const of = "index"
	p.add(of, "lists", s.lists, Count, "12 sqrt(rows), but 32 rows in each, of the index and of the training sample")
	p.add(of, "bytes a row", s.files/s.n, Bytes, "rows %.0f + codes %.0f + originals %.0f + model %.0f", s.rows, s.codes, s.vectors, s.model/s.n)
	p.add(of, "rows", s.n*s.rows, Bytes, "rows x (D + 4 + 4 L + 44 + id + attributes)")
	p.add(of, "codes", s.n*s.codes, Bytes, "(rows x lists of a row + %d x lists) / 32 blocks of 16 M + 136 bytes, M = %.0f", blockWaste, s.subs)
	p.add(of, "originals", s.n*s.vectors, Bytes, "rows x D x %.0f", s.vectors/s.d)
	p.add(of, "model", s.model, Bytes, "4 x (lists x D + 16 D + squares of the widths of the ladder's steps; + D x D with axes)")
}

func queryNode(s sizes, p *Plan) {
	const of = "query node"
	w := s.w
	micros, exact := search(s)
	how := fmt.Sprintf("measured at recall %v on %d x %d, x (rows / %d)^%v x D / %d", w.Recall, corpusRows, corpusDims, corpusRows, growth, corpusDims)
	if f := fewer(s); f > 1 {
		how += fmt.Sprintf(" x %.2g, since the training sample allows %.0f lists only", f, s.lists)
	}
	if exact {
		how = fmt.Sprintf("all rows: no plan was measured to reach it, or there is no model: %d rows a microsecond at %d dimensions", exactRows, corpusDims)
	}
	p.add(of, "core seconds of a search", micros/1e6, Seconds, "%s", how)
	request := micros + httpMicros
	if w.Batched {
		request = micros * (1 + arrowShare)
		p.add(of, "core seconds of a query", request/1e6, Seconds, "search + %.0f %% for Arrow over HTTP", 100*arrowShare)
	} else {
		p.add(of, "core seconds of a query", request/1e6, Seconds, "search + %d us for a JSON request of its own", httpMicros)
	}
	cores := w.QPS * request / 1e6 / w.Busy
	p.add(of, "cores, all nodes", cores, Cores, "queries/s x core seconds of a query / %v busy", w.Busy)
	nodes := math.Max(2, math.Ceil(cores/w.Cores))
	p.add(of, "nodes", nodes, Count, "cores / %v of a machine, at least 2", w.Cores)
	memory := s.queried + s.model + s.n*nodeIDBytes + s.n/8
	p.add(of, "memory, steady", memory+processBytes, Bytes, "rows + codes + 2 models + %d bytes a row for ids + a bit for dead ones + %d MiB", nodeIDBytes, processBytes>>20)
	p.add(of, "memory, with a swap", 2*memory+processBytes, Bytes, "twice that: a rewrite shares nothing with what was before")
	disk := s.queried
	if w.Originals == "local" {
		disk = s.files
	}
	p.add(of, "disk", 2*disk, Bytes, "two generations, originals %s", w.Originals)
	if w.Originals == "remote" {
		p.add(of, "reads of a query that originals decide", decided, Count, "originals that int8 rows left open on the corpus, each a GET of the store but for those that lie together or are kept; no others read any")
	}
	p.add(of, "fetched a day", s.rewrites*disk+86400*w.Updates*(s.rows+s.codes+s.vectors), Bytes, "the index for each of %.3g rewrites, and deltas", s.rewrites)
}

func builder(s sizes, p *Plan) {
	const of = "builder"
	p.add(of, "scratch", s.scratch, Bytes, "rows x %d, in files of the cache: where ids are, and what a rewrite keeps of rows", scratchBytes)
	sample, copies := 4*s.d*s.sample, ""
	if s.w.Rotate {
		sample, copies = 2*sample, ", as it is and rotated"
	}
	p.add(of, "sample", sample, Bytes, "4 D x %.0f rows that a model is trained on%s, in files of the cache while it is", s.sample, copies)
	training := 4*s.d*(2*math.Min(s.sample, 65536)+8*s.lists) + 16*s.sample
	p.add(of, "training", training, Bytes, "4 D x (2 x at most 65536 rows for codes + 8 x lists) + 16 x rows of the sample")
	threads := math.Min(math.Max(1, math.Floor(s.w.Cores/2)), mergeThreads)
	need := training + mergeBytes*threads + processBytes
	p.add(of, "memory, least", need, Bytes, "training + %d MiB for the chunks of each of %v threads + %d MiB; deletes that may still meet an older version beside it", mergeBytes>>20, threads, processBytes>>20)
	p.add(of, "memory, wanted", need+sample+s.scratch+2*s.files, Bytes, "and sample, scratch and two generations in the page cache: a rewrite reads one and writes the other")
	p.add(of, "disk", 2*s.files+s.scratch+sample, Bytes, "the generation and the next one, scratch and the sample")
	p.add(of, "rewrites a day", s.rewrites, Count, "changed rows a day / max(8192, rows / 4)")
	p.add(of, "cores", s.w.Updates/builderRows*s.d/256, Cores, "changed rows/s / %d x D / 256; jobs take --threads", builderRows)
}

func ingestors(s sizes, p *Plan) {
	const of = "ingestors"
	micros := segmentMicros(s)
	p.add(of, "core seconds of a row", micros/1e6, Seconds, "(1.04 + 7.5 + 0.04 sqrt(lists)) us x D / 256, without a model 1.04")
	cores := s.w.Updates * micros / 1e6 / s.w.Busy
	p.add(of, "cores", cores, Cores, "changed rows/s x that / %v busy", s.w.Busy)
	p.add(of, "processes", math.Max(1, math.Ceil(cores/2)), Count, "of 2 cores; at most one for each of %d partitions works", s.w.Partitions)
	p.add(of, "memory, each", 512<<20+processBytes, Bytes, "buffers of all partitions together at most 512 MiB (--flush-bytes)")
}

func bucket(s sizes, p *Plan) {
	const of = "store"
	w := s.w
	kept := 1 + math.Min(s.rewrites*w.KeepFor.Hours()/24, math.Max(1, w.KeepFor.Minutes()/10))
	if w.Updates == 0 {
		kept = 1
	}
	p.add(of, "stored", kept*s.files, Bytes, "the index x (1 + rewrites within --keep-for, one for each 10 minutes at most)")
	row := s.rows + s.codes + s.vectors
	p.add(of, "written", w.Updates*row*7, BytesRate, "changed rows/s x bytes of a row x 7: segment, compaction, 5 of rewrites")
	nodes := p.Value("query node", "nodes")
	puts := 2*s.commits + 3*s.generations
	p.add(of, "PUTs", puts, Rate, "2 a commit (%.3g/s) + 3 a generation (%.3g/s)", s.commits, s.generations)
	p.add(of, "LISTs", float64(w.Partitions+1)/w.PublishEvery.Seconds()+nodes/w.PollEvery.Seconds()+p.Value("ingestors", "processes")+float64(w.Loads)/restSeconds, Rate,
		"builder: partitions + 1 each --publish-every, chains of loads each %d s; nodes: 1 each --poll-every; ingestors: 1 a second", restSeconds)
	p.add(of, "GETs", 4*s.commits+s.generations*(5+5*nodes), Rate, "ingestors and builder: 2 a commit each; builder: 5 a generation; nodes: about 5 a generation")
}

func topic(s sizes, p *Plan) {
	const of = "Kafka"
	row := s.vectors + 4 + s.w.IDBytes + s.w.AttributeBytes
	p.add(of, "bytes a row", row, Bytes, "vector + id + attributes; a message's own kilobyte is shared by its rows")
	p.add(of, "throughput", s.w.Updates*row, BytesRate, "changed rows/s x bytes a row, in; as much out, and replication")
	p.add(of, "kept", s.w.Updates*row*s.w.Retention.Seconds(), Bytes, "retention of the topic, one replica")
	p.add(of, "first load", s.n*row, Bytes, "all rows once")
}

// load is what it takes to load all rows from files.
func load(s sizes, p *Plan) {
	const of = "load"
	if s.w.Loads == 0 {
		return
	}
	p.add(of, "core time of all rows", s.n*p.Value("ingestors", "core seconds of a row"), Seconds, "rows x core seconds of an ingestor's row, shared by up to %d parts", s.w.Loads)
	p.add(of, "LISTs meanwhile", float64(s.w.Loads), Rate, "builder: each second each chain that a load is in")
}

func freshness(s sizes, p *Plan) {
	const of = "freshness"
	clocks := s.w.FlushAge + s.w.PublishEvery + s.w.PollEvery
	requests := 12 * s.w.StoreLatency.Seconds()
	p.add(of, "median", clocks.Seconds()/2+requests, Seconds, "half of --flush-age + --publish-every + --poll-every, and 12 requests one after the other")
	p.add(of, "p99", 2*(clocks.Seconds()/2+requests), Seconds, "twice the median, as measured: 0.89 and 1.88 s, 0.59 and 0.80 s")
}

// limits are how far each wish is from what one index, or one machine, can be.
func limits(s sizes, p *Plan) {
	w := s.w
	memory := float64(w.Memory)
	add := func(name string, have, want float64, format string, args ...any) {
		headroom := 1000.0 // or more
		if want > 0 {
			headroom = min(headroom, have/want)
		}
		p.Limits = append(p.Limits, Limit{name, headroom, fmt.Sprintf(format, args...)})
	}
	add("builder memory", memory, p.Value("builder", "memory, least"), "a training sample: a shard has one builder")
	add("query node memory", 0.9*memory, p.Value("query node", "memory, with a swap"), "two generations beside one another; a node over its limit serves the old one, or waits for the disk")
	add("rows of an index", MaxRows, s.n, "rows of the base are numbered by int32")
	add("updates", freshRows*w.Cores/2*256/s.d, w.Updates, "%d rows/s of 256 dimensions were kept fresh on 2 cores; more, as here by the builder's cores, was not measured", freshRows)
	add("builder processors", w.Cores, p.Value("builder", "cores"), "one process")
	add("ingestors", float64(w.Partitions), p.Value("ingestors", "processes"), "one for each partition works; the number of partitions never changes")
	slices.SortStableFunc(p.Limits, func(a, b Limit) int { return cmp.Compare(a.Headroom, b.Headroom) })
}
