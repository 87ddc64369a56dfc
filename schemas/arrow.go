package schemas

import (
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
)

// Columns of a message. They are found by name, never by position.
const (
	ColumnID      = "id"      // utf8, large_utf8, int64, uint64 or fixed_size_binary[16]
	ColumnVector  = "vector"  // fixed_size_list<float16|float32>[D] or list<float16|float32>
	ColumnOp      = "op"      // optional utf8 (or dictionary of it): OpUpsert (also when null) or OpDelete
	ColumnVersion = "version" // optional int64: the higher one wins whatever the order of arrival

	OpUpsert = "upsert"
	OpDelete = "delete"

	// MetaEncoder is the key of the message schema's metadata that names the encoder.
	MetaEncoder = "adastream.encoder"
)

// Columns of the stored files beside the attributes. Attribute columns are called AttributePrefix + name.
const (
	StoredID        = "id"         // utf8: integers in decimal, 16-byte binaries as a UUID in lower case
	StoredVersion   = "version"    // int64, 0 when the message had none
	StoredTimestamp = "timestamp"  // int64: ms since the epoch, the largest record timestamp of the partition up to this record
	StoredPartition = "partition"  // int32
	StoredOffset    = "offset"     // int64
	StoredRow       = "row"        // int32: index of the row in its message
	StoredList      = "list"       // int32, -1 when the row is not assigned
	StoredSpill     = "spill"      // int32: second list of the row, -1 when it has none
	StoredCode      = "code"       // fixed_size_binary[ceil(M/2)]: sub-quantiser 2i in the low and 2i+1 in the high nibble of byte i
	StoredSpillCode = "spill_code" // as code, of the row in its second list; zero when it has none
	StoredInt8      = "int8"       // fixed_size_list<int8>[D]: round(x / scale) of the vector that is searched (unit length under cosine)
	StoredScale     = "scale"      // float32
	StoredNorms     = "norms"      // fixed_size_list<float32>[levels]: length of each ladder prefix of the vector that is searched
	StoredVector    = "vector"     // fixed_size_list<float16|float32>[D]: as given
	StoredBlock     = "block"      // fixed_size_binary[16*M, M rounded up to even]: codes of up to 32 rows, see avx.ScanPQ4
	StoredBaseRows  = "base_rows"  // fixed_size_list<int32>[32]: row of the base of each code in the block
	StoredRows      = "rows"       // in codes: int32, codes in the block; in dead: binary, a roaring bitmap in its portable format
	StoredPart      = "part"       // utf8: ID of a chunk or segment
	AttributePrefix = "attr."

	// Keys of the file metadata.
	MetaKind   = "adastream.kind"   // one of the Kind constants
	MetaFormat = "adastream.format" // version of that kind's format, "1"
	MetaModel  = "adastream.model"  // model of list and code, absent when there is none
	MetaM      = "adastream.m"      // number of sub-quantisers
	MetaAxes   = "adastream.axes"   // SHA-256 of the axes that int8 rows and norms are rotated to, absent when they are not

	MetaFirstRow = "adastream.first_row" // of codes: number of the chunk's first row among the rows of its base
	MetaBaseRows = "adastream.base_rows" // of codes: rows of the base, which is all chunks that were merged together
)

// Kinds of stored files.
const (
	KindSegment    = "segment"
	KindRows       = "rows"
	KindCodes      = "codes"
	KindVectors    = "vectors"
	KindTombstones = "tombstones"
	KindDead       = "dead"
	KindModel      = "model"
	KindQuarantine = "quarantine"

	FileFormat = "1"
)

// Columns of quarantine files: why a message or a row was refused, and its bytes.
const (
	QuarantineTopic     = "topic"     // utf8
	QuarantinePartition = "partition" // int32
	QuarantineOffset    = "offset"    // int64
	QuarantineRow       = "row"       // int32, null when the whole message was refused
	QuarantineReason    = "reason"    // utf8: one of the Reason constants
	QuarantineDetail    = "detail"    // utf8: one sentence with the field, the value and what is allowed
	QuarantineTimestamp = "timestamp" // int64: ms since the epoch of the record
	QuarantinePayload   = "payload"   // large_binary: the message, or an Arrow stream of the one row
)

