package ingest

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// The log tells of what is refused at once, and of a flood once a minute, with how much it was.
func TestRefusals_areTold(t *testing.T) {
	synctest.Test(t, tellRefusals)
}

func tellRefusals(t *testing.T) {
	var out bytes.Buffer
	log, r, begun := slog.New(slog.NewTextHandler(&out, nil)), newRefusals(), time.Now()
	bad := []Quarantined{{Offset: 7, Fault: schemas.Fault{Reason: schemas.ReasonEncoder, Detail: "mini/2"}}, {Offset: 8}}
	for _, step := range []struct {
		after time.Duration
		bad   []Quarantined
		want  string // "" for nothing
	}{
		{0, nil, ""},
		{0, bad, "messages_or_rows=2 reason=encoder offset=7 detail=mini/2"},
		{time.Second, bad, ""},
		{59 * time.Second, bad, ""},
		{61 * time.Second, nil, ""},
		{62 * time.Second, bad[:1], "messages_or_rows=5 reason=encoder offset=7 detail=mini/2"},
		{63 * time.Second, bad, ""},
	} {
		out.Reset()
		time.Sleep(time.Until(begun.Add(step.after)))
		r.tell(log, step.bad)
		if got := out.String(); !strings.Contains(got, step.want) || got != "" && step.want == "" {
			t.Errorf("after %v: %q, want %q", step.after, got, step.want)
		}
	}
}

// An ingestor tells of what it has committed to quarantine.
func TestIngestorTellsOfRefusals(t *testing.T) {
	var out bytes.Buffer
	r := newRig(t, 1, store.NewMemory())
	r.produce(2, repeat(0, 2, []byte("rubbish"))...)
	run := r.start(func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&out, nil)) })
	r.counted(run.metrics.quarantined.WithLabelValues(schemas.ReasonMalformed), 2)
	run.stop(t)
	if n := strings.Count(out.String(), "kept in quarantine"); n != 1 || !strings.Contains(out.String(), "reason="+schemas.ReasonMalformed) {
		t.Errorf("told %d times, want once:\n%s", n, out.String())
	}
}
