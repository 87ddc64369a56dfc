package files

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// Arrow reads an Arrow IPC file from f if f can seek and is one, else a stream, with the columns as they are. It counts
// the rows of a file, and so reads all of it. A stream must have its end-of-stream mark, as those of messages and queries must.
func Arrow(f io.Reader) (r *Reader, err error) {
	defer damaged(&err)
	if at, ok := f.(ipc.ReadAtSeeker); ok {
		if r, err := ipc.NewFileReader(at); err == nil {
			return arrowFile(r)
		}
		if _, err := at.Seek(0, io.SeekStart); err != nil {
			return arrowStream(f)
		}
	}
	return arrowStream(f)
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

func arrowStream(f io.Reader) (*Reader, error) {
	e := &ending{Reader: f}
	r, err := ipc.NewReader(e)
	if err != nil {
		return nil, fmt.Errorf("neither an Arrow IPC file nor a stream: %w", err)
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
