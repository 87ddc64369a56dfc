// Package events tells of promotions in a Kafka topic: what is served, and since when, for whoever follows an index.
//
// The channel is a line of records, so is what has been told of it, and the place in that line is the topic itself: a teller begins
// after the newest event of its shard that it finds there. It keeps nothing, so it may be killed at any time, and nothing is left out
// by that; an event whose acknowledgement was lost, or that two tellers send, is there twice, under one key.
//
// The sequences of an index that is made anew under the same name begin again: that is an error, as nobody who follows would act on them.
//
// Left out is what was collected before it was told, which the sequence of the next event shows. While an epoch is served, its own
// promotions are told too, until the index's channel goes on.
package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

const (
	defaultPoll = time.Second
	retryPause  = time.Second
	fetchWait   = time.Second
	sameEvery   = 10 // looks at the channel to one at whether it is still the one that was told of
	firstWindow = 64 // offsets before the end of the topic that are looked at first
)

// Options of Run. Log and Client are required.
type Options struct {
	Log       *commit.Log
	Client    *source.Client // of the topic of events
	PollEvery time.Duration  // how often the channel is looked at, 0 for a second
	Once      bool           // end when all is told
	Patience  time.Duration  // how long what passes by itself is waited for, from its first failure since an event was acknowledged; 0 for ever
	Logger    *slog.Logger   // nil for none
	Metrics   *Metrics       // nil counts nothing

	Told func(*schemas.Event) // of each that is acknowledged; nil is not told
}

// Run tells of promotions, all that have not been told yet and are there, until ctx ends. What passes by itself is waited for, with patience.
func Run(ctx context.Context, o Options) error {
	if o.PollEvery < 0 {
		return fmt.Errorf("poll every %v, allowed: more than 0, or 0 for %v", o.PollEvery, defaultPoll)
	}
	if o.PollEvery == 0 {
		o.PollEvery = defaultPoll
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(prometheus.NewRegistry())
	}
	t := &teller{Options: o, producer: o.Client.NewProducer(source.ProducerOptions{})}
	defer t.producer.Close()
	var failing time.Time // since then; zero is not
	acknowledged := 0
	for {
		err := t.session(ctx)
		t.Metrics.failed(err)
		if err == nil || !errors.Is(err, schemas.ErrTransient) {
			return err
		}
		if failing.IsZero() || t.acknowledged > acknowledged {
			failing, acknowledged = time.Now(), t.acknowledged
		}
		if o.Patience > 0 && time.Since(failing) >= o.Patience {
			return err
		}
		t.Logger.Warn("events cannot be sent, will try again", "in", retryPause.String(), "error", err)
		if err := sleep(ctx, retryPause); err != nil {
			return err
		}
	}
}

type teller struct {
	Options
	producer     *source.Producer
	acknowledged int // events
}

// session tells what follows the place that it finds in the topic.
func (t *teller) session(ctx context.Context) error {
	partitions, err := t.Client.Partitions(ctx)
	if err != nil {
		return fmt.Errorf("topic %s: %w", t.Client.Options().Topic, err)
	}
	partition := source.PartitionOf(t.Log.Spec().Name, len(partitions))
	at, last, err := t.told(ctx, partition)
	if err != nil {
		return err
	}
	t.Logger.Info("telling of promotions", "index", t.Log.Spec().Name, "shard", t.Log.Shard(), "topic", t.Client.Options().Topic, "partition", partition, "after", at.sequence)
	for looks := 0; ; looks++ {
		event, next, err := t.next(ctx, at)
		if err != nil {
			return err
		}
		if event != nil || looks%sameEvery == 0 {
			if err := t.goesOn(ctx, at, last); err != nil {
				return err
			}
		}
		t.Metrics.looked(event)
		if event == nil {
			if t.Once {
				return nil
			}
			if err := sleep(ctx, t.PollEvery); err != nil {
				return err
			}
			continue
		}
		value, err := json.Marshal(event)
		if err != nil {
			return err
		}
		if err := t.producer.Send(ctx, source.Message{Partition: partition, Key: []byte(next.key(lineOf(t.Log))), Value: value}); err != nil {
			return err
		}
		at, last = next, value
		t.acknowledged++
		t.Metrics.acknowledged(event)
		if t.Told != nil {
			t.Told(event)
		}
	}
}

// place is one in the line of what is served.
type place struct {
	sequence int64
	epoch    string
	own      int64 // sequence in the epoch's channel
}

// lineOf begins the names of the events of a shard.
func lineOf(index *commit.Log) string {
	return fmt.Sprintf("%s/%04d", index.Spec().Name, index.Shard())
}

// key names an event of a line.
func (p place) key(line string) string {
	key := fmt.Sprintf("%s/%020d", line, p.sequence)
	if p.epoch != "" {
		key += fmt.Sprintf("/%s/%020d", p.epoch, p.own)
	}
	return key
}

// placeOf is the inverse of key, for events of a line.
func placeOf(line, key string) (p place, ok bool) {
	fields := strings.Split(key, "/")
	if len(fields) != 3 && len(fields) != 5 {
		return place{}, false
	}
	var err1, err2 error
	p.sequence, err1 = strconv.ParseInt(fields[2], 10, 64)
	if len(fields) == 5 {
		p.epoch = fields[3]
		p.own, err2 = strconv.ParseInt(fields[4], 10, 64)
	}
	return p, err1 == nil && err2 == nil && p.sequence > 0 && p.own >= 0 && p.key(line) == key
}

// after reports whether p comes later than q.
func (p place) after(q place) bool {
	return p.sequence > q.sequence || p.sequence == q.sequence && p.own > q.own
}

