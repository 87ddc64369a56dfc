package source_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/adastream/adastream/pipeline/source"
)

// cluster runs a kfake cluster with one topic "t" of one partition.
func cluster(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, "t")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func client(t *testing.T, o source.Options) *source.Client {
	t.Helper()
	if o.Topic == "" {
		o.Topic = "t"
	}
	c, err := source.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// calls are the ways to talk to a broker.
func calls(c *source.Client) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"fetch":      func(ctx context.Context) error { _, err := c.Fetch(ctx, 0, 0, 0); return err },
		"bounds":     func(ctx context.Context) error { _, err := c.Bounds(ctx, 0); return err },
		"partitions": func(ctx context.Context) error { _, err := c.Partitions(ctx); return err },
		"identity":   func(ctx context.Context) error { _, err := c.Topic(ctx); return err },
		"create":     func(ctx context.Context) error { return c.CreateTopic(ctx, 1, 1, nil) },
		"produce": func(ctx context.Context) error {
			p := c.NewProducer(source.ProducerOptions{MaxAttempts: 1})
			defer p.Close()
			return p.Send(ctx, source.Message{Value: []byte("x")})
		},
	}
}

func expectAll(t *testing.T, o source.Options, want error, text string) {
	t.Helper()
	for name := range calls(nil) {
		// A client for each, so that each one meets the fault first.
		err := calls(client(t, o))[name](testContext(t))
		if want == nil {
			if err != nil {
				t.Errorf("%s: got %v", name, err)
			}
			continue
		}
		if !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: got %v, want %v with %q", name, err, want, text)
		}
	}
}

// The library says "topic not found" for a broker that cannot be reached.
func TestUnreachableBroker(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	expectAll(t, source.Options{Brokers: []string{ln.Addr().String()}}, source.ErrTransient, "connection refused")
}

func TestDeadBootstrapBrokerIsPassedOver(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	o := source.Options{Brokers: append([]string{ln.Addr().String()}, cluster(t).ListenAddrs()...)}
	for name, call := range calls(client(t, o)) {
		if err := call(testContext(t)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAuthentication(t *testing.T) {
	cl := cluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "ada", "stream"), kfake.Superuser("SCRAM-SHA-256", "ada", "stream"))
	o := source.Options{Brokers: cl.ListenAddrs()}
	mechanism, err := scram.Mechanism(scram.SHA256, "ada", "stream")
	if err != nil {
		t.Fatal(err)
	}
	o.SASL = mechanism
	expectAll(t, o, nil, "")
	o.SASL = plain.Mechanism{Username: "ada", Password: "stream"}
	expectAll(t, o, nil, "")

	// Kafka answers wrong credentials with an error; the embedded broker only
	// closes the connection, which looks like any other broken connection.
	cl.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cl.KeepControl()
		res := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		res.ErrorCode = 58
		return res, nil, true
	})
	expectAll(t, o, source.ErrDenied, "SASL Authentication Failed")
	// A mechanism that the broker does not have.
	cl.ControlKey(int16(kmsg.SASLHandshake), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cl.KeepControl()
		res := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
		res.ErrorCode = 33
		return res, nil, true
	})
	expectAll(t, o, source.ErrDenied, "Unsupported SASL Mechanism")
}

func TestPermissions(t *testing.T) {
	addrs := cluster(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.User("PLAIN", "ada", "stream")).ListenAddrs()
	expectAll(t, source.Options{Brokers: addrs, SASL: plain.Mechanism{Username: "ada", Password: "stream"}}, source.ErrDenied, "")
}

func TestTLS(t *testing.T) {
	server, roots := certificate(t)
	addrs := cluster(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{server}})).ListenAddrs()
	expectAll(t, source.Options{Brokers: addrs, TLS: &tls.Config{RootCAs: roots}}, nil, "")
	expectAll(t, source.Options{Brokers: addrs, TLS: &tls.Config{}}, source.ErrDenied, "certificate")
}

