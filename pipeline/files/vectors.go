package files

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

const floatBytes = 4

// errValues is said of vectors of which a batch has more values than an Arrow list can.
var errValues = errors.New("more than 2^31 values in a batch")

// vectorOf is the type of a message's vectors that are made of a type, and how; nil if none are.
func vectorOf(t arrow.DataType) (arrow.DataType, func(arrow.Array) (arrow.Array, error)) {
	switch t := t.(type) {
	case *arrow.FixedSizeListType:
		if isMessageFloat(t.Elem()) {
			return t, nil
		}
		if isNumber(t.Elem()) {
			to := arrow.FixedSizeListOf(t.Len(), arrow.PrimitiveTypes.Float32)
			return to, func(a arrow.Array) (arrow.Array, error) { return withItems(a, to, a.Data().Buffers()) }
		}
	case *arrow.ListType:
		if isMessageFloat(t.Elem()) {
			return t, nil
		}
		if isNumber(t.Elem()) {
			to := arrow.ListOf(arrow.PrimitiveTypes.Float32)
			return to, func(a arrow.Array) (arrow.Array, error) { return withItems(a, to, a.Data().Buffers()) }
		}
	case *arrow.LargeListType:
		if isMessageFloat(t.Elem()) || isNumber(t.Elem()) {
			to := arrow.ListOf(arrow.PrimitiveTypes.Float32)
			return to, func(a arrow.Array) (arrow.Array, error) { return ofLargeList(a.(*array.LargeList), to) }
		}
	case *arrow.FixedSizeBinaryType:
		if n := t.ByteWidth; n > 0 && n%floatBytes == 0 {
			return arrow.FixedSizeListOf(int32(n/floatBytes), arrow.PrimitiveTypes.Float32), ofFixedBytes
		}
	case *arrow.BinaryType, *arrow.LargeBinaryType, *arrow.BinaryViewType:
		return arrow.ListOf(arrow.PrimitiveTypes.Float32), ofBytes
	}
	return nil, nil
}

// isMessageFloat: messages have lists of it.
func isMessageFloat(t arrow.DataType) bool { return t.ID() == arrow.FLOAT16 || t.ID() == arrow.FLOAT32 }

// isNumber: it can be made a float32; a value that no float32 has, of integers of more bits than 24, is an error.
func isNumber(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.FLOAT64, arrow.INT8, arrow.UINT8, arrow.INT16, arrow.UINT16, arrow.INT32, arrow.UINT32, arrow.INT64, arrow.UINT64:
		return true
	}
	return false
}

// withItems is a list with items of float32 instead of those that it has.
func withItems(a arrow.Array, to arrow.DataType, buffers []*memory.Buffer) (arrow.Array, error) {
	items := a.(array.ListLike).ListValues()
	if items.DataType().ID() != arrow.FLOAT32 {
		var err error
		if items, err = castTo(arrow.PrimitiveTypes.Float32)(items); err != nil {
			return nil, err
		}
	}
	return array.MakeFromData(array.NewData(to, a.Len(), buffers, []arrow.ArrayData{items.Data()}, a.NullN(), a.Data().Offset())), nil
}

func ofLargeList(a *array.LargeList, to arrow.DataType) (arrow.Array, error) {
	wide := a.Data().Buffers()[1]
	if wide == nil { // no rows
		return array.MakeFromData(array.NewData(to, 0, []*memory.Buffer{nil, nil}, []arrow.ArrayData{array.NewData(arrow.PrimitiveTypes.Float32, 0, []*memory.Buffer{nil, nil}, nil, 0, 0)}, 0, 0)), nil
	}
	var narrow []byte
	for _, at := range arrow.Int64Traits.CastFromBytes(wide.Bytes()) {
		if at < 0 || at > math.MaxInt32 {
			return nil, errValues
		}
		narrow = binary.LittleEndian.AppendUint32(narrow, uint32(at))
	}
	return withItems(a, to, []*memory.Buffer{a.Data().Buffers()[0], memory.NewBufferBytes(narrow)})
}

func ofFixedBytes(a arrow.Array) (arrow.Array, error) {
	from := a.(*array.FixedSizeBinary)
	width := from.DataType().(*arrow.FixedSizeBinaryType).ByteWidth / floatBytes
	b := array.NewFixedSizeListBuilder(memory.DefaultAllocator, int32(width), arrow.PrimitiveTypes.Float32)
	values := b.ValueBuilder().(*array.Float32Builder)
	values.Reserve(a.Len() * width)
	for i := range a.Len() {
		if a.IsNull(i) {
			b.AppendNull()
			continue
		}
		b.Append(true)
		appendFloats(values, from.Value(i))
	}
	return b.NewArray(), nil
}

func ofBytes(a arrow.Array) (arrow.Array, error) {
	from := a.(interface{ Value(i int) []byte })
	b := array.NewListBuilder(memory.DefaultAllocator, arrow.PrimitiveTypes.Float32)
	values := b.ValueBuilder().(*array.Float32Builder)
	for i := range a.Len() {
		if a.IsNull(i) {
			b.AppendNull()
			continue
		}
		v := from.Value(i)
		if len(v)%floatBytes != 0 {
			return nil, fmt.Errorf("the vector of row %d of them has %d bytes, allowed: %d for each value", i, len(v), floatBytes)
		}
		b.Append(true)
		appendFloats(values, v)
	}
	return b.NewArray(), nil
}

// appendFloats appends float32 values in little endian.
func appendFloats(to *array.Float32Builder, from []byte) {
	for ; len(from) >= floatBytes; from = from[floatBytes:] {
		to.Append(math.Float32frombits(binary.LittleEndian.Uint32(from)))
	}
}
