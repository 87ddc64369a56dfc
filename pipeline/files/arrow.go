package files

import (
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// Arrow reads an Arrow IPC file from f if f can seek and is one, else a stream, with the columns as they are. It counts
// the rows of a file, and so reads all of it.
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

func arrowStream(f io.Reader) (*Reader, error) {
	r, err := ipc.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("neither an Arrow IPC file nor a stream: %w", err)
	}
	return &Reader{schema: r.Schema(), rows: -1, next: func() (arrow.RecordBatch, error) {
		if !r.Next() {
			if err := r.Err(); err != nil {
				return nil, err
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
