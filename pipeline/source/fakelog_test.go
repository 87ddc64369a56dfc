package source_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/adastream/adastream/pipeline/source"
)

// fakeBatch is a record batch as a broker may store it, after compaction.
type fakeBatch struct {
	base, last int64   // offsets that it spans, whatever records are left
	offsets    []int64 // of the records that are left
	producer   int64   // -1: none
	txn        bool    // data of a transaction
	marker     bool    // transaction marker
	abort      bool    // of a marker: abort
}

// value of the record at an offset; the odd ones do not fit a page.
func fakeValue(offset int64) []byte {
	return fmt.Appendf(nil, "value %d %0*d", offset, int(offset%5*offset%977), offset)
}

func (b fakeBatch) encode() []byte {
	var records []byte
	for _, o := range b.offsets {
		r := kmsg.Record{OffsetDelta: int32(o - b.base), Value: fakeValue(o)}
		if b.marker {
			kind := uint16(1)
			if b.abort {
				kind = 0
			}
			r.Key = binary.BigEndian.AppendUint16([]byte{0, 0}, kind)
			r.Value = []byte{0, 0, 0, 0, 0, 0}
		}
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		records = r.AppendTo(records)
	}
	v := kmsg.RecordBatch{
		FirstOffset:          b.base,
		Length:               int32(49 + len(records)),
		PartitionLeaderEpoch: -1,
		Magic:                2,
		LastOffsetDelta:      int32(b.last - b.base),
		ProducerID:           b.producer,
		ProducerEpoch:        -1,
		FirstSequence:        -1,
		NumRecords:           int32(len(b.offsets)),
		Records:              records,
	}
	if b.txn || b.marker {
		v.Attributes |= 1 << 4
	}
	if b.marker {
		v.Attributes |= 1 << 5
	}
	raw := v.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

type fakeTxn struct{ producer, first, last int64 }

// fakeLog answers fetches of partition 0 in place of an embedded broker, the way
// a real Kafka does: whole batches from the one that holds the offset, the first
// one whatever its size, a cut one at the end.
type fakeLog struct {
	batches []fakeBatch
	aborted []fakeTxn
	lso, hw int64

	mu       sync.Mutex
	requests int
	// corrupt flips a byte of the batch with this index; -1: none.
	corrupt int
	// stingy answers nothing to requests for fewer bytes.
	stingy int32
}

// startFakeLog runs a broker whose fetches are answered by l.
func startFakeLog(t testing.TB, l *fakeLog, o source.Options) *source.Client {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "fake"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		return l.answer(req.(*kmsg.FetchRequest)), nil, true
	})
	o.Brokers, o.Topic = cluster.ListenAddrs(), "fake"
	c, err := source.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// count returns how many fetches were answered.
func (l *fakeLog) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests
}

func (l *fakeLog) answer(req *kmsg.FetchRequest) *kmsg.FetchResponse {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	ask := req.Topics[0].Partitions[0]
	part := kmsg.NewFetchResponseTopicPartition()
	part.HighWatermark, part.LastStableOffset, part.LogStartOffset = l.hw, l.lso, 0
	part.RecordBatches = []byte{}
	upper := ask.FetchOffset
	for i, b := range l.batches {
		if b.last < ask.FetchOffset || b.base >= l.lso || ask.PartitionMaxBytes < l.stingy {
			continue
		}
		raw := b.encode()
		if i == l.corrupt {
			raw[len(raw)-1] ^= 1
		}
		if room := int(ask.PartitionMaxBytes) - len(part.RecordBatches); room < len(raw) && len(part.RecordBatches) > 0 {
			part.RecordBatches = append(part.RecordBatches, raw[:max(room, 0)]...)
			break
		}
		part.RecordBatches = append(part.RecordBatches, raw...)
		upper = b.last + 1
	}
	for _, a := range l.aborted {
		if a.last >= ask.FetchOffset && a.first < upper {
			at := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
			at.ProducerID, at.FirstOffset = a.producer, a.first
			part.AbortedTransactions = append(part.AbortedTransactions, at)
		}
	}
	topic := kmsg.NewFetchResponseTopic()
	topic.Topic = req.Topics[0].Topic
	topic.Partitions = append(topic.Partitions, part)
	res := req.ResponseKind().(*kmsg.FetchResponse)
	res.Topics = append(res.Topics, topic)
	return res
}

// randomLog makes a log of about n batches and the records that a read_committed
// consumer may see of it.
func randomLog(r *rand.Rand, n int) (*fakeLog, []source.Record) {
	l := &fakeLog{corrupt: -1}
	open := map[int64]int64{} // producer: first offset of its transaction
	outcome := map[int]bool{} // batch index: committed
	pending := map[int64][]int{}
	var next int64
	add := func(b fakeBatch) {
		b.base = next
		size := int64(1)
		if !b.marker {
			size = 1 + r.Int64N(6)
		}
		b.last = next + size - 1
		for o := b.base; o <= b.last; o++ {
			b.offsets = append(b.offsets, o)
		}
		next = b.last + 1
		l.batches = append(l.batches, b)
	}
	end := func(p int64, abort bool) {
		add(fakeBatch{producer: p, marker: true, abort: abort})
		if abort {
			l.aborted = append(l.aborted, fakeTxn{p, open[p], next - 1})
		}
		for _, i := range pending[p] {
			outcome[i] = !abort
		}
		delete(open, p)
		delete(pending, p)
	}
	for range n {
		p := r.Int64N(4)
		_, isOpen := open[p]
		switch {
		case p == 3:
			add(fakeBatch{producer: -1})
			outcome[len(l.batches)-1] = true
		case isOpen && r.IntN(2) == 0:
			end(p, r.IntN(2) == 0)
		default:
			if !isOpen {
				open[p] = next
			}
			pending[p] = append(pending[p], len(l.batches))
			add(fakeBatch{producer: p, txn: true})
		}
	}
	for p := range int64(3) {
		if _, isOpen := open[p]; isOpen && r.IntN(3) > 0 {
			end(p, r.IntN(2) == 0)
		}
	}
	// A transaction left open ends the readable log where it began.
	l.hw, l.lso = next, next
	for _, first := range open {
		l.lso = min(l.lso, first)
	}

	// Compaction: of what is decided, drop records at random, sometimes all
	// of a batch, sometimes the batch with them.
	var kept []fakeBatch
	var visible []source.Record
	for i, b := range l.batches {
		keep := 1 + r.IntN(4)
		if !b.marker && keep < 4 {
			var left []int64
			for _, o := range b.offsets {
				if r.IntN(4) < keep-1 {
					left = append(left, o)
				}
			}
			b.offsets = left
		}
		lastOne := i == len(l.batches)-1
		if len(b.offsets) == 0 && r.IntN(2) == 0 && !lastOne {
			continue
		}
		kept = append(kept, b)
		if b.marker || !outcome[i] || b.base >= l.lso {
			continue
		}
		for _, o := range b.offsets {
			visible = append(visible, source.Record{Offset: o, Value: fakeValue(o)})
		}
	}
	l.batches = kept
	return l, visible
}
