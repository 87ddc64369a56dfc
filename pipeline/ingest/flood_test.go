package ingest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// rowsMessage has good rows and then bad ones.
func rowsMessage(t testing.TB, good, bad int) []byte {
	t.Helper()
	schema := messageSchema(field("id", utf8Type), field("vector", vectorType4))
	var rows []string
	for i := range good {
		rows = append(rows, fmt.Sprintf(`{"id":"good-%d","vector":[1,2,3,4]}`, i))
	}
	for range bad {
		rows = append(rows, `{"id":"bad","vector":[0,0,0,0]}`)
	}
	return messageOf(t, schema, "["+strings.Join(rows, ",")+"]")
}

func repeat(partition, n int, value []byte) []source.Message {
	return slices.Repeat([]source.Message{{Partition: partition, Value: value, Time: time.UnixMilli(1_700_000_000_000)}}, n)
}

// TestPoisonFlood_stopsAlone: a partition that brings nothing but rubbish stops with all of it in quarantine up to where it
// stands; the other goes on. With --accept-poison it goes on from there as well, and nothing is lost or doubled.
func TestPoisonFlood_stopsAlone(t *testing.T) {
	r := newRig(t, 2, store.NewMemory())
	r.produce(100, repeat(0, 100, rowsMessage(t, 1, 0))...)
	r.produce(500, repeat(0, 1500, []byte("rubbish"))...)
	r.produce(1, repeat(1, 1, rowsMessage(t, 1, 0))...)
	const stop = 1001 // the window is of 1,000, and 90 of the good ones are in the one that is refused too much by one

	run := r.start()
	r.await(1, 1)
	err := r.stopped(run, 0)
	var poison *PoisonError
	if !errors.As(err, &poison) || poison.Next != stop || poison.Rows != 1000 || poison.Refused != 901 || poison.Count != 901 {
		t.Fatalf("stopped with %v", err)
	}
	for _, part := range []string{r.spec.Topic.Name + "/0", "901 of the newest 1000", schemas.ReasonMalformed, "offset 1000", poison.Example.Detail, "--accept-poison"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
	if ready := run.Ready(); !errors.Is(ready, err) {
		t.Errorf("ready says %v", ready)
	}
	if n := testutil.ToFloat64(run.metrics.stops.WithLabelValues(stopFlood)); n != 1 {
		t.Errorf("%v partitions stopped for a flood, want 1", n)
	}
	if at := r.next(0); at != stop {
		t.Errorf("the chain ends at %d, want %d", at, stop)
	}
	r.produce(1, repeat(1, 1, rowsMessage(t, 1, 0))...)
	r.await(1, 2)
	run.stop(t)
	if got := r.foldChain(0); len(got.refused) != stop-100 {
		t.Errorf("%d are in quarantine, want %d", len(got.refused), stop-100)
	}

	run = r.start(func(o *Options) { o.AcceptPoison = true })
	r.await(0, 1600)
	run.stop(t)
	r.foldChain(0).check(t, r.foldLog(0))
}

// TestPoisonFlood_triesAgain: without the flag a restart goes on from the chain's end too, until it has seen as much again.
func TestPoisonFlood_triesAgain(t *testing.T) {
	r := newRig(t, 1, store.NewMemory())
	r.produce(1000, repeat(0, 2000, []byte("rubbish"))...)
	for _, want := range []int64{1000, 2000} {
		run := r.start(func(o *Options) { o.FlushRows = 300 })
		var poison *PoisonError
		if err := r.stopped(run, 0); !errors.As(err, &poison) || poison.Next != want || r.next(0) != want {
			t.Errorf("stopped with %v, the chain ends at %d, want %d", err, r.next(0), want)
		}
		run.stop(t)
	}
	r.produce(1, repeat(0, 1, rowsMessage(t, 1, 0))...)
	run := r.start()
	r.await(0, 2001)
	run.stop(t)
	r.foldChain(0).check(t, r.foldLog(0))
}

func TestFlood(t *testing.T) {
	bad := func(n int, reason string) []Quarantined {
		return slices.Repeat([]Quarantined{{Row: 7, Offset: 5, Fault: schemas.Fault{Reason: reason, Detail: "because"}, Payload: []byte("x")}}, n)
	}
	type message struct {
		times, rows int
		bad         []Quarantined
	}
	for name, c := range map[string]struct {
		messages []message
		rows     int // of the window, 0 if it is no flood
	}{
		"nothing":                   {},
		"empty messages":            {[]message{{5000, 0, nil}}, 0},
		"good":                      {[]message{{5000, 3, nil}}, 0},
		"less than a window":        {[]message{{999, 1, bad(1, "dims")}}, 0},
		"a window":                  {[]message{{1000, 1, bad(1, "dims")}}, 1000},
		"nine of ten":               {[]message{{500, 10, bad(9, "dims")}}, 0},
		"more than nine of ten":     {[]message{{500, 12, bad(11, "dims")}}, 1008},
		"one large message":         {[]message{{1, 60000, bad(60000, "dims")}}, 0},
		"large messages":            {[]message{{16, 60000, bad(60000, "dims")}}, 960000},
		"one large among good ones": {[]message{{100, 1000, nil}, {1, 16000, bad(16000, "dims")}}, 0},
		"good ones long ago":        {[]message{{1, 60000, nil}, {1000, 1, bad(1, "dims")}}, 1000},
		"rubbish long ago":          {[]message{{999, 1, bad(1, "dims")}, {1000, 1, nil}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var f flood
			for _, m := range c.messages {
				for range m.times {
					f.add(m.rows, m.bad)
				}
			}
			if got := f.poisoned(); got != (c.rows > 0) || got && f.rows != c.rows {
				t.Errorf("poisoned %v with %d of %d rows refused", got, f.refused, f.rows)
			}
			if len(f.window) > floodRows {
				t.Errorf("%d messages are remembered", len(f.window))
			}
		})
	}

	var f flood
	f.add(600, bad(600, "malformed")) // out of the window again
	for range 20 {
		f.add(60, append(bad(20, "op"), bad(35, "dims")...))
	}
	var poison *PoisonError
	if err := f.err("docs", 3, 77); !errors.As(err, &poison) || poison.Reason != "dims" || poison.Count != 35*17 || poison.Example.Payload != nil {
		t.Errorf("%+v", poison)
	}
	want := "docs/3: 935 of the newest 1020 rows before offset 77 were refused, allowed: at most 90 %; 595 of them are dims, as offset 5, row 7: because; " +
		"they are in quarantine and nothing is lost: mend the producer, then restart the ingestor, with --accept-poison to quarantine the rest of them too"
	if got := poison.Error(); got != want {
		t.Errorf("error %q, want %q", got, want)
	}
}
