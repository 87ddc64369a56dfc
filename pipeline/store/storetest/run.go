package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/pipeline/store"
)

// Run checks that the buckets open returns keep the contract of store.Bucket. Each call of open must return an empty one.
func Run(t *testing.T, open func(t *testing.T) store.Bucket) {
	tests := []struct {
		name string
		run  func(t *testing.T, b store.Bucket)
	}{
		{"put and read back", testReadBack},
		{"put again", testPutAgain},
		{"absent", testAbsent},
		{"range", testRange},
		{"delete", testDelete},
		{"race 1 kB", func(t *testing.T, b store.Bucket) { testRace(t, b, 40, 1<<10) }},
		{"race 1 MiB", func(t *testing.T, b store.Bucket) { testRace(t, b, 4, 1<<20) }},
		{"readers during a race", testReadDuringRace},
		{"list order", testListOrder},
		{"list many", testListMany},
		{"keys", testKeys},
		{"cancelled", testCancelled},
		{"probe", testProbe},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
	}
}

func mustPut(t *testing.T, b store.Bucket, key string, body []byte) {
	t.Helper()
	if err := b.PutIfAbsent(t.Context(), key, body); err != nil {
		t.Fatalf("PutIfAbsent(%q) = %v", key, err)
	}
}

// wantBody checks all three ways to look at an object.
func wantBody(t *testing.T, b store.Bucket, key string, want []byte) {
	t.Helper()
	got, err := b.Get(t.Context(), key)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("Get(%q) = %d bytes, %v; want the %d bytes put", key, len(got), err, len(want))
	}
	r, size, err := b.Open(t.Context(), key)
	if err != nil {
		t.Fatalf("Open(%q): %v", key, err)
	}
	defer r.Close()
	if got, err = io.ReadAll(r); err != nil || size != int64(len(want)) || !bytes.Equal(got, want) {
		t.Fatalf("Open(%q) = %d of %d bytes, %v; want the %d bytes put", key, len(got), size, err, len(want))
	}
	info, err := b.Stat(t.Context(), key)
	if err != nil || info.Key != key || info.Size != int64(len(want)) || time.Since(info.Modified).Abs() > time.Hour {
		t.Fatalf("Stat(%q) = %+v, %v; want %d bytes, just now", key, info, err, len(want))
	}
}

func testReadBack(t *testing.T, b store.Bucket) {
	big := make([]byte, 5<<20+1) // over the least part size of a multipart upload
	rand.NewChaCha8([32]byte{1}).Read(big)
	for key, body := range map[string][]byte{
		"empty":                  {},
		"one":                    {0},
		"a/deep/er/key":          []byte("hello"),
		"commits/0/00000000":     []byte("digits"),
		"sp ace+plus%25&ö=?#!()": []byte("reserved characters of urls"),
		"big":                    big,
	} {
		mustPut(t, b, key, body)
		wantBody(t, b, key, body)
	}
}

func testPutAgain(t *testing.T, b store.Bucket) {
	body := []byte("first")
	mustPut(t, b, "k", body)
	mustPut(t, b, "k", []byte("first")) // the very same bytes count as created
	for _, other := range []string{"", "f", "First", "first!", strings.Repeat("x", 1<<20)} {
		if err := b.PutIfAbsent(t.Context(), "k", []byte(other)); !errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrTransient) {
			t.Errorf("PutIfAbsent of %d other bytes = %v, want ErrExists", len(other), err)
		}
	}
	wantBody(t, b, "k", body)

	mutable := []byte("second")
	mustPut(t, b, "k2", mutable)
	mutable[0] = 'X'
	got, err := b.Get(t.Context(), "k2")
	if err != nil || string(got) != "second" {
		t.Errorf("Get = %q, %v: the store kept the caller's slice", got, err)
	}
}

func testAbsent(t *testing.T, b store.Bucket) {
	mustPut(t, b, "there/is", []byte("something"))
	for _, key := range []string{"there", "there/isn't", "not/there", "there/is2"} {
		if body, err := b.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get(%q) = %q, %v, want ErrNotFound", key, body, err)
		}
		if r, _, err := b.Open(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Open(%q) = %v, %v, want ErrNotFound", key, r, err)
		}
		if body, err := b.Range(t.Context(), key, 0, 1); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Range(%q) = %q, %v, want ErrNotFound", key, body, err)
		}
		if info, err := b.Stat(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Stat(%q) = %+v, %v, want ErrNotFound", key, info, err)
		}
	}
}

