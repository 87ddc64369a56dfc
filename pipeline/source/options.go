package source

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go/sasl"
)

// Defaults of the zero [Options].
const (
	defaultClientID       = "adastream"
	defaultDialTimeout    = 5 * time.Second
	defaultRequestTimeout = 10 * time.Second
	defaultMaxBytes       = 16 << 20
	defaultSessionTimeout = 10 * time.Second
	defaultWatchInterval  = 5 * time.Second
)

// maxTopicName is the broker's limit on the length of a topic name.
const maxTopicName = 249

// Options say which topic to reach and how. Brokers and Topic are required;
// every other zero value means the default given with the field.
type Options struct {
	// Brokers are bootstrap addresses, host:port. At least one.
	Brokers []string
	// Topic is the one topic of the client.
	Topic string
	// ClientID names this program in the broker's logs and quotas.
	// Empty: "adastream".
	ClientID string

	// TLS, if not nil, encrypts every connection. An empty ServerName is
	// filled with the host that is dialled.
	TLS *tls.Config
	// Authorities says whom to trust that a broker is what it says; each
	// connection asks. Nil: RootCAs of TLS.
	Authorities func() *x509.CertPool
	// SASL, if not nil, authenticates every connection. A broker that refuses
	// credentials by hanging up, as the embedded one does, cannot be told from
	// one that went away; Kafka says what is wrong.
	SASL sasl.Mechanism

	// DialTimeout bounds the connection to one broker, with TLS and SASL.
	// 0: 5 s.
	DialTimeout time.Duration
	// RequestTimeout bounds the wait for an answer, over and above the time
	// a fetch was asked to wait for data. 0: 10 s.
	RequestTimeout time.Duration

	// MaxBytes is how much one Fetch asks for, in bytes as stored by the
	// broker, compressed. A single record batch above it is still returned
	// whole. Throughput suffers below the default. 0: 16 MiB.
	MaxBytes int

	// SessionTimeout is how long a silent group member keeps its partitions.
	// Heartbeats are ten times as frequent. Brokers refuse values outside
	// group.min/max.session.timeout.ms (6 s and 30 min unless configured).
	// 0: 10 s.
	SessionTimeout time.Duration
	// WatchInterval is how often a group member looks for added partitions;
	// they are assigned two looks later. 0: 5 s.
	WatchInterval time.Duration

	// Logger receives what the group does and what goes wrong. Nil discards.
	Logger *slog.Logger
	// OnState, if not nil, hears how group membership fares: nil when a
	// generation starts, else why this member has none. Join calls it, one
	// call at a time; it must not block.
	OnState func(err error)
}

// Validate reports every fault of o, joined.
func (o Options) Validate() error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }

	if len(o.Brokers) == 0 {
		bad("brokers: none given")
	}
	for _, b := range o.Brokers {
		host, port, err := net.SplitHostPort(b)
		if err != nil {
			bad("brokers: %w", err)
			continue
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
			bad("brokers: %q is not host:port", b)
		}
	}
	if err := validTopic(o.Topic); err != nil {
		faults = append(faults, err)
	}
	if o.MaxBytes < 0 || o.MaxBytes > math.MaxInt32 {
		bad("max bytes: %d is outside [0, %d]", o.MaxBytes, math.MaxInt32)
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{
		{"dial timeout", o.DialTimeout},
		{"request timeout", o.RequestTimeout},
		{"session timeout", o.SessionTimeout},
		{"watch interval", o.WatchInterval},
	} {
		if d.d < 0 {
			bad("%s: %s is negative", d.name, d.d)
		}
	}
	return errors.Join(faults...)
}

func validTopic(name string) error {
	legal := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			r == '.' || r == '_' || r == '-'
	}
	switch {
	case name == "":
		return errors.New("topic: no name given")
	case name == "." || name == "..":
		return fmt.Errorf("topic: %q is not a legal name", name)
	case len(name) > maxTopicName:
		return fmt.Errorf("topic: name of %d bytes is over the limit of %d", len(name), maxTopicName)
	}
	for _, r := range name {
		if !legal(r) {
			return fmt.Errorf("topic: %q has a character outside [a-zA-Z0-9._-]", name)
		}
	}
	return nil
}

// withDefaults returns a copy of o that shares nothing mutable with the caller
// and has no zero values left where zero means a default.
func (o Options) withDefaults() Options {
	o.Brokers = slices.Clone(o.Brokers)
	if o.ClientID == "" {
		o.ClientID = defaultClientID
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = defaultDialTimeout
	}
	if o.RequestTimeout == 0 {
		o.RequestTimeout = defaultRequestTimeout
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.SessionTimeout == 0 {
		o.SessionTimeout = defaultSessionTimeout
	}
	if o.WatchInterval == 0 {
		o.WatchInterval = defaultWatchInterval
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnState == nil {
		o.OnState = func(error) {}
	}
	return o
}
