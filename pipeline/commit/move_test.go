package commit

import (
	"errors"
	"strings"
	"testing"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// newMoveLog has generations 1 to 5, of which 1, 2 and 4 have been served.
func newMoveLog(t *testing.T) *Log {
	t.Helper()
	l := openLog(t, store.NewMemory())
	for g := range int64(5) {
		m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: g + 1, Parent: g, Builder: "b", Checkpoint: map[string]int64{}}
		if err := l.Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range []int64{1, 2, 4} {
		servedBy(t, l, g, "builder")
	}
	return l
}

func servedBy(t *testing.T, l *Log, generation int64, by string) {
	t.Helper()
	now, err := l.Channel(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Promote(t.Context(), now, schemas.Channel{Generation: generation, Reason: "theirs", By: by}); err != nil {
		t.Fatal(err)
	}
}

// A builder that promotes between an operator's look and his act does not matter, unless it changes what he meant; another
// operator does.
func TestMovesThatAreOvertaken(t *testing.T) {
	for name, test := range map[string]struct {
		by   string
		move Move  // whose first look is at generation 4
		want int64 // served in the end; 0: refused
	}{
		"pin, builder":        {"builder", Move{Verb: VerbPin, Generation: 2}, 2},
		"pin, operator":       {"tom@ops", Move{Verb: VerbPin, Generation: 2}, 0},
		"rollback to":         {"builder", Move{Verb: VerbRollback, Generation: 1}, 1},
		"rollback":            {"builder", Move{Verb: VerbRollback}, 0},
		"pin what is served":  {"builder", Move{Verb: VerbPin}, 5},
		"unpin what is not":   {"tom@ops", Move{Verb: VerbUnpin}, 0},
		"rollback, operators": {"tom@ops", Move{Verb: VerbRollback, Generation: 1}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l, overtaken := newMoveLog(t), false
			test.move.Reason = "r"
			_, err := l.move(t.Context(), "ann@ops", func(at look) (schemas.Channel, error) {
				decided, err := test.move.decide(t.Context(), l, at)
				if !overtaken {
					overtaken = true
					servedBy(t, l, 5, test.by)
				}
				return decided, err
			})
			now, lookErr := l.Channel(t.Context(), 0)
			if lookErr != nil || (err == nil) != (test.want != 0) {
				t.Fatalf("%v, %v", err, lookErr)
			}
			var bad *MoveError
			if err != nil && !errors.Is(err, schemas.ErrFenced) && !errors.As(err, &bad) {
				t.Errorf("%v is neither of the two", err)
			}
			if test.want == 0 && now.By != test.by || test.want != 0 && (now.Generation != test.want || !now.Pinned) {
				t.Errorf("the channel is at %+v, %v, want generation %d", now, err, test.want)
			}
		})
	}
}

func TestMoveValidate(t *testing.T) {
	for want, m := range map[string]Move{
		`verb: "drop", allowed: promote pin unpin rollback`: {Verb: "drop", Reason: "r", By: "a@b"},
		`verb: ""`:                                                    {Reason: "r", By: "a@b"},
		"generation: -1, allowed: more than 0":                        {Verb: VerbPin, Generation: -1, Reason: "r", By: "a@b"},
		`epoch: "e" to pin, allowed: to promote`:                      {Verb: VerbPin, Epoch: "e", Reason: "r", By: "a@b"},
		`generation 0 and epoch "" to promote, allowed: one of them`:  {Verb: VerbPromote, Reason: "r", By: "a@b"},
		`generation 1 and epoch "e" to promote, allowed: one of them`: {Verb: VerbPromote, Generation: 1, Epoch: "e", Reason: "r", By: "a@b"},
		"generation: 1 to unpin, allowed: none":                       {Verb: VerbUnpin, Generation: 1, Reason: "r", By: "a@b"},
		"reason: 0 bytes, allowed: 1 to 1024":                         {Verb: VerbUnpin, By: "a@b"},
		"reason: 1025 bytes":                                          {Verb: VerbUnpin, Reason: strings.Repeat("r", 1025), By: "a@b"},
		`by: "builder", allowed: user@host`:                           {Verb: VerbUnpin, Reason: "r", By: "builder"},
	} {
		var bad *MoveError
		if _, err := newMoveLog(t).Move(t.Context(), m); !errors.As(err, &bad) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want a *MoveError that begins with %q", m, err, want)
		}
	}
}
