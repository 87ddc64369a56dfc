package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/access"
	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/openapitest"
)

// What scripts read is one document, and nothing else on standard output, whether all is well or not.
func TestJSONForScripts(t *testing.T) {
	c := newChannelTest(t)
	var list struct {
		Serving     *schemas.Channel
		Generations []listed
	}
	described(t, "snapshot-ls", c.output(&snapshotLsCommand{Index: cli.Index{Store: c.storage}, Last: 2, JSON: true}), &list)
	if n := len(list.Generations); n != 2 || list.Serving == nil || list.Serving.Generation != 4 || list.Generations[1].Generation != 5 || list.Generations[1].Quality == nil ||
		list.Generations[1].Quality.Reason != "codes are damaged" || list.Generations[0].Checkpoint == nil {
		t.Errorf("snapshot ls: %+v", list)
	}
	var gone collected
	described(t, "snapshot-gc", c.output(&snapshotGCCommand{Index: cli.Index{Store: c.storage}, KeepFor: time.Hour, DryRun: true, JSON: true}), &gone)
	if !gone.DryRun || gone.KeptGenerations == 0 {
		t.Errorf("snapshot gc: %+v", gone)
	}
	bars := stderrOf(t)
	out, err := c.outputOf(&verifyCommand{Index: cli.Index{Store: c.storage}, Dir: t.TempDir(), JSON: true})
	if got := bars(); got != "" {
		t.Errorf("verify writes to what is no terminal: %q", got)
	}
	var v verified
	described(t, "verify", out, &v)
	if v.Generations == 0 || v.Faults == nil || (err != nil) != (len(v.Faults) > 0) {
		t.Errorf("verify: %+v, %v", v, err)
	}
}

// A move prints what a query node answers to the same one.
func TestMovesInJSON(t *testing.T) {
	c := newChannelTest(t)
	c.epoch("two", true)
	asJSON := moveOutput{JSON: true}
	for _, step := range []struct {
		name          string
		command       runner
		now, was      int64
		epoch, before string
		against       string
	}{
		{"snapshot-promote", &snapshotPromoteCommand{Index: cli.Index{Store: c.storage}, moveOutput: asJSON, Generation: 5, Reason: "r"}, 5, 4, "", "", "codes are damaged"},
		{"snapshot-pin", &snapshotPinCommand{Index: cli.Index{Store: c.storage}, moveOutput: asJSON, Generation: 2, Reason: "r"}, 2, 5, "", "", ""},
		{"snapshot-unpin", &snapshotUnpinCommand{Index: cli.Index{Store: c.storage}, moveOutput: asJSON, Reason: "r"}, 2, 2, "", "", ""},
		{"snapshot-promote", &snapshotPromoteCommand{Index: cli.Index{Store: c.storage}, moveOutput: asJSON, Epoch: "two", Reason: "r"}, 0, 2, "two", "", ""},
		{"snapshot-rollback", &snapshotRollbackCommand{Index: cli.Index{Store: c.storage}, moveOutput: asJSON, Reason: "r"}, 2, 0, "", "two", ""},
	} {
		var got moveAnswer
		described(t, step.name, c.output(step.command), &got)
		if got.Serving == nil || got.Before == nil || got.Serving.Generation != step.now || got.Serving.Epoch != step.epoch || got.Serving.Reason != "r" ||
			got.Before.Generation != step.was || got.Before.Epoch != step.before || got.Against != step.against {
			t.Errorf("%+v: %+v, %+v", step, got, got.Serving)
		}
	}
}

func TestJSONOfWhatNeedsNoIndex(t *testing.T) {
	for name, run := range map[string]func() error{
		"plan":      (&planCommand{Rows: 1e6, Dims: 256, QPS: 10, Recall: 0.9, Vectors: "float32", Originals: "local", IDBytes: 16, ListsPerRow: 2, Partitions: 6, Retention: time.Hour, Cores: 8, MemoryGiB: 32, Busy: 0.6, FlushAge: time.Second, PublishEvery: time.Second, PollEvery: time.Second, KeepFor: time.Hour, StoreLatency: time.Millisecond, JSON: true}).Run,
		"token-new": (&tokenNewCommand{Name: "web", Scope: []access.Scope{access.Search}, JSON: true}).Run,
		"version":   (&versionCommand{JSON: true}).Run,
	} {
		described(t, name, stdout(t, run), new(any))
	}
}

// Every command with --json is described, and what is described has it.
func TestEveryJSONIsDescribed(t *testing.T) {
	var described struct {
		Defs map[string]json.RawMessage `json:"$defs"`
	}
	body, err := os.ReadFile(commandsSchema)
	if err != nil {
		t.Fatal(err)
	}
	read(t, string(body), &described)
	for _, part := range []string{"row", "state", "checkpoint"} { // of others
		delete(described.Defs, part)
	}
	parser, err := kong.New(&command{}, kong.Vars{"cache_dir": ""})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range parser.Model.Leaves(true) {
		name := strings.ReplaceAll(strings.TrimPrefix(n.FullPath(), parser.Model.Name+" "), " ", "-")
		if _, ok := described.Defs[name]; ok != slices.ContainsFunc(n.Flags, func(f *kong.Flag) bool { return f.Name == "json" }) {
			t.Errorf("%s is described: %v, it has --json: %v", name, ok, !ok)
		}
		delete(described.Defs, name)
	}
	for name := range described.Defs {
		t.Errorf("%s is described, and no command", name)
	}
}

const commandsSchema = "../../schemas/commands.schema.json"

// described takes in a document, which has to be what schemas/commands.schema.json says of the command, and no more.
func described(t *testing.T, command, out string, into any) {
	t.Helper()
	c := openapitest.Compiler(t, "../../schemas/openapi.yaml")
	c.AssertFormat()
	schema, err := c.Compile(commandsSchema + "#/$defs/" + command)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
	if err != nil {
		t.Fatalf("%s prints not one document: %v\n%s", command, err, out)
	}
	if err := schema.Validate(document); err != nil {
		t.Errorf("%s: %v\n%s", command, err, out)
	}
	read(t, out, into)
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
	described(t, "doctor", out, &got)
	if err == nil || !strings.Contains(err.Error(), "1 check failed") || len(got.Checks) != 2 || got.Checks[0] != (finding{Check: "first", OK: true, Text: "well"}) || got.Checks[1] != (finding{Check: "second", Text: "ill"}) {
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
