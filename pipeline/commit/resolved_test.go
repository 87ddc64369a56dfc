package commit

import (
	"errors"
	"sync"
	"testing"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

func TestSettle(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			l := openLog(t, b)
			whole, row := Place{1, 12, -1}, Place{1, 12, 3}
			replaying := schemas.Resolution{State: schemas.Replaying, To: 2, From: 40, ID: "a", By: "mara@ops"}
			first, err := l.Settle(t.Context(), whole, nil, replaying)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Settle(t.Context(), whole, nil, schemas.Resolution{State: schemas.Dropped, By: "o@h"}); !errors.Is(err, schemas.ErrFenced) {
				t.Errorf("beside another one: %v", err)
			}
			last, err := l.Settle(t.Context(), whole, first, schemas.Resolution{State: schemas.Replayed, By: "mara@ops"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Settle(t.Context(), whole, last, replaying); !errors.Is(err, schemas.ErrFenced) {
				t.Errorf("after a final one: %v", err)
			}
			if _, err := l.Settle(t.Context(), row, nil, schemas.Resolution{State: schemas.Dropped, By: "mara@ops"}); err != nil {
				t.Error(err)
			}
			if _, err := l.Settle(t.Context(), Place{4, 12, 3}, nil, replaying); err == nil {
				t.Error("settled in a partition that the index does not have")
			}
			line, err := l.Resolutions(t.Context(), whole)
			if err != nil || len(line) != 2 || line[0].ID != "a" || line[0].From != 40 || line[1].State != schemas.Replayed {
				t.Errorf("line %+v, %v", line, err)
			}
			for _, stray := range []string{"x", "00000000000000000012/message/1", "00000000000000000012/3/00000000000000000001", "00000000000000000013/message/00000000000000000001/x"} {
				if err := b.PutIfAbsent(t.Context(), resolvedIn(1)+stray, []byte("not ours")); err != nil {
					t.Fatal(err)
				}
			}
			found, err := l.Resolved(t.Context(), 1)
			if err != nil || len(found) != 2 || found[whole].State != schemas.Replayed || found[row].State != schemas.Dropped {
				t.Errorf("resolved %+v, %v", found, err)
			}
		})
	}
}

// TestSettleRace: of those who decide at the same time one does.
func TestSettleRace(t *testing.T) {
	l := openLog(t, store.NewMemory())
	var group sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		group.Go(func() {
			_, errs[i] = l.Settle(t.Context(), Place{0, 5, 0}, nil, schemas.Resolution{State: schemas.Dropped, By: "o@h"})
		})
	}
	group.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, schemas.ErrFenced) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d decided", won)
	}
}

// Lines come in order of their places, also when there are more than are read at a time.
func TestResolutionLines_many(t *testing.T) {
	l := openLog(t, store.NewMemory())
	for row := range linesAhead + 10 {
		if _, err := l.Settle(t.Context(), Place{1, 12, row}, nil, schemas.Resolution{State: schemas.Dropped, By: "mara@ops"}); err != nil {
			t.Fatal(err)
		}
	}
	next := 0
	for line, err := range l.ResolutionLines(t.Context(), 1) {
		if err != nil || len(line) != 1 || line[0].Row != next {
			t.Fatalf("%+v, %v, want the line of row %d", line, err, next)
		}
		next++
	}
	if next != linesAhead+10 {
		t.Errorf("%d lines", next)
	}
}
