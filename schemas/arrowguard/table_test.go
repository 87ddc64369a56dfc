package arrowguard_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/arrowguard"
	"github.com/adastream/adastream/schemas/arrowguard/arrowguardtest"
)

var tables = arrowguard.Limits{Table: true}

// rowsOf are the rows of a reader as text.
func rowsOf(t testing.TB, r *ipc.Reader, err error) (rows []string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for r.Next() {
		rows = append(rows, textOf(t, r.RecordBatch()))
	}
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	return rows
}

func textOf(t testing.TB, b arrow.RecordBatch) string {
	t.Helper()
	return fmt.Sprint(b.Schema(), b)
}

// TestTables: streams and files of all types are read as the library alone reads them, whole, in bits and from memory.
func TestTables(t *testing.T) {
	streams, files := arrowguardtest.Tables(t)
	for _, stream := range streams {
		alone, err := ipc.NewReader(bytes.NewReader(stream))
		want := rowsOf(t, alone, err)
		for name, open := range map[string]func() (*ipc.Reader, error){
			"memory": func() (*ipc.Reader, error) { return arrowguard.Open(stream, tables) },
			"stream": func() (*ipc.Reader, error) {
				return ipc.NewReaderFromMessageReader(arrowguard.NewReader(bytes.NewReader(stream), tables).Messages())
			},
			"bits": func() (*ipc.Reader, error) {
				return ipc.NewReaderFromMessageReader(arrowguard.NewReader(iotest.HalfReader(bytes.NewReader(stream)), tables).Messages())
			},
		} {
			r, err := open()
			if got := rowsOf(t, r, err); !slices.Equal(got, want) {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	}
	for _, file := range files {
		alone, err := ipc.NewFileReader(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		rows := int64(0)
		for i := range alone.NumRecords() {
			b, err := alone.RecordBatch(i)
			if err != nil {
				t.Fatal(err)
			}
			want, rows = append(want, textOf(t, b)), rows+b.NumRows()
		}
		f, err := arrowguard.NewFile(bytes.NewReader(file), int64(len(file)), tables)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := f.Rows(); got != rows || err != nil {
			t.Errorf("%d rows, %v, want %d", got, err, rows)
		}
		r, err := ipc.NewReaderFromMessageReader(f.Messages())
		if got := rowsOf(t, r, err); !slices.Equal(got, want) {
			t.Errorf("file: %s, want %s", got, want)
		}
	}
}

// TestMessagesAreNoTables: what only tables may have is refused in a message.
func TestMessagesAreNoTables(t *testing.T) {
	for _, f := range arrowguardtest.AllTypes().Fields() {
		stream := arrowguardtest.Stream(t, arrowguardtest.Schema(f), nil)
		if err := arrowguard.Check(stream, tables); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		err := arrowguard.Check(stream, arrowguard.Limits{})
		var fault *schemas.Fault
		if err != nil && (!errors.As(err, &fault) || fault.Reason != schemas.ReasonSchema) {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
}

// TestLies: what claims more than a GiB is refused, whether it lies in memory, in a stream or in a file, and costs nothing to speak of.
func TestLies(t *testing.T) {
	refused := func(err error) {
		t.Helper()
		var fault *schemas.Fault
		if !errors.As(err, &fault) {
			t.Errorf("%v", err)
		}
		t.Log(err)
	}
	for name, lie := range arrowguardtest.Streams(t, arrowguardtest.Plain(t)) {
		for _, limits := range []arrowguard.Limits{{}, tables} {
			t.Run("stream of "+name, func(*testing.T) {
				arrowguardtest.Budget(t, func() {
					refused(arrowguard.Check(lie, limits))
					r := arrowguard.NewReader(bytes.NewReader(lie), limits)
					_, err := r.Next()
					for err == nil {
						_, err = r.Next()
					}
					refused(err)
				})
			})
		}
	}
	batch := arrowguardtest.Batch(t, arrowguardtest.PlainSchema, `[{"id":"a","vector":[1,0,0,0]}]`)
	good := arrowguardtest.File(t, arrowguardtest.PlainSchema, []arrow.RecordBatch{batch}, ipc.WithZstd())
	for name, lie := range arrowguardtest.Files(t, good) {
		t.Run("file of "+name, func(*testing.T) {
			arrowguardtest.Budget(t, func() {
				f, err := arrowguard.NewFile(bytes.NewReader(lie), int64(len(lie)), tables)
				for err == nil {
					_, err = f.Next()
				}
				refused(err)
			})
		})
	}
}

// TestFileIsRefused: whatever the footer says that the file is not.
func TestFileIsRefused(t *testing.T) {
	batch := arrowguardtest.Batch(t, arrowguardtest.PlainSchema, `[{"id":"a","vector":[1,0,0,0]}]`)
	good := arrowguardtest.File(t, arrowguardtest.PlainSchema, []arrow.RecordBatch{batch, batch})
	const batches = 3 // slot of the footer
	footer := func(change func(f arrowguardtest.Table, blocks []byte)) []byte {
		file := slices.Clone(good)
		f := arrowguardtest.FooterOf(file)
		start, n := f.Vector(batches)
		change(f, f.Bytes[start:start+24*n])
		return file
	}
	for want, file := range map[string][]byte{
		"file of 5 bytes is none of Arrow":          good[:5],
		"is cut: it does not end with ARROW1":       good[:len(good)-1],
		"message 1 of the footer claims":            footer(func(_ arrowguardtest.Table, b []byte) { copy(b[24:], b[:24]); b[24+16]++ }),
		"there, and says":                           footer(func(_ arrowguardtest.Table, b []byte) { b[16] += 8 }),
		"message 2 of the footer claims":            footer(func(f arrowguardtest.Table, _ []byte) { f.PutCount(batches, 3) }),
		"bytes of metadata there, and says":         footer(func(_ arrowguardtest.Table, b []byte) { b[8] -= 8 }),
		"no message begins at ":                     footer(func(_ arrowguardtest.Table, b []byte) { b[0] += 8; b[16] -= 8 }),
		"message 0 of the footer is of kind 1, nee": footer(func(_ arrowguardtest.Table, b []byte) { copy(b, schemaBlock(good)) }),
	} {
		f, err := arrowguard.NewFile(bytes.NewReader(file), int64(len(file)), tables)
		for err == nil {
			_, err = f.Next()
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := arrowguard.NewFile(iotestReaderAt{}, 1000, tables); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("reading fails: %v", err)
	}
}

// schemaBlock is a block of the schema that a file begins with.
func schemaBlock(file []byte) []byte {
	b := make([]byte, 24)
	b[0] = 8
	copy(b[8:], file[12:16])
	b[8] += 8
	return b
}

type iotestReaderAt struct{}

func (iotestReaderAt) ReadAt([]byte, int64) (int, error) { return 0, io.ErrNoProgress }

// TestBatchesDoNotMultiply: a footer that names one large batch many times does not have it read so often.
func TestBatchesDoNotMultiply(t *testing.T) {
	small := arrowguardtest.Batch(t, arrowguardtest.PlainSchema, `[{"id":"a","vector":[1,0,0,0]}]`)
	large := arrowguardtest.Batch(t, arrowguardtest.PlainSchema, `[{"id":"`+strings.Repeat("x", 100_000)+`","vector":[1,0,0,0]}]`)
	file := arrowguardtest.File(t, arrowguardtest.PlainSchema, append(slices.Repeat([]arrow.RecordBatch{small}, 10), large))
	f := arrowguardtest.FooterOf(file)
	start, n := f.Vector(3)
	blocks := f.Bytes[start : start+24*n]
	for i := range n {
		copy(blocks[24*i:], blocks[24*(n-1):])
	}
	if _, err := arrowguard.NewFile(bytes.NewReader(file), int64(len(file)), tables); err == nil || !strings.Contains(err.Error(), "message 1 of the footer claims") {
		t.Errorf("%v", err)
	}
}
