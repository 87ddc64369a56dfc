package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// Logging are the flags of the log.
type Logging struct {
	Config    kong.ConfigFlag `help:"YAML file of flags by name. The command line and the environment override it." type:"path" env:"-" placeholder:"FILE"`
	LogLevel  slog.Level      `help:"Lowest level to log: debug, info, warn or error." default:"info"`
	LogFormat string          `help:"Log format, on stderr: text or json." enum:"text,json" default:"text"`

	level  *slog.LevelVar                 // of Logger
	reread func() (map[string]any, error) // flags as they are now in arguments, environment and file
}

func (l *Logging) logging() *Logging { return l }

// Logger writes to stderr.
func (l *Logging) Logger() *slog.Logger {
	l.level = new(slog.LevelVar)
	l.level.Set(l.LogLevel)
	o := &slog.HandlerOptions{Level: l.level}
	if l.LogFormat == "json" {
		o.ReplaceAttr = readable
		return slog.New(slog.NewJSONHandler(logTo(), o))
	}
	return slog.New(slog.NewTextHandler(logTo(), o))
}

// readable has JSON say what text does: durations with their unit, and things by what they call themselves.
func readable(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case time.Duration:
		a.Value = slog.StringValue(v.String())
	case json.Marshaler, error:
	case fmt.Stringer:
		a.Value = slog.StringValue(v.String())
	}
	return a
}

// Follow has flags read again at each SIGHUP, until ctx ends: the level of the log changes, and the log says which others will only
// once the daemon is started again.
func (l *Logging) Follow(ctx context.Context, log *slog.Logger) {
	if l.reread == nil {
		return // not started by Main
	}
	before, err := l.reread()
	if err != nil {
		log.Warn("flags cannot be reloaded at SIGHUP", "error", err)
		return
	}
	hangups, stop := notifyHangups()
	go func() {
		defer stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangups:
				before = l.reload(log, before)
			}
		}
	}()
}

// notifyHangups hears of SIGHUP, but for a process whose log goes to a terminal: there it means that the terminal is gone, and ends the
// process as ever.
func notifyHangups() (hangups chan os.Signal, stop func()) {
	hangups = make(chan os.Signal, 1)
	if !seen() {
		signal.Notify(hangups, syscall.SIGHUP)
	}
	return hangups, func() { signal.Stop(hangups) }
}

// reload takes in what flags are now, and returns what they were taken for.
func (l *Logging) reload(log *slog.Logger, before map[string]any) map[string]any {
	now, err := l.reread()
	if err != nil {
		log.Error("flags cannot be read, nothing was changed", "error", err)
		return before
	}
	var restart []string
	for _, name := range slices.Sorted(maps.Keys(now)) {
		switch {
		case reflect.DeepEqual(now[name], before[name]):
		case name == "log-level":
			l.level.Set(now[name].(slog.Level))
			before[name] = now[name]
		default:
			restart = append(restart, name)
		}
	}
	log.Info("flags reloaded", "log_level", l.level.Level().String())
	if len(restart) > 0 {
		log.Warn("changed flags take effect after a restart only", "flags", restart)
	}
	return before
}

// flagsOf are the values of a command's flags, by name.
func flagsOf(name string, command any, args []string) (map[string]any, error) {
	parser, err := newParser(name, reflect.New(reflect.TypeOf(command).Elem()).Interface(), kong.Exit(func(int) {}))
	if err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return nil, err
	}
	flags := map[string]any{}
	for _, flag := range parsed.Flags() {
		flags[flag.Name] = flag.Target.Interface()
	}
	return flags, nil
}
