package produce

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow/float16"

	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/schemas"
)

// Single is the message, of one row, that upserts or deletes an id in an index whose messages are JSON. Attributes are null.
func Single(spec *schemas.Spec, id string, vector []float32, remove bool) (source.Message, error) {
	m := spec.Messages
	message := source.Message{Partition: source.PartitionOf(id, spec.Topic.Partitions)}
	if spec.ReadsArrow() || m.Format != schemas.MessagesJSON || m.Framing != "" {
		return message, fmt.Errorf("messages of the index spec: format %q, framing %q, allowed: %s without framing, others need a schema", m.Format, m.Framing, schemas.MessagesJSON)
	}
	var err error
	if message.Key, err = keyOf(m, id); err != nil {
		return message, err
	}
	if remove && m.Op == "" && m.Envelope == "" {
		return message, nil // a tombstone
	}
	message.Value, err = json.Marshal(object(spec, id, vector, remove))
	return message, err
}

func keyOf(m *schemas.Messages, id string) ([]byte, error) {
	fields, text := m.KeyPath()
	if text {
		return []byte(id), nil
	}
	var key any = id
	for i := len(fields) - 1; i >= 0; i-- {
		key = map[string]any{fields[i]: key}
	}
	return json.Marshal(key)
}

func object(spec *schemas.Spec, id string, vector []float32, remove bool) map[string]any {
	m, root := spec.Messages, map[string]any{}
	row, op, deleted := "after", "c", schemas.OpDelete
	if remove {
		row, op = "before", "d"
	}
	set := func(path string, v any) {
		fields, atEnvelope := m.Path(path)
		if m.Envelope != "" && !atEnvelope {
			fields = append([]string{row}, fields...)
		}
		at := root
		for _, f := range fields[:len(fields)-1] {
			next, ok := at[f].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[f] = next
			}
			at = next
		}
		at[fields[len(fields)-1]] = v
	}
	set(m.IDPath(), id)
	if m.Envelope != "" {
		root["op"] = op
	}
	if remove && m.Op != "" {
		if len(m.Deletes) > 0 {
			deleted = m.Deletes[0]
		}
		set(m.Op, deleted)
	}
	if !remove {
		set(m.VectorPath(), jsonVector(m, vector))
		if m.Encoder != "" {
			set(m.Encoder, spec.Encoder)
		}
	}
	return root
}

func jsonVector(m *schemas.Messages, vector []float32) any {
	var raw []byte
	switch m.VectorBytes {
	case schemas.Float16:
		for _, x := range vector {
			raw = binary.LittleEndian.AppendUint16(raw, float16.New(x).Uint16())
		}
	case schemas.Float32:
		for _, x := range vector {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
		}
	default:
		return vector
	}
	return base64.StdEncoding.EncodeToString(raw)
}
