package commit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Verb is what an operator does to the channel.
type Verb string

const (
	VerbPromote  Verb = "promote"  // serve a generation or an epoch; builders go on from there, but for an epoch
	VerbPin      Verb = "pin"      // serve a generation, 0 for the one that is served, until it is unpinned
	VerbUnpin    Verb = "unpin"    // let builders promote again
	VerbRollback Verb = "rollback" // serve an older generation, and pin it; without one the last older one that was served, or what was before an epoch
)

// verbs are all of them, in the order in which one says them.
var verbs = []Verb{VerbPromote, VerbPin, VerbUnpin, VerbRollback}

// Move is one such act.
type Move struct {
	Verb       Verb   `json:"verb"`
	Generation int64  `json:"generation,omitempty"`
	Epoch      string `json:"epoch,omitempty"` // instead of a generation, to promote
	Reason     string `json:"reason"`
	By         string `json:"-"` // user@host
}

// MoveError says why the channel cannot be moved as asked: a mistake of who asked, or what was asked is not there.
type MoveError struct {
	Err     error
	Allowed string // what could have been asked, "" if that is not a matter of values
}

func (e *MoveError) Error() string {
	if e.Allowed == "" {
		return e.Err.Error()
	}
	return e.Err.Error() + ", allowed: " + e.Allowed
}

// Unwrap makes errors.Is see the reason.
func (e *MoveError) Unwrap() error { return e.Err }

func refuse(format string, args ...any) error { return &MoveError{Err: fmt.Errorf(format, args...)} }

// mistake refuses a value.
func mistake(allowed, format string, args ...any) error {
	return &MoveError{fmt.Errorf(format, args...), allowed}
}

// Validate reports what is wrong with the move whatever is served.
func (m Move) Validate() error {
	switch {
	case !slices.Contains(verbs, m.Verb):
		return mistake(strings.Trim(fmt.Sprint(verbs), "[]"), "verb: %q", m.Verb)
	case m.Generation < 0:
		return mistake("more than 0", "generation: %d", m.Generation)
	case m.Epoch != "" && m.Verb != VerbPromote:
		return mistake("to promote", "epoch: %q to %s", m.Epoch, m.Verb)
	case m.Verb == VerbPromote && (m.Generation != 0) == (m.Epoch != ""):
		return mistake("one of them", "generation %d and epoch %q to promote", m.Generation, m.Epoch)
	case m.Verb == VerbUnpin && m.Generation != 0:
		return mistake("none", "generation: %d to unpin", m.Generation)
	case m.Reason == "" || len(m.Reason) > maxReasonBytes:
		return mistake(fmt.Sprintf("1 to %d", maxReasonBytes), "reason: %d bytes", len(m.Reason))
	case !strings.Contains(m.By, "@"): // see schemas.Channel.ByOperator
		return mistake("user@host", "by: %q", m.By)
	}
	return nil
}

// maxReasonBytes bounds what a move says of itself.
const maxReasonBytes = 1024

// Moved is what came of a move.
type Moved struct {
	Made     *schemas.Channel  // the record that was added
	Before   *schemas.Channel  // the one before, nil for none
	Manifest *schemas.Manifest // of what is served now, as [Log.Record] has it
}

// look is what an operator sees of the channel.
type look struct {
	now   *schemas.Channel // newest record, nil for none
	again bool             // a builder was first with it, after an earlier look
}

// Move adds the record to the channel that an operator's act makes of what is served. A builder that promotes at the same
// moment is no hindrance: it is decided again. Another operator is: what he wanted has to be known first. That the move cannot
// be made is a *MoveError, that another operator was first, or a builder with what was meant, wraps ErrFenced.
func (l *Log) Move(ctx context.Context, m Move) (*Moved, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return l.move(ctx, m.By, func(at look) (schemas.Channel, error) { return m.decide(ctx, l, at) })
}

func (l *Log) move(ctx context.Context, by string, decide func(look) (schemas.Channel, error)) (*Moved, error) {
	for again := false; ; again = true {
		now, err := l.Channel(ctx, 0)
		if err != nil {
			return nil, err
		}
		if again && now.ByOperator() {
			return nil, fmt.Errorf("%w: somebody was first: serving %s", schemas.ErrFenced, now)
		}
		c, err := decide(look{now, again})
		if err != nil {
			return nil, err
		}
		if err := c.Validate(); err != nil {
			return nil, &MoveError{Err: err}
		}
		_, m, err := l.Goal(ctx, &c)
		if err != nil {
			return nil, err
		}
		c.By = by
		made, err := l.Promote(ctx, now, c)
		if errors.Is(err, schemas.ErrFenced) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return &Moved{Made: made, Before: now, Manifest: m}, nil
	}
}

