package files

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// rowIDs are the ids of the rows of a file that has none.
type rowIDs interface {
	dataType() arrow.DataType
	// appendTo appends the id of the next row to a builder of that type.
	appendTo(b array.Builder, row int64) error
	// end fails if there are more ids than rows: then they may be of another file.
	end(rows int64) error
	close() error
}

func openIDs(o *Options) (rowIDs, error) {
	if o.IDs == "" {
		return numbers{o.FirstID}, nil
	}
	f, err := os.Open(o.IDs)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(filepath.Ext(o.IDs), ".npy") {
		return &idLines{f, bufio.NewScanner(f)}, nil
	}
	ids, err := openIntegers(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ids %s: %w", o.IDs, err), f.Close())
	}
	return ids, nil
}

// numbers are ids that count the rows.
type numbers struct{ first int64 }

func (numbers) dataType() arrow.DataType { return arrow.PrimitiveTypes.Int64 }

func (n numbers) appendTo(b array.Builder, row int64) error {
	b.(*array.Int64Builder).Append(n.first + row)
	return nil
}

func (numbers) end(int64) error { return nil }
func (numbers) close() error    { return nil }

// idLines are the lines of a file.
type idLines struct {
	file  *os.File
	lines *bufio.Scanner
}

func (*idLines) dataType() arrow.DataType { return arrow.BinaryTypes.String }

func (l *idLines) appendTo(b array.Builder, row int64) error {
	if !l.lines.Scan() {
		if err := l.lines.Err(); err != nil {
			return fmt.Errorf("ids %s, line %d: %w", l.file.Name(), row+1, err)
		}
		return fmt.Errorf("ids %s: there are %d lines, and more vectors", l.file.Name(), row)
	}
	id := strings.TrimSuffix(l.lines.Text(), "\r")
	if row == 0 {
		id = strings.TrimPrefix(id, "\ufeff") // a byte order mark
	}
	if !utf8.ValidString(id) { // all rows of a message with such a text are refused
		return fmt.Errorf("ids %s, line %d: %q, allowed: UTF-8", l.file.Name(), row+1, id)
	}
	b.(*array.StringBuilder).Append(id)
	return nil
}

func (l *idLines) end(rows int64) error {
	if l.lines.Scan() {
		return fmt.Errorf("ids %s: there are more lines than the %d vectors", l.file.Name(), rows)
	}
	return nil
}

func (l *idLines) close() error { return l.file.Close() }

// idIntegers are the values of an array of numpy.
type idIntegers struct {
	file    *os.File
	in      *bufio.Reader
	count   int64
	number  npyNumber
	integer func([]byte) int64
	value   []byte // of one
}

// openIntegers reads the header of a file of integers.
func openIntegers(f *os.File) (*idIntegers, error) {
	in := bufio.NewReader(f)
	head, err := npyHeader(in)
	if err != nil {
		return nil, err
	}
	number, ok := npyNumberOf(head.descr)
	if !ok || number.kind == "f" || len(head.shape) != 1 {
		return nil, fmt.Errorf("values of type %.40q and shape %v, allowed: an array of integers", head.descr, head.shape)
	}
	return &idIntegers{f, in, head.shape[0], number, number.integer(), make([]byte, number.bytes)}, nil
}

func (i *idIntegers) dataType() arrow.DataType {
	if i.number.kind == "u" && i.number.bytes == 8 {
		return arrow.PrimitiveTypes.Uint64
	}
	return arrow.PrimitiveTypes.Int64
}

func (i *idIntegers) appendTo(b array.Builder, row int64) error {
	if row == i.count {
		return fmt.Errorf("ids %s: there are %d, and more vectors", i.file.Name(), row)
	}
	if _, err := io.ReadFull(i.in, i.value); err != nil {
		return fmt.Errorf("ids %s: the file ends in value %d of %d: %w", i.file.Name(), row, i.count, err)
	}
	switch b := b.(type) {
	case *array.Uint64Builder:
		b.Append(uint64(i.integer(i.value)))
	case *array.Int64Builder:
		b.Append(i.integer(i.value))
	}
	return nil
}

func (i *idIntegers) end(rows int64) error {
	if rows != i.count {
		return fmt.Errorf("ids %s: there are %d, and %d vectors", i.file.Name(), i.count, rows)
	}
	return nil
}

func (i *idIntegers) close() error { return i.file.Close() }
