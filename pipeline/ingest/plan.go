package ingest

import (
	"github.com/adastream/adastream/schemas"
)

// Places of a row's values among those that are read of a message; those of attributes follow.
const (
	slotID = iota
	slotVector
	slotVersion
	slotEncoder
	slotOp
	slotOldID      // of the row as it was, in an envelope
	slotOldVersion // the same
	slotAttributes
)

// plan says where in a message values are: a tree of the fields on the way to them.
type plan struct {
	slots    []int            // of what is here
	children map[string]*plan // by field; with slots there are none
	row      bool             // fields that are not here are undeclared columns
}

func (p *plan) add(slot int, fields []string) {
	for _, f := range fields {
		if p.children == nil {
			p.children = map[string]*plan{}
		}
		if p.children[f] == nil {
			p.children[f] = &plan{}
		}
		p = p.children[f]
	}
	p.slots = append(p.slots, slot)
}

// rowPlan is where the values of a row are in its message.
func rowPlan(spec *schemas.Spec) *plan {
	m, p := spec.Messages, &plan{}
	add := func(slot, before int, path string) {
		if path == "" {
			return
		}
		fields, atEnvelope := m.Path(path)
		if m.Envelope == "" || atEnvelope {
			p.add(slot, fields)
			if before != slot {
				p.add(before, fields)
			}
			return
		}
		p.add(slot, append([]string{envelopeAfter}, fields...))
		if before != slot {
			p.add(before, append([]string{envelopeBefore}, fields...))
		}
	}
	add(slotID, slotOldID, m.IDPath())
	add(slotVector, slotVector, m.VectorPath())
	add(slotVersion, slotOldVersion, m.Version)
	add(slotEncoder, slotEncoder, m.Encoder)
	add(slotOp, slotOp, m.Op)
	for j, a := range spec.Attributes {
		add(slotAttributes+j, slotAttributes+j, m.AttributePath(a.Name))
	}
	if m.Envelope == "" {
		p.row = true
		return p
	}
	p.add(slotOp, []string{envelopeOp})
	if after := p.children[envelopeAfter]; after != nil {
		after.row = true
	}
	return p
}

// keyPlan is where the id is in a key, nil if the key is the id. Its only slot is 0.
func keyPlan(m *schemas.Messages) *plan {
	fields, text := m.KeyPath()
	if text {
		return nil
	}
	p := &plan{}
	p.add(0, fields)
	return p
}