// told finds the last place that the topic has an event of. It looks from the end of the partition back, further each time: others
// may write to it too.
func (t *teller) told(ctx context.Context, partition int) (last place, value []byte, err error) {
	bounds, err := t.Client.Bounds(ctx, partition)
	if err != nil {
		return place{}, nil, err
	}
	for end, window := bounds.End, int64(firstWindow); end > bounds.Start; window *= 4 {
		start := max(bounds.Start, end-window)
		for at := start; at < end; {
			batch, err := t.Client.Fetch(ctx, partition, at, fetchWait)
			if err != nil {
				return place{}, nil, err
			}
			for _, r := range batch.Records {
				if p, ok := placeOf(lineOf(t.Log), string(r.Key)); ok && p.after(last) {
					last, value = p, r.Value
				}
			}
			at = batch.Next
		}
		if last != (place{}) {
			return last, value, nil
		}
		end = start
	}
	return last, nil, nil
}

// goesOn fails if the channel is not the one whose last event the topic has, at the beginning or by now: sequences begin again in an index that is made anew, and in
// one that is put back they go over what was told. Those who follow the topic would pass over the promotions of either.
func (t *teller) goesOn(ctx context.Context, at place, value []byte) error {
	if at.sequence == 0 {
		return nil
	}
	newest, err := t.Log.Channel(ctx, at.sequence-1)
	if err != nil {
		return err
	}
	same := newest != nil
	if same && at.epoch == "" { // of an epoch's promotions the event has the time of its own channel
		var told schemas.Event
		record, err := t.Log.Promotion(ctx, at.sequence)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		same = record == nil || json.Unmarshal(value, &told) != nil || told.Promoted.Equal(record.Created)
	}
	if same {
		return nil
	}
	return fmt.Errorf("topic %s has an event of index %s, shard %d, with sequence %d, which is none of its channel: the index was made anew, or put back, under this name: tell of it in another topic",
		t.Client.Options().Topic, t.Log.Spec().Name, t.Log.Shard(), at.sequence)
}

// next is the event that follows a place, nil while there is none.
func (t *teller) next(ctx context.Context, at place) (*schemas.Event, place, error) {
	record, err := following(ctx, t.Log, at.sequence)
	if err != nil {
		return nil, at, err
	}
	if record != nil {
		return t.promoted(ctx, record)
	}
	if at.epoch == "" {
		return nil, at, nil
	}
	epoch, err := t.Log.Epoch(ctx, at.epoch)
	if errors.Is(err, store.ErrNotFound) { // it was removed while it was served: its own affair
		return nil, at, nil
	}
	if err != nil {
		return nil, at, err
	}
	own, err := following(ctx, epoch, at.own)
	if err != nil || own == nil || own.Epoch != "" {
		return nil, at, err
	}
	next := place{at.sequence, at.epoch, own.Sequence}
	event, err := t.event(ctx, epoch, next, own, own)
	return event, next, err
}

// promoted is the event of a record of the index's channel.
func (t *teller) promoted(ctx context.Context, record *schemas.Channel) (*schemas.Event, place, error) {
	served, err := t.Log.Resolve(ctx, record)
	if errors.Is(err, store.ErrNotFound) { // an epoch that was removed since
		return t.next(ctx, place{sequence: record.Sequence})
	}
	if err != nil {
		return nil, place{}, err
	}
	next := place{sequence: record.Sequence, epoch: record.Epoch}
	if record.Epoch != "" {
		next.own = served.Own.Sequence
	}
	event, err := t.event(ctx, served.Index, next, record, served.Own)
	return event, next, err
}

// event says what is served: by a promotion, a generation that its own channel names.
func (t *teller) event(ctx context.Context, index *commit.Log, at place, by, own *schemas.Channel) (*schemas.Event, error) {
	e := &schemas.Event{
		Format: schemas.EventVersion, Index: t.Log.Spec().Name, Shard: t.Log.Shard(), Sequence: at.sequence, Epoch: at.epoch, EpochSequence: at.own,
		Generation: own.Generation, Pinned: own.Pinned, Encoder: index.Spec().Encoder, Dims: index.Spec().Dim(),
		Reason: by.Reason, By: by.By, Promoted: by.Created,
	}
	m, err := index.Record(ctx, own.Generation)
	if errors.Is(err, store.ErrNotFound) {
		return e, nil
	}
	if err != nil {
		return nil, err
	}
	e.Snapshot = &schemas.Published{Created: m.Created, Checkpoint: m.Checkpoint, Watermark: m.Watermark, LiveRows: m.LiveRows, DeadRows: m.DeadRows}
	if m.Model != nil {
		e.Snapshot.Model = m.Model.ID
	}
	if q := m.Quality; q != nil {
		e.Snapshot.Recall = &schemas.Estimate{Recall: q.Recall, Low: q.Low, High: q.High, Queries: q.Queries}
	}
	return e, nil
}

// following reads the promotion after one, given by its sequence, nil while there is none. Those that were collected are passed over.
func following(ctx context.Context, log *commit.Log, after int64) (*schemas.Channel, error) {
	newest, err := log.Channel(ctx, after)
	if err != nil || newest == nil || newest.Sequence == after+1 {
		return newest, err
	}
	c, err := log.Promotion(ctx, after+1)
	if !errors.Is(err, store.ErrNotFound) {
		return c, err
	}
	for n, err := range log.Promotions(ctx) {
		if err != nil {
			return nil, err
		}
		if n <= after {
			continue
		}
		if c, err := log.Promotion(ctx, n); !errors.Is(err, store.ErrNotFound) {
			return c, err
		}
	}
	return newest, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
