package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/adastream/adastream/bench/fleet"
)

// programs are what the first command of a block begins with; indented text that does not is no block of commands.
var programs = []string{"adastream", "ingestor", "builder", "query", "go", "curl", "export", "kubectl", "helm", "python", "pip", "bench/run", "bench/runbook/run", "bench/scale/run", "bench/data/venv/bin/python", ".ci/run", ".ci/s3.sh", "mkdir", "cat"}

// ourPrograms are the programs of this repository: also those of their calls that are not run are parsed by them.
var ourPrograms = []string{"adastream", "ingestor", "builder", "query"}

// block is a block of commands of a page: fenced, or indented by four or more.
type block struct {
	page     string
	line     int      // of its first command
	commands []string // a line each, with the lines that a backslash continues
	first    []string // what the page has in comments before it: not for readers, but needed to run it
	notRun   string   // why it is not run
	python   bool     // needs ADASTREAM_TEST_PYTHON
}

func (b *block) String() string {
	return fmt.Sprintf("%s:%d:\n    %s\n", b.page, b.line, strings.Join(b.commands, "\n    "))
}

var (
	// <!-- not run: why --> is said of the next block.
	notRun = regexp.MustCompile(`^\s*<!-- not run: (.+) -->$`)
	// <!-- first: command --> is run before the next block.
	before = regexp.MustCompile(`^\s*<!-- first: (.+) -->$`)
	// <!-- file: name --> says that the next fence is to be in a file of this name.
	file = regexp.MustCompile(`^\s*<!-- file: (\S+) -->$`)
	// assignments stand before a command, or alone.
	assignments = regexp.MustCompile(`^([A-Z_0-9]+=('[^']*'|"[^"]*"|\$\([^)]*\)|\S*)\s*)+`)
)

// pages are those whose commands are run.
func pages(t *testing.T) []string {
	t.Helper()
	all := []string{"../README.md"}
	for _, pattern := range []string{"*.md", "runbooks/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no pages %s: %v", pattern, err)
		}
		all = append(all, found...)
	}
	return all
}

// blocksOf returns the blocks of commands of a page in order, and the files that it shows.
func blocksOf(t *testing.T, page string) (blocks []*block, files map[string]string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	next, name := &block{page: page}, ""
	lines := strings.Split(string(text), "\n")
	for i := 0; i < len(lines); i++ {
		switch line := lines[i]; {
		case notRun.MatchString(line):
			next.notRun = notRun.FindStringSubmatch(line)[1]
		case before.MatchString(line):
			next.first = append(next.first, before.FindStringSubmatch(line)[1])
		case file.MatchString(line):
			name = file.FindStringSubmatch(line)[1]
		case strings.HasPrefix(strings.TrimSpace(line), "```"), strings.HasPrefix(line, "    ") && (i == 0 || lines[i-1] == ""):
			fence := strings.TrimSpace(line)
			start, end := i, i
			if strings.HasPrefix(fence, "```") {
				start = i + 1
				for end = start; strings.TrimSpace(lines[end]) != "```"; end++ {
				}
				i = end
			} else {
				for end < len(lines) && (strings.HasPrefix(lines[end], "    ") || lines[end] == "" && end+1 < len(lines) && strings.HasPrefix(lines[end+1], "    ")) {
					end++
				}
				i = end - 1
			}
			if name != "" {
				files[name] = strings.Join(lines[start:end], "\n") + "\n"
				name = ""
				continue
			}
			next.commands = commands(lines[start:end])
			if !shows(fence, lines[start:end], next.commands) {
				next.pending(t, start)
				continue
			}
			next.line = start + 1
			next.python = slices.ContainsFunc(next.commands, func(c string) bool { return program(c) == "python" })
			blocks = append(blocks, next)
			next = &block{page: page}
		case strings.TrimSpace(line) != "":
			next.pending(t, i)
		}
	}
	next.pending(t, len(lines))
	return blocks, files
}

// pending complains of comments for commands that come to something else before any.
func (b *block) pending(t *testing.T, line int) {
	t.Helper()
	if b.notRun != "" || b.first != nil {
		t.Errorf("%s:%d: there is a comment for commands, and no commands after it", b.page, line+1)
		b.notRun, b.first = "", nil
	}
}

