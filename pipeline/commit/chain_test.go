package commit

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

const sumOfNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func data(kind string, partition int, start int64) *schemas.Object {
	return &schemas.Object{Key: dataPrefix(kind, partition, start) + "id.arrow", Size: 1, SHA256: sumOfNothing}
}

// TestAppendAlgebra is the table of what applies to the chain [0, 10) with watermark 100, and what is refused.
func TestAppendAlgebra(t *testing.T) {
	change := func(f func(*schemas.Commit)) *schemas.Commit {
		c := plain(10, 20, 100)
		f(c)
		return c
	}
	for name, test := range map[string]struct {
		record *schemas.Commit
		want   string // part of the error, empty if it applies
	}{
		"next":          {plain(10, 20, 100), ""},
		"one offset":    {plain(10, 11, 100), ""},
		"newer":         {change(func(c *schemas.Commit) { c.Watermark, c.Produced = 150, 150 }), ""},
		"late records":  {change(func(c *schemas.Commit) { c.Produced = 50 }), ""},
		"no timestamps": {change(func(c *schemas.Commit) { c.Produced = -1 }), ""},
		"gap":           {change(func(c *schemas.Commit) { c.Gap = true }), ""},
		"upserts":       {change(func(c *schemas.Commit) { c.Segment, c.Rows, c.Model = data(segments, 0, 10), 3, "m" }), ""},
		"deletes":       {change(func(c *schemas.Commit) { c.Tombstones, c.Deletes = data(tombstones, 0, 10), 3 }), ""},
		"quarantine": {change(func(c *schemas.Commit) {
			c.Quarantine, c.Quarantined = data(quarantine, 0, 10), map[string]int{"op": 1}
		}), ""},
		"hole":                  {plain(11, 20, 100), "offset 11 is not a position of the chain, which ends at 10"},
		"overlap":               {plain(9, 20, 100), "the record [0, 10) spans it"},
		"empty range":           {plain(10, 10, 100), "range: [10, 10)"},
		"backward range":        {plain(10, 9, 100), "range: [10, 9)"},
		"negative":              {plain(-10, 0, 100), "range: [-10, 0)"},
		"falling watermark":     {plain(10, 20, 99), "watermark: 99, allowed: at least 100"},
		"watermark behind":      {change(func(c *schemas.Commit) { c.Produced = 101 }), "at least produced, 101"},
		"other partition":       {change(func(c *schemas.Commit) { c.Partition = 4 }), "partition: 4, allowed: 0 to 3"},
		"negative partition":    {change(func(c *schemas.Commit) { c.Partition = -1 }), "partition: -1"},
		"format":                {change(func(c *schemas.Commit) { c.Format = 2 }), "format: 2"},
		"no writer":             {change(func(c *schemas.Commit) { c.Writer = "" }), "writer: empty"},
		"rows without segment":  {change(func(c *schemas.Commit) { c.Rows = 3 }), "rows: 3"},
		"segment without rows":  {change(func(c *schemas.Commit) { c.Segment = data(segments, 0, 10) }), "rows: 0"},
		"negative rows":         {change(func(c *schemas.Commit) { c.Segment, c.Rows = data(segments, 0, 10), -1 }), "rows: -1"},
		"deletes without file":  {change(func(c *schemas.Commit) { c.Deletes = 3 }), "deletes: 3"},
		"quarantined, no file":  {change(func(c *schemas.Commit) { c.Quarantined = map[string]int{"op": 1} }), "quarantined: 1"},
		"negative quarantined":  {change(func(c *schemas.Commit) { c.Quarantined = map[string]int{"op": -1, "id": 1} }), `quarantined: -1 for "op"`},
		"segment of another":    {change(func(c *schemas.Commit) { c.Segment, c.Rows = data(segments, 1, 10), 3 }), "a key that begins with segments/000000/00000000000000000010-"},
		"segment of elsewhere":  {change(func(c *schemas.Commit) { c.Segment, c.Rows = data(segments, 0, 11), 3 }), "a key that begins with segments/000000/00000000000000000010-"},
		"tombstones as segment": {change(func(c *schemas.Commit) { c.Segment, c.Rows = data(tombstones, 0, 10), 3 }), "a key that begins with segments/"},
		"no sum": {change(func(c *schemas.Commit) {
			c.Segment, c.Rows = data(segments, 0, 10), 3
			c.Segment.SHA256 = strings.ToUpper(sumOfNothing)
		}), "a size and a sha256"},
		"no size": {change(func(c *schemas.Commit) {
			c.Segment, c.Rows = data(segments, 0, 10), 3
			c.Segment.Size = 0
		}), "a size and a sha256"},
		"model of nothing": {change(func(c *schemas.Commit) { c.Model = "m" }), `model: "m"`},
		"gap with data":    {change(func(c *schemas.Commit) { c.Gap, c.Segment, c.Rows = true, data(segments, 0, 10), 3 }), "gap: true"},
	} {
		t.Run(name, func(t *testing.T) {
			l := openLog(t, store.NewMemory())
			mustAppend(t, l, plain(0, 10, 100))
			err := openLog(t, l.Bucket()).Append(t.Context(), test.record)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if head, err := openLog(t, l.Bucket()).Head(t.Context(), 0, 0); err != nil || head.Next != test.record.End {
					t.Fatalf("Head = %+v, %v, want the end of the new record", head, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("Append = %v, want an error with %q", err, test.want)
			}
			for _, class := range []error{schemas.ErrCorrupt, schemas.ErrFenced, schemas.ErrTransient} {
				if errors.Is(err, class) {
					t.Errorf("a mistake in the call is classed as %v", class)
				}
			}
			if keys := listKeys(t, l.Bucket(), "commits/"); len(keys) != 1 {
				t.Errorf("a refused record left %v", keys)
			}
		})
	}
}

func TestFirstRecordIsAGap(t *testing.T) {
	l := openLog(t, store.NewMemory())
	if err := l.Append(t.Context(), plain(500, 600, 0)); err == nil {
		t.Fatal("a chain began at 500")
	}
	gap := plain(0, 500, 0)
	gap.Gap = true
	mustAppend(t, l, gap, plain(500, 600, 7))
	got, err := openLog(t, l.Bucket()).Since(t.Context(), 0, 0, 0)
	if err != nil || ranges(got) != "[0,500)[500,600)" || !got[0].Gap || got[1].Gap {
		t.Errorf("Since = %s, %v", ranges(got), err)
	}
}

func TestHead(t *testing.T) {
	l := openLog(t, store.NewMemory())
	if head, err := l.Head(t.Context(), 0, 0); err != nil || head != (Head{}) {
		t.Fatalf("Head of an empty chain = %+v, %v", head, err)
	}
	mustAppend(t, l, plain(0, 10, 100), plain(10, 11, 100), plain(11, 1<<40, 120))
	for _, hint := range []int64{0, 10, 11, 1 << 40} {
		head, err := openLog(t, l.Bucket()).Head(t.Context(), 0, hint)
		if err != nil || head.Next != 1<<40 || head.Watermark != 120 || head.Last == nil || head.Last.Start != 11 {
			t.Errorf("Head from %d = %+v, %v", hint, head, err)
		}
	}
	for _, hint := range []int64{5, 12, 1<<40 + 1, 1<<63 - 1} {
		head, err := openLog(t, l.Bucket()).Head(t.Context(), 0, hint)
		if !errors.Is(err, schemas.ErrCorrupt) {
			t.Errorf("Head from %d, which is no position = %+v, %v, want ErrCorrupt", hint, head, err)
		}
	}
	if head, err := l.Head(t.Context(), 1, 0); err != nil || head.Next != 0 {
		t.Errorf("Head of another partition = %+v, %v", head, err)
	}
	for _, partition := range []int{-1, 4} {
		if _, err := l.Head(t.Context(), partition, 0); err == nil {
			t.Errorf("partition %d has a head", partition)
		}
	}
	if _, err := l.Head(t.Context(), 0, -1); err == nil {
		t.Error("Head took the hint -1")
	}
}

func TestSince(t *testing.T) {
	l := openLog(t, store.NewMemory())
	const n = 2*pageRecords + 7
	var want []*schemas.Commit
	for i := range int64(n) {
		want = append(want, plain(3*i, 3*i+3, i))
	}
	mustAppend(t, l, want...)
	for _, test := range []struct {
		start int64
		limit int
		want  []*schemas.Commit
	}{
		{0, 0, want},
		{0, -1, want},
		{0, 1, want[:1]},
		{0, pageRecords, want[:pageRecords]},
		{0, pageRecords + 1, want[:pageRecords+1]},
		{300, 5, want[100:105]},
		{300, n, want[100:]},
		{3 * n, 0, nil},
		{3 * n, 5, nil},
	} {
		for name, from := range map[string]*Log{"fresh": openLog(t, l.Bucket()), "knowing": l} {
			got, err := from.Since(t.Context(), 0, test.start, test.limit)
			if err != nil || ranges(got) != ranges(test.want) {
				t.Errorf("%s: Since(%d, limit %d) = %d records, %v, want %d", name, test.start, test.limit, len(got), err, len(test.want))
			}
		}
	}
	for _, start := range []int64{1, 3*n - 1, 3*n + 3} {
		if got, err := openLog(t, l.Bucket()).Since(t.Context(), 0, start, 0); !errors.Is(err, schemas.ErrCorrupt) {
			t.Errorf("Since(%d), which is no position = %s, %v, want ErrCorrupt", start, ranges(got), err)
		}
	}
}

// TestFollowingIsCheap: neither reads what it has read before, nor anything before the hint.
func TestFollowingIsCheap(t *testing.T) {
	var gets, lists atomic.Int64
	b := hooked{Bucket: store.NewMemory(), onGet: func(string) error { gets.Add(1); return nil }, onList: func(string) { lists.Add(1) }}
	writer := openLog(t, b.Bucket)
	for i := range int64(1000) {
		mustAppend(t, writer, plain(10*i, 10*i+10, 0))
	}
	l := openLog(t, b)
	// One get of each Head and Append, and one list of the first, look for a collection; one of each Append at the record that it follows.
	cost := func(what string, wantGets, wantLists int64, do func() error) {
		t.Helper()
		gets.Store(0)
		lists.Store(0)
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if gets.Load() > wantGets || lists.Load() > wantLists {
			t.Errorf("%s took %d gets and %d lists, want at most %d and %d", what, gets.Load(), lists.Load(), wantGets, wantLists)
		}
	}
	head := func(hint int64) func() error {
		return func() error { _, err := l.Head(t.Context(), 0, hint); return err }
	}
	since := func(start int64) func() error {
		return func() error { _, err := l.Since(t.Context(), 0, start, 0); return err }
	}
	cost("Since at the head of a new Log", 1, 2, since(10000))
	l = openLog(t, b)
	cost("Head with the head as hint", 2, 3, head(10000))
	l = openLog(t, b)
	cost("Head with a checkpoint as hint", 9, 2, func() error {
		_, err := l.Head(t.Context(), 0, 9920)
		return err
	})
	cost("Head again", 1, 1, head(0))
	cost("Since at the head", 0, 1, since(10000))
	add := func(l *Log, start int64) func() error {
		return func() error { return l.Append(t.Context(), plain(start, start+10, 0)) }
	}
	cost("Append", 2, 0, add(l, 10000))
	cost("Append again", 2, 0, add(l, 10010))
	if _, err := writer.Head(t.Context(), 0, 0); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, writer, plain(10020, 10025, 0))
	cost("Append where another writer was first", 2, 0, func() error {
		if err := add(l, 10020)(); !errors.Is(err, schemas.ErrFenced) {
			return fmt.Errorf("Append = %w, want a conflict", err)
		}
		return nil
	})
	cost("Append after that", 2, 0, add(l, 10025))
}

