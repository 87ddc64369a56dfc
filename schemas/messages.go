package schemas

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// MessageFormat is what the value of a record is.
type MessageFormat string

const (
	MessagesArrow MessageFormat = "arrow" // an Arrow stream of any number of rows (default)
	MessagesJSON  MessageFormat = "json"  // one object, which is one row
	MessagesAvro  MessageFormat = "avro"  // one Avro record, which is one row, framed as Confluent's serializers do
)

// Framing is what stands before the object of a JSON message.
type Framing string

// FramingConfluent is a zero byte and the id of a schema in four bytes, big-endian.
const FramingConfluent Framing = "confluent"

// Envelope is what a row comes in.
type Envelope string

// EnvelopeDebezium has what was done in op, and the row in before and after.
const EnvelopeDebezium Envelope = "debezium"

// Tombstones says what a record without a value does.
type Tombstones string

const (
	TombstonesDelete Tombstones = "delete" // deletes the id that is in the key (default)
	TombstonesIgnore Tombstones = "ignore"
)

// Limits of Messages.
const (
	MaxPathBytes   = 256
	MaxDeletes     = 16
	MaxInline      = 64      // schemas
	MaxSchemaBytes = 1 << 20 // of one
	MaxSchemaID    = 1<<31 - 1
)

// wholeKey is the path of a key that is the id itself.
const wholeKey = "$"

// envelopePath is the beginning of a path that begins at the envelope and not at the row.
const envelopePath = "$."

// Messages says how messages that are no Arrow streams become rows: where in a message the parts of a row are. A path is names of
// fields with dots between them, and begins at the row; with an envelope one that begins with "$." begins at the envelope.
type Messages struct {
	Format   MessageFormat `json:"format"`
	Framing  Framing       `json:"framing,omitempty"`  // of JSON; Avro always is
	Envelope Envelope      `json:"envelope,omitempty"` // absent: the message is the row

	ID          string     `json:"id,omitempty"`           // path, absent: "id"
	Vector      string     `json:"vector,omitempty"`       // path, absent: "vector"
	VectorBytes VectorType `json:"vector_bytes,omitempty"` // the vector is such values, little-endian, in JSON as base64; absent: it is an array
	Version     string     `json:"version,omitempty"`      // path, absent: no row has a version
	Encoder     string     `json:"encoder,omitempty"`      // path of what must be the spec's encoder; absent: it is taken to be
	Op          string     `json:"op,omitempty"`           // path of what is to be done, absent: rows are upserts; not with an envelope
	Deletes     []string   `json:"deletes,omitempty"`      // values of op that mean delete, all others upsert; absent: as in Arrow messages

	Attributes map[string]string `json:"attributes,omitempty"` // name -> path, absent: the name is the path
	Units      map[string]string `json:"units,omitempty"`      // timestamp -> s, ms, us or ns since the epoch, of numbers; absent: ms

	// Key is where the id is in the key of a record that has no value, or no row: a path into a key of the messages' format, or
	// "$" for a key that is one value of it. Absent: the key is the id as text, with an envelope it is at the path of ID.
	Key        string     `json:"key,omitempty"`
	Tombstones Tombstones `json:"tombstones,omitempty"`

	// Schemas are those of Avro messages by their id in decimal. Others are asked of a schema registry.
	Schemas map[string]string `json:"schemas,omitempty"`
}

// ReadsArrow says whether messages are Arrow streams.
func (s *Spec) ReadsArrow() bool { return s.Messages == nil || s.Messages.Format == MessagesArrow }

// Path is the names of the fields of a path, and whether they begin at the envelope.
func (m *Messages) Path(path string) (fields []string, atEnvelope bool) {
	if m.Envelope != "" {
		path, atEnvelope = strings.CutPrefix(path, envelopePath)
	}
	return strings.Split(path, "."), atEnvelope
}

// IDPath is where the id is.
func (m *Messages) IDPath() string { return orName(m.ID, ColumnID) }

// VectorPath is where the vector is.
func (m *Messages) VectorPath() string { return orName(m.Vector, ColumnVector) }

// AttributePath is where an attribute is.
func (m *Messages) AttributePath(name string) string { return orName(m.Attributes[name], name) }

// KeyPath is where the id is in a key, nil for a key that is one value. Text is true of a key that is the id itself.
func (m *Messages) KeyPath() (fields []string, text bool) {
	switch {
	case m.Key == wholeKey:
		return nil, false
	case m.Key != "":
		return strings.Split(m.Key, "."), false
	case m.Envelope == "":
		return nil, true
	}
	fields, _ = m.Path(m.IDPath())
	return fields, false
}

func orName(path, name string) string {
	if path == "" {
		return name
	}
	return path
}

