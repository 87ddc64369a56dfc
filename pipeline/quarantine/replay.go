package quarantine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/avro"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/registry"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/schemas"
)

// Header of the messages that a replay produces: the id of the resolution that announced it.
const Header = "adastream.replay"

// ErrRefused: what is to be replayed would be refused again.
var ErrRefused = errors.New("it would be refused again")

// Replayer takes what was refused back into the topic, each of it once.
//
// The line of resolutions of its place says how far a replay has come. A record "replaying" is put before the message is
// produced, with the end of the log at that time and an id that the message carries in a header; a record "replayed" is put
// after. Whoever finds a replay unfinished lets Settled pass, so that what is under way arrives or is given up by its sender,
// and then looks for the id in the log from that end on. Only if it is not there it is announced, and produced, again. Of
// several who do that at the same time one gets to put the next record of the line, and the others leave it alone.
//
// What cannot be excluded is a process that is stopped between its last look at the clock and the first byte that it sends,
// for longer than Settled, and then goes on: the broker has no way to tell. Then the row is in the log twice, with the same
// content.
type Replayer struct {
	Index   *commit.Log
	Source  *source.Client // of the index's topic
	Level   avx.Level
	Settled time.Duration // 0 is 30 s. A message that is not acknowledged after a third of it is given up
	By      string        // user@host of the operator

	// Schemas has those of Avro messages that the index spec does not have; may be nil.
	Schemas *registry.Client

	// Versions are those of the ids of all that is replayed; nil replays also what would replace newer ones.
	Versions Versions
}

// PlaceOf is where something was refused.
func PlaceOf(q ingest.Quarantined) commit.Place {
	return commit.Place{Partition: int(q.Partition), Offset: q.Offset, Row: int(q.Row)}
}

// Home is the partition of the topic that something refused belongs to: the one that it was in, or what its id says if that was one
// of a load, of which producers know nothing.
func (r *Replayer) Home(ctx context.Context, q ingest.Quarantined) (int, error) {
	spec := r.Index.Spec()
	if !spec.IsLoad(int(q.Partition)) {
		return int(q.Partition), nil
	}
	rows, deletes, err := decode(ctx, spec, r.Level, r.Schemas, q.Payload)
	if err != nil {
		return 0, fmt.Errorf("replay %v, which was loaded from a file: %w", PlaceOf(q), err)
	}
	for id := range brought(rows, deletes) {
		return source.PartitionOf(id, spec.Topic.Partitions), nil
	}
	return 0, fmt.Errorf("replay %v: it has no row", PlaceOf(q))
}

// Replay produces what was refused, with its payload or what that was mended to, to a partition. If it would be refused again, the
// error wraps ErrRefused, if it would replace a newer version, ErrNewer, and nothing has happened; if it was replayed or dropped, or
// somebody else is at it, schemas.ErrFenced. After any other error it may be in the log or not, and the same call again finds out.
func (r *Replayer) Replay(ctx context.Context, q ingest.Quarantined, to int) error {
	at := PlaceOf(q)
	if n := r.Index.Spec().Topic.Partitions; to < 0 || to >= n {
		return fmt.Errorf("replay %v: to partition %d, allowed: 0 to %d", at, to, n-1)
	}
	if spec := r.Index.Spec(); spec.ShardOf(to) != r.Index.Shard() { // whose versions are not looked at
		return fmt.Errorf("replay %v: to partition %d of shard %d, allowed: partitions of shard %d, where it was refused", at, to, spec.ShardOf(to), r.Index.Shard())
	}
	line, err := r.Index.Resolutions(ctx, at)
	if err != nil {
		return fmt.Errorf("replay %v: %w", at, err)
	}
	var last *schemas.Resolution
	if n := len(line); n > 0 {
		last = line[n-1]
	}
	if last != nil && !last.Final() {
		found, err := r.find(ctx, line)
		if err != nil {
			return fmt.Errorf("replay %v: look for the message of an unfinished replay: %w", at, err)
		}
		if found {
			return r.done(ctx, at, last)
		}
	}
	var key []byte
	if last == nil || !last.Final() { // Settle says what is wrong with a final one
		if key, err = r.check(ctx, q); err != nil {
			return fmt.Errorf("replay %v: %w", at, err)
		}
	}
	return r.produce(ctx, at, last, source.Message{Partition: to, Key: key, Value: q.Payload})
}

