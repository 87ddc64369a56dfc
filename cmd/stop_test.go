package cmd

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/bench/fleet"
)

// A query node that is told to stop takes no new query and lets one that runs end; all along it is alive and not ready. Who cannot wait tells it
// a second time.
func TestStoppingTakesItsTimeAndThenNot(t *testing.T) {
	f := newFleetTest(t)
	f.start("builder")
	api, err := fleet.Address()
	if err != nil {
		t.Fatal(err)
	}
	node, ops := f.start("query", "--listen", api, "--drain", "10m")
	if err := fleet.AwaitOK(t.Context(), "http://"+ops+"/readyz"); err != nil {
		t.Fatal(err)
	}
	running, err := net.Dial("tcp", api)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	// Half of a request, which is running from its first byte on.
	if _, err := fmt.Fprint(running, "POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // for the node to read it: this test cannot fail by chance, but could pass by one
	told := make(chan error, 1)
	go func() { told <- node.Stop(time.Minute) }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", api)
		if err != nil {
			break // it takes no new one
		}
		c.Close()
		if time.Now().After(deadline) {
			t.Fatal("it listens a minute after it was told to stop")
		}
	}
	if code, body := get(t, "http://"+ops+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "stopping") {
		t.Errorf("/readyz while stopping: %d %s", code, body)
	}
	if code, _ := get(t, "http://"+ops+"/livez"); code != http.StatusOK {
		t.Errorf("/livez while stopping: %d", code)
	}
	select {
	case err := <-told:
		t.Fatalf("it has stopped (%v) while a request runs", err)
	default:
	}
	again := time.Now()
	_ = node.Stop(time.Minute) // ends by the signal, so not well
	if took := time.Since(again); took > 10*time.Second {
		t.Errorf("told again it took %v", took)
	}
	<-told
}
