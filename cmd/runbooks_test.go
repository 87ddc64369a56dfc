package cmd

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/adastream/adastream/bench/fleet"
)

// TestRunbooksNameRealCommands hands the commands of the runbooks to the programs: with --help they check the call and stop.
func TestRunbooksNameRealCommands(t *testing.T) {
	bin, err := fleet.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	help := strings.Builder{}
	for _, args := range [][]string{{"ingestor"}, {"builder"}, {"query"}, {"adastream", "standalone"}, {"adastream", "snapshot", "gc"}} {
		out, err := bin.Run(t.Context(), args[0], append(args[1:], "--help")...)
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		help.WriteString(out)
	}
	pages, err := filepath.Glob("../docs/runbooks/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no runbooks: %v", err)
	}
	command := regexp.MustCompile(`(?m)^ {4,}adastream (.*)$`)
	word := regexp.MustCompile(`[^\s"]*"[^"]*"|\S+`)
	flag := regexp.MustCompile("`--([a-z-]+)")
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range command.FindAllStringSubmatch(string(text), -1) {
			var args []string
			for _, w := range word.FindAllString(c[1], -1) {
				args = append(args, strings.ReplaceAll(w, `"`, ""))
			}
			if out, err := bin.Run(t.Context(), "adastream", append(args, "--help")...); err != nil {
				t.Errorf("%s: adastream %s: %v\n%s", page, c[1], err, out)
			}
		}
		for _, f := range flag.FindAllStringSubmatch(string(text), -1) {
			if positive, negated := strings.CutPrefix(f[1], "no-"); !strings.Contains(help.String(), "--"+f[1]) && !(negated && strings.Contains(help.String(), "--[no-]"+positive)) {
				t.Errorf("%s: no daemon has the flag --%s", page, f[1])
			}
		}
	}
}