// Goal finds the generation that a record of the channel serves, as [Log.Record] does. That there is none is a *MoveError.
func (l *Log) Goal(ctx context.Context, c *schemas.Channel) (*Served, *schemas.Manifest, error) {
	to, err := l.Resolve(ctx, c)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, refuse("%w: make it with `adastream init --store=.../epochs/%s`, and feed and build it", err, c.Epoch)
	}
	if err != nil {
		return nil, nil, err
	}
	m, err := to.Index.Record(ctx, to.Own.Generation)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, refuse("%s: there is none: see `adastream snapshot ls`", to)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", to, err)
	}
	return to, m, nil
}

func (m Move) decide(ctx context.Context, l *Log, at look) (schemas.Channel, error) {
	switch m.Verb {
	case VerbPin:
		return m.pin(at)
	case VerbUnpin:
		if at.now == nil || !at.now.Pinned {
			return schemas.Channel{}, refuse("the channel is not pinned: see `adastream snapshot ls`")
		}
		return schemas.Channel{Generation: at.now.Generation, Reason: m.Reason}, nil
	case VerbRollback:
		return m.rollback(ctx, l, at)
	default: // also unpins
		return schemas.Channel{Generation: m.Generation, Epoch: m.Epoch, Reason: m.Reason}, nil
	}
}

func (m Move) pin(at look) (schemas.Channel, error) {
	generation := m.Generation
	if generation == 0 {
		if at.now == nil {
			return schemas.Channel{}, refuse("pin what is served: nothing is served yet")
		}
		if at.now.Epoch != "" {
			return schemas.Channel{}, refuse("pin what is served: epoch %s is served: pin a generation of it in its own store, which is epochs/%s in this one", at.now.Epoch, at.now.Epoch)
		}
		generation = at.now.Generation
	}
	return schemas.Channel{Generation: generation, Pinned: true, Reason: m.Reason}, nil
}

// rollback pins the generation that it goes back to: a builder would promote its newest one at once. What was served before an
// epoch is not pinned, unless it was: nobody but an operator promotes the epoch again.
func (m Move) rollback(ctx context.Context, l *Log, at look) (schemas.Channel, error) {
	back := schemas.Channel{Generation: m.Generation, Pinned: true, Reason: m.Reason}
	switch {
	case at.now == nil:
		return back, refuse("nothing is served yet")
	case at.now.Epoch != "" && m.Generation == 0:
		before, err := l.servedBefore(ctx, at.now, "nothing but epoch "+at.now.Epoch, func(c *schemas.Channel) bool { return c.Epoch != at.now.Epoch })
		if err != nil {
			return back, err
		}
		back.Generation, back.Epoch, back.Pinned = before.Generation, before.Epoch, before.Pinned
		return back, nil
	case at.now.Epoch == "" && m.Generation >= at.now.Generation:
		return back, refuse("generation %d: it is not older than %d, which is served: use promote or pin", m.Generation, at.now.Generation)
	case m.Generation != 0:
		return back, nil
	case at.again: // the one to leave is now the one before
		return back, fmt.Errorf("%w: generation %d was promoted meanwhile by %s: say which generation to go back to", schemas.ErrFenced, at.now.Generation, at.now.By)
	}
	before, err := l.servedBefore(ctx, at.now, fmt.Sprintf("no generation older than %d", at.now.Generation),
		func(c *schemas.Channel) bool { return c.Epoch == "" && c.Generation < at.now.Generation })
	if err != nil {
		return back, err
	}
	back.Generation = before.Generation
	return back, nil
}

// servedBefore is the last record before the present one that is good to go back to, and whose generation is kept; other says
// what there was else.
func (l *Log) servedBefore(ctx context.Context, now *schemas.Channel, other string, good func(*schemas.Channel) bool) (*schemas.Channel, error) {
	collection, err := l.Collection(ctx)
	if err != nil {
		return nil, err
	}
	var sequences []int64
	for sequence, err := range l.Promotions(ctx) {
		if err != nil {
			return nil, err
		}
		if sequence < now.Sequence {
			sequences = append(sequences, sequence)
		}
	}
	for _, sequence := range slices.Backward(sequences) {
		c, err := l.Promotion(ctx, sequence)
		if errors.Is(err, store.ErrNotFound) {
			continue // collected since
		}
		if err != nil {
			return nil, err
		}
		if good(c) && (c.Epoch != "" || collection == nil || collection.Keeps(c.Generation)) {
			return c, nil
		}
	}
	return nil, refuse("%s was ever served and is kept", other)
}