// validate reports every fault of m, of which s is the spec.
func (m *Messages) validate(s *Spec) error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf("messages."+format, args...)) }
	oneOf(bad, "format", m.Format, MessagesArrow, MessagesJSON, MessagesAvro)
	if m.Format == MessagesArrow && !m.isZeroBut() {
		bad("format: %s with more members, allowed: it alone, as Arrow messages say everything themselves", m.Format)
	}
	if m.Framing != "" {
		oneOf(bad, "framing", m.Framing, FramingConfluent)
	}
	if m.Envelope != "" {
		oneOf(bad, "envelope", m.Envelope, EnvelopeDebezium)
	}
	if m.VectorBytes != "" {
		oneOf(bad, "vector_bytes", m.VectorBytes, Float16, Float32)
	}
	if m.Tombstones != "" {
		oneOf(bad, "tombstones", m.Tombstones, TombstonesDelete, TombstonesIgnore)
	}
	if m.Op != "" && m.Envelope != "" {
		bad("op: %q, allowed: absent, the envelope says what is to be done", m.Op)
	}
	if n := len(m.Deletes); n > MaxDeletes || n > 0 && m.Op == "" || slices.Contains(m.Deletes, "") {
		bad("deletes: %q, allowed: up to %d values of the field that op names", m.Deletes, MaxDeletes)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Attributes)) {
		if s.AttributeAt(name) < 0 {
			bad("attributes: %q is no attribute of the index, allowed: %s", name, s.AttributeNames())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Units)) {
		if i := s.AttributeAt(name); i < 0 || s.Attributes[i].Type != AttributeTimestamp {
			bad("units: %q is no timestamp of the index, allowed: attributes of the type %s", name, AttributeTimestamp)
		}
		oneOf(bad, "units", m.Units[name], "s", "ms", "us", "ns")
	}
	if len(m.Schemas) > MaxInline || len(m.Schemas) > 0 && m.Format != MessagesAvro {
		bad("schemas: %d with the format %s, allowed: up to %d with the format %s", len(m.Schemas), m.Format, MaxInline, MessagesAvro)
	}
	for _, id := range slices.Sorted(maps.Keys(m.Schemas)) {
		if n, err := strconv.ParseInt(id, 10, 32); err != nil || n < 0 || strconv.FormatInt(n, 10) != id {
			bad("schemas: id %q, allowed: 0 to %d", id, MaxSchemaID)
		}
		if n := len(m.Schemas[id]); n == 0 || n > MaxSchemaBytes {
			bad("schemas: %d bytes of schema %s, allowed: 1 to %d", n, id, MaxSchemaBytes)
		}
	}
	m.validatePaths(s, bad)
	return errors.Join(faults...)
}

func oneOf[T ~string](bad func(string, ...any), name string, value T, allowed ...T) {
	if slices.Contains(allowed, value) {
		return
	}
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	bad("%s: %q, allowed: %s", name, value, strings.Join(names, ", "))
}

// isZeroBut says whether only the format is set.
func (m *Messages) isZeroBut() bool {
	return m.Framing == "" && m.Envelope == "" && m.ID == "" && m.Vector == "" && m.VectorBytes == "" && m.Version == "" && m.Encoder == "" &&
		m.Op == "" && len(m.Deletes)+len(m.Attributes)+len(m.Units)+len(m.Schemas) == 0 && m.Key == "" && m.Tombstones == ""
}

// validatePaths refuses paths that are none, and those of which one leads through the value of another.
func (m *Messages) validatePaths(s *Spec, bad func(string, ...any)) {
	type named struct{ name, path string }
	paths := []named{{"id", m.IDPath()}, {"vector", m.VectorPath()}, {"version", m.Version}, {"encoder", m.Encoder}, {"op", m.Op}}
	for _, a := range s.Attributes {
		paths = append(paths, named{"attributes." + a.Name, m.AttributePath(a.Name)})
	}
	root := func(path string) string { // from the top of the message, with a dot at the end
		fields, atEnvelope := m.Path(path)
		if m.Envelope != "" && !atEnvelope {
			fields = append([]string{"after"}, fields...)
		}
		return strings.Join(fields, ".") + "."
	}
	if m.Envelope != "" {
		paths = append(paths, named{"envelope", envelopePath + "op"})
	}
	var good []named
	for _, p := range paths {
		if p.path == "" {
			continue
		}
		fields, _ := m.Path(p.path)
		if len(p.path) > MaxPathBytes || slices.Contains(fields, "") || m.Envelope == "" && fields[0] == wholeKey {
			bad("%s: path %q, allowed: names of fields with dots between them, up to %d bytes; $. before them goes with an envelope", p.name, p.path, MaxPathBytes)
			continue
		}
		for _, other := range good {
			if a, b := root(p.path), root(other.path); a != b && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a)) {
				bad("%s: path %q and the path %q of %s, allowed: none that leads through the value of another", p.name, p.path, other.path, other.name)
				break
			}
		}
		good = append(good, p)
	}
	if fields := strings.Split(m.Key, "."); m.Key != "" && m.Key != wholeKey && (len(m.Key) > MaxPathBytes || slices.Contains(fields, "")) {
		bad("key: path %q, allowed: names of fields with dots between them, up to %d bytes, or $ for a key that is one value", m.Key, MaxPathBytes)
	}
}

// ParseMessages reads the block of a spec alone, strictly.
func ParseMessages(data []byte) (*Messages, error) {
	var m Messages
	if err := decodeStrict(data, &m, SpecFormat); err != nil {
		return nil, fmt.Errorf("messages: %w", err)
	}
	return &m, nil
}