// shows says whether a block that begins with fence, or is indented, shows commands.
func shows(fence string, lines, commands []string) bool {
	switch {
	case len(commands) == 0:
		return false
	case strings.HasPrefix(fence, "```"):
		return slices.Contains([]string{"```sh", "```bash", "```shell", "```console"}, fence) || fence == "```" && strings.HasPrefix(strings.TrimSpace(lines[0]), "$ ")
	default:
		return slices.Contains(programs, program(commands[0]))
	}
}

// commands joins what backslashes continue. If there are prompts the rest is what the commands print.
func commands(lines []string) []string {
	prompts := slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(strings.TrimSpace(l), "$ ") })
	var all []string
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		for strings.HasSuffix(line, `\`) && i+1 < len(lines) {
			i++
			line = strings.TrimSuffix(line, `\`) + strings.TrimSpace(lines[i])
		}
		command, prompted := strings.CutPrefix(line, "$ ")
		if line != "" && prompted == prompts {
			all = append(all, command)
		}
	}
	return all
}

// program is what a command calls; of an assignment alone, export.
func program(command string) string {
	rest := assignments.ReplaceAllString(command, "")
	if rest == "" || rest != command && strings.HasPrefix(rest, "#") {
		return "export"
	}
	return strings.Fields(rest)[0]
}

// A command that a page shows works, in the order of the page. What is not run is at least a call that the program takes.
func TestCommands(t *testing.T) {
	bin := t.TempDir()
	b, err := fleet.Build(t.Context(), bin)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("flags of runbooks", func(t *testing.T) { flags(t, b) })
	w, run := &world{T: t, bin: bin}, 0
	for _, page := range pages(t) {
		blocks, files := blocksOf(t, page)
		if len(blocks) == 0 {
			continue
		}
		for _, blk := range blocks {
			if blk.notRun == "" {
				run++
			}
		}
		t.Run(strings.TrimSuffix(filepath.Base(page), ".md"), func(t *testing.T) {
			for _, blk := range blocks {
				if blk.notRun != "" {
					parse(t, b, blk)
				}
			}
			if testing.Short() {
				t.Skip("runs daemons")
			}
			w.page(t, page, blocks, files)
		})
	}
	if run < 30 {
		t.Errorf("only %d blocks are to be run: are they still found?", run)
	}
}

// parse hands calls of our programs to them: with --help they check the call and stop.
func parse(t *testing.T, b *fleet.Binaries, blk *block) {
	t.Helper()
	for _, c := range blk.commands {
		c, _, _ = strings.Cut(assignments.ReplaceAllString(c, ""), " #")
		c, _, _ = strings.Cut(c, " > ")
		args := shellWords(c)
		if len(args) > 0 && slices.Contains(ourPrograms, args[0]) {
			if out, err := b.Run(t.Context(), args[0], append(args[1:], "--help")...); err != nil {
				t.Errorf("%s%v\n%s", blk, err, out)
			}
		}
	}
}

// flags checks that those that runbooks speak of are the programs'.
func flags(t *testing.T, b *fleet.Binaries) {
	help := strings.Builder{}
	for _, args := range [][]string{{"ingestor"}, {"builder"}, {"query"}, {"adastream", "standalone"}, {"adastream", "snapshot", "gc"}} {
		out, err := b.Run(t.Context(), args[0], append(args[1:], "--help")...)
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		help.WriteString(out)
	}
	books, err := filepath.Glob("runbooks/*.md")
	if err != nil || len(books) == 0 {
		t.Fatalf("no runbooks: %v", err)
	}
	flag := regexp.MustCompile("`--([a-z-]+)")
	for _, page := range books {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range flag.FindAllStringSubmatch(string(text), -1) {
			if positive, negated := strings.CutPrefix(f[1], "no-"); !strings.Contains(help.String(), "--"+f[1]) && !(negated && strings.Contains(help.String(), "--[no-]"+positive)) {
				t.Errorf("%s: no daemon has the flag --%s", page, f[1])
			}
		}
	}
}
