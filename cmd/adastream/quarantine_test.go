package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// payloadOf is a stream of rows in JSON with an id, a vector of 8 values and a title.
func payloadOf(t *testing.T, rows string) []byte {
	t.Helper()
	md := arrow.MetadataFrom(map[string]string{schemas.MetaEncoder: "mini"})
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "vector", Type: arrow.FixedSizeListOf(8, arrow.PrimitiveTypes.Float32), Nullable: true},
		{Name: "title\x1b[2J", Type: arrow.BinaryTypes.String, Nullable: true},
	}, &md)
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(rows))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := produce.Encode(batch)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

var spaces = regexp.MustCompile(` +`)

func TestShowQuarantined(t *testing.T) {
	row := payloadOf(t, `[{"id":null,"vector":[1,2,3,4,5,6,7.5,8],"title\u001b[2J":"a\nb"}]`)
	many := payloadOf(t, `[{"id":"`+strings.Repeat("x", 200)+`"}`+strings.Repeat(`,{"id":"1"}`, 8)+`]`)
	arrow, single := schemas.Spec{}, schemas.Spec{Messages: &schemas.Messages{Format: schemas.MessagesJSON}}
	for name, c := range map[string]struct {
		spec    schemas.Spec
		row     int32
		payload []byte
		want    []string
		not     []string
	}{
		"a row": {arrow, 3, row, []string{"docs, partition 2, offset 77, row 3\n", "reason null_id\n", "timestamp 2023-11-14T22:13:20.123Z\n", " bytes, 1 row\n",
			" id utf8 null\n", "[1, 2, 3, 4, 5, 6, ...] of 8\n", `"title\x1b[2J"`, `"a\nb"`}, []string{"\x1b", "7.5"}},
		"a message": {arrow, ingest.WholeMessage, many, []string{"offset 77, message\n", " bytes, 9 rows\n", `xxx"...`, "... and 4 more rows\n"}, []string{strings.Repeat("x", 121)}},
		"rubbish":   {arrow, ingest.WholeMessage, []byte("rub\x1bbish" + strings.Repeat("-", 100)), []string{"108 bytes, unreadable: malformed: ", `"rub\x1bbish---`, `"...`}, []string{"\x1b"}},
		"nothing":   {arrow, ingest.WholeMessage, nil, []string{"0 bytes, unreadable: malformed: "}, nil},
		"JSON":      {single, ingest.WholeMessage, []byte("{\"id\":\n\"\xff\x1b\",\"x\":\"" + strings.Repeat("x", 3000)), []string{" 3017 bytes\n", ` {"id":\n"` + "\ufffd" + `\x1b","x":"xxx`, "xx...\n"}, []string{"\x1b", strings.Repeat("x", 2000)}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			q := ingest.Quarantined{Topic: "docs", Partition: 2, Offset: 77, Row: c.row, Fault: schemas.Fault{Reason: schemas.ReasonNullID, Detail: "id is null"}, Timestamp: 1_700_000_000_123, Payload: c.payload}
			if err := showQuarantined(&out, &c.spec, q, nil); err != nil {
				t.Fatal(err)
			}
			narrow := spaces.ReplaceAllString(out.String(), " ")
			for _, want := range c.want {
				if !strings.Contains(narrow, want) {
					t.Errorf("does not say %q:\n%s", want, &out)
				}
			}
			for _, not := range c.not {
				if strings.Contains(out.String(), not) {
					t.Errorf("says %q:\n%s", not, &out)
				}
			}
		})
	}
}

