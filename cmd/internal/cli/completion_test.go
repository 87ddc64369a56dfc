package cli

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

type completed struct {
	Snapshot struct {
		Ls struct {
			Store
			Last int
			JSON bool
		} `cmd:""`
		Pin struct{} `cmd:""`
	} `cmd:""`
	Search struct {
		Like string
	} `cmd:""`
	Logging
}

// bash itself is asked what it would offer.
func TestCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	var script bytes.Buffer
	if err := WriteCompletion(&script, "tool", &completed{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		words []string
		want  []string
	}{
		{[]string{"tool", "s"}, []string{"search", "snapshot"}},
		{[]string{"tool", "snapshot", ""}, []string{"--config", "--help", "--log-format", "--log-level", "--version", "ls", "pin"}},
		{[]string{"tool", "snapshot", "ls", "--s"}, []string{"--store", "--store-ca"}},
		{[]string{"tool", "--log-level", "warn", "snapshot", "ls", "--la"}, []string{"--last"}},
		{[]string{"tool", "snapshot", "ls", "--store", "search", "--j"}, []string{"--json"}},
		{[]string{"tool", "search", "--log-format", ""}, []string{"json", "text"}},
		{[]string{"tool", "search", "--log-format", "=", "j"}, []string{"json"}},
		{[]string{"tool", "snapshot", "ls", "--store", "s3://b"}, nil},
		{[]string{"tool", "none", "--li"}, nil},
	} {
		ask := fmt.Sprintf("%s\nCOMP_WORDS=(%s)\nCOMP_CWORD=%d\n_tool_complete\nprintf '%%s\\n' \"${COMPREPLY[@]}\"", script.String(), quoted(c.words), len(c.words)-1)
		out, err := exec.Command(bash, "--norc", "-c", ask).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		got := strings.Fields(string(out))
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.words, got, c.want)
		}
	}
}

func quoted(words []string) string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = "'" + w + "'"
	}
	return strings.Join(all, " ")
}