func testRange(t *testing.T, b store.Bucket) {
	body := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{2}).Read(body)
	mustPut(t, b, "a/b", body)
	size := int64(len(body))
	for _, r := range [][2]int64{{0, 1}, {0, size}, {1, 1}, {7, 4096}, {size - 1, 1}, {size / 2, size / 2}} {
		got, err := b.Range(t.Context(), "a/b", r[0], r[1])
		if err != nil || !bytes.Equal(got, body[r[0]:r[0]+r[1]]) {
			t.Errorf("Range(%d, %d) = %d bytes, %v", r[0], r[1], len(got), err)
		}
	}
	for _, r := range [][2]int64{{0, size + 1}, {size - 1, 2}, {size, 1}, {2 * size, 5}} {
		if got, err := b.Range(t.Context(), "a/b", r[0], r[1]); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("Range(%d, %d) = %d bytes, %v, want ErrCorrupt", r[0], r[1], len(got), err)
		}
	}
}

func testDelete(t *testing.T, b store.Bucket) {
	mustPut(t, b, "d/1", []byte("one"))
	mustPut(t, b, "d/2", []byte("two"))
	for range 2 { // the second time it is missing
		if err := b.Delete(t.Context(), "d/1"); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
	if err := b.Delete(t.Context(), "never/was"); err != nil {
		t.Errorf("Delete of a missing key: %v", err)
	}
	if _, err := b.Get(t.Context(), "d/1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get after Delete: %v, want ErrNotFound", err)
	}
	wantKeys(t, b, "", "", []string{"d/2"})
	mustPut(t, b, "d/1", []byte("again"))
	wantBody(t, b, "d/1", []byte("again"))
}

// creators is how many race for one key.
const creators = 32

// testRace has many creators race for a key, round after round: exactly one wins, and it is its body that stays.
func testRace(t *testing.T, b store.Bucket, rounds, size int) {
	for round := range rounds {
		key := fmt.Sprintf("race/%020d", round)
		errs := make([]error, creators)
		var racers sync.WaitGroup
		for i := range creators {
			racers.Go(func() { errs[i] = b.PutIfAbsent(t.Context(), key, racerBody(i, size)) })
		}
		racers.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("round %d: both %d and %d won", round, winner, i)
			case err == nil:
				winner = i
			case !errors.Is(err, store.ErrExists):
				t.Fatalf("round %d: %d: %v, want ErrExists", round, i, err)
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody won", round)
		}
		got, err := b.Get(t.Context(), key)
		if err != nil || !bytes.Equal(got, racerBody(winner, size)) {
			t.Fatalf("round %d: Get = %d bytes, %v, want the body of the winner, %d", round, len(got), err, winner)
		}
	}
}

func racerBody(i, size int) []byte { return bytes.Repeat([]byte{byte(i)}, size) }

