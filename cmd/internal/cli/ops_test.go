package cli

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
)

// The port of a daemon says from the first moment to the last how it is: what it waits for, that it is ready, and that it is stopping while
// that takes its time.
func TestOpsAnswersUntilTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o, err := OpenOps(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	expect := func(when string, readyz int) {
		t.Helper()
		for path, want := range map[string]int{"/readyz": readyz, "/livez": http.StatusOK} {
			if got := status(t, http.DefaultClient, "http://"+o.Addr().String()+path, ""); got != want {
				t.Errorf("%s: %s is %d, want %d", when, path, got, want)
			}
		}
	}
	expect("waiting", http.StatusServiceUnavailable)
	var fault error
	o.Use(OpsHandler(NewRegistry(), func() error { return fault }))
	expect("ready", http.StatusOK)
	fault = errors.New("no")
	expect("not ready", http.StatusServiceUnavailable)
	fault = nil
	cancel()
	expect("stopping", http.StatusServiceUnavailable)
	if got := status(t, http.DefaultClient, "http://"+o.Addr().String()+"/metrics", ""); got != http.StatusOK {
		t.Errorf("stopping: /metrics is %d", got)
	}
	o.Close()
	if c, err := net.Dial("tcp", o.Addr().String()); err == nil {
		c.Close()
		t.Error("it listens on after Close")
	}
}
