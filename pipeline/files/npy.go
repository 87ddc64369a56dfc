package files

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
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
	npyPair  = regexp.MustCompile(`^\s*(\d+)L?\s*,\s*(\d+)L?\s*,?\s*$`)
)

var npyElements = map[string]element{"<f2": float16s, "<f4": float32s, "<f8": float64s, "|u1": uint8s, "|i1": int8s}

// openNpy reads a matrix of numpy whose rows are vectors.
func openNpy(f io.Reader, size int64, ids *rowIDs, o *Options) (*Reader, error) {
	in := bufio.NewReader(f)
	m, err := npyHeader(in)
	if err != nil {
		return nil, err
	}
	if err := m.check(size); err != nil {
		return nil, err
	}
	return readMatrix(in, m, ids, o), nil
}

// npyHeader reads a header of version 1, 2 or 3.
func npyHeader(in io.Reader) (m matrix, err error) {
	head := make([]byte, len(npyMagic)+2)
	if _, err := io.ReadFull(in, head); err != nil || string(head[:len(npyMagic)]) != npyMagic {
		return m, errors.New("it does not begin as a file of numpy does")
	}
	length := make([]byte, 4)
	switch version := head[len(npyMagic)]; version {
	case 1:
		_, err = io.ReadFull(in, length[:2])
		m.header = int64(len(head)) + 2
	case 2, 3:
		_, err = io.ReadFull(in, length)
		m.header = int64(len(head)) + 4
	default:
		return m, fmt.Errorf("version %d of numpy's format, allowed: 1 to 3", version)
	}
	n := int64(binary.LittleEndian.Uint32(length))
	if n > maxHeader {
		return m, fmt.Errorf("a header of %d bytes, allowed: %d", n, maxHeader)
	}
	text := make([]byte, n)
	if err == nil {
		_, err = io.ReadFull(in, text)
	}
	m.header += n
	if err != nil {
		return m, fmt.Errorf("the file ends in its header, before offset %d: %w", m.header, err)
	}
	descr, order, shape := npyDescr.FindSubmatch(text), npyOrder.FindSubmatch(text), npyShape.FindSubmatch(text)
	if descr == nil || order == nil || shape == nil {
		return m, fmt.Errorf("header %.200q, needed: descr, fortran_order, shape", text)
	}
	var ok bool
	if m.element, ok = npyElements[string(descr[1])]; !ok {
		return m, fmt.Errorf("values of type %.40q, allowed: float16, float32, float64 in little endian, uint8, int8", descr[1])
	}
	if string(order[1]) != "False" {
		return m, errors.New("values in the order of Fortran, allowed: that of C, as of numpy.ascontiguousarray")
	}
	pair := npyPair.FindSubmatch(shape[1])
	if pair == nil {
		return m, fmt.Errorf("shape (%.40s), allowed: (rows, values)", shape[1])
	}
	rows, rowsErr := strconv.ParseInt(string(pair[1]), 10, 64)
	width, widthErr := strconv.ParseInt(string(pair[2]), 10, 64)
	if err := errors.Join(rowsErr, widthErr); err != nil {
		return m, fmt.Errorf("shape (%.40s): %w", shape[1], err)
	}
	m.rows, m.width = rows, width
	return m, nil
}