// testReadDuringRace reads and lists a key while it is created: there is nothing, or all of it.
func testReadDuringRace(t *testing.T, b store.Bucket) {
	const size = 1 << 20
	for round := range 4 {
		key := fmt.Sprintf("seen/%d", round)
		created := make(chan struct{})
		g, ctx := errgroup.WithContext(t.Context())
		g.Go(func() error {
			defer close(created)
			return b.PutIfAbsent(ctx, key, racerBody(round, size))
		})
		g.Go(func() error {
			for done := false; !done; {
				select {
				case <-created:
					done = true
				default:
				}
				body, err := b.Get(ctx, key)
				if errors.Is(err, store.ErrNotFound) && !done {
					continue
				}
				if err != nil || !bytes.Equal(body, racerBody(round, size)) {
					return fmt.Errorf("get %s: %d bytes, %w", key, len(body), err)
				}
				for info, err := range b.List(ctx, key, "") {
					if err != nil || info.Size != size {
						return fmt.Errorf("list %s: %+v, %w", key, info, err)
					}
				}
			}
			return nil
		})
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

func wantKeys(t *testing.T, b store.Bucket, prefix, startAfter string, want []string) {
	t.Helper()
	got := []string{}
	for info, err := range b.List(t.Context(), prefix, startAfter) {
		if err != nil {
			t.Fatalf("List(%q, %q): %v", prefix, startAfter, err)
		}
		got = append(got, info.Key)
	}
	if !slices.Equal(got, want) {
		t.Errorf("List(%q, %q)\n got %q\nwant %q", prefix, startAfter, got, want)
	}
}

// testListOrder has a tree in which the order of directory walks and that of keys differ.
func testListOrder(t *testing.T, b store.Bucket) {
	keys := []string{
		"A", "a-b", "a-b-c/x", "a.b", "a/b", "a/b-c", "a/c/d", "a/c-d", "a/c0", "a/ä", "a0", "ab/c", "b/0/0", "b/0/1", "b/00/0", "b/1",
		"x/\U0001F600", "x/\uFFFD", // UTF-16 would order these the other way round
	}
	slices.Sort(keys)
	shuffled := slices.Clone(keys)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(keys), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for _, key := range shuffled {
		mustPut(t, b, key, []byte(key))
	}
	want := func(prefix, startAfter string) []string {
		want := []string{}
		for _, key := range keys {
			if strings.HasPrefix(key, prefix) && key > startAfter {
				want = append(want, key)
			}
		}
		return want
	}
	prefixes := []string{"", "a", "a/", "a/c", "a/c/", "a-", "b/0", "b/0/", "nothing", "nothing/", "zz/"}
	after := append([]string{"", "0", "a", "a/", "a/b~", "a/c/", "b/0/", "zzz"}, keys...)
	for _, prefix := range prefixes {
		for _, startAfter := range after {
			wantKeys(t, b, prefix, startAfter, want(prefix, startAfter))
		}
	}
	for info, err := range b.List(t.Context(), "", "a/") {
		if err != nil || info.Key != "a/b" || info.Size != int64(len(info.Key)) || time.Since(info.Modified).Abs() > time.Hour {
			t.Errorf("first after a/: %+v, %v; want a/b of 3 bytes, just now", info, err)
		}
		break // ends it
	}
}

// testListMany lists more than one page of any server.
func testListMany(t *testing.T, b store.Bucket) {
	const n = 2000
	want := make([]string, n)
	var g errgroup.Group
	g.SetLimit(creators)
	for i := range n {
		key := fmt.Sprintf("many/%d/%020d", i/500, i)
		want[i] = key
		g.Go(func() error { return b.PutIfAbsent(t.Context(), key, []byte(key)) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, b, "many/", "", want)
	wantKeys(t, b, "many/", want[n-11], want[n-10:])
	wantKeys(t, b, "many/2/", "", want[1000:1500])
}

func testKeys(t *testing.T, b store.Bucket) {
	bad := []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "./a", "a/./b", ".tmp/a", "a/.tmp", "a\x00b", "a\nb", "a\x7f",
		"\xff", strings.Repeat("x", 256), strings.Repeat("xxxxxxx/", 128) + "x",
	}
	for _, key := range bad {
		_, getErr := b.Get(t.Context(), key)
		_, _, openErr := b.Open(t.Context(), key)
		_, statErr := b.Stat(t.Context(), key)
		for op, err := range map[string]error{
			"PutIfAbsent": b.PutIfAbsent(t.Context(), key, []byte("x")),
			"Delete":      b.Delete(t.Context(), key),
			"Get":         getErr, "Open": openErr, "Stat": statErr,
		} {
			if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrTransient) || !strings.Contains(err.Error(), fmt.Sprintf("key %q", key)) {
				t.Errorf("%s(%q) = %v, want an error that names the key", op, key, err)
			}
		}
	}
	good := []string{"...", "a..b/c", ".hidden", strings.Repeat("x", 255), strings.Repeat("seven77/", 100) + "x"}
	for _, key := range good {
		mustPut(t, b, key, []byte(key))
	}
	slices.Sort(good)
	wantKeys(t, b, "", "", good)
}

func testCancelled(t *testing.T, b store.Bucket) {
	mustPut(t, b, "k", []byte("body"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, getErr := b.Get(ctx, "k")
	_, rangeErr := b.Range(ctx, "k", 0, 1)
	_, statErr := b.Stat(ctx, "k")
	var listErr error
	for _, listErr = range b.List(ctx, "", "") {
	}
	for op, err := range map[string]error{
		"PutIfAbsent": b.PutIfAbsent(ctx, "k2", nil), "Get": getErr, "Range": rangeErr, "Stat": statErr, "List": listErr, "Delete": b.Delete(ctx, "k"),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v, want context.Canceled", op, err)
		}
	}
	wantKeys(t, b, "", "", []string{"k"})
}

func testProbe(t *testing.T, b store.Bucket) {
	if err := store.Probe(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, b, "", "", []string{}) // it cleaned up
}
