package files

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Types of thrift's compact protocol.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftStruct = 12
)

const (
	footerTail = 8  // its length and PAR1
	maxThrift  = 16 // how deep structs and lists may be nested in each other
)

var errFooter = errors.New("its metadata claim more than they have")

// checkFooter refuses a Parquet file whose metadata claim lists of more items than their bytes could be: the library makes
// room for what is claimed before it reads.
func checkFooter(f io.ReaderAt, size int64) error {
	tail := make([]byte, footerTail)
	if size < footerTail {
		return fmt.Errorf("a file is not shorter than %d bytes", footerTail)
	}
	if _, err := f.ReadAt(tail, size-footerTail); err != nil {
		return err
	}
	if string(tail[4:]) != "PAR1" {
		return errors.New("it does not end with PAR1: cut off, encrypted, or of another format")
	}
	n := int64(binary.LittleEndian.Uint32(tail))
	if n > size-footerTail {
		return fmt.Errorf("its metadata are said to be %d bytes at offset %d", n, size-footerTail-n)
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, size-footerTail-n); err != nil {
		return err
	}
	t := thrift{b}
	if err := t.skip(thriftStruct, 0); err != nil {
		return fmt.Errorf("%w, at offset %d", err, size-footerTail-int64(len(t.rest)))
	}
	return nil
}

// thrift walks over values.
type thrift struct{ rest []byte }

func (t *thrift) take(n uint64) ([]byte, error) {
	if n > uint64(len(t.rest)) {
		return nil, errFooter
	}
	taken := t.rest[:n]
	t.rest = t.rest[n:]
	return taken, nil
}

func (t *thrift) byte() (byte, error) {
	b, err := t.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

func (t *thrift) varint() (uint64, error) {
	v, n := binary.Uvarint(t.rest)
	if n <= 0 {
		return 0, errFooter
	}
	t.rest = t.rest[n:]
	return v, nil
}

func (t *thrift) skip(kind byte, depth int) error {
	if depth > maxThrift {
		return errFooter
	}
	var err error
	switch {
	case kind == thriftByte:
		_, err = t.take(1)
	case kind >= thriftI16 && kind <= thriftI64:
		_, err = t.varint()
	case kind == thriftDouble:
		_, err = t.take(8)
	case kind == thriftBinary:
		var n uint64
		if n, err = t.varint(); err == nil {
			_, err = t.take(n)
		}
	case kind == thriftList, kind == thriftSet:
		return t.skipList(depth)
	case kind == thriftStruct:
		return t.skipStruct(depth)
	default: // maps too: the format has none
		return fmt.Errorf("its metadata have a value of type %d", kind)
	}
	return err
}

func (t *thrift) skipList(depth int) error {
	head, err := t.byte()
	if err != nil {
		return err
	}
	n, kind := uint64(head>>4), head&15
	if n == 15 {
		if n, err = t.varint(); err != nil {
			return err
		}
	}
	if n > uint64(len(t.rest)) { // an item has a byte at least
		return errFooter
	}
	if kind == thriftTrue || kind == thriftFalse { // unlike as a field, a byte each
		kind = thriftByte
	}
	for range n {
		if err := t.skip(kind, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (t *thrift) skipStruct(depth int) error {
	for {
		head, err := t.byte()
		if err != nil {
			return err
		}
		kind := head & 15
		if kind == 0 {
			return nil
		}
		if head>>4 == 0 { // the field's number is not near the one before
			if _, err := t.varint(); err != nil {
				return err
			}
		}
		if kind == thriftTrue || kind == thriftFalse {
			continue
		}
		if err := t.skip(kind, depth+1); err != nil {
			return err
		}
	}
}