// Whom to trust is asked for each connection, those of the group too: the authority of brokers changes under a client.
func TestAuthoritiesOfEachConnection(t *testing.T) {
	server, roots := certificate(t)
	addrs := cluster(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{server}})).ListenAddrs()
	var trusted atomic.Pointer[x509.CertPool]
	trusted.Store(x509.NewCertPool())
	o := source.Options{Brokers: addrs, TLS: &tls.Config{}, Authorities: trusted.Load}
	expectAll(t, o, source.ErrDenied, "not trusted")
	states := make(chan error)
	o.OnState = func(err error) { states <- err }
	c := client(t, o)
	ctx, stop := context.WithCancel(testContext(t))
	done := make(chan error, 1)
	go func() { done <- c.Join(ctx, "g", func(ctx context.Context, _ *source.Assignment) { <-ctx.Done() }) }()
	if err := <-states; !errors.Is(err, source.ErrDenied) {
		t.Errorf("a broker that is not trusted: %v", err)
	}
	trusted.Store(roots)
	for err := range states {
		if err == nil {
			break
		}
	}
	for name, call := range calls(c) {
		if err := call(testContext(t)); err != nil && name != "create" {
			t.Errorf("%s: %v", name, err)
		}
	}
	stop()
	for {
		select {
		case <-states:
		case <-done:
			return
		}
	}
}

// What keeps a certificate from being read for a connection comes through the library as it is.
func TestClientCertificateIsAway(t *testing.T) {
	server, roots := certificate(t)
	addrs := cluster(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAnyClientCert})).ListenAddrs()
	o := source.Options{Brokers: addrs, TLS: &tls.Config{RootCAs: roots, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return nil, fmt.Errorf("%w: half a pair", source.ErrTransient)
	}}}
	expectAll(t, o, source.ErrTransient, "half a pair")
}

func TestClosedClient(t *testing.T) {
	c := client(t, source.Options{Brokers: cluster(t).ListenAddrs()})
	pending := make(chan error, 1)
	if _, err := c.Fetch(testContext(t), 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := c.Fetch(context.Background(), 0, 0, time.Hour)
		pending <- err
	}()
	c.Close()
	if err := <-pending; !errors.Is(err, source.ErrClosed) {
		t.Errorf("pending fetch: %v", err)
	}
	for name, call := range calls(c) {
		if err := call(testContext(t)); !errors.Is(err, source.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCancelledCallReturnsItsContextError(t *testing.T) {
	c := client(t, source.Options{Brokers: cluster(t).ListenAddrs()})
	ctx, cancel := context.WithTimeout(t.Context(), blink)
	defer cancel()
	_, err := c.Fetch(ctx, 0, 0, patience)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, source.ErrTransient) {
		t.Errorf("got %v", err)
	}
}

// A broker that holds the connection but never answers.
func TestSilentBrokerTimesOut(t *testing.T) {
	cl := cluster(t)
	c := client(t, source.Options{Brokers: cl.ListenAddrs(), RequestTimeout: 300 * time.Millisecond})
	cl.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) { return nil, nil, true })
	start := time.Now()
	_, err := c.Fetch(t.Context(), 0, 0, 0)
	if !errors.Is(err, source.ErrTransient) || time.Since(start) > patience {
		t.Errorf("got %v after %s", err, time.Since(start))
	}
	// The control function handles one request; the next one is answered.
	if _, err := c.Fetch(t.Context(), 0, 0, 0); err != nil {
		t.Errorf("then: %v", err)
	}
}

