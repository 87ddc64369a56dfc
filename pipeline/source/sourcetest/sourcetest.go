// Package sourcetest gives tests a broker and topics of their own.
//
// By default the broker is the embedded one. With ADASTREAM_TEST_BROKERS, a
// comma separated list of addresses, the same tests run against a real Kafka.
package sourcetest

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/segmentio/kafka-go"

	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/embedded"
)

// BrokersEnv names the environment variable with the addresses of a real Kafka.
const BrokersEnv = "ADASTREAM_TEST_BROKERS"

// SecureEnv names the environment variable with the directory of a real Kafka that KAFKA_SECURE=1 .ci/kafka.sh started: its
// authority and client certificate, and the addresses of its listeners.
const SecureEnv = "ADASTREAM_TEST_SECURE"

// TieredEnv names the environment variable that says, with any value, that the real Kafka has tiered storage, as one of
// KAFKA_TIERED=1 .ci/kafka.sh does.
const TieredEnv = "ADASTREAM_TEST_TIERED"

// patience bounds each step of setting up and cleaning up.
const patience = 30 * time.Second

// Real reports whether the tests run against a real Kafka.
func Real() bool { return os.Getenv(BrokersEnv) != "" }

// Brokers returns the addresses of a broker that lives until the test ends: the
// real one if there is one, else an embedded one of this test's own.
func Brokers(t testing.TB) []string {
	t.Helper()
	if Real() {
		return strings.Split(os.Getenv(BrokersEnv), ",")
	}
	b, err := embedded.Start(embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return []string{b.Addr()}
}

// Secure returns the directory of SecureEnv; without one the test is skipped.
func Secure(t testing.TB) string {
	t.Helper()
	dir := os.Getenv(SecureEnv)
	if dir == "" {
		t.Skipf("%s is not set", SecureEnv)
	}
	return dir
}

// SecureBrokers returns the address of a listener of the secure broker: sasl, sasltls, tls or mtls.
func SecureBrokers(t testing.TB, listener string) []string {
	t.Helper()
	addr, err := os.ReadFile(filepath.Join(Secure(t), listener))
	if err != nil {
		t.Fatal(err)
	}
	return []string{strings.TrimSpace(string(addr))}
}

// Tiered skips the test where the broker has no tiered storage.
func Tiered(t testing.TB) {
	t.Helper()
	if !Real() || os.Getenv(TieredEnv) == "" {
		t.Skipf("%s is not set", TieredEnv)
	}
}

// Topic returns a client for a fresh topic on Brokers, with the given number of
// partitions and topic configs. Its records stay whatever their timestamps, unless
// the config says otherwise. The topic is deleted and the client closed when the
// test ends.
func Topic(t testing.TB, partitions int, config map[string]string) *source.Client {
	t.Helper()
	return TopicOn(t, source.Options{Brokers: Brokers(t)}, partitions, config)
}

// TopicOn is Topic with options, among them the brokers; an empty topic name is
// filled with a random one.
func TopicOn(t testing.TB, o source.Options, partitions int, config map[string]string) *source.Client {
	t.Helper()
	if o.Topic == "" {
		o.Topic = "test-" + uuid.NewString()
	}
	c, err := source.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	all := map[string]string{"retention.ms": "-1"} // a real broker deletes records of long ago within a second
	maps.Copy(all, config)
	if err := c.CreateTopic(ctx, partitions, 1, all); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { DeleteTopic(t, c) })
	return c
}

// DeleteTopic deletes the topic of c, if it exists.
func DeleteTopic(t testing.TB, c *source.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	o := c.Options()
	tr := &kafka.Transport{TLS: o.TLS, SASL: o.SASL}
	defer tr.CloseIdleConnections()
	admin := kafka.Client{Addr: kafka.TCP(o.Brokers...), Transport: tr}
	res, err := admin.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{o.Topic}})
	if err != nil {
		t.Errorf("delete topic %s: %v", o.Topic, err)
		return
	}
	if err := res.Errors[o.Topic]; err != nil && err != kafka.UnknownTopicOrPartition {
		t.Errorf("delete topic %s: %v", o.Topic, err)
	}
}
