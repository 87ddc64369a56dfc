package ingest

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/schemas"
)

var quarantined = []Quarantined{
	{Topic: "t", Partition: 1, Offset: 1 << 40, Row: WholeMessage, Fault: schemas.Fault{Reason: schemas.ReasonMalformed, Detail: "cut"}, Timestamp: 5, Payload: []byte("rubbish")},
	{Topic: "t", Partition: 1, Offset: 1<<40 + 1, Row: 0, Fault: schemas.Fault{Reason: schemas.ReasonDims, Detail: "3 values"}, Timestamp: 6, Payload: []byte{0, 1, 2}},
	{Topic: "t", Partition: 1, Offset: 1<<40 + 1, Row: 7, Fault: schemas.Fault{Reason: schemas.ReasonZero, Detail: "zero"}, Timestamp: 6, Payload: []byte{}},
}

func TestQuarantineFile(t *testing.T) {
	data, err := WriteQuarantine(quarantined)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadQuarantine("q", data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, quarantined) {
		t.Errorf("read %+v, want %+v", got, quarantined)
	}
	r, err := ipc.NewFileReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.NumRecords() != 1 {
		t.Errorf("%d batches, want 1", r.NumRecords())
	}
	if kind, _ := r.Schema().Metadata().GetValue(schemas.MetaKind); kind != schemas.KindQuarantine {
		t.Errorf("kind %q", kind)
	}
}

// TestQuarantineFileCorrupt: no cut and no flipped bit makes the reader panic, and what it cannot read wraps ErrCorrupt
// and names the object.
func TestQuarantineFileCorrupt(t *testing.T) {
	data, err := WriteQuarantine(quarantined)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, at int, broken []byte) {
		if _, err := ReadQuarantine("q/1", broken); err != nil && (!errors.Is(err, schemas.ErrCorrupt) || !strings.Contains(err.Error(), "q/1")) {
			t.Errorf("%s at %d: %v", what, at, err)
		}
	}
	for end := range data {
		if _, err := ReadQuarantine("q/1", data[:end]); !errors.Is(err, schemas.ErrCorrupt) {
			t.Errorf("cut at %d: %v", end, err)
		}
	}
	for at := range data {
		broken := bytes.Clone(data)
		broken[at] ^= 1 << (at % 8)
		check("flip", at, broken)
	}
	other := streamOf(t, plainSchema, nil)
	check("stream", 0, other)
}

// A later format is refused as such, whatever else of it is not known here.
func TestQuarantineFileOfLaterFormat(t *testing.T) {
	metadata := arrow.NewMetadata([]string{schemas.MetaKind, schemas.MetaFormat}, []string{schemas.KindQuarantine, "2"})
	var out bytes.Buffer
	w, err := ipc.NewFileWriter(&out, ipc.WithSchema(arrow.NewSchema([]arrow.Field{{Name: "news", Type: arrow.BinaryTypes.String}}, &metadata)))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = ReadQuarantine("q/1", out.Bytes())
	const want = `adastream.format "2" is not known here, allowed: "1"; a later version of Adastream wrote it`
	if !errors.Is(err, schemas.ErrCorrupt) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want an error with %s", err, want)
	}
}

func TestFaultDetail(t *testing.T) {
	f := schemas.Faultf(schemas.ReasonOp, "%s", strings.Repeat("é", 1000)+"\xff")
	if len(f.Detail) > schemas.MaxDetail || !strings.HasSuffix(f.Detail, "é...") {
		t.Errorf("detail of %d bytes ends in %q", len(f.Detail), f.Detail[len(f.Detail)-8:])
	}
	if got := schemas.Faultf(schemas.ReasonOp, "a\xffb").Detail; got != "a\ufffdb" {
		t.Errorf("detail %q", got)
	}
}
