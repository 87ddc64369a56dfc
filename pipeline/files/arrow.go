package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

const (
	fileMagic    = "ARROW1"
	continuation = "\xff\xff\xff\xff" // before each message of a stream, since Arrow 0.15

	maxStream = 2 << 30 // bytes of a batch, or of one of its buffers after decompression, whatever the size of what it is in
)

var errNotArrow = errors.New("neither an Arrow IPC file nor a stream")

// Arrow reads an Arrow IPC file from f if f can seek and is one, else a stream, with the columns as they are. It counts
// the rows of a file, and so reads all of it. A stream must have its end-of-stream mark, as those of messages and queries must.
func Arrow(f io.Reader) (r *Reader, err error) {
	defer damaged(&err)
	size := int64(-1)
	at, ok := f.(ipc.ReadAtSeeker)
	if ok {
		if size, err = at.Seek(0, io.SeekEnd); err == nil {
			_, err = at.Seek(0, io.SeekStart)
		}
		ok = err == nil // else a pipe
	}
	head := make([]byte, len(fileMagic))
	n, err := io.ReadFull(f, head)
	switch head = head[:n]; {
	case string(head) == fileMagic && ok:
		r, err := ipc.NewFileReader(at, arrowOptions(size)...)
		if err != nil {
			return nil, fmt.Errorf("an Arrow IPC file that is cut or damaged: %w", err)
		}
		return arrowFile(r)
	case string(head) == fileMagic:
		return nil, errors.New("an Arrow IPC file is read from its end: it cannot be a stream")
	case !bytes.HasPrefix(head, []byte(continuation)):
		return nil, fmt.Errorf("%w: it begins with % x, allowed: %s, or % x", errNotArrow, head, fileMagic, continuation)
	case err != nil:
		return nil, fmt.Errorf("an Arrow stream that is cut: %w", err)
	}
	return arrowStream(io.MultiReader(bytes.NewReader(head), f), size)
}

// arrowOptions let the library make room for no more than what has so many bytes, -1 for any number, could hold: it does so before it reads.
func arrowOptions(size int64) []ipc.Option {
	most := int64(maxStream)
	if size >= 0 {
		most = max(size, min(maxStream, max(minPage, size*compression)))
	}
	return []ipc.Option{ipc.WithAllocator(limited{memory.DefaultAllocator, int(most)}), ipc.WithBodySizeLimit(most)}
}

// ending knows whether somebody has read up to the end of what it reads, and beyond.
type ending struct {
	io.Reader
	over bool
}

func (e *ending) Read(p []byte) (n int, err error) {
	n, err = e.Reader.Read(p)
	e.over = e.over || n == 0 && err == io.EOF
	return n, err
}

func arrowStream(f io.Reader, size int64) (*Reader, error) {
	e := &ending{Reader: f}
	o := arrowOptions(size)
	r, err := ipc.NewReaderFromMessageReader(ipc.NewMessageReader(e, o...), o...) // ipc.NewReader ignores its limits (arrow-go 18.8.0)
	if err != nil {
		return nil, fmt.Errorf("an Arrow stream that is cut or damaged: %w", err)
	}
	return &Reader{schema: r.Schema(), rows: -1, next: func() (arrow.RecordBatch, error) {
		if !r.Next() {
			if err := r.Err(); err != nil {
				return nil, err
			}
			if e.over { // the library takes that for the end: a stream that was cut between two batches would lose the rest
				return nil, errors.New("an Arrow stream that is cut: no end-of-stream mark")
			}
			return nil, io.EOF
		}
		return r.RecordBatch(), nil
	}}, nil
}

func arrowFile(r *ipc.FileReader) (*Reader, error) {
	rows := int64(0)
	for i := range r.NumRecords() {
		b, err := r.RecordBatch(i)
		if err != nil {
			return nil, fmt.Errorf("batch %d: %w", i, err)
		}
		rows += b.NumRows()
		b.Release()
	}
	i := 0
	return &Reader{schema: r.Schema(), rows: rows, next: func() (arrow.RecordBatch, error) {
		if i == r.NumRecords() {
			return nil, io.EOF
		}
		i++
		return r.RecordBatch(i - 1)
	}}, nil
}