// A moved leader is found at once, not when the cached metadata expires.
func TestMovedLeaderIsFound(t *testing.T) {
	cl := cluster(t, kfake.NumBrokers(3))
	c := client(t, source.Options{Brokers: cl.ListenAddrs()})
	produce(t, c, "a", "b")
	if _, err := fetch(t, c, 0, patience); err != nil {
		t.Fatal(err)
	}
	old := cl.LeaderFor("t", 0)
	if err := cl.MoveTopicPartition("t", 0, (old+1)%3); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Fetch(t.Context(), 0, 0, 0); !errors.Is(err, source.ErrTransient) {
		t.Errorf("old leader: %v", err)
	}
	if b, err := c.Fetch(t.Context(), 0, 0, 0); err != nil || show(b.Records) != "0=a 1=b" {
		t.Errorf("new leader: %s, %v", show(b.Records), err)
	}
}

// Right after a failover a leader may refuse an offset that it holds.
func TestOutOfRangeInsideTheBoundsIsTransient(t *testing.T) {
	cl := cluster(t)
	c := client(t, source.Options{Brokers: cl.ListenAddrs()})
	produce(t, c, "a", "b")
	cl.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		part := kmsg.NewFetchResponseTopicPartition()
		part.ErrorCode = 1
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic = "t"
		topic.Partitions = append(topic.Partitions, part)
		res := req.ResponseKind().(*kmsg.FetchResponse)
		res.Topics = append(res.Topics, topic)
		return res, nil, true
	})
	_, err := c.Fetch(t.Context(), 0, 1, 0)
	if !errors.Is(err, source.ErrTransient) || errors.Is(err, source.ErrOutOfRange) {
		t.Errorf("got %v", err)
	}
}

func TestMissingTopicIsTransient(t *testing.T) {
	c := client(t, source.Options{Brokers: cluster(t).ListenAddrs(), Topic: "missing"})
	for _, name := range []string{"fetch", "bounds", "partitions", "identity", "produce"} {
		if err := calls(c)[name](testContext(t)); !errors.Is(err, source.ErrTransient) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A warm client finds a topic that somebody else creates without waiting for its
// metadata to expire.
func TestTopicCreatedByAnotherClient(t *testing.T) {
	addrs := cluster(t).ListenAddrs()
	a := client(t, source.Options{Brokers: addrs, Topic: "new"})
	b := client(t, source.Options{Brokers: addrs, Topic: "new"})
	if _, err := a.Partitions(t.Context()); !errors.Is(err, source.ErrTransient) {
		t.Fatalf("before: %v", err)
	}
	if err := b.CreateTopic(t.Context(), 3, 1, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.CreateTopic(t.Context(), 5, 1, nil); err != nil {
		t.Errorf("again: %v", err)
	}
	start := time.Now()
	for {
		ids, err := a.Partitions(t.Context())
		if err == nil {
			if len(ids) != 3 || ids[0] != 0 || ids[2] != 2 {
				t.Errorf("partitions %v", ids)
			}
			break
		}
		if time.Since(start) > 2*time.Second {
			t.Fatalf("still %v", err)
		}
	}
}

func TestCreateTopicRefused(t *testing.T) {
	c := client(t, source.Options{Brokers: cluster(t).ListenAddrs(), Topic: "new"})
	err := c.CreateTopic(testContext(t), 1, 5, nil) // more replicas than brokers
	if err == nil || errors.Is(err, source.ErrTransient) {
		t.Errorf("got %v", err)
	}
}

func TestIdentity(t *testing.T) {
	now := client(t, source.Options{Brokers: cluster(t, kfake.ClusterID("c1")).ListenAddrs()})
	id, err := now.Topic(testContext(t))
	if err != nil || id.Cluster != "c1" || id.Topic != "t" || len(id.TopicID) != 22 {
		t.Errorf("got %+v, %v", id, err)
	}
	// Brokers before 2.8 have no topic ids.
	old := client(t, source.Options{Brokers: cluster(t, kfake.ClusterID("c1"), kfake.MaxVersions(kversion.V2_7_0())).ListenAddrs()})
	id, err = old.Topic(testContext(t))
	if err != nil || id != (source.Identity{Cluster: "c1", Topic: "t"}) {
		t.Errorf("old broker: got %+v, %v", id, err)
	}
}