// Reasons of quarantine: stable, used as metric labels.
const (
	ReasonMalformed = "malformed" // not one complete Arrow IPC stream, or one that claims more than it has
	ReasonTooLarge  = "too_large" // over a limit of bytes, rows or columns
	ReasonSchema    = "schema"    // a required column is missing or has a type that is not allowed
	ReasonEncoder   = "encoder"   // made by another encoder than the index is for
	ReasonDims      = "dims"      // a vector that has not D values
	ReasonNotFinite = "not_finite"
	ReasonZero      = "zero_vector" // no direction, under cosine
	ReasonNullID    = "null_id"
	ReasonIDLength  = "id_length"
	ReasonOp        = "op"
	ReasonAttribute = "attribute" // a value that its declared type cannot hold
)

// Reasons are all of them.
func Reasons() []string {
	return []string{ReasonMalformed, ReasonTooLarge, ReasonSchema, ReasonEncoder, ReasonDims, ReasonNotFinite, ReasonZero, ReasonNullID, ReasonIDLength, ReasonOp, ReasonAttribute}
}

// VectorList is the Arrow type of stored originals.
func (s *Spec) VectorList() arrow.DataType {
	if s.Vectors == Float16 {
		return arrow.FixedSizeListOfNonNullable(int32(s.Dim()), arrow.FixedWidthTypes.Float16)
	}
	return arrow.FixedSizeListOfNonNullable(int32(s.Dim()), arrow.PrimitiveTypes.Float32)
}

// AttributeTypeOf is the type that values of an Arrow type are stored as, if they can be: all integers widen to int64, all floats to
// float64, texts of all kinds and dictionaries of them to utf8, and timestamps have any unit.
func AttributeTypeOf(t arrow.DataType) (stored AttributeType, ok bool) {
	if d, is := t.(*arrow.DictionaryType); is {
		stored, ok = AttributeTypeOf(d.ValueType)
		return stored, ok && stored == AttributeString
	}
	switch id := t.ID(); {
	case id == arrow.STRING, id == arrow.LARGE_STRING:
		return AttributeString, true
	case id == arrow.BOOL:
		return AttributeBool, true
	case arrow.IsInteger(id):
		return AttributeInt, true
	case arrow.IsFloating(id):
		return AttributeFloat, true
	case id == arrow.TIMESTAMP:
		return AttributeTimestamp, true
	}
	return "", false
}

// ArrowType is the stored Arrow type of an attribute.
func (t AttributeType) ArrowType() arrow.DataType {
	switch t {
	case AttributeBool:
		return arrow.FixedWidthTypes.Boolean
	case AttributeInt:
		return arrow.PrimitiveTypes.Int64
	case AttributeFloat:
		return arrow.PrimitiveTypes.Float64
	case AttributeTimestamp:
		return arrow.FixedWidthTypes.Timestamp_ms
	default:
		return arrow.BinaryTypes.String
	}
}

func identityFields() []arrow.Field {
	return []arrow.Field{
		{Name: StoredID, Type: arrow.BinaryTypes.String},
		{Name: StoredVersion, Type: arrow.PrimitiveTypes.Int64},
		{Name: StoredTimestamp, Type: arrow.PrimitiveTypes.Int64},
		{Name: StoredPartition, Type: arrow.PrimitiveTypes.Int32},
		{Name: StoredOffset, Type: arrow.PrimitiveTypes.Int64},
		{Name: StoredRow, Type: arrow.PrimitiveTypes.Int32},
	}
}

func (s *Spec) rowFields() []arrow.Field {
	fields := append(identityFields(),
		arrow.Field{Name: StoredList, Type: arrow.PrimitiveTypes.Int32},
		arrow.Field{Name: StoredSpill, Type: arrow.PrimitiveTypes.Int32},
	)
	for _, a := range s.Attributes {
		fields = append(fields, arrow.Field{Name: AttributePrefix + a.Name, Type: a.Type.ArrowType(), Nullable: true})
	}
	return append(fields,
		arrow.Field{Name: StoredInt8, Type: arrow.FixedSizeListOfNonNullable(int32(s.Dim()), arrow.PrimitiveTypes.Int8)},
		arrow.Field{Name: StoredScale, Type: arrow.PrimitiveTypes.Float32},
		arrow.Field{Name: StoredNorms, Type: arrow.FixedSizeListOfNonNullable(int32(len(s.Ladder)), arrow.PrimitiveTypes.Float32)},
	)
}

