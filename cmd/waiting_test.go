package cmd

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/bench/fleet"
)

// A daemon whose store is away waits, says so in its log and in /readyz, and does not exit. It stays alive for /livez.
func TestDaemonsWaitForTheStore(t *testing.T) {
	bin, err := fleet.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := fleet.Address()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"}
	for name, args := range map[string][]string{"query": nil, "builder": nil, "ingestor": {"--brokers", nobody}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ops, err := fleet.Address()
			if err != nil {
				t.Fatal(err)
			}
			p, err := bin.Start(name, env, append(args, "--store", "s3://bucket/x?endpoint=http://"+nobody, "--ops-listen", ops)...)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Kill()
			if err := fleet.AwaitOK(t.Context(), "http://"+ops+"/livez"); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
				status, body := get(t, "http://"+ops+"/readyz")
				if status != http.StatusServiceUnavailable {
					t.Fatalf("/readyz: %d %s", status, body)
				}
				if strings.Contains(body, nobody) && strings.Contains(p.Log(), "will try again") {
					break
				}
				if over, err := p.Ended(); over || time.Now().After(deadline) {
					t.Fatalf("ended %v (%v), /readyz %q, log:\n%s", over, err, body, p.Log())
				}
			}
			if err := p.Stop(time.Minute); err != nil {
				t.Errorf("at SIGTERM while it waits: %v\n%s", err, p.Log())
			}
		})
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}
