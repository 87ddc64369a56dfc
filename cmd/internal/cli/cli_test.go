package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

type flags struct {
	FlushAge time.Duration `default:"1s"`
	Brokers  []string
	Logging
}

func parse(t *testing.T, file string, args ...string) (flags, error) {
	t.Helper()
	var f flags
	resolver, err := loadYAML(strings.NewReader(file))
	if err != nil {
		return f, err
	}
	parser, err := kong.New(&f, kong.Name("test"), kong.DefaultEnvars("ADASTREAM"), kong.Resolvers(resolver), kong.Exit(func(int) { t.Fatal("exit") }))
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(args)
	return f, err
}

// Flags go before the environment, the environment before the file, the file before the default.
func TestPrecedence(t *testing.T) {
	const file = "flush-age: 2s\nbrokers: [a:1, b:2]\n"
	check := func(want time.Duration, file string, args ...string) {
		t.Helper()
		f, err := parse(t, file, args...)
		if err != nil || f.FlushAge != want {
			t.Errorf("%v, %v, want %v", f.FlushAge, err, want)
		}
	}
	check(time.Second, "")
	check(2*time.Second, file)
	check(4*time.Second, file, "--flush-age", "4s")
	t.Setenv("ADASTREAM_FLUSH_AGE", "3s")
	check(3*time.Second, file)
	check(4*time.Second, file, "--flush-age", "4s")
	if f, err := parse(t, file); err != nil || len(f.Brokers) != 2 || f.Brokers[1] != "b:2" {
		t.Errorf("a list of the file: %v, %v", f.Brokers, err)
	}
}

func TestFileIsStrict(t *testing.T) {
	if _, err := parse(t, "flush-agee: 2s\n"); err == nil || !strings.Contains(err.Error(), "flush-agee") {
		t.Errorf("an unknown name: %v", err)
	}
	if _, err := parse(t, "flush-age: [\n"); err == nil {
		t.Error("not YAML, and no error")
	}
	if _, err := parse(t, "flush-age: soon\n"); err == nil || !strings.Contains(err.Error(), "soon") {
		t.Errorf("a wrong value: %v", err)
	}
}

// The flags that a command needs come before those that all of them have.
func TestHelpBeginsWithTheCommandsFlags(t *testing.T) {
	var c struct {
		Go struct {
			Store `group:"Object store:"`
		} `cmd:""`
		Logging `group:"Log and configuration:"`
	}
	var out bytes.Buffer
	parser, err := newParser("test", &c, kong.Help(sharedLast), kong.Writers(&out, &out), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = parser.Parse([]string{"go", "--help"}) // goes on after the help, as Exit does nothing
	own, shared := strings.Index(out.String(), "--store="), strings.Index(out.String(), "--log-level=")
	if own < 0 || shared < own {
		t.Errorf("help: %s", out.String())
	}
}
