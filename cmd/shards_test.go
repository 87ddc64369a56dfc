package cmd

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/pipeline/source"
)

// An index of four shards: four builders, three ingestors and two query nodes of two shards each, of which either merges what both
// find. An ingestor and a builder are killed, a replica of a node is added and the node then lost, all while it is searched: each
// shard holds exactly the rows of its partitions, no search fails, and no row is found twice or not at all, nor by a node that only
// merges and still knows the one that was lost. Then the same topic is indexed in two shards, and what takes over answers the same.
func TestShardsOfProcesses(t *testing.T) {
	f := newFleetTest(t, "--shards=4")
	ingestor := func() *fleet.Process {
		p, _ := f.start("ingestor", "--brokers", f.brokers, "--flush-age", "100ms")
		return p
	}
	first := ingestor()
	ingestor()
	ingestor()
	builder := func(shard int) *fleet.Process {
		p, _ := f.start("builder", "--min-train-rows", "2000", "--shard", fmt.Sprint(shard))
		return p
	}
	builders := make([]*fleet.Process, 4)
	for s := range builders {
		builders[s] = builder(s)
	}
	var apis [3]string
	for i := range apis {
		var err error
		if apis[i], err = fleet.Address(); err != nil {
			t.Fatal(err)
		}
	}
	query := func(api string, shards string, peers ...string) (*fleet.Process, string) {
		return f.start("query", "--listen", api, "--poll-every", "50ms", "--shard", shards, "--peers", strings.Join(peers, ","))
	}
	at := func(shard, node int) string { return fmt.Sprintf("%d=http://%s", shard, apis[node]) }
	low, lowOps := query(apis[0], "0,1", at(2, 1), at(3, 1), at(2, 2), at(3, 2))
	high, highOps := query(apis[1], "2,3", at(0, 0), at(1, 0))
	for _, ops := range []string{lowOps, highOps} {
		if err := fleet.AwaitOK(t.Context(), "http://"+ops+"/readyz"); err != nil {
			t.Fatal(err)
		}
	}

	producer := f.client.NewProducer(source.ProducerOptions{})
	defer producer.Close()
	rng := rand.New(rand.NewPCG(42, 1))
	var client searcher
	stopClient := client.run(t, "http://"+apis[0], lowOps)
	for from := 0; from < rows; from += batchRows {
		if _, err := produce.Batch(t.Context(), producer, produce.Topic{Partitions: partitions}, batch(rng, from, batchRows)); err != nil {
			t.Fatal(err)
		}
		switch from {
		case rows / 3 / batchRows * batchRows:
			awaitMember(t, first)
			first.Kill()
		case rows / 2 / batchRows * batchRows:
			ingestor()
			builders[2].Kill()
			builders[2] = builder(2)
		case rows * 2 / 3 / batchRows * batchRows:
			_, ops := query(apis[2], "2,3", at(0, 0), at(1, 0))
			if err := fleet.AwaitOK(t.Context(), "http://"+ops+"/readyz"); err != nil {
				t.Fatal(err)
			}
			high.Kill()
		}
	}
	want, ends := f.readTopic()
	live, sum := 0, int64(0)
	for _, w := range want {
		if !w.deleted {
			live++
		}
	}
	for _, shard := range f.shards(f.storage) {
		m := f.awaitOf(shard, ends)
		f.checkRows(shard, m, want)
		sum += m.LiveRows
	}
	if sum != int64(live) {
		t.Errorf("the shards have %d rows, want %d", sum, live)
	}
	merging, err := fleet.Address()
	if err != nil {
		t.Fatal(err)
	}
	_, ops := f.start("query", "--listen", merging, "--merge-only", "--peers", strings.Join([]string{at(0, 0), at(1, 0), at(2, 1), at(3, 1), at(2, 2), at(3, 2)}, ","))
	if err := fleet.AwaitOK(t.Context(), "http://"+ops+"/readyz"); err != nil {
		t.Fatal(err)
	}
	for node, api := range []string{apis[0], apis[2], merging} {
		f.awaitOffsets("http://"+api, ends)
		f.checkFound("http://"+api, want)
		if t.Failed() {
			t.Fatalf("node %d", node)
		}
	}
	stopClient()
	if n := client.failed.Load(); n > 0 || client.asked.Load() == 0 {
		t.Errorf("%d of %d searches failed, the first: %v", n, client.asked.Load(), client.first.Load())
	}
	t.Logf("%d searches, %d live rows", client.asked.Load(), live)
	for _, shard := range []string{"0", "3"} {
		if out := f.run("verify", "--store", f.storage, "--shard", shard); !strings.Contains(out, "ok   everything is there") {
			t.Errorf("verify of shard %s: %s", shard, out)
		}
	}
	if out, err := f.bin.Run(t.Context(), "adastream", "snapshot", "ls", "--store", f.storage); err == nil || !strings.Contains(out, "--shard: missing, the index has 4 shards, allowed: 0 to 3") {
		t.Errorf("%v: %s", err, out)
	}
	if out := f.run("doctor", "--store", f.storage, "--brokers", f.brokers, "--url", "http://"+merging, "--produce", "--search"); !strings.Contains(out, "ok   newest generation of shard 3") || !strings.Contains(out, "ok   row is searchable") {
		t.Errorf("doctor: %s", out)
	}

	f.reshard(want, "http://"+apis[0])
	if err := low.Stop(time.Minute); err != nil {
		t.Errorf("query at SIGTERM: %v", err)
	}
}

// reshard indexes the topic anew, in two shards, each of which one builder and one node work on, and compares the answers with those
// of the index that is there.
func (f *fleetTest) reshard(want truth, old string) {
	f.Helper()
	next := *f
	place, query, _ := strings.Cut(f.storage, "?")
	next.storage = strings.TrimSuffix(place+"/next?"+query, "?")
	next.init(next.storage, "--name=e2e-next", "--shards=2")
	next.start("ingestor", "--brokers", f.brokers)
	next.start("builder", "--min-train-rows", "2000")
	api, err := fleet.Address()
	if err != nil {
		f.Fatal(err)
	}
	next.start("query", "--listen", api, "--poll-every", "50ms")
	api = "http://" + api
	ends := map[string]int64{}
	for p := range partitions {
		bounds, err := f.client.Bounds(f.Context(), p)
		if err != nil {
			f.Fatal(err)
		}
		ends[fmt.Sprint(p)] = bounds.End
	}
	for _, shard := range next.shards(next.storage) {
		next.awaitOf(shard, ends)
	}
	next.awaitOffsets(api, ends)
	next.awaitOffsets(old, ends)
	next.checkFound(api, want)
	rng := rand.New(rand.NewPCG(8, 8))
	for range 50 {
		question := map[string]any{"vector": vector(rng), "exact": true, "k": 20}
		was, err := post(f.Context(), old, question)
		if err != nil {
			f.Fatal(err)
		}
		is, err := post(f.Context(), api, question)
		if err != nil {
			f.Fatal(err)
		}
		if !reflect.DeepEqual(was.Hits, is.Hits) {
			f.Fatalf("in four shards: %+v\nin two: %+v", was.Hits, is.Hits)
		}
	}
}

// awaitOffsets waits until a node's answers have everything.
func (f *fleetTest) awaitOffsets(api string, ends map[string]int64) {
	f.Helper()
	var last error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, last = post(f.Context(), api, map[string]any{"vector": anyVector(), "min_offsets": ends}); last == nil {
			return
		}
	}
	f.Fatal(last)
}

func anyVector() []float32 {
	v := make([]float32, dim)
	v[0] = 1
	return v
}
