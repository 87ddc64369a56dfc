package commit

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// openShards makes an index of four partitions in three shards.
func openShards(t *testing.T, b store.Bucket) []*Log {
	t.Helper()
	spec := testSpec()
	spec.Shards = 3
	if err := Create(t.Context(), b, spec); err != nil {
		t.Fatal(err)
	}
	shards, err := OpenShards(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return shards
}

func keysOf(t *testing.T, b store.Bucket, prefix string) map[string]bool {
	t.Helper()
	keys := map[string]bool{}
	for info, err := range b.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys[info.Key] = true
	}
	return keys
}

// TestShards: each partition is of one shard, and whatever is done to a shard is in its folder.
func TestShards(t *testing.T) {
	b := store.NewMemory()
	shards := openShards(t, b)
	of := map[int]int{0: 0, 1: 1, 2: 2, 3: 0}
	for n, log := range shards {
		if log.Shard() != n {
			t.Errorf("shard %d says that it is %d", n, log.Shard())
		}
		for p := range 4 {
			c := plain(0, 10, 1)
			c.Partition = p
			err := log.Append(t.Context(), c)
			_, headErr := log.Head(t.Context(), p, 0)
			_, putErr := log.PutSegment(t.Context(), p, 0, []byte("x"))
			for _, err := range []error{err, headErr, putErr} {
				if of[p] == n {
					if err != nil {
						t.Errorf("shard %d, partition %d: %v", n, p, err)
					}
				} else if err == nil || !strings.Contains(err.Error(), " to 3 in steps of 3, those of shard ") {
					t.Errorf("shard %d, partition %d: %v, want a refusal", n, p, err)
				}
			}
			m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: 1, Builder: "b", Created: day, Checkpoint: map[string]int64{string(rune('0' + p)): 0}}
			if err := log.checkManifest(m); (err == nil) != (of[p] == n) {
				t.Errorf("shard %d: a checkpoint of partition %d: %v", n, p, err)
			}
		}
		if got, want := log.Partitions(), [][]int{{0, 3}, {1}, {2}}[n]; !slices.Equal(got, want) {
			t.Errorf("shard %d has partitions %v, want %v", n, got, want)
		}
	}
	for key := range keysOf(t, b, "") {
		if key != "index.json" && !strings.HasPrefix(key, "shards/0000/") && !strings.HasPrefix(key, "shards/0001/") && !strings.HasPrefix(key, "shards/0002/") {
			t.Errorf("%s is in no shard", key)
		}
	}
	if _, ok := keysOf(t, b, "shards/0000/")["shards/0000/commits/000003/00000000000000000000"]; !ok {
		t.Error("the commit of partition 3 is not in shard 0")
	}
}

func TestShards_openOne(t *testing.T) {
	b := store.NewMemory()
	shards := openShards(t, b)
	if _, err := Open(t.Context(), b); err == nil || !strings.HasSuffix(err.Error(), "it has 3 shards: choose one, allowed: 0 to 2") {
		t.Errorf("%v, want to be told to choose", err)
	}
	if _, err := shards[1].Epoch(t.Context(), "next"); err == nil || !strings.Contains(err.Error(), "epoch next: the index has 3 shards") {
		t.Errorf("%v, want a refusal", err)
	}
	if one, err := OpenShards(t.Context(), openLog(t, store.NewMemory()).Bucket()); err != nil || len(one) != 1 || one[0].Bucket().String() != store.NewMemory().String() {
		t.Errorf("%v, %v, want one without a folder", one, err)
	}
}

