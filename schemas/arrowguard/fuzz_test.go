package arrowguard_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/internal/mutate"
	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/arrowguard"
	"github.com/adastream/adastream/schemas/arrowguard/arrowguardtest"
)

func FuzzGuard(f *testing.F)  { mutate.Fuzz(f, guarding) }
func FuzzStream(f *testing.F) { mutate.Fuzz(f, readingStreams) }
func FuzzFile(f *testing.F)   { mutate.Fuzz(f, readingFiles) }

func TestMutations(t *testing.T) {
	mutate.Run(t, map[string]mutate.Target{"FuzzGuard": guarding, "FuzzStream": readingStreams, "FuzzFile": readingFiles})
}

// fuzzLimits are small, so that inputs reach them.
var fuzzLimits = arrowguard.Limits{MaxMessage: 1 << 20, MaxUncompressed: 1 << 20, MaxRows: 1 << 12}

// budgetSlack is for what else allocates meanwhile, such as a fuzzer, and for small objects of before, which are counted late.
const budgetSlack = 4 << 20

// guarding: whatever a message is, guarding it costs no memory to speak of, and a fault says what is wrong.
func guarding(t testing.TB) ([][]byte, func(testing.TB, []byte)) {
	return arrowguardtest.Messages(t), func(t testing.TB, message []byte) {
		before := mutate.Allocated()
		err := arrowguard.Check(message, fuzzLimits)
		if got := mutate.Allocated() - before; got > budgetSlack {
			t.Fatalf("%d bytes allocated for %d, allowed: %d", got, len(message), budgetSlack)
		}
		var fault *schemas.Fault
		if err != nil && (!errors.As(err, &fault) || fault.Reason == "" || fault.Detail == "" || len(fault.Detail) > schemas.MaxDetail) {
			t.Fatalf("guard says %v", err)
		}
	}
}

// fuzzTables are limits of tables, small for the same reason.
var fuzzTables = arrowguard.Limits{Table: true, MaxMessage: 1 << 20, MaxUncompressed: 1 << 20, MaxRows: 1 << 12, MaxColumns: 1 << 8}

// readingStreams: whatever a stream is, it is refused, or costs the library no more than its budget. The guard agrees with itself about
// streams in memory.
func readingStreams(t testing.TB) ([][]byte, func(testing.TB, []byte)) {
	seeds, _ := arrowguardtest.Tables(t)
	return append(seeds, arrowguardtest.Messages(t)...), func(t testing.TB, stream []byte) {
		read(t, len(stream), func() (ipc.MessageReader, error) {
			return arrowguard.NewReader(bytes.NewReader(stream), fuzzTables).Messages(), nil
		})
		r := arrowguard.NewReader(bytes.NewReader(stream), fuzzTables)
		_, err := r.Next()
		for err == nil {
			_, err = r.Next()
		}
		if alone := arrowguard.Check(stream, fuzzTables); alone == nil && !errors.Is(err, io.EOF) {
			t.Fatalf("%v, and in memory it is good", err)
		}
	}
}

// readingFiles is readingStreams of files.
func readingFiles(t testing.TB) ([][]byte, func(testing.TB, []byte)) {
	_, seeds := arrowguardtest.Tables(t)
	return seeds, func(t testing.TB, file []byte) {
		read(t, len(file), func() (ipc.MessageReader, error) {
			f, err := arrowguard.NewFile(bytes.NewReader(file), int64(len(file)), fuzzTables)
			if err != nil {
				return nil, err
			}
			if _, err := f.Rows(); err != nil {
				return nil, err
			}
			return f.Messages(), nil
		})
	}
}

// read has the library read what is guarded, and holds what opening it and each of its batches may allocate: some times the bytes that there
// are and that they may have after decompression, and some slack. It may panic, which is an error to all that read tables.
func read(t testing.TB, size int, open func() (ipc.MessageReader, error)) {
	var before uint64
	spent := func(what string) {
		most := uint64(budgetSlack + 64*size + 16*(int(fuzzTables.MaxUncompressed)+64*size))
		if got := mutate.Allocated() - before; got > most {
			t.Fatalf("%s: %d bytes allocated for %d, allowed: %d", what, got, size, most)
		}
	}
	defer func() {
		if recover() != nil {
			spent("panic")
		}
	}()
	before = mutate.Allocated()
	messages, err := open()
	if err != nil {
		spent("opening")
		return
	}
	r, err := ipc.NewReaderFromMessageReader(messages)
	spent("opening")
	if err != nil {
		return
	}
	for before = mutate.Allocated(); r.Next(); before = mutate.Allocated() {
		_ = array.ValidateRecordFull(r.RecordBatch())
		spent("a batch")
	}
	spent("the end")
}