func TestConflict(t *testing.T) {
	b := store.NewMemory()
	zombie := openLog(t, b)
	mustAppend(t, zombie, plain(0, 100, 5))
	owner := openLog(t, b)
	mustAppend(t, owner, plain(100, 150, 6), plain(150, 400, 7))

	mine := plain(100, 200, 5)
	mine.Writer = "zombie"
	for _, theirs := range []string{"[100,150)", "[150,400)"} {
		err := zombie.Append(t.Context(), mine)
		var conflict *Conflict
		if !errors.As(err, &conflict) || !errors.Is(err, schemas.ErrFenced) || ranges([]*schemas.Commit{conflict.Theirs}) != theirs {
			t.Fatalf("Append = %v, want a conflict with %s", err, theirs)
		}
		mine = plain(conflict.Theirs.End, conflict.Theirs.End+100, conflict.Theirs.Watermark)
		mine.Writer = "zombie"
	}
	mustAppend(t, zombie, mine)
	got, err := openLog(t, b).Since(t.Context(), 0, 0, 0)
	if err != nil || ranges(got) != "[0,100)[100,150)[150,400)[400,500)" {
		t.Errorf("Since = %s, %v", ranges(got), err)
	}
}

func TestLostAnswer(t *testing.T) {
	for name, landed := range map[string]bool{"landed": true, "did not land": false} {
		t.Run(name, func(t *testing.T) {
			b := store.NewMemory()
			openLog(t, b)
			f := newFaulty(b, 1)
			f.refused, f.lost, f.stale = 0, 0, 0
			l := openLog(t, f)
			if landed {
				f.lost = 1
			} else {
				f.refused = 1
			}
			c := plain(0, 10, 0)
			if err := l.Append(t.Context(), c); !errors.Is(err, schemas.ErrTransient) || !errors.Is(err, store.ErrUnknown) {
				t.Fatalf("Append = %v, want ErrTransient", err)
			}
			f.lost, f.refused = 0, 0
			if err := l.Append(t.Context(), c); err != nil {
				t.Fatalf("the same call again = %v", err)
			}
			other := *c
			other.Writer = "another"
			var conflict *Conflict
			if err := l.Append(t.Context(), &other); !errors.As(err, &conflict) || conflict.Theirs.Writer != c.Writer {
				t.Errorf("the same range of another writer = %v, want a conflict", err)
			}
		})
	}
}

