package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/schemas"
)

const (
	partitions = 4
	dim        = 32
	encoder    = "torture-1"
	batchRows  = 100
)

var messageSchema = func() *arrow.Schema {
	md := arrow.MetadataFrom(map[string]string{schemas.MetaEncoder: encoder})
	return arrow.NewSchema([]arrow.Field{
		{Name: schemas.ColumnID, Type: arrow.BinaryTypes.String},
		{Name: schemas.ColumnOp, Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: schemas.ColumnVersion, Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: columnSerial, Type: arrow.PrimitiveTypes.Int64},
		{Name: schemas.ColumnVector, Type: arrow.FixedSizeListOf(dim, arrow.PrimitiveTypes.Float32)},
	}, &md)
}()

// columnSerial is an attribute: a number that no other row has, but a row that is sent twice.
const columnSerial = "n"

// row is what a producer says of an item.
type row struct {
	id      string
	delete  bool
	version int64 // 0: none
	serial  int64
	vector  []float32
}

// generator produces rows and remembers what became of them. It knows nothing of the product but the form of messages.
type generator struct {
	brokers []string
	topic   string
	ids     int
	rate    int // rows a second
	plain   *kgo.Client

	mu      sync.Mutex // held while it produces: with it, everything sent is settled
	rng     *rand.Rand
	serial  int64
	version int64
	bound   *kgo.Client // of transactions; nil: not made, or in doubt

	acked   map[int64]bool // serials that the broker acknowledged, since the last check
	aborted map[int64]bool // serials of transactions that were aborted
	rows    int64
}

func newGenerator(brokers []string, topic string, seed uint64, ids, rate int) (*generator, error) {
	g := &generator{brokers: brokers, topic: topic, ids: ids, rate: rate, rng: rand.New(rand.NewPCG(seed, 11)),
		acked: map[int64]bool{}, aborted: map[int64]bool{}}
	var err error
	g.plain, err = kgo.NewClient(g.options()...)
	return g, err
}

func (g *generator) options() []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers(g.brokers...), kgo.DefaultProduceTopic(g.topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0), kgo.RecordDeliveryTimeout(20 * time.Second), kgo.RequestTimeoutOverhead(5 * time.Second)}
}

func (g *generator) close() {
	g.plain.Close()
	if g.bound != nil {
		g.bound.Close()
	}
}

// run produces until ctx ends. What is under way then is still settled.
func (g *generator) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := g.step(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		pause(ctx, time.Second*batchRows/time.Duration(g.rate))
	}
	return nil
}

// step produces one batch: as it is, twice, or in a transaction.
func (g *generator) step(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	rows := g.batch()
	records, err := g.records(rows)
	if err != nil {
		return err
	}
	g.rows += batchRows
	switch g.rng.IntN(12) {
	case 0:
		g.transaction(ctx, rows, records)
		return nil
	case 1:
		again, err := g.records(rows) // a producer that has not heard of its success
		if err != nil {
			return err
		}
		records = append(records, again...)
	}
	if g.plain.ProduceSync(ctx, records...).FirstErr() == nil {
		note(g.acked, rows)
	} // else the topic tells which of them it has
	return nil
}

func note(set map[int64]bool, rows map[int32][]row) {
	for _, part := range rows {
		for _, r := range part {
			set[r.serial] = true
		}
	}
}

// transaction sends records in one, and aborts it now and then. One whose end is in doubt is left to the broker.
func (g *generator) transaction(ctx context.Context, rows map[int32][]row, records []*kgo.Record) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if g.bound == nil {
		client, err := kgo.NewClient(append(g.options(), kgo.TransactionalID(g.topic), kgo.TransactionTimeout(15*time.Second))...)
		if err != nil {
			return
		}
		g.bound = client
	}
	commit := kgo.TransactionEndTry(g.rng.IntN(2) == 0)
	err := g.bound.BeginTransaction()
	if err == nil {
		if err = g.bound.ProduceSync(ctx, records...).FirstErr(); err == nil {
			err = g.bound.EndTransaction(ctx, commit)
		}
	}
	switch {
	case err != nil:
		g.bound.CloseAllowingRebalance()
		g.bound = nil // the next one of this id fences it
	case bool(commit):
		note(g.acked, rows)
	default:
		note(g.aborted, rows)
	}
}

// batch draws rows, by partition.
func (g *generator) batch() map[int32][]row {
	rows := map[int32][]row{}
	for range batchRows {
		item := g.rng.IntN(g.ids)
		r := row{id: fmt.Sprint("i", item), serial: g.serial, delete: g.rng.IntN(10) == 0, vector: vector(g.rng)}
		g.serial++
		if item%5 == 0 { // items with versions, of which late ones must lose
			g.version++
			r.version = max(1, g.version-int64(g.rng.IntN(2000)))
		}
		partition := int32(item % partitions)
		if g.rng.IntN(50) == 0 { // a producer that breaks the rule
			partition = int32(g.rng.IntN(partitions))
		}
		rows[partition] = append(rows[partition], r)
	}
	return rows
}

// records makes a message of the rows of each partition. Clocks of producers differ.
func (g *generator) records(rows map[int32][]row) ([]*kgo.Record, error) {
	var records []*kgo.Record
	for p := range int32(partitions) {
		if len(rows[p]) == 0 {
			continue
		}
		value, err := message(rows[p])
		if err != nil {
			return nil, err
		}
		at := time.Now().Add(time.Duration(g.rng.IntN(4000)-3000) * time.Millisecond)
		records = append(records, &kgo.Record{Partition: p, Value: value, Timestamp: at})
	}
	return records, nil
}

func message(rows []row) ([]byte, error) {
	b := array.NewRecordBuilder(memory.DefaultAllocator, messageSchema)
	defer b.Release()
	list := b.Field(4).(*array.FixedSizeListBuilder)
	for _, r := range rows {
		b.Field(0).(*array.StringBuilder).Append(r.id)
		if r.delete {
			b.Field(1).(*array.StringBuilder).Append(schemas.OpDelete)
		} else {
			b.Field(1).AppendNull()
		}
		if r.version != 0 {
			b.Field(2).(*array.Int64Builder).Append(r.version)
		} else {
			b.Field(2).AppendNull()
		}
		b.Field(3).(*array.Int64Builder).Append(r.serial)
		list.Append(true)
		list.ValueBuilder().(*array.Float32Builder).AppendValues(r.vector, nil)
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	return produce.Encode(batch)
}

func vector(rng *rand.Rand) []float32 {
	center := rand.New(rand.NewPCG(uint64(rng.IntN(100)), 5))
	v := make([]float32, dim)
	for i := range v {
		v[i] = float32((center.NormFloat64() + 0.5*rng.NormFloat64()) * math.Pow(0.97, float64(i)))
	}
	return v
}