func metadata(kind string, pairs ...string) *arrow.Metadata {
	keys, values := []string{MetaKind, MetaFormat}, []string{kind, FileFormat}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			keys, values = append(keys, pairs[i]), append(values, pairs[i+1])
		}
	}
	m := arrow.NewMetadata(keys, values)
	return &m
}

// SegmentSchema is the schema of a segment: rows sorted by list, then in order of arrival. Without a model (model is
// empty, m is 0) every list is -1 and there are no code columns. Axes are those of the model, empty if it does not rotate.
func (s *Spec) SegmentSchema(model string, m int, axes string) *arrow.Schema {
	fields := s.rowFields()
	if model == "" {
		return arrow.NewSchema(append(fields, arrow.Field{Name: StoredVector, Type: s.VectorList()}), metadata(KindSegment))
	}
	fields = append(fields,
		arrow.Field{Name: StoredCode, Type: &arrow.FixedSizeBinaryType{ByteWidth: (m + 1) / 2}},
		arrow.Field{Name: StoredSpillCode, Type: &arrow.FixedSizeBinaryType{ByteWidth: (m + 1) / 2}},
		arrow.Field{Name: StoredVector, Type: s.VectorList()})
	return arrow.NewSchema(fields, metadata(KindSegment, MetaModel, model, MetaM, strconv.Itoa(m), MetaAxes, axes))
}

// RowsSchema is the schema of a chunk's rows, sorted by list. Of the model it depends on lists and axes, not on the codebooks.
func (s *Spec) RowsSchema(axes string) *arrow.Schema {
	return arrow.NewSchema(s.rowFields(), metadata(KindRows, MetaAxes, axes))
}

// CodesSchema is the schema of a chunk's codes: one row for each block of up to 32 codes of one list. They are those of all
// rows of the base that are in the list or spilled to it, in row order. The chunk's own rows are firstRow and those that
// follow of the baseRows rows of the base.
func CodesSchema(model string, m, firstRow, baseRows int) *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: StoredList, Type: arrow.PrimitiveTypes.Int32},
		{Name: StoredRows, Type: arrow.PrimitiveTypes.Int32},
		{Name: StoredBaseRows, Type: arrow.FixedSizeListOfNonNullable(32, arrow.PrimitiveTypes.Int32)},
		{Name: StoredBlock, Type: &arrow.FixedSizeBinaryType{ByteWidth: 16 * (m + m%2)}},
	}, metadata(KindCodes, MetaModel, model, MetaM, strconv.Itoa(m),
		MetaFirstRow, strconv.Itoa(firstRow), MetaBaseRows, strconv.Itoa(baseRows)))
}

// VectorsSchema is the schema of a chunk's originals, in the order of its rows.
func (s *Spec) VectorsSchema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{{Name: StoredVector, Type: s.VectorList()}}, metadata(KindVectors))
}

// TombstonesSchema is the schema of deletes.
func TombstonesSchema() *arrow.Schema {
	return arrow.NewSchema(identityFields(), metadata(KindTombstones))
}

// DeadSchema is the schema of a generation's dead rows: a bitmap of row numbers for each part that has any.
func DeadSchema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: StoredPart, Type: arrow.BinaryTypes.String},
		{Name: StoredRows, Type: arrow.BinaryTypes.Binary},
	}, metadata(KindDead))
}

// QuarantineSchema is the schema of what was refused.
func QuarantineSchema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: QuarantineTopic, Type: arrow.BinaryTypes.String},
		{Name: QuarantinePartition, Type: arrow.PrimitiveTypes.Int32},
		{Name: QuarantineOffset, Type: arrow.PrimitiveTypes.Int64},
		{Name: QuarantineRow, Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: QuarantineReason, Type: arrow.BinaryTypes.String},
		{Name: QuarantineDetail, Type: arrow.BinaryTypes.String},
		{Name: QuarantineTimestamp, Type: arrow.PrimitiveTypes.Int64},
		{Name: QuarantinePayload, Type: arrow.BinaryTypes.LargeBinary},
	}, metadata(KindQuarantine))
}
