package files

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/float16"
)

const (
	npyMagic  = "\x93NUMPY"
	maxHeader = 1 << 16 // bytes; numpy writes a few dozen
)

// A header is a literal of Python: {'descr': '<f4', 'fortran_order': False, 'shape': (100, 8), }.
var (
	npyDescr = regexp.MustCompile(`'descr'\s*:\s*'([^']*)'`)
	npyOrder = regexp.MustCompile(`'fortran_order'\s*:\s*(True|False)`)
	npyShape = regexp.MustCompile(`'shape'\s*:\s*\(([^)]*)\)`)
	npyType  = regexp.MustCompile(`^([<>|])([fiu])([1248])$`)
)

// npyNumber is a type of numbers of numpy.
type npyNumber struct {
	kind  string // f, i or u
	bytes int
	order binary.ByteOrder
}

// npyNumberOf parses a type; ok is false of types that are none of numbers.
func npyNumberOf(descr string) (n npyNumber, ok bool) {
	t := npyType.FindStringSubmatch(descr)
	if t == nil {
		return n, false
	}
	n = npyNumber{t[2], int(t[3][0] - '0'), binary.LittleEndian}
	if t[1] == ">" {
		n.order = binary.BigEndian
	}
	return n, n.kind != "f" || n.bytes > 1
}

// element is how such values are read.
func (n npyNumber) element() element {
	order := n.order
	switch {
	case n.kind == "f" && n.bytes == 2 && order == binary.ByteOrder(binary.LittleEndian):
		return float16s
	case n.kind == "f" && n.bytes == 2:
		return element{n.bytes, func(b []byte) float32 { return float16.FromBits(order.Uint16(b)).Float32() }}
	case n.kind == "f" && n.bytes == 4:
		return element{n.bytes, func(b []byte) float32 { return math.Float32frombits(order.Uint32(b)) }}
	case n.kind == "f":
		return element{n.bytes, func(b []byte) float32 { return float32(math.Float64frombits(order.Uint64(b))) }}
	}
	integer := n.integer()
	if n.kind == "u" {
		return element{n.bytes, func(b []byte) float32 { return float32(uint64(integer(b))) }}
	}
	return element{n.bytes, func(b []byte) float32 { return float32(integer(b)) }}
}

// integer reads integers: those of uint64 as the int64 of the same bits.
func (n npyNumber) integer() func([]byte) int64 {
	order := n.order
	switch signed := n.kind == "i"; {
	case n.bytes == 1 && signed:
		return func(b []byte) int64 { return int64(int8(b[0])) }
	case n.bytes == 1:
		return func(b []byte) int64 { return int64(b[0]) }
	case n.bytes == 2 && signed:
		return func(b []byte) int64 { return int64(int16(order.Uint16(b))) }
	case n.bytes == 2:
		return func(b []byte) int64 { return int64(order.Uint16(b)) }
	case n.bytes == 4 && signed:
		return func(b []byte) int64 { return int64(int32(order.Uint32(b))) }
	case n.bytes == 4:
		return func(b []byte) int64 { return int64(order.Uint32(b)) }
	}
	return func(b []byte) int64 { return int64(order.Uint64(b)) }
}

// openNpy reads a matrix of numpy whose rows are vectors.
func openNpy(f io.Reader, size int64, ids rowIDs, o *Options) (*Reader, error) {
	in := bufio.NewReader(f)
	head, err := npyHeader(in)
	if err != nil {
		return nil, err
	}
	if len(head.shape) != 2 {
		return nil, fmt.Errorf("shape %v, allowed: (rows, values)", head.shape)
	}
	m := matrix{rows: head.shape[0], width: head.shape[1], header: head.bytes}
	number, ok := npyNumberOf(head.descr)
	if !ok {
		return nil, fmt.Errorf("values of type %.40q, allowed: floats and integers", head.descr)
	}
	m.element = number.element()
	if err := m.check(size); err != nil {
		return nil, err
	}
	if !head.fortran {
		return readMatrix(in, m, ids, o), nil
	}
	at, ok := f.(io.ReaderAt)
	if !ok || size < 0 {
		return nil, errors.New("values in the order of Fortran, of which a stream has the first vector at its end: allowed: a file, or the order of C")
	}
	return readMatrix(&byColumns{in: at, m: m}, m, ids, o), nil
}

// byColumns are the rows of a matrix that has its values column after column.
type byColumns struct {
	in    io.ReaderAt
	m     matrix
	row   int64 // that follows on block
	block []byte
}

const columnBlock = 16 << 20 // bytes of rows that are put together at a time

func (c *byColumns) Read(p []byte) (int, error) {
	if len(c.block) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.block)
	c.block = c.block[n:]
	return n, nil
}

func (c *byColumns) next() error {
	size, stride := int64(c.m.bytes), c.m.stride()
	n := min(c.m.rows-c.row, max(1, columnBlock/stride))
	if n == 0 {
		return io.EOF
	}
	block, column := make([]byte, n*stride), make([]byte, n*size)
	for j := range c.m.width {
		if _, err := c.in.ReadAt(column, c.m.header+(j*c.m.rows+c.row)*size); err != nil {
			return fmt.Errorf("column %d: %w", j, err)
		}
		for i := range n {
			copy(block[i*stride+j*size:][:size], column[i*size:])
		}
	}
	c.row, c.block = c.row+n, block
	return nil
}

// npyHead is what a header says.
type npyHead struct {
	descr   string
	fortran bool
	shape   []int64
	bytes   int64 // of the header itself
}

// npyHeader reads a header of version 1, 2 or 3.
func npyHeader(in io.Reader) (h npyHead, err error) {
	head := make([]byte, len(npyMagic)+2)
	if _, err := io.ReadFull(in, head); err != nil || string(head[:len(npyMagic)]) != npyMagic {
		return h, errors.New("it does not begin as a file of numpy does")
	}
	length := make([]byte, 4)
	switch version := head[len(npyMagic)]; version {
	case 1:
		_, err = io.ReadFull(in, length[:2])
		h.bytes = int64(len(head)) + 2
	case 2, 3:
		_, err = io.ReadFull(in, length)
		h.bytes = int64(len(head)) + 4
	default:
		return h, fmt.Errorf("version %d of numpy's format, allowed: 1 to 3", version)
	}
	n := int64(binary.LittleEndian.Uint32(length))
	if n > maxHeader {
		return h, fmt.Errorf("a header of %d bytes, allowed: %d", n, maxHeader)
	}
	text := make([]byte, n)
	if err == nil {
		_, err = io.ReadFull(in, text)
	}
	h.bytes += n
	if err != nil {
		return h, fmt.Errorf("the file ends in its header, before offset %d: %w", h.bytes, err)
	}
	descr, order, shape := npyDescr.FindSubmatch(text), npyOrder.FindSubmatch(text), npyShape.FindSubmatch(text)
	if descr == nil || order == nil || shape == nil {
		return h, fmt.Errorf("header %.200q, needed: descr, fortran_order, shape", text)
	}
	h.descr, h.fortran = string(descr[1]), string(order[1]) == "True"
	for length := range strings.SplitSeq(string(shape[1]), ",") {
		if length = strings.TrimSuffix(strings.TrimSpace(length), "L"); length == "" {
			continue // after the last comma
		}
		n, err := strconv.ParseInt(length, 10, 64)
		if err != nil || n < 0 {
			return h, fmt.Errorf("shape (%.40s): %.40q, allowed: numbers of rows and values", shape[1], length)
		}
		h.shape = append(h.shape, n)
	}
	return h, nil
}
