package commit

import (
	"context"
	"fmt"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Epoch opens an epoch of the index: one of another spec that was made and is built in a folder of this one. If there is
// none, the error wraps store.ErrNotFound. An index of several shards has no epochs: that is a *MoveError.
func (l *Log) Epoch(ctx context.Context, name string) (*Log, error) {
	if n := l.spec.Shards; n > 1 { // its shards could not be moved at once
		return nil, refuse("epoch %s: the index has %d shards, allowed: epochs of an index of one shard; move what asks to another index instead", name, n)
	}
	e, err := Open(ctx, store.Under(l.bucket, epochsPrefix+name))
	if err != nil {
		return nil, fmt.Errorf("epoch %s: %w", name, err)
	}
	return e, nil
}

// Served is what queries are to be answered from.
type Served struct {
	Index  *Log             // the one whose channel was followed, or an epoch of it
	Record *schemas.Channel // of that channel
	Own    *schemas.Channel // that names the generation: Record, or the newest of the epoch's own channel
}

// String names the generation.
func (s *Served) String() string {
	if s.Record.Epoch == "" {
		return fmt.Sprintf("generation %d", s.Own.Generation)
	}
	return fmt.Sprintf("generation %d of epoch %s", s.Own.Generation, s.Record.Epoch)
}

// Manifest reads the generation.
func (s *Served) Manifest(ctx context.Context) (*schemas.Manifest, error) {
	m, err := s.Index.Manifest(ctx, s.Own.Generation)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s, err)
	}
	return m, nil
}

// Follow reads what is to be served after at, which is nil at first, or returns nil if that is still the newest. While the
// newest record names an epoch, the epoch's own channel is followed too.
func (l *Log) Follow(ctx context.Context, at *Served) (*Served, error) {
	var last int64
	if at != nil {
		last = at.Record.Sequence
	}
	c, err := l.Channel(ctx, last)
	switch {
	case err != nil:
		return nil, err
	case c != nil:
		return l.Resolve(ctx, c)
	case at == nil || at.Record.Epoch == "":
		return nil, nil
	}
	own, err := at.Index.ownChannel(ctx, at.Record.Epoch, at.Own.Sequence)
	if err != nil || own == nil {
		return nil, err
	}
	return &Served{at.Index, at.Record, own}, nil
}

// Resolve finds what is to be served while c is the newest record. If c names an epoch that is not there, or that has
// no promoted generation, the error wraps store.ErrNotFound.
func (l *Log) Resolve(ctx context.Context, c *schemas.Channel) (*Served, error) {
	if c.Epoch == "" {
		return &Served{l, c, c}, nil
	}
	e, err := l.Epoch(ctx, c.Epoch)
	if err != nil {
		return nil, err
	}
	own, err := e.ownChannel(ctx, c.Epoch, 0)
	if err != nil {
		return nil, err
	}
	if own == nil {
		return nil, fmt.Errorf("epoch %s: no generation has been promoted: %w", c.Epoch, store.ErrNotFound)
	}
	return &Served{e, c, own}, nil
}

// ownChannel is Channel of an epoch, which must not have epochs itself: then one folder would say what another one holds.
func (l *Log) ownChannel(ctx context.Context, name string, after int64) (*schemas.Channel, error) {
	own, err := l.Channel(ctx, after)
	if err != nil {
		return nil, fmt.Errorf("epoch %s: %w", name, err)
	}
	if own != nil && own.Epoch != "" {
		return nil, fmt.Errorf("epoch %s: its channel names epoch %s, allowed: a generation, epochs have none of their own", name, own.Epoch)
	}
	return own, nil
}
