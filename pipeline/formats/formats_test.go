// Package formats holds indexes as past versions have left them, and tests that this version reads them, goes on from them, and refuses
// what a later one has written.
//
// A version that changes a format adds a folder beside those that are there, with all kinds of records and files in it:
//
//	go test ./pipeline/formats -run Write -write v3
//
// and leaves the others as they are for as long as it reads them.
package formats_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/quarantine"
	"github.com/adastream/adastream/schemas"
)

// folders are those of testdata.
func folders(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("testdata/v*")
	if err != nil || len(found) == 0 {
		t.Fatalf("%v, %v", found, err)
	}
	return found
}

// each runs a test on the index of each folder, and on its epoch.
func each(t *testing.T, test func(*index)) {
	for _, folder := range folders(t) {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			t.Run("root", func(t *testing.T) { test(stored(t, filepath.Join(folder, "index"))) })
			t.Run("epoch", func(t *testing.T) {
				e := stored(t, filepath.Join(folder, "index")).epoch()
				test(e)
			})
		})
	}
}

func TestPastIndexesAreSound(t *testing.T) { each(t, (*index).isSound) }

// A node gives the answers that it gave then, and so it does once it follows the channel to the epoch.
func TestPastIndexesAnswer(t *testing.T) {
	for _, folder := range folders(t) {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			var answers []answer
			body, err := os.ReadFile(filepath.Join(folder, "answers.json"))
			if err == nil {
				err = json.Unmarshal(body, &answers)
			}
			if err != nil || len(answers) == 0 {
				t.Fatalf("%d answers, %v", len(answers), err)
			}
			x := stored(t, filepath.Join(folder, "index"))
			n, follows := x.node(), x.log.Spec().Encoder
			for _, a := range answers {
				if a.Encoder != follows {
					if _, err := x.log.Promote(t.Context(), x.channel(), schemas.Channel{Epoch: epochName, Reason: "test", By: "mara@ops"}); err != nil {
						t.Fatal(err)
					}
					follows = a.Encoder
				}
				if got := x.ask(n, withEncoder(a)); len(got) == 0 || !sameHits(got, a.Hits) {
					t.Errorf("%s\ngot  %v\nwant %v", a.Question, got, a.Hits)
				}
			}
		})
	}
}

// withEncoder is a question that is refused until rows of its encoder are served.
func withEncoder(a answer) string {
	return fmt.Sprintf(`{"encoder":%q,%s`, a.Encoder, bytes.TrimSpace(a.Question)[1:])
}

// A builder folds what then was not folded, and what is committed now; collectors take what is not needed any more, and nothing is lost.
func TestPastIndexesGoOn(t *testing.T) {
	each(t, func(x *index) {
		before := x.newest()
		w := &writer{index: x, rng: newRand(), base: before.Produced + 1000}
		head, err := x.log.Head(t.Context(), 0, 0)
		if err != nil {
			x.Fatal(err)
		}
		if head.Next == before.Checkpoint["0"] {
			x.Fatal("all is folded")
		}
		m := x.build()
		if m.Generation <= before.Generation || m.LiveRows != before.LiveRows+10-1 { // late ones, other-9
			x.Errorf("generation %d with %d rows after %d with %d", m.Generation, m.LiveRows, before.Generation, before.LiveRows)
		}
		x.isSound()
		w.append(schemas.Commit{End: head.Next + 5, Watermark: w.base + head.Next + 4, Produced: w.base + head.Next + 4},
			w.rows(0, head.Next, head.Next+4, func(offset int64) string { return fmt.Sprint("now-", offset-head.Next) }),
			[]segment.Tombstone{{ID: "id-21", Order: w.order(0, head.Next+4)}}, nil)
		m = x.build()
		if want := before.LiveRows + 10 - 1 + 4 - 1; m.LiveRows != want {
			x.Errorf("%d live rows, want %d", m.LiveRows, want)
		}
		w.collect()
		x.isSound()
		if got := x.ask(x.node(), `{"like":"now-1","k":3,"exact":true}`); len(got) != 3 {
			x.Errorf("%v", got)
		}
	})
}

func TestPastQuarantineIsRead(t *testing.T) {
	each(t, func(x *index) {
		var got []ingest.Quarantined
		for q, err := range quarantine.Items(x.Context(), x.log, 0) {
			if err != nil {
				x.Fatal(err)
			}
			got = append(got, q)
		}
		want := []ingest.Quarantined{refused(0, 198, ingest.WholeMessage), refused(0, 199, 3)}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			x.Errorf("%v, want %v", got, want)
		}
		resolved, err := x.log.Resolved(x.Context(), 0)
		if err != nil || resolved[commit.Place{Offset: 199, Row: 3}].State != schemas.Replayed || resolved[commit.Place{Offset: 198, Row: -1}].State != schemas.Dropped {
			x.Errorf("%v, %v", resolved, err)
		}
		for sequence := range x.log.Promotions(x.Context()) {
			if _, err := x.log.Promotion(x.Context(), sequence); err != nil {
				x.Error(err)
			}
		}
	})
}

// recordKinds are the kinds of records, by the begin of their keys.
var recordKinds = map[string]string{"index.json": "spec", "commits/": "commit", "manifests/": "manifest", "pages/": "page", "channels/": "channel", "collections/": "collection", "resolved/": "resolution"}

var fileKinds = []string{schemas.KindSegment, schemas.KindRows, schemas.KindCodes, schemas.KindVectors, schemas.KindTombstones, schemas.KindDead, schemas.KindModel, schemas.KindQuarantine}

// kindOf is the kind of a record, or of a file, and its format.
func (x *index) kindOf(key string) (kind, format string) {
	x.Helper()
	body := x.get(key)
	if strings.HasSuffix(key, ".arrow") {
		r, err := ipc.NewFileReader(bytes.NewReader(body))
		if err != nil {
			x.Fatalf("%s: %v", key, err)
		}
		defer r.Close()
		md := r.Schema().Metadata()
		kind, _ = md.GetValue(schemas.MetaKind)
		format, _ = md.GetValue(schemas.MetaFormat)
		return kind, format
	}
	for prefix, kind := range recordKinds {
		if strings.HasPrefix(key, prefix) {
			var r struct{ Format int }
			if err := json.Unmarshal(body, &r); err != nil {
				x.Fatalf("%s: %v", key, err)
			}
			return kind, strconv.Itoa(r.Format)
		}
	}
	x.Fatalf("%s: of no kind", key)
	return "", ""
}

// Each format that this version reads is in an index of testdata. A test that fails here wants a new folder: see the package comment.
func TestEachFormatIsKept(t *testing.T) {
	kept := map[string]bool{}
	for _, folder := range folders(t) {
		x := stored(t, filepath.Join(folder, "index"))
		for _, key := range x.keys("") {
			if !strings.HasPrefix(key, "epochs/") {
				kind, format := x.kindOf(key)
				kept[kind+" "+format] = true
			}
		}
	}
	for _, f := range schemas.Formats() {
		kinds := []string{f.Kind}
		if f.Kind == "file" {
			kinds = fileKinds
		}
		for _, kind := range kinds {
			for _, format := range f.Reads {
				if name := fmt.Sprint(kind, " ", format); !kept[name] {
					t.Errorf("no index of testdata has %s; there are %v", name, slices.Sorted(maps.Keys(kept)))
				}
			}
		}
	}
}
