package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/schemas"
)

// What scripts read is one document, and nothing else on standard output, whether all is well or not.
func TestJSONForScripts(t *testing.T) {
	c := newChannelTest(t)
	var list struct {
		Serving     *schemas.Channel
		Generations []listed
	}
	read(t, c.output(&snapshotLsCommand{Store: c.storage, Last: 2, JSON: true}), &list)
	if n := len(list.Generations); n != 2 || list.Serving == nil || list.Serving.Generation != 4 || list.Generations[1].Generation != 5 || list.Generations[1].Quality == nil ||
		list.Generations[1].Quality.Reason != "codes are damaged" || list.Generations[0].Checkpoint == nil {
		t.Errorf("snapshot ls: %+v", list)
	}
	var gone collected
	read(t, c.output(&snapshotGCCommand{Store: c.storage, KeepFor: time.Hour, DryRun: true, JSON: true}), &gone)
	if !gone.DryRun || gone.KeptGenerations == 0 {
		t.Errorf("snapshot gc: %+v", gone)
	}
	bars := stderrOf(t)
	out, err := c.outputOf(&verifyCommand{Store: c.storage, Dir: t.TempDir(), JSON: true})
	if got := bars(); got != "" {
		t.Errorf("verify writes to what is no terminal: %q", got)
	}
	var v verified
	read(t, out, &v)
	if v.Generations == 0 || v.Faults == nil || (err != nil) != (len(v.Faults) > 0) {
		t.Errorf("verify: %+v, %v", v, err)
	}
}

// twoChecks is a doctor who finds one fault.
type twoChecks struct{}

func (twoChecks) Run(context.Context, *cli.Logging) error {
	done := &checkup{json: true}
	done.check("first", nil, "well")
	done.check("second", errors.New("ill"), "")
	return done.end()
}

func TestDoctorJSON(t *testing.T) {
	c := newChannelTest(t)
	out, err := c.outputOf(twoChecks{})
	var got checkup
	read(t, out, &got)
	if err == nil || !strings.Contains(err.Error(), "1 checks failed") || len(got.Checks) != 2 || got.Checks[0] != (finding{Check: "first", OK: true, Text: "well"}) || got.Checks[1] != (finding{Check: "second", Text: "ill"}) {
		t.Errorf("%v %+v", err, got)
	}
}

// stderrOf takes what is written to standard error, until it is asked what that was.
func stderrOf(t *testing.T) func() string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = w
	return func() string {
		os.Stderr = stderr
		w.Close()
		out, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
}

func read(t *testing.T, out string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("not one document: %v\n%s", err, out)
	}
}
