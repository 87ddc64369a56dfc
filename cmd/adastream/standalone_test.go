package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
)

// TestStandaloneLimitsMemory: a node among the other roles is told what it may take, by the flag or else by the machine.
func TestStandaloneLimitsMemory(t *testing.T) {
	limit, none := int64(12_345), int64(0)
	for name, c := range map[string]struct {
		flag *int64
		want string
	}{
		"by the flag":    {&limit, "12345"},
		"no limit":       {&none, "0"},
		"by the machine": {nil, fmt.Sprintf("%g", float64(cli.Memory()/2))},
	} {
		t.Run(name, func(t *testing.T) {
			ops := freeAddress(t)
			command := standaloneCommand{Dir: t.TempDir(), Listen: "127.0.0.1:0", OpsListen: ops, MemoryBytes: c.flag,
				specFlags: specFlags{Name: "n", Ladder: []int{4}, Encoder: "e", Metric: "cosine", Vectors: "float32", Partitions: 1, TargetRecall: 0.9}}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- command.Run(ctx, &cli.Logging{}) }()
			metrics := awaitMetrics(t, "http://"+ops+"/metrics", ended)
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if want := "\nadastream_query_memory_limit_bytes " + c.want + "\n"; !strings.Contains(metrics, want) {
				t.Errorf("metrics do not have %q:\n%s", want, metrics)
			}
		})
	}
}

// TestStandaloneReachesAKafkaThatAsksWhoItIs: by SCRAM over TLS, as the daemons do; an embedded broker asks nobody.
func TestStandaloneReachesAKafkaThatAsksWhoItIs(t *testing.T) {
	command := standaloneCommand{Dir: t.TempDir(), KafkaAccess: cli.KafkaAccess{KafkaTLS: true}}
	if err := command.Run(t.Context(), &cli.Logging{}); err == nil || !strings.Contains(err.Error(), "need --brokers") {
		t.Errorf("with the embedded broker: %v", err)
	}

	dir := sourcetest.Secure(t)
	ops := freeAddress(t)
	command = standaloneCommand{Dir: t.TempDir(), Brokers: sourcetest.SecureBrokers(t, "sasltls"), Listen: "127.0.0.1:0", OpsListen: ops,
		KafkaAccess: cli.KafkaAccess{KafkaTLS: true, KafkaCA: filepath.Join(dir, "ca.pem"), KafkaSASL: "scram-sha-512", KafkaUser: "ada", KafkaPassword: "s3cr3t-of-ada"},
		specFlags:   specFlags{Name: "n", Topic: "standalone-" + uuid.NewString(), Ladder: []int{4}, Encoder: "e", Metric: "cosine", Vectors: "float32", Partitions: 1, Replication: 1, TargetRecall: 0.9}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- command.Run(ctx, &cli.Logging{}) }()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(awaitMetrics(t, "http://"+ops+"/metrics", ended), "\nadastream_ingestor_ready 1\n"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the ingestor is not in its group within a minute")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// freeAddress is one that nothing listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	a, err := fleet.Address()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// awaitMetrics asks until there is an answer, or the process that should give it has ended.
func awaitMetrics(t *testing.T, url string, ended chan error) string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		select {
		case err := <-ended:
			t.Fatal("ended: ", err)
		case <-time.After(10 * time.Millisecond):
		}
		response, err := http.Get(url)
		if err != nil {
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		switch {
		case err != nil || response.StatusCode != http.StatusOK && response.StatusCode != http.StatusServiceUnavailable:
			t.Fatalf("%s: %d, %v", url, response.StatusCode, err)
		case response.StatusCode == http.StatusOK:
			return string(body)
		} // else it is starting
	}
	t.Fatal("no answer within a minute")
	return ""
}
