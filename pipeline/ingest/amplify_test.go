package ingest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/internal/mutate"
	"github.com/adastream/adastream/schemas"
)

// TestBadRowsDoNotMultiply: what a message has once and each of its bad rows would carry - a text of a dictionary, a name, a
// time zone - costs no more than a multiple of the message.
func TestBadRowsDoNotMultiply(t *testing.T) {
	const rows = 2000
	long := strings.Repeat("x", 200_000)
	bad := func(row string) string { return "[" + row + strings.Repeat(","+row, rows-1) + "]" }
	items := field(long, float32Type)
	listed := messageSchema(field("id", utf8Type), field("vector", arrow.ListOfField(items)))
	noted := messageSchema(field("id", utf8Type), field("vector", arrow.ListOfField(arrow.Field{Name: "item", Type: float32Type,
		Metadata: arrow.NewMetadata([]string{"k"}, []string{long})})))
	zoned := messageSchema(append(plainSchema.Fields(), field("seen", &arrow.TimestampType{Unit: arrow.Second, TimeZone: long}))...)
	op := messageSchema(append(plainSchema.Fields(), field("op", dictType))...)
	for name, message := range map[string][]byte{
		"op":                 messageOf(t, op, bad(fmt.Sprintf(`{"id":"a","vector":[1,2,3,4],"op":%q}`, long))),
		"name of items":      messageOf(t, listed, bad(`{"id":"a","vector":[]}`)),
		"metadata of items":  messageOf(t, noted, bad(`{"id":"a","vector":[]}`)),
		"time zone of a row": messageOf(t, zoned, bad(`{"id":"a","vector":[0,0,0,0]}`)),
	} {
		t.Run(name, func(t *testing.T) {
			limits := Limits{MaxMessage: 1 << 20, MaxUncompressed: 2 << 20}
			spec := testSpec()
			d, err := NewDecoder(spec, avx.Generic, limits, nil)
			if err != nil {
				t.Fatal(err)
			}
			out := &decoded{rows: segment.NewRows(spec)}
			before := mutate.Allocated()
			if err := d.Decode(Message{Topic: "topic", Value: message}, out.rows, &out.deletes, func(q Quarantined) { out.bad = append(out.bad, q) }); err != nil {
				t.Fatal(err)
			}
			if got := mutate.Allocated() - before; got > 32<<20 {
				t.Errorf("%d bytes allocated for a message of %d", got, len(message))
			}
			out.check(t, spec)
			if len(out.bad) != 1 || out.bad[0].Row != WholeMessage || out.rows.Len() > 0 {
				t.Fatalf("%d rows, %d quarantined, want the message as a whole", out.rows.Len(), len(out.bad))
			}
			if q := out.bad[0]; q.Reason == schemas.ReasonMalformed || !strings.Contains(q.Detail, "bytes") {
				t.Errorf("%v", q.Fault)
			}
		})
	}
}

// TestWindowsAreBounded: a frame of zstd cannot have a decompressor allocate 512 MiB for the 4 bytes that it holds, and those
// that writers make pass.
func TestWindowsAreBounded(t *testing.T) {
	good := messageOf(t, plainSchema, `[{"id":"a","vector":[1,0,0,0]}]`, ipc.WithZstd())
	head := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x00} // with a sum, a window of 1 KiB
	if !bytes.Contains(good, head) {
		t.Fatal("the library writes other frames now")
	}
	for _, test := range []struct {
		window byte
		want   string
	}{
		{13 << 3, ""},
		{13<<3 | 1, "zstd frame asks for a window of 9437184 bytes, allowed: 8388608"},
		{19 << 3, "zstd frame asks for a window of 536870912 bytes"},
		{31<<3 | 7, "zstd frame asks for a window of"},
	} {
		head[5] = test.window
		message := bytes.ReplaceAll(good, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x00}, head)
		before := mutate.Allocated()
		got := decode(t, testSpec(), Limits{}, message)
		if spent := mutate.Allocated() - before; spent > 64<<20 {
			t.Errorf("window %#x: %d bytes allocated", test.window, spent)
		}
		switch {
		case test.want == "":
			if got.rows.Len() != 1 {
				t.Errorf("window %#x: %v", test.window, got.bad)
			}
		case len(got.bad) != 1 || got.bad[0].Reason != schemas.ReasonTooLarge || !strings.HasPrefix(got.bad[0].Detail, test.want):
			t.Errorf("window %#x: %v, want %q", test.window, got.bad, test.want)
		}
	}
}