// find looks for the message of any of the replays that were announced.
func (r *Replayer) find(ctx context.Context, line []*schemas.Resolution) (bool, error) {
	select {
	case <-time.After(r.settled()):
	case <-ctx.Done():
		return false, ctx.Err()
	}
	for _, announced := range line {
		if found, err := r.inLog(ctx, announced); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// inLog looks for the message of a replay from where its partition ended before on.
func (r *Replayer) inLog(ctx context.Context, announced *schemas.Resolution) (bool, error) {
	// The high watermark: behind an open transaction, which ends the bounds of the log, there may be the message.
	next, end := announced.From, int64(-1)
	for end < 0 || next < end {
		batch, err := r.Source.Fetch(ctx, announced.To, next, time.Second)
		if err != nil {
			if errors.Is(err, source.ErrOutOfRange) {
				return false, fmt.Errorf("whether it was produced cannot be told any more: %w", err)
			}
			return false, err
		}
		for _, record := range batch.Records {
			for _, h := range record.Headers {
				if h.Key == Header && bytes.Equal(h.Value, []byte(announced.ID)) {
					return true, nil
				}
			}
		}
		next = batch.Next
		if end < 0 {
			end = batch.HighWatermark
		}
	}
	return false, nil
}

// check makes sure that an ingestor would take all of a payload, and that it replaces nothing newer. It returns the key that the
// message had, if that is known: what was refused is kept without it, and a compacted topic takes no message that has none.
func (r *Replayer) check(ctx context.Context, q ingest.Quarantined) (key []byte, err error) {
	spec := r.Index.Spec()
	rows, deletes, err := decode(ctx, spec, r.Level, r.Schemas, q.Payload)
	if err != nil {
		return nil, err
	}
	if !spec.ReadsArrow() {
		if _, text := spec.Messages.KeyPath(); text {
			for id := range brought(rows, deletes) {
				key = []byte(id)
			}
		}
	}
	if r.Versions == nil {
		return key, nil
	}
	return key, r.Versions.check(q, rows, deletes)
}

// decode is what an ingestor would take of a payload; it takes all or nothing.
func decode(ctx context.Context, spec *schemas.Spec, level avx.Level, known *registry.Client, payload []byte) (*segment.Rows, []segment.Tombstone, error) {
	d, err := ingest.NewDecoder(spec, level, ingest.Limits{}, nil)
	if err != nil {
		return nil, nil, err
	}
	if known != nil {
		d.Ask(func(id uint32) (*avro.Schema, error) { return known.Schema(ctx, id) })
	}
	var refused *ingest.Quarantined
	rows, deletes := segment.NewRows(spec), []segment.Tombstone(nil)
	err = d.Decode(ingest.Message{Topic: spec.Topic.Name, Value: payload}, rows, &deletes, func(q ingest.Quarantined) { refused = &q })
	if err == nil && refused != nil {
		err = fmt.Errorf("%w: %w", ErrRefused, &refused.Fault)
	}
	return rows, deletes, err
}

func (r *Replayer) produce(ctx context.Context, at commit.Place, last *schemas.Resolution, message source.Message) error {
	to := message.Partition
	bounds, err := r.Source.Bounds(ctx, to)
	if err != nil {
		return fmt.Errorf("replay %v: %w", at, err)
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return fmt.Errorf("replay %v: %w", at, err)
	}
	patience := r.settled() / 3
	sending, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	announced, err := r.Index.Settle(ctx, at, last, schemas.Resolution{State: schemas.Replaying, To: to, From: bounds.End, ID: id.String(), By: r.By})
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	producer := r.Source.NewProducer(source.ProducerOptions{MaxAttempts: 1, WriteTimeout: patience})
	defer producer.Close()
	message.Headers = []kafka.Header{{Key: Header, Value: []byte(announced.ID)}}
	if err := producer.Send(sending, message); err != nil {
		return fmt.Errorf("replay %v: it is not known whether it is in the log, replay it again to find out: %w", at, err)
	}
	return r.done(ctx, at, announced)
}

func (r *Replayer) done(ctx context.Context, at commit.Place, last *schemas.Resolution) error {
	_, err := r.Index.Settle(ctx, at, last, schemas.Resolution{State: schemas.Replayed, By: r.By})
	if err != nil {
		return fmt.Errorf("replay: it is in the log, and that is not noted yet: %w", err)
	}
	return nil
}

func (r *Replayer) settled() time.Duration {
	if r.Settled == 0 {
		return 30 * time.Second
	}
	return r.Settled
}

// Drop gives up what was refused. If it was replayed or dropped already, the error wraps schemas.ErrFenced. With unfinished it
// gives up also what a replay that did not finish may have produced or not; without, that is an error.
func Drop(ctx context.Context, index *commit.Log, at commit.Place, by, reason string, unfinished bool) error {
	line, err := index.Resolutions(ctx, at)
	if err != nil {
		return fmt.Errorf("drop %v: %w", at, err)
	}
	var last *schemas.Resolution
	if n := len(line); n > 0 {
		last = line[n-1]
		if !last.Final() && !unfinished {
			return fmt.Errorf("drop %v: a replay by %s is unfinished: replay it again to find out whether it is in the log", at, last.By)
		}
	}
	if _, err := index.Settle(ctx, at, last, schemas.Resolution{State: schemas.Dropped, By: by, Reason: reason}); err != nil {
		return fmt.Errorf("drop: %w", err)
	}
	return nil
}
