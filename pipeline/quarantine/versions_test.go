package quarantine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/build"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// TestNewerVersions: what came after something refused is told from what was there before.
func TestNewerVersions(t *testing.T) {
	for name, c := range map[string]struct {
		there   segment.Order
		version int64 // of the payload
		row     int32 // of what was refused, at offset 12 of partition 1 with timestamp 100
		newer   bool
	}{
		"before it":                      {segment.Order{Partition: 1, Offset: 11, Timestamp: 900}, 0, 3, false},
		"after it, with an old clock":    {segment.Order{Partition: 1, Offset: 13, Timestamp: 50}, 0, 3, true},
		"before it in its message":       {segment.Order{Partition: 1, Offset: 12, Row: 2}, 0, 3, false},
		"after it in its message":        {segment.Order{Partition: 1, Offset: 12, Row: 4}, 0, 3, true},
		"after a whole message":          {segment.Order{Partition: 1, Offset: 13}, 0, ingest.WholeMessage, true},
		"older in another partition":     {segment.Order{Partition: 0, Offset: 90, Timestamp: 99}, 0, 3, false},
		"newer in another partition":     {segment.Order{Partition: 0, Offset: 2, Timestamp: 101}, 0, 3, true},
		"of a higher version, before it": {segment.Order{Version: 8, Partition: 1, Offset: 11}, 7, 3, true},
		"of a lower version, after it":   {segment.Order{Version: 6, Partition: 1, Offset: 13}, 7, 3, false},
		"of its version, after it":       {segment.Order{Version: 7, Partition: 1, Offset: 13}, 7, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			q := ingest.Quarantined{Partition: 1, Offset: 12, Row: c.row, Timestamp: 100}
			stones := []segment.Tombstone{{ID: "unknown"}, {ID: "a", Order: segment.Order{Version: c.version}}}
			err := Versions{"a": &c.there, "unknown": nil}.check(q, &segment.Rows{}, stones)
			if errors.Is(err, ErrNewer) != c.newer || err != nil && !strings.Contains(err.Error(), `1 of 2 rows, as of id "a" at partition`) {
				t.Errorf("%v", err)
			}
		})
	}
}

// appendRows commits upserts of ids and then deletes of others, each at an offset of its own, in partition 1.
func (r *rig) appendRows(start int64, ids, deleted []string) (end int64) {
	r.t.Helper()
	rows, end := segment.NewRows(r.index.Spec()), start
	rng := rand.New(rand.NewPCG(1, uint64(start)))
	for _, id := range ids {
		rows.IDs, rows.Orders = append(rows.IDs, id), append(rows.Orders, segment.Order{Partition: 1, Offset: end})
		for range 4 {
			rows.AppendFloats(avx.Generic, []float32{float32(rng.NormFloat64())})
		}
		end++
	}
	var stones []segment.Tombstone
	for _, id := range deleted {
		stones = append(stones, segment.Tombstone{ID: id, Order: segment.Order{Partition: 1, Offset: end}})
		end++
	}
	c := &schemas.Commit{Format: schemas.CommitFormat, Partition: 1, Start: start, End: end, Rows: len(ids), Deletes: len(deleted), Writer: fmt.Sprint("w", start), Created: time.Now().UTC()}
	put := func(body []byte, err error, put func(context.Context, int, int64, []byte) (schemas.Object, error)) *schemas.Object {
		r.t.Helper()
		var o schemas.Object
		if err == nil {
			o, err = put(r.t.Context(), 1, start, body)
		}
		if err != nil {
			r.t.Fatal(err)
		}
		return &o
	}
	body, err := segment.Write(r.index.Spec(), nil, avx.Generic, rows)
	c.Segment = put(body, err, r.index.PutSegment)
	if len(stones) > 0 {
		body, err = segment.WriteTombstones(stones)
		c.Tombstones = put(body, err, r.index.PutTombstones)
	}
	if err := r.index.Append(r.t.Context(), c); err != nil {
		r.t.Fatal(err)
	}
	return end
}

