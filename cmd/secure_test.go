package cmd

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
	"github.com/adastream/adastream/pipeline/store/storetest"
)

// A topic made with a client certificate, and an ingestor that reads it by SCRAM over TLS with its password in a file; a
// wrong password is told, and nothing that is printed has the right one.
func TestFleetOverTLSWithPassword(t *testing.T) {
	dir := sourcetest.Secure(t)
	f := &fleetTest{T: t, topic: "secure-" + uuid.NewString(), storage: storetest.URL(t)}
	var err error
	if f.bin, err = fleet.Build(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	tls := []string{"--kafka-tls", "--kafka-ca", filepath.Join(dir, "ca.pem")}
	run := func(args ...string) (string, error) {
		return f.bin.Run(t.Context(), "adastream", append(args, tls...)...)
	}
	if out, err := run("init", "--store", f.storage, "--brokers", sourcetest.SecureBrokers(t, "mtls")[0], "--name", "secure", "--topic", f.topic,
		"--ladder", "16,32,64", "--encoder", "test-1", "--attribute", "n=int64", "--partitions", "1",
		"--kafka-cert", filepath.Join(dir, "client.pem"), "--kafka-key", filepath.Join(dir, "client.key")); err != nil {
		t.Fatal(err, out)
	}
	client, err := source.New(source.Options{Brokers: sourcetest.Brokers(t), Topic: f.topic})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	t.Cleanup(func() { sourcetest.DeleteTopic(t, client) })
	producer := client.NewProducer(source.ProducerOptions{})
	defer producer.Close()
	if _, err := produce.Batch(t.Context(), producer, produce.Topic{Partitions: 1}, batch(rand.New(rand.NewPCG(1, 1)), 0, 100)); err != nil {
		t.Fatal(err)
	}

	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("wr0ng\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sasl := []string{"--brokers", sourcetest.SecureBrokers(t, "sasltls")[0], "--kafka-sasl", "scram-sha-512", "--kafka-user", "ada", "--kafka-password-file", secret}
	if out, err := run(append([]string{"doctor", "--store", f.storage}, sasl...)...); err == nil || !strings.Contains(out, "user or password is wrong") || strings.Contains(out, "wr0ng") {
		t.Errorf("doctor with a wrong password: %v\n%s", err, out)
	}
	if err := os.WriteFile(secret, []byte("s3cr3t-of-ada\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ingestor, _ := f.start("ingestor", append(append(sasl, tls...), "--flush-age", "50ms", "--log-level", "debug")...)
	log := f.shards(f.storage)[0]
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		head, err := log.Head(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if head.Next > 0 {
			if head.Last.Rows+head.Last.Deletes != 100 {
				t.Errorf("committed %+v, want 100 rows and deletes", head.Last)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing is committed within a minute")
		}
	}
	if err := ingestor.Stop(time.Minute); err != nil {
		t.Error(err)
	}
	if strings.Contains(ingestor.Log(), "s3cr3t") {
		t.Errorf("the log shows the password:\n%s", ingestor.Log())
	}
}