// TestHostileChain: records that somebody else put into the bucket are found, and named.
func TestHostileChain(t *testing.T) {
	const key = "commits/000001/00000000000000000010"
	record := func(f func(*schemas.Commit)) string {
		c := plain(10, 20, 100)
		c.Partition = 1
		f(c)
		body, err := encode(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	good := record(func(*schemas.Commit) {})
	for name, test := range map[string]struct{ key, body string }{
		"other partition":   {key, record(func(c *schemas.Commit) { c.Partition = 2 })},
		"other start":       {key, record(func(c *schemas.Commit) { c.Start = 11 })},
		"hole":              {"commits/000001/00000000000000000011", record(func(c *schemas.Commit) { c.Start = 11 })},
		"overlap":           {"commits/000001/00000000000000000009", record(func(c *schemas.Commit) { c.Start = 9 })},
		"falling watermark": {key, record(func(c *schemas.Commit) { c.Watermark = 99 })},
		"foreign segment":   {key, record(func(c *schemas.Commit) { c.Segment, c.Rows = data(segments, 2, 10), 1 })},
		"format":            {key, record(func(c *schemas.Commit) { c.Format = 2 })},
		"empty":             {key, ""},
		"not json":          {key, "segment"},
		"cut short":         {key, good[:len(good)/2]},
		"two documents":     {key, good + good},
		"unknown field":     {key, strings.Replace(good, `"start"`, `"begin"`, 1)},
		"fractional offset": {key, strings.Replace(good, `"end":20`, `"end":20.5`, 1)},
		"too large offset":  {key, strings.Replace(good, `"end":20`, `"end":9223372036854775808`, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			b := store.NewMemory()
			first := plain(0, 10, 100)
			first.Partition = 1
			mustAppend(t, openLog(t, b), first)
			mustPutRaw(t, b, test.key, []byte(test.body))
			check := func(what string, err error) {
				t.Helper()
				if !errors.Is(err, schemas.ErrCorrupt) || !strings.Contains(err.Error(), test.key) {
					t.Errorf("%s = %v, want ErrCorrupt that names %s", what, err, test.key)
				}
			}
			_, err := openLog(t, b).Head(t.Context(), 1, 0)
			check("Head", err)
			_, err = openLog(t, b).Since(t.Context(), 1, 0, 0)
			check("Since", err)
			if test.key == key && name != "falling watermark" {
				mine := plain(10, 15, 100)
				mine.Partition = 1
				check("Append", openLog(t, b).Append(t.Context(), mine))
			}
		})
	}
}

func TestForeignKeysArePassedOver(t *testing.T) {
	b := store.NewMemory()
	l := openLog(t, b)
	mustAppend(t, l, plain(0, 10, 0), plain(10, 20, 0))
	for _, name := range []string{".keep", "10", "00000000000000000010.bak", "+0000000000000000010", "99999999999999999999", "zzz"} {
		mustPutRaw(t, b, "commits/000000/"+name, []byte("not ours"))
		mustPutRaw(t, b, manifestsPrefix+name, []byte("not ours"))
		mustPutRaw(t, b, channelPrefix+name, []byte("not ours"))
	}
	fresh := openLog(t, b)
	if got, err := fresh.Since(t.Context(), 0, 0, 0); err != nil || ranges(got) != "[0,10)[10,20)" {
		t.Errorf("Since = %s, %v", ranges(got), err)
	}
	if m, err := fresh.Latest(t.Context(), 0); m != nil || err != nil {
		t.Errorf("Latest = %v, %v", m, err)
	}
	if c, err := fresh.Channel(t.Context(), 0); c != nil || err != nil {
		t.Errorf("Channel = %v, %v", c, err)
	}
}

// TestListingWithHoles: what a listing lacks is found by reading, and no limit is exceeded.
func TestListingWithHoles(t *testing.T) {
	b := store.NewMemory()
	l := openLog(t, b)
	const records = 6
	var want []*schemas.Commit
	for i := range int64(records) {
		want = append(want, plain(10*i, 10*i+10, 0))
	}
	mustAppend(t, l, want...)
	for hidden := range 1 << records {
		lagging := lacking{b, func(key string) bool {
			n, ok := numberOf(commitsPrefix(0), key)
			return ok && hidden&(1<<(n/10)) != 0
		}}
		listed := bits.Len(^uint(hidden) & (1<<records - 1)) // up to the last that is listed
		for _, limit := range []int{0, 1, 3, 4} {
			got, err := openLog(t, lagging).Since(t.Context(), 0, 0, limit)
			n := listed
			if limit > 0 {
				n = min(n, limit)
			}
			if err != nil || ranges(got) != ranges(want[:n]) {
				t.Fatalf("hidden %06b, limit %d: Since = %s, %v, want %d records", hidden, limit, ranges(got), err, n)
			}
		}
		head, err := openLog(t, lagging).Head(t.Context(), 0, 0)
		if err != nil || head.Next != int64(10*listed) {
			t.Fatalf("hidden %06b: Head = %+v, %v, want %d", hidden, head, err, 10*listed)
		}
		if head, err := openLog(t, lagging).Head(t.Context(), 0, 10*records); err != nil || head.Next != 10*records {
			t.Fatalf("hidden %06b: Head from its end = %+v, %v", hidden, head, err)
		}
	}
}

func TestListedButNotReadable(t *testing.T) {
	hidden := ""
	b := hooked{Bucket: store.NewMemory(), onGet: func(key string) error {
		if key == hidden {
			return fmt.Errorf("get %s: %w", key, store.ErrNotFound)
		}
		return nil
	}}
	l := openLog(t, b)
	mustAppend(t, l, plain(0, 10, 0), plain(10, 20, 0))
	hidden = "commits/000000/00000000000000000010"
	fresh := openLog(t, b)
	if got, err := fresh.Since(t.Context(), 0, 0, 0); !errors.Is(err, schemas.ErrTransient) {
		t.Errorf("Since = %s, %v, want ErrTransient", ranges(got), err)
	}
	hidden = ""
	if got, err := fresh.Since(t.Context(), 0, 0, 0); err != nil || len(got) != 2 {
		t.Errorf("Since later = %s, %v", ranges(got), err)
	}
}