func (r *rig) cache() *store.Cache {
	r.t.Helper()
	c, err := store.NewCache(r.t.TempDir(), r.index.Bucket(), store.CacheOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// fold runs a builder up to a position of partition 1.
func (r *rig) fold(end int64) *schemas.Manifest {
	r.t.Helper()
	b, err := build.New(build.Options{Log: r.index, Cache: r.cache(), Level: avx.Generic, PublishEvery: time.Millisecond, MinTrainRows: 400, RewriteRows: 400})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	}()
	for ctx.Err() == nil {
		m, err := r.index.Latest(ctx, 0)
		if err == nil && m != nil && m.Checkpoint["1"] == end && len(m.Chunks) > 0 {
			return m
		}
		time.Sleep(2 * time.Millisecond)
	}
	r.t.Fatalf("not folded up to %d within %s", end, patience)
	return nil
}

// TestReadVersions: wherever the newest version of an id lies, in the base, in a delta, among deletes, or not folded yet, it is found.
func TestReadVersions(t *testing.T) {
	r := newRig(t)
	var base []string
	for i := range 500 {
		base = append(base, fmt.Sprint("base-", i))
	}
	end := r.appendRows(0, base, nil)
	r.fold(end)
	end = r.appendRows(end, []string{"base-1", "delta"}, []string{"base-2"}) // 500, 501, 502
	m := r.fold(end)
	if len(m.Segments) != 1 || len(m.Tombstones) != 1 {
		t.Fatalf("%d deltas with %d files of deletes, the test needs 1 of each", len(m.Segments), len(m.Tombstones))
	}
	r.appendRows(end, []string{"base-3", "fresh"}, []string{"base-4"}) // 503, 504, 505
	want := map[string]int64{"base-0": 0, "base-1": 500, "delta": 501, "base-2": 502, "base-3": 503, "fresh": 504, "base-4": 505}
	var payloads [][]byte
	for id := range want {
		payloads = append(payloads, payloadOf(t, fmt.Sprintf(`[{"id":%q,"vector":[1,2,3,4]},{"id":"nowhere","vector":[1,2,3,4]}]`, id)))
	}
	payloads = append(payloads, payloadOf(t, `[{"id":"base-7","vector":[0,0,0,0]}]`), []byte("rubbish"))
	found, err := ReadVersions(t.Context(), r.index, r.cache(), avx.Generic, nil, payloads)
	if err != nil {
		t.Fatal(err)
	}
	for id, offset := range want {
		if o := found[id]; o == nil || o.Offset != offset || o.Partition != 1 {
			t.Errorf("%s: found %+v, want offset %d", id, o, offset)
		}
	}
	if o, asked := found["nowhere"]; !asked || o != nil || len(found) != len(want)+1 {
		t.Errorf("of %d ids, one that is nowhere: %+v", len(found), o)
	}
}

// TestReplayIsNotNewest: what would replace a newer version is not replayed, unless its message is in the log already.
func TestReplayIsNotNewest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	q := mended(place, payloadOf(t, `[{"id":"b","vector":[1,2,3,4]},{"id":"a","vector":[1,2,3,4]}]`))
	r.appendRows(0, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "b", "12", "a"}, nil)
	replayer := r.replayer()
	var err error
	if replayer.Versions, err = ReadVersions(t.Context(), r.index, r.cache(), avx.Generic, nil, [][]byte{q.Payload}); err != nil {
		t.Fatal(err)
	}
	const want = `newer version of 1 of 2 rows, as of id "a" at partition 1, offset 13, row 0, version 0`
	if err := replayer.Replay(t.Context(), q, 1); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), want) || r.replayed(1) != 0 || r.states(place) != "" {
		t.Errorf("%v; %d messages are in the log, it was %s", err, r.replayed(1), r.states(place))
	}
	all := *replayer
	all.Versions = nil
	if all.Index, err = commit.Open(t.Context(), unnoted{r.index.Bucket()}); err != nil {
		t.Fatal(err)
	}
	if err := all.Replay(t.Context(), q, 1); err == nil || r.replayed(1) != 1 || r.states(place) != "replaying" {
		t.Fatalf("%v; %d messages are in the log, it was %s", err, r.replayed(1), r.states(place))
	}
	if err := replayer.Replay(t.Context(), q, 1); err != nil || r.replayed(1) != 1 || r.states(place) != "replaying replayed" {
		t.Errorf("%v; %d messages are in the log, it was %s", err, r.replayed(1), r.states(place))
	}
}

// unnoted is a store in which an announced replay cannot be unnoted.
type unnoted struct{ store.Bucket }

func (n unnoted) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	if strings.HasSuffix(key, "0002") {
		return schemas.ErrTransient
	}
	return n.Bucket.PutIfAbsent(ctx, key, body)
}
