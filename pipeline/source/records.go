package source

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"
	"unsafe"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
)

// alignment of record values, in bytes: what Arrow recommends for buffers.
const alignment = 64

// readPage copies the committed records from offset on out of an answer and
// finds where to go on.
//
// The record set is a run of whole batches, the first of which holds offset or
// is the first after it. A batch ends at or after its last record and before the
// next batch, so Next is one past the greatest offset seen.
func readPage(p *fetch.ResponsePartition, offset int64) (page, error) {
	out := page{Batch: Batch{
		Next:          offset,
		HighWatermark: p.HighWatermark,
		LastStable:    p.LastStableOffset,
		LogStart:      p.LogStartOffset,
	}}
	if p.RecordSet.Records == nil {
		return out, nil
	}
	stream, ok := p.RecordSet.Records.(*protocol.RecordStream)
	if !ok {
		return page{}, fmt.Errorf("record set of unexpected type %T", p.RecordSet.Records)
	}
	aborted := newAbortedFilter(p.AbortedTransactions)
	for _, r := range stream.Records {
		var base int64
		var err error
		switch b := r.(type) {
		case *protocol.ControlBatch:
			base = b.BaseOffset
			err = out.readControl(b, aborted)
		case *protocol.RecordBatch:
			base = b.BaseOffset
			err = out.readRecords(b, offset, aborted.drops(b))
		default:
			return page{}, fmt.Errorf("record batch of type %T: only message format v2 is supported", r)
		}
		if err != nil {
			return page{}, fmt.Errorf("record batch at %d: %w", base, err)
		}
		if out.batches == 0 {
			out.base = base
		}
		out.batches++
		out.Next = max(out.Next, base+1)
	}
	return out, nil
}

func (p *page) readRecords(b *protocol.RecordBatch, offset int64, drop bool) error {
	for {
		r, err := b.ReadRecord()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		p.Next = max(p.Next, r.Offset+1)
		// Brokers return whole batches: the first may begin below offset.
		if drop || r.Offset < offset {
			release(r)
			continue
		}
		rec, err := copyRecord(r)
		release(r)
		if err != nil {
			return fmt.Errorf("record %d: %w", r.Offset, err)
		}
		p.Records = append(p.Records, rec)
	}
}

// readControl takes note of transaction markers, which are not data.
func (p *page) readControl(b *protocol.ControlBatch, aborted *abortedFilter) error {
	for {
		r, err := b.ReadRecord()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		p.Next = max(p.Next, r.Offset+1)
		key, err := copyBytes(r.Key, plain)
		release(r)
		if err != nil {
			return fmt.Errorf("control record %d: %w", r.Offset, err)
		}
		aborted.marker(b.ProducerID, b.BaseOffset, key)
	}
}

// abortedFilter tells the batches of aborted transactions. Within a partition a
// producer has one transaction at a time, which reaches from its first offset,
// given by the broker, to its abort marker in the log.
type abortedFilter struct {
	pending []fetch.ResponseTransaction // not reached yet, by first offset
	open    map[int64]struct{}          // producers inside an aborted transaction
}

func newAbortedFilter(txns []fetch.ResponseTransaction) *abortedFilter {
	txns = slices.Clone(txns)
	slices.SortFunc(txns, func(a, b fetch.ResponseTransaction) int {
		return cmp.Compare(a.FirstOffset, b.FirstOffset)
	})
	return &abortedFilter{pending: txns, open: make(map[int64]struct{})}
}

// reach moves to the batch that begins at base.
func (f *abortedFilter) reach(base int64) {
	for len(f.pending) > 0 && f.pending[0].FirstOffset <= base {
		f.open[f.pending[0].ProducerID] = struct{}{}
		f.pending = f.pending[1:]
	}
}

// drops reports whether b belongs to an aborted transaction. Batches have to be
// shown in the order of the log.
func (f *abortedFilter) drops(b *protocol.RecordBatch) bool {
	f.reach(b.BaseOffset)
	_, open := f.open[b.ProducerID]
	return open && b.Attributes.Transactional()
}

// marker ends the aborted transaction of a producer, if key, an int16 version
// and an int16 type, says abort.
func (f *abortedFilter) marker(producer, base int64, key []byte) {
	const abort = 0
	f.reach(base)
	if len(key) >= 4 && binary.BigEndian.Uint16(key[2:]) == abort {
		delete(f.open, producer)
	}
}

// copyRecord copies a record out of the library's pooled pages.
func copyRecord(r *protocol.Record) (Record, error) {
	key, err := copyBytes(r.Key, plain)
	if err != nil {
		return Record{}, fmt.Errorf("key: %w", err)
	}
	value, err := copyBytes(r.Value, aligned)
	if err != nil {
		return Record{}, fmt.Errorf("value: %w", err)
	}
	t := r.Time
	if t.Before(time.Unix(0, 0)) {
		t = time.Time{} // -1 on the wire: no timestamp
	}
	return Record{Offset: r.Offset, Timestamp: t, Key: key, Value: value, Headers: r.Headers}, nil
}

func copyBytes(b protocol.Bytes, alloc func(n int) []byte) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	p := alloc(b.Len())
	_, err := io.ReadFull(b, p)
	return p, err
}

// release gives the pages of a record back to the library's pool.
func release(r *protocol.Record) {
	if r.Key != nil {
		r.Key.Close()
	}
	if r.Value != nil {
		r.Value.Close()
	}
}

func plain(n int) []byte { return make([]byte, n) }

// aligned returns n bytes that begin on an alignment boundary. The allocator
// aligns larger sizes by itself; smaller ones get room to be shifted in. Heap
// objects do not move, so the address can be trusted.
func aligned(n int) []byte {
	if p := make([]byte, n); misalignment(p) == 0 {
		return p
	}
	p := make([]byte, n+alignment)
	shift := (alignment - misalignment(p)) % alignment
	return p[shift : shift+n : shift+n]
}

func misalignment(p []byte) int {
	return int(uintptr(unsafe.Pointer(unsafe.SliceData(p))) % alignment)
}