// TestQuarantineCommands: what is chosen is replayed or dropped, the rest stays, and neither happens twice.
func TestQuarantineCommands(t *testing.T) {
	client := sourcetest.Topic(t, 2, nil)
	spec := schemas.Spec{Name: "docs", Ladder: []int{8}, Encoder: "mini", Topic: schemas.Topic{Name: client.Options().Topic, Partitions: 2}}.WithDefaults()
	at := cli.Store{Store: t.TempDir()}
	b, err := store.Open(t.Context(), at.Store, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := commit.Create(t.Context(), b, &spec); err != nil {
		t.Fatal(err)
	}
	index, err := commit.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	good, bad := payloadOf(t, `[{"id":"a","vector":[1,2,3,4,5,6,7,8]}]`), payloadOf(t, `[{"id":"a","vector":[0,0,0,0,0,0,0,0]}]`)
	refused := func(offset int64, row int32, reason string, payload []byte) ingest.Quarantined {
		return ingest.Quarantined{Topic: spec.Topic.Name, Partition: 1, Offset: offset, Row: row, Fault: schemas.Fault{Reason: reason, Detail: "because"}, Payload: payload}
	}
	body, err := ingest.WriteQuarantine([]ingest.Quarantined{
		refused(3, ingest.WholeMessage, schemas.ReasonTooLarge, good), refused(4, 0, schemas.ReasonZero, bad), refused(4, 2, schemas.ReasonZero, bad), refused(5, ingest.WholeMessage, schemas.ReasonMalformed, []byte("x")),
	})
	if err != nil {
		t.Fatal(err)
	}
	object, err := index.PutQuarantine(t.Context(), 1, 0, body)
	if err != nil {
		t.Fatal(err)
	}
	record := &schemas.Commit{Format: 1, Partition: 1, End: 6, Quarantine: &object, Quarantined: map[string]int{schemas.ReasonTooLarge: 1, schemas.ReasonZero: 2, schemas.ReasonMalformed: 1}, Writer: "w"}
	if err := index.Append(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	l := &cli.Logging{}
	mended := filepath.Join(t.TempDir(), "mended.arrows")
	if err := os.WriteFile(mended, good, 0o600); err != nil {
		t.Fatal(err)
	}
	replay := func(choice quarantineChoice, from string, evenIfNewer bool) error {
		c := quarantineReplayCommand{Index: cli.Index{Store: at}, Kafka: cli.Kafka{Brokers: client.Options().Brokers}, quarantineChoice: choice, From: from, To: -1, EvenIfNewer: evenIfNewer, Dir: t.TempDir()}
		return c.Run(t.Context(), l)
	}
	later := func() error { // a version of "a" after all that was refused
		body, err := segment.WriteTombstones([]segment.Tombstone{{ID: "a", Order: segment.Order{Partition: 1, Offset: 6}}})
		if err != nil {
			return err
		}
		o, err := index.PutTombstones(t.Context(), 1, 6, body)
		if err != nil {
			return err
		}
		return index.Append(t.Context(), &schemas.Commit{Format: 1, Partition: 1, Start: 6, End: 7, Tombstones: &o, Deletes: 1, Writer: "w"})
	}
	drop := func(choice quarantineChoice) error {
		c := quarantineDropCommand{Index: cli.Index{Store: at}, quarantineChoice: choice, Why: "rubbish"}
		return c.Run(t.Context(), l)
	}
	all, row := quarantineChoice{Partition: -1, Offset: -1, Everything: true}, int32(2)
	for _, step := range []struct {
		what string
		do   func() error
		want string // of the error
		left int    // in quarantine
		log  int64  // messages in the topic
	}{
		{"nothing chosen", func() error { return drop(quarantineChoice{Partition: -1, Offset: -1}) }, "--everything", 4, 0},
		{"offset of no partition", func() error { return drop(quarantineChoice{Partition: -1, Offset: 4}) }, "needs --partition", 4, 0},
		{"no such partition", func() error { return drop(quarantineChoice{Partition: 2, Offset: -1}) }, "allowed: 0 to 1", 4, 0},
		{"all as it is", func() error { return replay(all, "", false) }, "3 of 4 were not replayed", 3, 1},
		{"once more", func() error { return replay(quarantineChoice{Partition: 1, Offset: 3}, "", false) }, "none of what is chosen", 3, 1},
		{"two at once", func() error { return replay(quarantineChoice{Partition: 1, Offset: 4}, mended, false) }, "2 messages and rows match", 3, 1},
		{"a later version", later, "", 3, 1},
		{"mended too late", func() error { return replay(quarantineChoice{Partition: 1, Offset: 4, Row: &row}, mended, false) }, "1 of 1 were not replayed", 3, 1},
		{"mended", func() error { return replay(quarantineChoice{Partition: 1, Offset: 4, Row: &row}, mended, true) }, "", 2, 2},
		{"by reason", func() error {
			return drop(quarantineChoice{Partition: -1, Offset: -1, Reason: schemas.ReasonMalformed})
		}, "", 1, 2},
		{"the rest", func() error { return drop(all) }, "", 0, 2},
	} {
		err := step.do()
		if (err == nil) != (step.want == "") || err != nil && !strings.Contains(err.Error(), step.want) {
			t.Fatalf("%s: %v, want %q", step.what, err, step.want)
		}
		resolved, err := index.Resolved(t.Context(), 1)
		if err != nil || 4-len(resolved) != step.left {
			t.Errorf("%s: resolved %+v, %v, want %d left", step.what, resolved, err, step.left)
		}
		if bounds, err := client.Bounds(t.Context(), 1); err != nil || bounds.End != step.log {
			t.Errorf("%s: the log is %+v, %v, want %d messages", step.what, bounds, err, step.log)
		}
	}
	list := stdout(t, func() error {
		return (&quarantineLsCommand{Index: cli.Index{Store: at}, Partition: -1, All: true, JSON: true}).Run(t.Context(), l)
	})
	show := stdout(t, func() error {
		return (&quarantineShowCommand{Index: cli.Index{Store: at}, Partition: 1, Offset: 4, JSON: true}).Run(t.Context(), l)
	})
	lines := slices.Collect(strings.Lines(list))
	if !strings.Contains(list, show) || strings.Count(show, "\n") != 2 {
		t.Errorf("show prints\n%s\nand ls\n%s", show, list)
	}
	if len(lines) != 4 {
		t.Errorf("%d lines:\n%s", len(lines), list)
	}
	for _, line := range lines {
		var r listedRefusal
		if described(t, "quarantine-ls", line, &r); r.Partition != 1 || r.Offset < 3 || r.Detail != "because" || len(r.Payload) == 0 || r.Resolution == nil || !r.Resolution.Final() {
			t.Errorf("quarantine ls: %s", line)
		}
	}
}

// TestQuarantineTextIsQuoted: what a message or an operator wrote cannot steer the terminal or feign a line.
func TestQuarantineTextIsQuoted(t *testing.T) {
	const hostile = "x\x1b[2J\nfeigned\tpartition 0\u202e"
	q := ingest.Quarantined{Topic: hostile, Fault: schemas.Fault{Reason: hostile, Detail: strings.Repeat("d", 300) + hostile}, Payload: payloadOf(t, `[{"id":"a"}]`)}
	for _, state := range []string{schemas.Replaying, schemas.Replayed, schemas.Dropped} {
		r := &schemas.Resolution{State: state, By: hostile, Reason: hostile}
		var list, show strings.Builder
		if err := (&quarantineLsCommand{}).print(&list, q, r); err != nil {
			t.Fatal(err)
		}
		if err := showQuarantined(&show, &schemas.Spec{}, q, r); err != nil {
			t.Fatal(err)
		}
		if strings.Count(list.String(), "\t") != 5 || strings.Count(list.String(), "\n") != 1 {
			t.Errorf("%s: not one line of six columns: %q", state, list.String())
		}
		for _, text := range []string{list.String(), show.String()} {
			if strings.ContainsAny(text, "\x1b\u202e") || strings.Contains(text, "\nfeigned") {
				t.Errorf("%s: not quoted: %q", state, text)
			}
			if !strings.Contains(text, `ddd`+`x\x1b[2J\n`) {
				t.Errorf("%s: the detail is cut: %q", state, text)
			}
		}
	}
}

// TestHandledJSON: of each that is chosen scripts read what became of it, also when not all is well.
func TestHandledJSON(t *testing.T) {
	chosen := []ingest.Quarantined{{Partition: 1, Offset: 3, Row: ingest.WholeMessage}, {Partition: 1, Offset: 4, Row: 2}}
	for name, ill := range map[string]error{"quarantine-replay": errors.New("ill"), "quarantine-drop": nil} {
		state := map[string]string{"quarantine-replay": schemas.Replayed, "quarantine-drop": schemas.Dropped}[name]
		var err error
		out := stdout(t, func() error {
			err = handling{JSON: true}.each(t.Context(), chosen, 1, state, func(q ingest.Quarantined) error {
				if q.Row == 2 {
					return ill
				}
				return nil
			})
			return nil
		})
		var got handled
		described(t, name, out, &got)
		want := handled{Done: 2, Items: []handledItem{{1, 3, -1, state, ""}, {1, 4, 2, state, ""}}}
		if ill != nil {
			want = handled{Done: 1, Failed: 1, Items: []handledItem{{1, 3, -1, state, ""}, {1, 4, 2, "", "ill"}}}
		}
		if !reflect.DeepEqual(got, want) || (err != nil) != (ill != nil) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
		}
	}
}

// TestEachInterrupted: who is told to stop between two says what is done, and does not end well.
func TestEachInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	done := 0
	var err error
	out := stdout(t, func() error {
		err = handling{}.each(ctx, make([]ingest.Quarantined, 3), 1, schemas.Dropped, func(ingest.Quarantined) error {
			if done++; done == 2 {
				stop()
			}
			return nil
		})
		return nil
	})
	if !errors.Is(err, context.Canceled) || done != 2 || strings.Count(out, "ok ") != 2 {
		t.Errorf("%d are done, it ends with %v and prints\n%s", done, err, out)
	}
}

// Many go at a time, what became of them is said in their order, and what was done when it was interrupted is said too.
func TestHandledAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		stopped := errors.New("stopped")
		chosen := make([]ingest.Quarantined, 40)
		for i := range chosen {
			chosen[i].Offset = int64(i)
		}
		var all handled
		var said []int64
		begun := time.Now()
		err := all.each(ctx, chosen, 16, schemas.Dropped, func(q ingest.Quarantined) error {
			time.Sleep(time.Second - time.Duration(q.Offset)*time.Millisecond) // the last ones end first
			switch {
			case q.Offset == 3:
				return errors.ErrUnsupported
			case q.Offset == 30:
				cancel(stopped)
				return stopped
			}
			return nil
		}, func(at commit.Place, _ error) { said = append(said, at.Offset) })
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("32 of a second each took %v, 16 at a time", took)
		}
		if !errors.Is(err, stopped) || all.Done != 30 || all.Failed != 1 || len(all.Items) != 31 || all.Items[3].Fault == "" || !slices.IsSorted(said) || len(said) != 31 {
			t.Errorf("%v, %d done, %d failed, said %v", err, all.Done, all.Failed, said)
		}
	})
}
