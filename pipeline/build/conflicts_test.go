package build

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The log tells of another builder at once, and then once a minute with how often it was first.
func TestConflicts_areTold(t *testing.T) {
	synctest.Test(t, tellConflicts)
}

func tellConflicts(t *testing.T) {
	var out bytes.Buffer
	log, c, begun := slog.New(slog.NewTextHandler(&out, nil)), newConflicts(), time.Now()
	for _, step := range []struct {
		after time.Duration
		want  string // "" for nothing
	}{
		{0, "times=1 "}, {time.Second, ""}, {59 * time.Second, ""}, {61 * time.Second, "times=3 "}, {62 * time.Second, ""},
	} {
		out.Reset()
		time.Sleep(time.Until(begun.Add(step.after)))
		c.tell(log, errors.New("fenced"))
		if got := out.String(); !strings.Contains(got, step.want) || got != "" && step.want == "" {
			t.Errorf("after %v: %q, want %q", step.after, got, step.want)
		}
	}
}