// TestShards_collect: what collects in one shard leaves the others alone, whatever those hold that no generation names yet.
func TestShards_collect(t *testing.T) {
	b := store.NewMemory()
	shards := openShards(t, b)
	for n, log := range shards {
		for g := int64(1); g <= 3; g++ {
			if _, err := log.PutDead(t.Context(), []byte{byte(n), byte(g)}); err != nil { // that nothing names
				t.Fatal(err)
			}
			m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: g, Parent: g - 1, Builder: "b", Created: day, Checkpoint: map[string]int64{}}
			if err := log.Publish(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := []map[string]bool{keysOf(t, b, "shards/0000/"), keysOf(t, b, "shards/0001/"), keysOf(t, b, "shards/0002/")}
	found, err := shards[1].Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := shards[1].Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	report, err := shards[1].Collect(t.Context(), CollectOptions{Found: found, By: "test", KeepFor: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	if report.Objects != 3 || report.Generations != 3 {
		t.Errorf("collected %+v, want 3 objects and 3 generations", report)
	}
	for n, keys := range before {
		if same := maps.Equal(keys, keysOf(t, b, shardFolder(n)+"/")); same != (n != 1) {
			t.Errorf("shard %d is as it was: %v", n, same)
		}
	}
}

// TestLoads: chains of loads are beside those of the topic, each in the shard that it is for, and one load ends before another begins.
func TestLoads(t *testing.T) {
	b := store.NewMemory()
	spec := testSpec()
	spec.Shards, spec.Loads = 3, 2
	if err := Create(t.Context(), b, spec); err != nil {
		t.Fatal(err)
	}
	shards, err := OpenShards(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	record := func(p int, start, end int64, l schemas.Load) *schemas.Commit {
		c := plain(start, end, 5)
		c.Partition, c.Load = p, &l
		return c
	}
	load := func(name string, base int64, done bool) schemas.Load {
		return schemas.Load{Name: name, Base: base, Parts: 2, Input: strings.Repeat("ab", 32), Timestamp: 5, Done: done}
	}
	log, p := shards[1], 10 // 4 partitions are 6 with those of none, then part 0 has 6, 7 and 8
	if got := log.Partitions(); !slices.Equal(got, []int{1, 7, 10}) {
		t.Fatalf("shard 1 has partitions %v", got)
	}
	other := load("b", 4, false)
	other.Parts = 3
	elsewhere := load("a", 0, false)
	elsewhere.Input = strings.Repeat("cd", 32)
	for _, step := range []struct {
		c    *schemas.Commit
		want string // "" for none
	}{
		{record(p, 0, 1, load("a", 1, false)), "load: base 1, parts 2, allowed: up to start, 0"},
		{record(1, 0, 1, load("a", 0, false)), `load: "a" in partition 1, allowed: none in those of the topic`},
		{record(4, 0, 1, load("a", 0, false)), "partition: 4, allowed: [1 7 10], those of shard 1"},
		{record(13, 0, 1, load("a", 0, false)), "partition: 13, allowed: [1 7 10], those of shard 1"},
		{record(p, 0, 1, load("a", 0, false)), ""},
		{record(p, 1, 3, load("b", 1, false)), "until it is done"},
		{record(p, 1, 3, elsewhere), "until it is done"},
		{record(p, 1, 3, load("a", 0, false)), ""},
		{func() *schemas.Commit { c := plain(3, 4, 5); c.Partition = p; return c }(), `load: none, allowed: one, as the record before is of load "a"`},
		{record(p, 3, 4, load("a", 0, true)), ""},
		{record(p, 4, 5, load("a", 0, false)), "load.base: 0, allowed: 4"},
		{record(p, 4, 5, other), "parts 3, allowed: up to start, 4, and up to the loads of the index spec, 2"},
		{record(p, 4, 5, load("b", 4, false)), ""},
	} {
		err := log.Append(t.Context(), step.c)
		if step.want == "" && err != nil || step.want != "" && (err == nil || !strings.Contains(err.Error(), step.want)) {
			t.Errorf("[%d, %d) of %+v: %v, want %q", step.c.Start, step.c.End, step.c.Load, err, step.want)
		}
	}
	head, err := shards[1].Over(store.Under(b, "shards/0001")).Head(t.Context(), p, 0)
	if err != nil || head.Next != 5 || head.Last.Load.Name != "b" {
		t.Errorf("the chain ends with %+v, %v", head, err)
	}
}
