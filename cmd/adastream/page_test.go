package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// The commands that the page shows to be copied are ones that this program takes.
func TestPageShowsRealCommands(t *testing.T) {
	files, err := filepath.Glob("../../pipeline/ui/*.go")
	if err != nil {
		t.Fatal(err)
	}
	templates, err := filepath.Glob("../../pipeline/ui/templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	inGo, inTemplates := regexp.MustCompile("`adastream ([^`]*)`"), regexp.MustCompile(`"command" "adastream (.*?[^\\])"`)
	fill := strings.NewReplacer(`\"`, `"`, "PARTITION", "1", "OFFSET", "1", "%d%s", "1", "%d", "1", "%s", "pin", " > payload.arrow", "")
	word := regexp.MustCompile(`[^\s"]*"[^"]*"|\S+`)
	found := 0
	for _, file := range append(files, templates...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range append(inGo.FindAllStringSubmatch(string(text), -1), inTemplates.FindAllStringSubmatch(string(text), -1)...) {
			found++
			var args []string
			for _, w := range word.FindAllString(fill.Replace(c[1]), -1) {
				args = append(args, strings.ReplaceAll(w, `"`, ""))
			}
			parser, err := kong.New(&command{}, kong.Name("adastream"), kong.Vars{"cache_dir": t.TempDir()}, kong.Exit(func(int) { t.Fatalf("%s: exits", c[1]) }))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.Parse(args); err != nil {
				t.Errorf("%s: adastream %s: %v", file, c[1], err)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d commands were found", found)
	}
}
