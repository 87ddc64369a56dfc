package cli

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

type completed struct {
	Snapshot struct {
		Ls struct {
			Store
			Last int `help:"How many, it's said. All."`
			JSON bool
		} `cmd:""`
		Pin struct{} `cmd:""`
	} `cmd:""`
	Search struct {
		Like string
	} `cmd:""`
	Script struct {
		Shell string `arg:"" enum:"bash,zsh"`
		Kind  string `enum:",plain,fancy" default:""`
	} `cmd:""`
	Logging
}

// Shells themselves are asked what they would offer, those that are installed.
func TestCompletion(t *testing.T) {
	for _, shell := range []struct {
		name  string
		write func(io.Writer, string, any) error
		args  []string
		ask   func(script string, words []string) string // what to run
	}{
		{"bash", WriteCompletion, []string{"--norc", "-c"}, func(script string, words []string) string {
			return fmt.Sprintf("%s\nCOMP_WORDS=(%s)\nCOMP_CWORD=%d\n_tool_complete\nprintf '%%s\\n' \"${COMPREPLY[@]}\"", script, quoted(words), len(words)-1)
		}},
		// Outside a line that is edited there is nothing to add matches to.
		{"zsh", WriteCompletion, []string{"-f", "-c"}, func(script string, words []string) string {
			return fmt.Sprintf(`autoload -U +X compinit && compinit -u && autoload -U +X bashcompinit && bashcompinit
%s
compadd() { while [[ $1 != - ]]; do shift; done; shift; print -l -- ${(M)@:#${words[CURRENT]}*} }
_default() { : }
words=(%s) CURRENT=%d
eval $_comps[tool]
true`, script, quoted(words), len(words))
		}},
		{"fish", WriteFishCompletion, []string{"--no-config", "-c"}, func(script string, words []string) string {
			return fmt.Sprintf("%s\ncomplete -C '%s'", script, strings.Join(words, " "))
		}},
	} {
		t.Run(shell.name, func(t *testing.T) {
			program, err := exec.LookPath(shell.name)
			if err != nil {
				t.Skip(err)
			}
			t.Setenv("HOME", t.TempDir()) // of configuration and caches
			t.Setenv("XDG_CONFIG_HOME", "")
			t.Setenv("XDG_DATA_HOME", "")
			var script bytes.Buffer
			if err := shell.write(&script, "tool", &completed{}); err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				words []string
				want  []string
			}{
				{[]string{"tool", "s"}, []string{"script", "search", "snapshot"}},
				{[]string{"tool", "snapshot", "l"}, []string{"ls"}},
				{[]string{"tool", "snapshot", "ls", "--s"}, []string{"--store", "--store-ca"}},
				{[]string{"tool", "--log-level", "warn", "snapshot", "ls", "--la"}, []string{"--last"}},
				{[]string{"tool", "snapshot", "ls", "--store", "search", "--j"}, []string{"--json"}},
				{[]string{"tool", "search", "--log-format", ""}, []string{"json", "text"}},
				{[]string{"tool", "search", "--log-level", "w"}, []string{"warn"}},
				{[]string{"tool", "script", "--kind", ""}, []string{"fancy", "plain"}},
				{[]string{"tool", "snapshot", "ls", "--store", "none-of-that-name"}, nil},
				{[]string{"tool", "none", "--li"}, nil},
				{[]string{"tool", "script", "b"}, []string{"bash"}},
			} {
				if got := offered(t, program, shell.args, shell.ask(script.String(), c.words)); !slices.Equal(got, c.want) {
					t.Errorf("%q: %q, want %q", c.words, got, c.want)
				}
			}
			switch shell.name {
			case "bash": // = is a word of its own
				if got := offered(t, program, shell.args, shell.ask(script.String(), []string{"tool", "search", "--log-format", "=", "j"})); !slices.Equal(got, []string{"json"}) {
					t.Errorf("after = it offers %q", got)
				}
			case "fish":
				got := offered(t, program, shell.args, shell.ask(script.String(), []string{"tool", "snapshot", "--log-format=j"}))
				if !slices.Equal(got, []string{"--log-format=json"}) {
					t.Errorf("after = it offers %q", got)
				}
				if out := run(t, program, shell.args, shell.ask(script.String(), []string{"tool", "snapshot", "ls", "--las"})); out != "--last\tHow many, it's said\n" {
					t.Errorf("it says %q", out)
				}
			}
		})
	}
}

// offered are the words that a shell would offer, without what it says of them.
func offered(t *testing.T, program string, args []string, script string) (words []string) {
	t.Helper()
	for line := range strings.Lines(run(t, program, args, script)) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if word != "" {
			words = append(words, word)
		}
	}
	slices.Sort(words)
	return words
}

func run(t *testing.T, program string, args []string, script string) string {
	t.Helper()
	out, err := exec.Command(program, slices.Concat(args, []string{script})...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func quoted(words []string) string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = "'" + w + "'"
	}
	return strings.Join(all, " ")
}
