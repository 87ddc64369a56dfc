package cmd

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/schemas"
)

const (
	loadParts = 3
	loadBlock = 4096 // rows of a part in one piece, as docs/loading.md says
)

// A file is loaded into an index of two shards by three processes, of which one is killed, while the topic goes on and builders train,
// publish and collect: each shard holds the newest version of each id, that of the topic if there is one, and a query node finds all.
func TestLoadOfProcesses(t *testing.T) {
	f := newFleetTest(t, "--shards=2", fmt.Sprintf("--loads=%d", loadParts))
	f.start("ingestor", "--brokers", f.brokers, "--flush-age", "100ms")
	f.start("builder", "--min-train-rows", "2000")
	api, err := fleet.Address()
	if err != nil {
		t.Fatal(err)
	}
	_, ops := f.start("query", "--listen", api, "--poll-every", "50ms")

	rng := rand.New(rand.NewPCG(7, 7))
	name := filepath.Join(t.TempDir(), "rows.arrow")
	want := f.writeLoad(name, rng)
	shards := f.shards(f.storage)
	spec := shards[0].Spec()
	load := func(part int, more ...string) *fleet.Process {
		t.Helper()
		p, err := f.bin.Start("adastream", nil, append([]string{"load", "--store", f.storage, "--part", fmt.Sprintf("%d/%d", part, loadParts), "--json"}, append(more, name)...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			p.Kill()
			if t.Failed() {
				t.Logf("---- log of part %d\n%s", part, last(p.Log(), 4000))
			}
		})
		return p
	}
	// The one that is killed has small commits, so that there is something to come back to, and a thousand of them, so that it is not done
	// by the time that one is seen.
	victim := load(1, "--flush-rows", "10", "--threads", "1")
	for {
		head, err := shards[0].Head(t.Context(), spec.LoadPartition(1, 0), 0)
		if err != nil {
			t.Fatal(err)
		}
		if head.Last != nil && head.Last.Rows > 0 {
			break
		}
		if ended, err := victim.Ended(); ended {
			t.Fatalf("part 1 ended: %v: %s", err, victim.Log())
		}
		time.Sleep(time.Millisecond)
	}
	victim.Kill()
	if head, err := shards[0].Head(t.Context(), spec.LoadPartition(1, 0), 0); err != nil || head.Last.Load.Done {
		t.Fatalf("part 1 was not killed in the midst: %+v, %v", head.Last, err)
	}

	// What is produced from now on is newer than what is loaded, whenever that is.
	producer := f.client.NewProducer(source.ProducerOptions{})
	defer producer.Close()
	for from := 0; from < rows/3; from += batchRows {
		if _, err := produce.Batch(t.Context(), producer, produce.Topic{Partitions: partitions}, batch(rng, from, batchRows)); err != nil {
			t.Fatal(err)
		}
	}
	parts := []*fleet.Process{load(0), load(1), load(2)}
	for from := rows / 3; from < rows/2; from += batchRows {
		if _, err := produce.Batch(t.Context(), producer, produce.Topic{Partitions: partitions}, batch(rng, from, batchRows)); err != nil {
			t.Fatal(err)
		}
	}
	read := 0
	for i, p := range parts {
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
			if ended, err := p.Ended(); err != nil || time.Now().After(deadline) {
				t.Fatalf("part %d: %v", i, err)
			} else if ended {
				break
			}
		}
		var told struct {
			Part, Read, Passed int
			Timestamp          time.Time
		}
		out := p.Log()
		if err := json.Unmarshal([]byte(out[strings.Index(out, "\n{\n")+1:]), &told); err != nil || told.Part != i || (told.Passed > 0) != (i == 1) {
			t.Errorf("part %d: %+v, %v: %s", i, told, err, out)
		}
		read += told.Read
	}
	if read != rows {
		t.Errorf("%d rows were read, want %d", read, rows)
	}
	if out := f.run("load", "--store", f.storage, "--part", "2/3", name); !strings.Contains(out, "part 2/3 of load load: already loaded") {
		t.Errorf("again: %s", out)
	}

	produced, _ := f.readTopic()
	maps.Copy(want, produced)
	ends := map[string]int64{}
	for _, shard := range shards {
		for _, p := range shard.Partitions() {
			if spec.IsLoad(p) {
				head, err := shard.Head(t.Context(), p, 0)
				if err != nil {
					t.Fatal(err)
				}
				ends[fmt.Sprint(p)] = head.Next
				continue
			}
			bounds, err := f.client.Bounds(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			ends[fmt.Sprint(p)] = bounds.End
		}
	}
	if err := fleet.AwaitOK(t.Context(), "http://"+ops+"/readyz"); err != nil {
		t.Fatal(err)
	}
	for _, shard := range shards {
		m := f.awaitOf(shard, ends)
		f.checkRows(shard, m, want)
		if m.Moved != 0 {
			t.Errorf("shard %d: %d versions moved, want none: loads are no partitions of a producer", shard.Shard(), m.Moved)
		}
	}
	f.awaitOffsets("http://"+api, ends)
	f.checkFound("http://"+api, want)
	for _, shard := range []string{"0", "1"} {
		if out := f.run("verify", "--store", f.storage, "--shard", shard); !strings.Contains(out, "ok   everything is there") {
			t.Errorf("verify of shard %s: %s", shard, out)
		}
	}
}

// writeLoad writes a file of random rows, with changes and deletes, and returns what is to be live of it: of the versions of an id in
// one part the last one, and of several parts that of the last part.
func (f *fleetTest) writeLoad(name string, rng *rand.Rand) truth {
	f.Helper()
	file, err := os.Create(name)
	if err != nil {
		f.Fatal(err)
	}
	w, err := ipc.NewFileWriter(file, ipc.WithSchema(messageSchema))
	if err != nil {
		f.Fatal(err)
	}
	all, numbers := truth{}, [loadParts]int64{}
	for from := 0; from < rows; from += batchRows {
		b := batch(rng, from, batchRows)
		if err := w.Write(b); err != nil {
			f.Fatal(err)
		}
		f.foldLoad(all, &numbers, from, b)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	return all
}

func (f *fleetTest) foldLoad(all truth, numbers *[loadParts]int64, from int, b arrow.RecordBatch) {
	vectors := b.Column(3).(*array.FixedSizeList).ListValues().(*array.Float32).Float32Values()
	op := b.Column(1).(*array.String)
	for i := range int(b.NumRows()) {
		id, part := fmt.Sprint(b.Column(0).(*array.Int64).Value(i)), (from+i)/loadBlock%loadParts
		chain := 6 + 2*part + source.PartitionOf(id, partitions)%2 // 6 is even
		v := found{int32(chain), 1 + numbers[part], 0, slices.Clone(vectors[i*dim : (i+1)*dim]), op.IsValid(i) && op.Value(i) == schemas.OpDelete}
		numbers[part]++
		if was, ok := all[id]; !ok || was.partition <= v.partition {
			all[id] = v
		}
	}
}
