package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Metric is how two vectors are compared. A larger score is always better.
type Metric string

const (
	Cosine       Metric = "cosine" // inner product of the unit vectors (default)
	InnerProduct Metric = "ip"     // inner product of the vectors as given
)

// VectorType is how an index stores the vectors that it was given.
type VectorType string

const (
	Float16 VectorType = "float16"
	Float32 VectorType = "float32"
)

// PrefixMode is what makes the prefixes of the ladder meaningful.
type PrefixMode string

const (
	PrefixNative PrefixMode = "native" // the encoder: it was trained at the widths of the ladder (default)
	PrefixRotate PrefixMode = "rotate" // a rotation that the model learns from the rows
)

// AttributeType is the stored type of an attribute. Messages may carry narrower types: dictionaries of utf8 become
// utf8, all integers int64, all floats float64, and timestamps of any unit int64 milliseconds since the epoch in UTC.
type AttributeType string

const (
	AttributeString    AttributeType = "utf8"
	AttributeBool      AttributeType = "bool"
	AttributeInt       AttributeType = "int64"
	AttributeFloat     AttributeType = "float64"
	AttributeTimestamp AttributeType = "timestamp"
)

// Limits of a spec.
const (
	SpecFormat    = 1
	MaxDim        = 8192
	MaxRotatedDim = 4096 // under PrefixRotate: principal axes take the cube of it
	MaxLevels     = 16
	MaxAttributes = 64
	MaxPartitions = 100_000
	MaxShards     = 1024
	MaxNameBytes  = 128
	MaxIDBytes    = 1024
)

// Spec describes an index. It is written once, when the index is made, and never changes.
type Spec struct {
	Format     int         `json:"format"`
	Name       string      `json:"name"`
	Metric     Metric      `json:"metric"`
	Ladder     []int       `json:"ladder"`  // trained prefix widths, ascending; the last one is the full width D
	Encoder    string      `json:"encoder"` // name and version of the model that made the vectors; others are refused
	Vectors    VectorType  `json:"vectors"` // how originals are stored
	Attributes []Attribute `json:"attributes,omitempty"`
	Topic      Topic       `json:"topic"`
	Shards     int         `json:"shards"` // partition p belongs to shard p mod Shards

	// Loads is how many parts a bulk load may have, 0 for none: each has a chain in each shard, beside those of the topic.
	Loads int `json:"loads,omitempty"`

	// Prefix is absent for PrefixNative.
	Prefix PrefixMode `json:"prefix,omitempty"`

	// ListsPerRow is 2, the default, or 1: half the bytes of codes, and half the speed or less at equal recall.
	ListsPerRow int `json:"lists_per_row,omitempty"`

	// Messages is absent for Arrow streams.
	Messages *Messages `json:"messages,omitempty"`

	Defaults Defaults `json:"defaults"`
}

// AttributeAt returns which attribute has a name, -1 if none has.
func (s *Spec) AttributeAt(name string) int {
	return slices.IndexFunc(s.Attributes, func(a Attribute) bool { return a.Name == name })
}

// AttributeNames are what an error says is allowed where the name of an attribute is wrong.
func (s *Spec) AttributeNames() string {
	if len(s.Attributes) == 0 {
		return "none: the index has no attributes"
	}
	names := make([]string, len(s.Attributes))
	for i, a := range s.Attributes {
		names[i] = a.Name
	}
	return strings.Join(names, ", ")
}

// Attribute is a column that is stored with each row and can be asked for in an answer. Any value may be null.
type Attribute struct {
	Name string        `json:"name"`
	Type AttributeType `json:"type"`
}

// Topic is the identity of the log that feeds the index. Cluster and ID are empty when the broker does not tell;
// what is set must match, so that a topic that was deleted and made again is noticed.
type Topic struct {
	Name       string `json:"name"`
	Cluster    string `json:"cluster,omitempty"`
	ID         string `json:"id,omitempty"`
	Partitions int    `json:"partitions"`
}

// Defaults holds what a query gets when it does not say.
type Defaults struct {
	TargetRecall float64 `json:"target_recall"` // recall@10 that the default plan is measured to reach; also the quality gate's objective
}

// Dim is the full width D of a vector.
func (s *Spec) Dim() int { return s.Ladder[len(s.Ladder)-1] }

