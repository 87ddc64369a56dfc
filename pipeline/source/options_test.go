package source

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestOptionsValidate(t *testing.T) {
	good := Options{Brokers: []string{"a:9092", "[::1]:1"}, Topic: "ok.Topic_1-x"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, tc := range []struct {
		name string
		mod  func(*Options)
		want string
	}{
		{"no brokers", func(o *Options) { o.Brokers = nil }, "brokers: none"},
		{"no port", func(o *Options) { o.Brokers = []string{"a"} }, "missing port"},
		{"named port", func(o *Options) { o.Brokers = []string{"a:kafka"} }, "not host:port"},
		{"port 0", func(o *Options) { o.Brokers = []string{"a:0"} }, "not host:port"},
		{"no host", func(o *Options) { o.Brokers = []string{":9092"} }, "not host:port"},
		{"no topic", func(o *Options) { o.Topic = "" }, "no name"},
		{"bad topic", func(o *Options) { o.Topic = "a b" }, "character"},
		{"dots", func(o *Options) { o.Topic = ".." }, "legal"},
		{"long topic", func(o *Options) { o.Topic = strings.Repeat("x", 250) }, "limit of 249"},
		{"negative size", func(o *Options) { o.MaxBytes = -1 }, "max bytes"},
		{"huge size", func(o *Options) { o.MaxBytes = 1 << 31 }, "max bytes"},
		{"negative timeout", func(o *Options) { o.SessionTimeout = -time.Second }, "session timeout"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := good
			tc.mod(&o)
			if err := o.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if _, err := New(o); err == nil {
				t.Error("New accepts it")
			}
		})
	}
	err := Options{MaxBytes: -1}.Validate()
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != 3 {
		t.Errorf("not all faults: %v", err)
	}
}
