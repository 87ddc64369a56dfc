package ingest

import "fmt"

// The breaker judges a window of the newest messages: the fewest that bring floodRows rows, but at least floodMessages, so
// that one large message alone stops nobody. A message that is refused whole counts as one row.
const (
	floodRows     = 1000
	floodMessages = 16
	// floodShare of the rows is what makes a flood of them when more are refused.
	floodShare = 0.9
)

// PoisonError says that nearly all that a partition brings is refused.
type PoisonError struct {
	Topic     string
	Partition int
	Next      int64 // end of the chain
	Rows      int   // of the newest messages before Next, those refused whole included
	Refused   int   // of Rows
	Reason    string
	Count     int         // of Refused, for Reason, the most frequent one
	Example   Quarantined // the newest one for Reason, without its payload
}

func (e *PoisonError) Error() string {
	row := "the message"
	if e.Example.Row != WholeMessage {
		row = fmt.Sprintf("row %d", e.Example.Row)
	}
	return fmt.Sprintf("%s/%d: %d of the newest %d rows before offset %d were refused, allowed: at most %.0f %%; %d of them are %s, as offset %d, %s: %s; they are in quarantine and nothing is lost: mend the producer, then restart the ingestor, with --accept-poison to quarantine the rest of them too",
		e.Topic, e.Partition, e.Refused, e.Rows, e.Next, 100*floodShare, e.Count, e.Reason, e.Example.Offset, row, e.Example.Detail)
}

// flood is the window.
type flood struct {
	window        []tally // oldest first
	rows, refused int     // of the window
	reasons       map[string]int
	examples      map[string]Quarantined // reason -> the newest one
}

// tally is what came of one message.
type tally struct {
	rows    int
	refused map[string]int // by reason, nil for none
}

// add counts a message, and lets go of the oldest ones that are not needed any more.
func (f *flood) add(rows int, bad []Quarantined) {
	if rows == 0 {
		return
	}
	t := tally{rows: rows}
	if len(bad) > 0 {
		t.refused = map[string]int{}
	}
	for _, q := range bad {
		t.refused[q.Reason]++
		q.Payload = nil // is as large as it likes
		if f.examples == nil {
			f.reasons, f.examples = map[string]int{}, map[string]Quarantined{}
		}
		f.examples[q.Reason] = q
	}
	f.window = append(f.window, t)
	f.count(t, 1)
	for len(f.window) > floodMessages && f.rows-f.window[0].rows >= floodRows {
		f.count(f.window[0], -1)
		f.window = f.window[1:]
	}
}

func (f *flood) count(t tally, sign int) {
	f.rows += sign * t.rows
	for reason, n := range t.refused {
		f.refused += sign * n
		f.reasons[reason] += sign * n
	}
}

// poisoned says whether the window is full, and of what.
func (f *flood) poisoned() bool {
	return f.rows >= floodRows && len(f.window) >= floodMessages && float64(f.refused) > floodShare*float64(f.rows)
}

// err is why a partition stops whose chain ends at next.
func (f *flood) err(topic string, partition int, next int64) error {
	e := &PoisonError{Topic: topic, Partition: partition, Next: next, Rows: f.rows, Refused: f.refused}
	for reason, n := range f.reasons {
		if n > e.Count || n == e.Count && reason < e.Reason {
			e.Reason, e.Count = reason, n
		}
	}
	e.Example = f.examples[e.Reason]
	return e
}
