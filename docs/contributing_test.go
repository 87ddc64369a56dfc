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

// What CONTRIBUTING.md names is there: paths, packages, tests, flags of tests, scripts and what they take.
func TestContributingNamesWhatIsThere(t *testing.T) {
	t.Chdir("..")
	page := string(read(t, "CONTRIBUTING.md"))
	code := regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(page, -1)
	inFence := regexp.MustCompile(`(?m)^    (\S.*)$`).FindAllStringSubmatch(page, -1)
	paths, commands := 0, 0
	for _, c := range append(code, inFence...) {
		text, _, _ := strings.Cut(c[1], " #")
		text = strings.TrimSpace(text)
		words := strings.Fields(text)
		switch {
		case len(words) == 1 && !strings.HasPrefix(text, "$") && !strings.HasPrefix(text, "-") && !strings.HasPrefix(text, "/") && regexp.MustCompile(`^[\w.-]*/|^[\w-]*\.(md|go)$|^\.go-version$`).MatchString(text):
			paths++
			if _, err := os.Stat(text); err != nil {
				t.Error(err)
			}
		case slices.Contains(words, "go") || strings.HasPrefix(text, ".ci/"):
			commands++
			checkCommand(t, words)
		}
	}
	if paths < 40 || commands < 20 {
		t.Errorf("only %d paths and %d commands are found", paths, commands)
	}
}

func TestUpgradingIsTested(t *testing.T) { testsOf(t, "upgrade.md", 7) }

// checkCommand checks a call of a script, or of go.
func checkCommand(t *testing.T, words []string) {
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
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %s: %v\n%s", call, word, err, out)
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
		case !isFlag || slices.Contains([]string{"race", "fuzztime", "count"}, name):
		case name == "run" && words[i+1] == "xxx":
		case name == "run" || name == "fuzz" || name == "bench":
			kind := map[string]string{"run": "Test", "fuzz": "Fuzz", "bench": "Benchmark"}[name]
			if !regexp.MustCompile(`\nfunc ` + kind + `\w*` + strings.TrimPrefix(words[i+1], kind)).MatchString(tests.String()) {
				t.Errorf("%s: nothing that -%s %s means", call, name, words[i+1])
			}
		case !strings.Contains(tests.String(), `("`+name+`"`):
			t.Errorf("%s: the tests have no flag -%s", call, name)
		}
	}
}
