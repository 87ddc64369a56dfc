package arrowguard

import (
	"errors"
	"io"

	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/schemas"
)

// Open guards a stream and has the Arrow library read it.
func Open(stream []byte, limits Limits, options ...ipc.Option) (*ipc.Reader, error) {
	frames, fault := Scan(stream, limits, nil)
	if fault != nil {
		return nil, fault
	}
	return ipc.NewReaderFromMessageReader(Messages(frames), options...)
}

// Reader guards a stream while it is read, a message at a time. Memory for what is claimed is allocated as it arrives.
type Reader struct {
	r  io.Reader
	g  guard
	at int64 // bytes that were read
}

// NewReader returns a reader of a stream.
func NewReader(r io.Reader, limits Limits) *Reader {
	return &Reader{r: r, g: newGuard(limits.WithDefaults())}
}

// Messages are those of the stream, for the Arrow library.
func (r *Reader) Messages() ipc.MessageReader { return messages(r.Next) }

// Next returns the next message, which stays as it is, or io.EOF at the end-of-stream mark.
func (r *Reader) Next() (Frame, error) {
	prefix, err := r.read(prefixBytes)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return Frame{}, schemas.Faultf(schemas.ReasonMalformed, "stream is cut after %d bytes: no end-of-stream mark", r.at)
	} else if err != nil {
		return Frame{}, err
	}
	length, fault := r.g.length(prefix, r.at-prefixBytes)
	if fault != nil {
		return Frame{}, fault
	}
	if length == 0 {
		if !r.g.schema {
			return Frame{}, schemas.Faultf(schemas.ReasonMalformed, "stream has no schema")
		}
		return Frame{}, io.EOF
	}
	at := r.at
	bytes, err := r.part("metadata", at, length)
	if err != nil {
		return Frame{}, err
	}
	m := newMetadata(bytes)
	message := m.root()
	at, length = r.at, message.int64(3)
	switch {
	case m.fault != nil:
	case length > int64(r.g.limits.MaxMessage):
		m.fail(schemas.ReasonTooLarge, "body at %d has %d bytes, allowed: %d", at, length, r.g.limits.MaxMessage)
	case length < 0 || length%alignment != 0:
		m.fail(schemas.ReasonMalformed, "body at %d claims %d bytes", at, length)
	}
	if m.fault != nil {
		return Frame{}, m.fault
	}
	body, err := r.part("body", at, length)
	if err != nil {
		return Frame{}, err
	}
	if r.g.message(message, body); m.fault != nil {
		return Frame{}, m.fault
	}
	return Frame{bytes, body}, nil
}

// part reads a part of a message.
func (r *Reader) part(what string, at, length int64) ([]byte, error) {
	part, err := r.read(length)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, schemas.Faultf(schemas.ReasonMalformed, "stream is cut: %s at %d claims %d bytes, there are %d", what, at, length, r.at-at)
	}
	return part, err
}

// firstRead is what is allocated for a part of a message before the stream has shown that it has any of it, in bytes.
const firstRead = 1 << 20

// read reads n bytes, or io.ErrUnexpectedEOF. It never has allocated more than some times what the stream had.
func (r *Reader) read(n int64) ([]byte, error) {
	b := make([]byte, min(n, firstRead))
	for done := 0; ; {
		got, err := io.ReadFull(r.r, b[done:])
		done += got
		r.at += int64(got)
		switch {
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		case int64(done) == n:
			return b, nil
		}
		more := make([]byte, min(n, 2*int64(done)))
		copy(more, b)
		b = more
	}
}
