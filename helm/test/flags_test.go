package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// mounted finds files of secrets.
var mounted = regexp.MustCompile(`/etc/adastream/(kafka-ca|kafka-cert|tokens|tls|client-ca)/(ca\.crt|tls\.crt|tls\.key|tokens)$`)

// TestFlags hands the rendered arguments to the programs themselves: with --help they check the flags and stop.
func TestFlags(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-C", "../..", "-o", bin, "./cmd/ingestor", "./cmd/builder", "./cmd/query")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// Stands for the files that are mounted.
	pem := filepath.Join(bin, "ca.crt")
	if err := os.WriteFile(pem, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	rendered(t, func(t *testing.T, objects []object) {
		for component, w := range workloads(t, objects) {
			c := w.container()
			args := make([]string, 0, len(c.Args)+1)
			for _, arg := range c.Args {
				args = append(args, mounted.ReplaceAllLiteralString(arg, pem))
			}
			help, err := exec.Command(filepath.Join(bin, c.Command[0]), append(args, "--help")...).CombinedOutput()
			if err != nil {
				t.Errorf("%s %q: %v\n%s", component, args, err, help)
			}
			for _, e := range c.Env {
				if strings.HasPrefix(e.Name, "ADASTREAM_") && !strings.Contains(string(help), "$"+e.Name) {
					t.Errorf("%s: no flag is set by %s", component, e.Name)
				}
			}
		}
	})
}
