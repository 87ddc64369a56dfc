package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every call of a program or a test of this repository that any page shows, in a block or within a sentence, has only flags that are
// there, and names packages, tests and benchmarks that are, whether TestCommands runs it or not.
func TestCallsNameWhatIsThere(t *testing.T) {
	pages, err := exec.CommandContext(t.Context(), "git", "ls-files", "..").Output()
	if err != nil {
		t.Skip("not a checkout: ", err)
	}
	var calls []call
	for _, page := range strings.Fields(string(pages)) {
		if strings.HasSuffix(page, ".md") && page != "../CHANGELOG.md" { // of the past it may say what is gone
			calls = append(calls, callsOf(t, page)...)
		}
	}
	if len(calls) < 150 {
		t.Errorf("only %d calls are found", len(calls))
	}
	t.Chdir("..")
	h := &helps{bin: t.TempDir(), of: map[string]string{}}
	for _, c := range calls {
		words := shellWords(c.text)
		switch {
		case slices.Contains(ourPrograms, words[0]):
			h.check(t, c, "./cmd/"+words[0], words[1:])
		case words[0] != "go":
		case words[1] == "run" && strings.HasPrefix(words[2], "./"):
			h.check(t, c, words[2], words[3:])
		case slices.Contains(words, "test"):
			checkGo(t, words)
		}
	}
}

// call is a command line of a page.
type call struct{ page, text string }

var (
	fences = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	spans  = regexp.MustCompile("`([^`]+)`")
)

// callsOf finds the calls of a page: those of blocks, and those within sentences that have a flag.
func callsOf(t *testing.T, page string) (calls []call) {
	t.Helper()
	blocks, _ := blocksOf(t, page)
	var lines []string
	for _, blk := range blocks {
		lines = append(lines, blk.commands...)
	}
	for _, found := range spans.FindAllStringSubmatch(fences.ReplaceAllString(string(read(t, page)), ""), -1) {
		if strings.Contains(found[1], " -") {
			lines = append(lines, strings.Join(strings.Fields(found[1]), " "))
		}
	}
	for _, text := range lines {
		text = assignments.ReplaceAllString(text, "")
		for _, end := range []string{" #", " > ", " | "} {
			text, _, _ = strings.Cut(text, end)
		}
		if words := strings.Fields(text); len(words) > 1 && (words[0] != "go" || len(words) > 2) {
			calls = append(calls, call{page, text})
		}
	}
	return calls
}

// helps are what programs say with --help, by package and subcommand.
type helps struct {
	bin string
	of  map[string]string
}

// check looks for the flags of a call in the help of its subcommand.
func (h *helps) check(t *testing.T, c call, pkg string, args []string) {
	t.Helper()
	command := 0
	for command < len(args) && regexp.MustCompile(`^[a-z-]+$`).MatchString(args[command]) && !strings.HasPrefix(args[command], "-") {
		command++
	}
	for ; ; command-- { // the last words may be arguments
		help, err := h.say(t, pkg, args[:command])
		if err != nil && command > 0 {
			continue
		}
		if err != nil {
			t.Errorf("%s: %s: %v\n%s", c.page, c.text, err, help)
		}
		for _, w := range args[command:] {
			flag, _, _ := strings.Cut(w, "=")
			name, negated := strings.CutPrefix(flag, "--no-")
			if strings.HasPrefix(flag, "--") && !strings.Contains(help, flag) && !(negated && strings.Contains(help, "--[no-]"+name)) {
				t.Errorf("%s: %s: there is no flag %s", c.page, c.text, flag)
			}
		}
		return
	}
}

// say is what a subcommand says with --help.
func (h *helps) say(t *testing.T, pkg string, command []string) (string, error) {
	t.Helper()
	key := strings.Join(append([]string{pkg}, command...), " ")
	if help, ok := h.of[key]; ok {
		return help, nil
	}
	program := filepath.Join(h.bin, filepath.Base(pkg))
	if _, err := os.Stat(program); err != nil {
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, pkg).CombinedOutput(); err != nil {
			return string(out), err
		}
	}
	out, err := exec.CommandContext(t.Context(), program, append(slices.Clone(command), "--help")...).CombinedOutput()
	if err == nil {
		h.of[key] = string(out)
	}
	return string(out), err
}

// shellWords splits a call into words, and takes quotes off them.
func shellWords(text string) []string {
	words := regexp.MustCompile(`[^\s"']*"[^"]*"|[^\s"']*'[^']*'|\S+`).FindAllString(text, -1)
	for i, w := range words {
		words[i] = strings.NewReplacer(`"`, "", "'", "").Replace(w)
	}
	return words
}

// checkGo checks a call of go, or of a script of .ci: packages, tests and flags of tests are there.
func checkGo(t *testing.T, words []string) {
	t.Helper()
	call := strings.Join(words, " ")
	if strings.HasPrefix(words[0], ".ci/") {
		info, err := os.Stat(words[0])
		if err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("%s: is no program: %v", call, err)
			return
		}
		if words[0] == ".ci/full" {
			for _, part := range words[1:] {
				if !strings.Contains(string(read(t, words[0])), "#   "+part+" ") {
					t.Errorf("%s: .ci/full has no part %s", call, part)
				}
			}
		}
		return
	}
	dir, words := ".", words[slices.Index(words, "go")+1:]
	if len(words) > 1 && words[0] == "-C" {
		dir, words = words[1], words[2:]
	}
	var tests strings.Builder // of the packages
	for i, word := range words {
		if !strings.HasPrefix(word, "./") && word != "." || words[i-1] == "-bench" {
			continue
		}
		cmd := exec.Command("go", "list", "-f", `{{$d := .Dir}}{{range .TestGoFiles}}{{$d}}/{{.}} {{end}}{{range .XTestGoFiles}}{{$d}}/{{.}} {{end}}`, word)
		var said strings.Builder // also of modules that it fetches
		cmd.Dir, cmd.Stderr = dir, &said
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %s: %v\n%s", call, word, err, said.String())
			return
		}
		for _, file := range strings.Fields(string(out)) {
			tests.Write(read(t, filepath.FromSlash(file)))
		}
		if strings.HasPrefix(word, "./pipeline") || strings.HasPrefix(word, "./schemas") {
			tests.Write(read(t, "internal/mutate/mutate.go")) // whose flags they have
		}
	}
	for i, word := range words {
		name, isFlag := strings.CutPrefix(word, "-")
		switch {
		case !isFlag || slices.Contains([]string{"race", "fuzztime", "count", "v", "benchtime", "timeout", "short", "cpuprofile", "args", "exec"}, name):
		case name == "run" && words[i+1] == "xxx":
		case name == "run" || name == "fuzz" || name == "bench":
			kind := map[string]string{"run": "Test", "fuzz": "Fuzz", "bench": "Benchmark"}[name]
			pattern, _, _ := strings.Cut(strings.TrimPrefix(words[i+1], kind), "/") // what follows names parts of it
			if !regexp.MustCompile(`\nfunc ` + kind + `\w*(` + pattern + `)`).MatchString(tests.String()) {
				t.Errorf("%s: nothing that -%s %s means", call, name, words[i+1])
			}
		case !strings.Contains(tests.String(), `("`+name+`"`):
			t.Errorf("%s: the tests have no flag -%s", call, name)
		}
	}
}
