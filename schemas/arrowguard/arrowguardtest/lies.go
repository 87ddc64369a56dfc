package arrowguardtest

import (
	"encoding/binary"
	"runtime"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/schemas/arrowguard"
)

// Much is more than any of the lies may have a reader allocate, in bytes; each claims more than a GiB.
const Much = 64 << 20

// Slots of the tables in Arrow's Message.fbs, Schema.fbs and File.fbs that lies are told in.
const (
	messageBodyLength             = 3
	schemaFields, schemaMetadata  = 1, 2
	batchBuffers                  = 2
	footerSchema, footerBatches   = 1, 3
	blockMetadata, blockBody      = 8, 16 // offsets in a block of a file
	claimed                       = 3 << 29
	claimedFields, claimedEntries = 1 << 25, 1 << 27
)

// Budget runs what reads a lie, and fails if that allocates [Much].
func Budget(t testing.TB, read func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	read()
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > Much {
		t.Errorf("%d MiB allocated, allowed: %d", got>>20, Much>>20)
	}
}

// Streams are streams that claim to be of more than a GiB, made of a good one whose second message is a batch.
func Streams(t testing.TB, good []byte) map[string][]byte {
	edit := func(change func(f []arrowguard.Frame)) []byte {
		stream := slices.Clone(good)
		change(Frames(t, stream))
		return stream
	}
	long := slices.Clone(good)
	binary.LittleEndian.PutUint32(long[4:], claimed)
	return map[string][]byte{
		"fields":      edit(func(f []arrowguard.Frame) { Header(f[schemaFrame]).PutCount(schemaFields, claimedFields) }),
		"entries":     edit(func(f []arrowguard.Frame) { Header(f[schemaFrame]).PutCount(schemaMetadata, claimedEntries) }),
		"body":        edit(func(f []arrowguard.Frame) { Root(f[batchFrame].Metadata).Put(messageBodyLength, claimed) }),
		"metadata":    long,
		"compression": compressed(t),
	}
}

// compressed is a stream of a batch of which the last buffer claims to be much.
func compressed(t testing.TB) []byte {
	stream := Message(t, PlainSchema, `[{"id":"a","vector":[1,0,0,0]}]`, ipc.WithZstd())
	f := Frames(t, stream)[batchFrame]
	claim(f, claimed)
	return stream
}

// claim has the last buffer of a compressed batch be of so many bytes.
func claim(f arrowguard.Frame, size uint64) {
	start, n := Header(f).Vector(batchBuffers)
	at := int64(binary.LittleEndian.Uint64(f.Metadata[start+16*(n-1):]))
	binary.LittleEndian.PutUint64(f.Body[at:], size)
}

// FooterOf is the Footer table of a good file; changing it changes the file.
func FooterOf(file []byte) Table {
	end := len(file) - 10 // before the length and the magic
	return Root(file[end-int(binary.LittleEndian.Uint32(file[end:])) : end])
}

// Files are files that claim to be of more than a GiB, made of a good one with metadata, whose first batch is compressed.
func Files(t testing.TB, good []byte) map[string][]byte {
	edit := func(change func(file []byte, footer Table)) []byte {
		file := slices.Clone(good)
		change(file, FooterOf(file))
		return file
	}
	block := func(footer Table) []byte {
		start, _ := footer.Vector(footerBatches)
		return footer.Bytes[start:]
	}
	long := slices.Clone(good)
	binary.LittleEndian.PutUint32(long[len(long)-10:], claimed)
	return map[string][]byte{
		"footer":   long,
		"fields":   edit(func(_ []byte, f Table) { f.Child(footerSchema).PutCount(schemaFields, claimedFields) }),
		"entries":  edit(func(_ []byte, f Table) { f.Child(footerSchema).PutCount(schemaMetadata, claimedEntries) }),
		"blocks":   edit(func(_ []byte, f Table) { f.PutCount(footerBatches, claimedFields) }),
		"metadata": edit(func(_ []byte, f Table) { binary.LittleEndian.PutUint32(block(f)[blockMetadata:], claimed) }),
		"body":     edit(func(_ []byte, f Table) { binary.LittleEndian.PutUint64(block(f)[blockBody:], claimed) }),
		"compression": edit(func(file []byte, f Table) {
			at := int(binary.LittleEndian.Uint64(block(f)))
			metadata := at + prefixBytes
			body := at + int(binary.LittleEndian.Uint32(block(f)[blockMetadata:]))
			claim(arrowguard.Frame{Metadata: file[metadata:body], Body: file[body:]}, claimed)
		}),
	}
}
