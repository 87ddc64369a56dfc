package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// ErrReplaced says that an index, or the epoch of it that is followed, is not the one that it was: it was removed, and maybe made anew
// in the same place.
var ErrReplaced = errors.New("removed or made anew")

// Still reads again what is followed. Unless it is there as it was, or was collected, the error wraps ErrReplaced: promotions of an
// index that was made anew count from 1, so who only looks for newer ones goes on with what is gone, and takes the other index's for
// newer ones of this one once there are enough.
func (l *Log) Still(ctx context.Context, at *Served) error {
	if err := l.stillHas(ctx, at.Record); err != nil || at.Record.Epoch == "" {
		return err
	}
	if err := at.Index.stillHas(ctx, at.Own); err != nil {
		return fmt.Errorf("epoch %s: %w", at.Record.Epoch, err)
	}
	return nil
}

func (l *Log) stillHas(ctx context.Context, known *schemas.Channel) error {
	there, err := l.Promotion(ctx, known.Sequence)
	if errors.Is(err, store.ErrNotFound) {
		c, err := newest(ctx, l, collectionsPrefix, 0, l.collectionRecord) // not one that was seen before: that may be gone too
		if err != nil || c != nil && c.Served > known.Sequence {
			return err
		}
		return fmt.Errorf("promotion %d is gone: the index was %w", known.Sequence, ErrReplaced)
	}
	if err != nil {
		return err
	}
	was, err := encode(known)
	if err != nil {
		return err
	}
	is, err := encode(there)
	if err == nil && !bytes.Equal(was, is) {
		err = fmt.Errorf("promotion %d is another one, %s: the index was %w", known.Sequence, there, ErrReplaced)
	}
	return err
}

// Again opens the index, or the shard, that is in the same place now, after ErrReplaced. If there is none, the error wraps
// store.ErrNotFound; one of another spec is an error too, as who has this one open knows the spec.
func (l *Log) Again(ctx context.Context) (*Log, error) {
	spec, err := get(ctx, l.root, specKey, schemas.ParseSpec)
	if err != nil {
		return nil, fmt.Errorf("open index in %s: %w", l.root, err)
	}
	if !reflect.DeepEqual(spec, l.spec) {
		return nil, fmt.Errorf("the index in its place has another spec, %s, this one has %s: restart what has it open", spec, l.spec)
	}
	return l.Over(l.bucket), nil
}