// ShardOf is the shard that a partition belongs to.
func (s *Spec) ShardOf(partition int) int { return partition % s.Shards }

// PartitionsOf are the partitions of a shard, ascending: those of the topic, and those of loads.
func (s *Spec) PartitionsOf(shard int) []int {
	partitions := s.TopicPartitionsOf(shard)
	for part := range s.Loads {
		partitions = append(partitions, s.LoadPartition(part, shard))
	}
	return partitions
}

// TopicPartitionsOf are the partitions of the topic that are a shard's, ascending.
func (s *Spec) TopicPartitionsOf(shard int) (partitions []int) {
	for p := shard; p < s.Topic.Partitions; p += s.Shards {
		partitions = append(partitions, p)
	}
	return partitions
}

// LoadPartition is the number of the chain that a part of a load has in a shard. It is no partition of the topic.
func (s *Spec) LoadPartition(part, shard int) int { return s.firstLoad() + part*s.Shards + shard }

// firstLoad is the partitions of the topic, rounded up to a multiple of the shards.
func (s *Spec) firstLoad() int { return (s.Topic.Partitions + s.Shards - 1) / s.Shards * s.Shards }

// IsLoad reports whether a partition is of loads.
func (s *Spec) IsLoad(partition int) bool {
	return partition >= s.firstLoad() && partition < s.EndPartition()
}

// HasPartition reports whether a partition is of the topic or of loads.
func (s *Spec) HasPartition(partition int) bool {
	return partition >= 0 && partition < s.Topic.Partitions || s.IsLoad(partition)
}

// EndPartition is more than all partitions, by one.
func (s *Spec) EndPartition() int {
	if s.Loads == 0 {
		return s.Topic.Partitions
	}
	return s.firstLoad() + s.Loads*s.Shards
}

// VectorBytes is how many bytes an original takes.
func (s *Spec) VectorBytes() int {
	if s.Vectors == Float16 {
		return 2 * s.Dim()
	}
	return 4 * s.Dim()
}

// Rotates reports whether models of the index rotate what is searched.
func (s *Spec) Rotates() bool { return s.Prefix == PrefixRotate }

// WithDefaults fills what the zero value leaves open.
func (s Spec) WithDefaults() Spec {
	if s.Format == 0 {
		s.Format = SpecFormat
	}
	if s.Metric == "" {
		s.Metric = Cosine
	}
	if s.Vectors == "" {
		s.Vectors = Float32
	}
	if s.Shards == 0 {
		s.Shards = 1
	}
	if s.Defaults.TargetRecall == 0 {
		s.Defaults.TargetRecall = 0.95
	}
	return s
}

var (
	nameRE   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	sumRE    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	columnRE = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
)

// ReservedColumns are the names that an attribute cannot have.
var reservedColumns = map[string]bool{ColumnID: true, ColumnVector: true, ColumnOp: true, ColumnVersion: true}

