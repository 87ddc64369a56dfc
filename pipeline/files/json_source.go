package files

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow is the most that a zstd file may want to be remembered of it: what zstd writes up to level 19, and more.
const maxWindow = 64 << 20

// jsonSource yields objects of a file, one after the other, and io.EOF after the last. The bytes are good until the next call.
type jsonSource interface {
	next() ([]byte, error)
	place() string // of the last one
}

// openObjects finds out how a file has its objects: as lines or as one array, and compressed or not. A UTF-8 byte order mark is no
// part of them. Text that is JSON begins with none of the magic numbers. The function that it returns ends the decompression.
func openObjects(f io.Reader) (jsonSource, func(), error) {
	in := bufio.NewReaderSize(f, 1<<16)
	end := func() {}
	switch magic, _ := in.Peek(4); {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, fmt.Errorf("gzip: %w", err)
		}
		in = bufio.NewReaderSize(z, 1<<16)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("zstd: %w", err)
		}
		in, end = bufio.NewReaderSize(z, 1<<16), z.Close
	}
	if mark, _ := in.Peek(3); string(mark) == "\xef\xbb\xbf" {
		_, _ = in.Discard(len(mark))
	}
	lines := 0
	for {
		switch b, err := in.ReadByte(); {
		case err != nil && !errors.Is(err, io.EOF):
			end()
			return nil, nil, err
		case err != nil:
		case b == '\n':
			lines++
			continue
		case b == ' ', b == '\t', b == '\r':
			continue
		default:
			_ = in.UnreadByte()
			if b == '[' {
				return newJSONArray(in), end, nil
			}
		}
		l := &jsonLines{lines: bufio.NewScanner(in), line: lines}
		l.lines.Buffer(nil, maxLine)
		return l, end, nil
	}
}

// jsonLines are objects that each are a line.
type jsonLines struct {
	lines *bufio.Scanner
	line  int // of the file, from 1
}

func (l *jsonLines) place() string { return fmt.Sprintf("line %d", l.line) }

func (l *jsonLines) next() ([]byte, error) {
	for l.lines.Scan() {
		l.line++
		if line := bytes.TrimSpace(l.lines.Bytes()); len(line) > 0 {
			return line, nil
		}
	}
	switch err := l.lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d: longer than %d bytes", l.line+1, maxLine)
	case err != nil:
		return nil, fmt.Errorf("after line %d: %w", l.line, err)
	}
	return nil, io.EOF
}

// jsonArray is objects that are the elements of one array.
type jsonArray struct {
	in      *bounded
	decoder *jsontext.Decoder
	element int // from 1
	began   bool
	ended   bool
}

func newJSONArray(f io.Reader) *jsonArray {
	in := &bounded{in: f}
	return &jsonArray{in: in, decoder: jsontext.NewDecoder(in)}
}

func (a *jsonArray) place() string { return fmt.Sprintf("element %d", a.element) }

func (a *jsonArray) next() ([]byte, error) {
	value, err := a.value()
	switch {
	case errors.Is(err, errTooLong):
		return nil, fmt.Errorf("element %d: longer than %d bytes", a.element+1, maxLine)
	case err != nil && !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("after element %d: %w", a.element, err)
	case err != nil:
		return nil, err
	}
	a.element++
	return value, nil
}

// value is the next element, or io.EOF after the array.
func (a *jsonArray) value() ([]byte, error) {
	if a.ended {
		return nil, io.EOF
	}
	a.in.allow(a.decoder.InputOffset() + maxLine)
	if !a.began {
		if _, err := a.decoder.ReadToken(); err != nil {
			return nil, err
		}
		a.began = true
	}
	switch a.decoder.PeekKind() {
	case ']':
		if _, err := a.decoder.ReadToken(); err != nil {
			return nil, err
		}
		if _, err := a.decoder.ReadToken(); !errors.Is(err, io.EOF) {
			return nil, errors.New("more after the array, allowed: one array, or an object a line")
		}
		a.ended = true
		return nil, io.EOF
	default:
		value, err := a.decoder.ReadValue()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // the array has no end
		}
		return value, err
	}
}

var errTooLong = errors.New("too long")

// bounded fails when more is wanted of it than was allowed: a decoder keeps all that an element has.
type bounded struct {
	in            io.Reader
	read, allowed int64
}

func (b *bounded) allow(offset int64) { b.allowed = max(b.allowed, offset) }

func (b *bounded) Read(p []byte) (int, error) {
	left := b.allowed - b.read
	if left <= 0 {
		return 0, errTooLong
	}
	n, err := b.in.Read(p[:min(int64(len(p)), left)])
	b.read += int64(n)
	return n, err
}
