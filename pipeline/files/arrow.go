package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/arrowguard"
)

const (
	fileMagic    = "ARROW1"
	continuation = "\xff\xff\xff\xff" // before each message of a stream, since Arrow 0.15
)

var errNotArrow = errors.New("neither an Arrow IPC file nor a stream")

// Arrow reads an Arrow IPC file from f if f can seek and is one, else a stream, with the columns as they are. It counts
// the rows of a file, from the metadata of its batches. A stream must have its end-of-stream mark, as those of messages and queries must.
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
		return arrowFile(at, size)
	case string(head) == fileMagic:
		return nil, errors.New("an Arrow IPC file is read from its end: it cannot be a stream")
	case !bytes.HasPrefix(head, []byte(continuation)):
		return nil, fmt.Errorf("%w: it begins with % x, allowed: %s, or % x", errNotArrow, head, fileMagic, continuation)
	case err != nil:
		return nil, fmt.Errorf("an Arrow stream that is cut: %w", err)
	}
	return arrowStream(io.MultiReader(bytes.NewReader(head), f))
}

func arrowStream(f io.Reader) (*Reader, error) {
	return batches(arrowguard.NewReader(f, arrowguard.Limits{Table: true}).Messages(), "an Arrow stream", -1)
}

func arrowFile(f io.ReaderAt, size int64) (*Reader, error) {
	const what = "an Arrow IPC file"
	guarded, err := arrowguard.NewFile(f, size, arrowguard.Limits{Table: true})
	if err != nil {
		return nil, unreadable(what, err)
	}
	rows, err := guarded.Rows()
	if err != nil {
		return nil, unreadable(what, err)
	}
	return batches(guarded.Messages(), what, rows)
}

func batches(messages ipc.MessageReader, what string, rows int64) (*Reader, error) {
	r, err := ipc.NewReaderFromMessageReader(messages)
	if err != nil {
		return nil, unreadable(what, err)
	}
	return &Reader{schema: r.Schema(), rows: rows, next: func() (arrow.RecordBatch, error) {
		if !r.Next() {
			if err := r.Err(); err != nil {
				return nil, unreadable(what, err)
			}
			return nil, io.EOF
		}
		return r.RecordBatch(), nil
	}}, nil
}

// unreadable says why something cannot be read. The reasons of faults are for messages.
func unreadable(what string, err error) error {
	var fault *schemas.Fault
	if errors.As(err, &fault) {
		return fmt.Errorf("%s that is cut or damaged: %s", what, fault.Detail)
	}
	return fmt.Errorf("%s that is cut or damaged: %w", what, err)
}
