// Package cli is what the commands have in common: flags > environment > file, logging, signals and exit codes.
//
// Every flag --some-flag can be set as ADASTREAM_SOME_FLAG and as some-flag in a YAML file given by --config. Exit codes:
// 0 for success, 1 when the work failed, 2 when the call or the configuration is wrong.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// usageError is a fault of the call, not of the world.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// Usage marks err as a fault of the call: exit code 2.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// Main parses the command line into command, a pointer to a struct of flags, and runs it until it ends or a SIGINT or
// SIGTERM comes; then the context of Run ends, and a second signal ends the process at once. The methods may take the
// bindings as arguments. It does not return.
func Main(name, description string, command any, bindings ...any) {
	parser, err := newParser(name, command, kong.Description(description), kong.Bind(bindings...), kong.ConfigureHelp(kong.HelpOptions{Compact: true, Summary: true}), kong.Help(sharedLast))
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(2)
	}
	parsed, err := parser.Parse(os.Args[1:])
	if err != nil {
		of := name
		if at := new(kong.ParseError); errors.As(err, &at) && at.Context.Selected() != nil {
			of = at.Context.Selected().FullPath()
		}
		fmt.Fprintf(os.Stderr, "%s: %v\nsee %s --help\n", name, err, of)
		os.Exit(2)
	}
	if c, ok := command.(interface{ logging() *Logging }); ok {
		c.logging().reread = func() (map[string]any, error) { return flagsOf(name, command, os.Args[1:]) }
	}
	limitHeap()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		if errors.As(err, new(usageError)) {
			os.Exit(2)
		}
		os.Exit(1)
	}
	os.Exit(0)
}

// sharedLast prints help in which a command's own flags come before those that all commands have. The library begins with the latter,
// which separates a command's required flags from its name. The process ends after it, so the model can be changed.
func sharedLast(o kong.HelpOptions, ctx *kong.Context) error {
	if at, root := ctx.Selected(), ctx.Model.Node; at != nil {
		at.Flags, root.Flags = append(at.Flags, root.Flags...), nil
	}
	return kong.DefaultHelpPrinter(o, ctx)
}

// newParser is what all commands and files of flags are read with.
func newParser(name string, flags any, more ...kong.Option) (*kong.Kong, error) {
	var every struct {
		Version versionFlag `help:"Print the version and exit." env:"-"`
	}
	return kong.New(flags, append(more, kong.Embed(&every), kong.Name(name), kong.DefaultEnvars("ADASTREAM"), kong.Configuration(loadYAML), kong.Vars{"cache_dir": cacheDir()})...)
}

// Positive refuses a flag that is 0 or less where 0 is no value of its own: in the options that it goes to 0 is the default, so who wrote
// it would get that without a word.
func Positive[N int | int64 | float64 | time.Duration](name string, n N) error {
	if n > 0 {
		return nil
	}
	return fmt.Errorf("%s %v: must be more than 0", name, n)
}

// Bound refuses a bound of bytes that is less than 0, which is none.
func Bound(name string, bytes int64) error {
	if bytes >= 0 {
		return nil
	}
	return fmt.Errorf("%s %d: must be positive, or 0 for no limit", name, bytes)
}

// Asked turns the error of a daemon that was told to stop, by the end of ctx, into success.
func Asked(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && (errors.Is(err, cause) || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}