// Validate reports every fault of the spec, each naming the field, the value and what is allowed.
func (s *Spec) Validate() error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if s.Format != SpecFormat {
		faults = append(faults, unknown(s.Format, SpecFormat))
	}
	if len(s.Name) > MaxNameBytes || !nameRE.MatchString(s.Name) {
		bad("name: %q, allowed: 1 to %d letters, digits, '.', '_', '-', starting with a letter or digit", s.Name, MaxNameBytes)
	}
	if s.Metric != Cosine && s.Metric != InnerProduct {
		bad("metric: %q, allowed: %s, %s", s.Metric, Cosine, InnerProduct)
	}
	if s.Vectors != Float16 && s.Vectors != Float32 {
		bad("vectors: %q, allowed: %s, %s", s.Vectors, Float16, Float32)
	}
	if n := len(s.Ladder); n == 0 || n > MaxLevels {
		bad("ladder: %d levels, allowed: 1 to %d ascending widths such as [64,128,256]", n, MaxLevels)
	}
	for i, d := range s.Ladder {
		if d < 4 || d > MaxDim || d%4 != 0 || (i > 0 && d <= s.Ladder[i-1]) {
			bad("ladder: %v, allowed: ascending multiples of 4 from 4 to %d", s.Ladder, MaxDim)
			break
		}
	}
	if s.Encoder == "" || len(s.Encoder) > MaxNameBytes {
		bad("encoder: %q, allowed: 1 to %d characters that name the model and its version", s.Encoder, MaxNameBytes)
	}
	if len(s.Attributes) > MaxAttributes {
		bad("attributes: %d, allowed: at most %d", len(s.Attributes), MaxAttributes)
	}
	seen := map[string]bool{}
	for _, a := range s.Attributes {
		switch {
		case len(a.Name) > MaxNameBytes || !columnRE.MatchString(a.Name):
			bad("attributes: name %q, allowed: letters, digits, '_', '.', '-', starting with a letter or '_'", a.Name)
		case reservedColumns[a.Name]:
			bad("attributes: name %q is a column of every message, choose another", a.Name)
		case seen[a.Name]:
			bad("attributes: name %q is there twice", a.Name)
		}
		seen[a.Name] = true
		switch a.Type {
		case AttributeString, AttributeBool, AttributeInt, AttributeFloat, AttributeTimestamp:
		default:
			bad("attributes: type %q of %q, allowed: utf8, bool, int64, float64, timestamp", a.Type, a.Name)
		}
	}
	if s.Topic.Name == "" {
		bad("topic.name: empty, allowed: the name of the Kafka topic that feeds the index")
	}
	if s.Topic.Partitions < 1 || s.Topic.Partitions > MaxPartitions {
		bad("topic.partitions: %d, allowed: 1 to %d", s.Topic.Partitions, MaxPartitions)
	}
	if most := min(MaxShards, max(1, s.Topic.Partitions)); s.Shards < 1 || s.Shards > most {
		bad("shards: %d, allowed: 1 to %d; each has a partition of the topic at least", s.Shards, most)
	}
	if s.Loads < 0 || s.Loads > MaxPartitions {
		bad("loads: %d, allowed: 1 to %d (or absent, which is none)", s.Loads, MaxPartitions)
	} else if s.Shards > 0 && s.Loads > 0 && s.EndPartition() > MaxPartitions {
		bad("loads: %d in each of %d shards beside %d partitions, allowed: %d in all", s.Loads, s.Shards, s.Topic.Partitions, MaxPartitions)
	}
	if s.Prefix != "" && s.Prefix != PrefixNative && s.Prefix != PrefixRotate {
		bad("prefix: %q, allowed: %s, %s (or absent, which is %s)", s.Prefix, PrefixNative, PrefixRotate, PrefixNative)
	}
	if n := len(s.Ladder); s.Rotates() && n > 0 && s.Dim() > MaxRotatedDim {
		bad("prefix: %s of %d dimensions, allowed: up to %d", s.Prefix, s.Dim(), MaxRotatedDim)
	}
	if s.ListsPerRow < 0 || s.ListsPerRow > 2 {
		bad("lists_per_row: %d, allowed: 1, 2 (or absent, which is 2)", s.ListsPerRow)
	}
	if s.Messages != nil {
		if err := s.Messages.validate(s); err != nil {
			faults = append(faults, err)
		}
	}
	if r := s.Defaults.TargetRecall; !(r > 0 && r < 1) {
		bad("defaults.target_recall: %v, allowed: more than 0 and less than 1", r)
	}
	return errors.Join(faults...)
}

// ParseSpec reads a spec strictly: unknown fields, trailing bytes and invalid values are errors.
func ParseSpec(data []byte) (*Spec, error) {
	var s Spec
	if err := decodeStrict(data, &s, SpecFormat); err != nil {
		return nil, fmt.Errorf("index spec: %w", err)
	}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("index spec: %w", err)
	}
	return &s, nil
}

// decodeStrict reads a record. What is not known here is told to be of another format if the record says so itself.
func decodeStrict(data []byte, into any, known ...int) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		var head struct{ Format int }
		if json.Unmarshal(data, &head) == nil && !slices.Contains(known, head.Format) {
			return unknown(head.Format, known...)
		}
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("bytes after the document")
	}
	return nil
}

// String names the index for logs.
func (s *Spec) String() string {
	return fmt.Sprintf("%s (%s, ladder %s, encoder %s)", s.Name, s.Metric, strings.Trim(fmt.Sprint(s.Ladder), "[]"), s.Encoder)
}
