package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/adastream/adastream/schemas"
)

// What the errors of this package are, for errors.Is. An error that is none of
// them is permanent: a refused configuration, or data that does not decode.
var (
	// ErrTransient marks faults that pass by themselves: a broker that is
	// away, a moved leader, a topic that has only just been created, a
	// timeout. The caller tries again after a pause.
	ErrTransient = schemas.ErrTransient
	// ErrDenied marks refused credentials, certificates and permissions.
	ErrDenied = errors.New("denied by kafka")
	// ErrOutOfRange marks an offset that the log does not hold; the error is
	// an [*OffsetError].
	ErrOutOfRange = errors.New("offset out of range")
	// ErrTooLarge marks a message above a limit of the producer or the broker.
	ErrTooLarge = errors.New("message too large")
	// ErrClosed is returned by every call after Close.
	ErrClosed = errors.New("source client is closed")
)

// OffsetError says that a partition does not hold the wanted offset, with the
// bounds that its leader gave when asked. It wraps [ErrOutOfRange].
type OffsetError struct {
	Topic     string
	Partition int
	// Want is the offset asked for; the log holds [Start, End), where End is
	// the high watermark.
	Want, Start, End int64
}

// Overrun reports whether retention (or DeleteRecords) removed the offset
// before it was read. Otherwise Want lies beyond the end: the topic was
// recreated or truncated.
func (e *OffsetError) Overrun() bool { return e.Want < e.Start }

func (e *OffsetError) Error() string {
	if e.Overrun() {
		return fmt.Sprintf("%s/%d: offset %d is below the log start %d: %d offsets were deleted before they were read (log holds [%d, %d))",
			e.Topic, e.Partition, e.Want, e.Start, e.Start-e.Want, e.Start, e.End)
	}
	return fmt.Sprintf("%s/%d: offset %d is beyond the log end %d: the topic was recreated or truncated (log holds [%d, %d))",
		e.Topic, e.Partition, e.Want, e.End, e.Start, e.End)
}

// Unwrap returns [ErrOutOfRange].
func (e *OffsetError) Unwrap() error { return ErrOutOfRange }

// fault is an error of the library or the broker with the sentinel that says
// what to do about it. It prints as the error alone.
type fault struct {
	kind error
	err  error
}

func (f *fault) Error() string   { return f.err.Error() }
func (f *fault) Unwrap() []error { return []error{f.kind, f.err} }

// classify attaches the sentinel that fits err, or returns err as it is.
func classify(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrTransient), errors.Is(err, ErrDenied), errors.Is(err, ErrClosed):
		return err
	case isDenied(err):
		return &fault{ErrDenied, explainDenied(err)}
	case errors.Is(err, kafka.MessageSizeTooLarge):
		return &fault{ErrTooLarge, fmt.Errorf("larger than the topic's max.message.bytes: %w", err)}
	case isTooLarge(err):
		return &fault{ErrTooLarge, err}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &fault{ErrTransient, fmt.Errorf("the broker hung up, as it also does when TLS or SASL are not those of its listener: %w", err)}
	case isTransient(err):
		return &fault{ErrTransient, err}
	default:
		return err
	}
}

func isDenied(err error) bool {
	var code kafka.Error
	if errors.As(err, &code) {
		switch code {
		case kafka.TopicAuthorizationFailed, kafka.GroupAuthorizationFailed, kafka.ClusterAuthorizationFailed,
			kafka.TransactionalIDAuthorizationFailed, kafka.BrokerAuthorizationFailed,
			kafka.SASLAuthenticationFailed, kafka.UnsupportedSASLMechanism, kafka.IllegalSASLState,
			kafka.SecurityDisabled:
			return true
		}
	}
	// The broker's refusal of our certificate, and ours of the broker's. Both
	// can come inside a net.OpError, so they are looked for before transience.
	var cert *tls.CertificateVerificationError
	return isAlert(err) || errors.As(err, &cert)
}

// isAlert reports whether the broker ended TLS with an alert. Over TCP the type of the alert is private to crypto/tls; only
// QUIC has tls.AlertError.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// explainDenied says what to look at.
func explainDenied(err error) error {
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.Is(err, kafka.SASLAuthenticationFailed):
		return fmt.Errorf("the SASL user or password is wrong: %w", err)
	case errors.Is(err, kafka.UnsupportedSASLMechanism):
		return fmt.Errorf("the broker's listener has other SASL mechanisms: %w", err)
	case errors.Is(err, kafka.IllegalSASLState):
		return fmt.Errorf("the broker's listener has no SASL, or this client does not use it: %w", err)
	case errors.As(err, &unknown):
		return fmt.Errorf("the broker's certificate is of a certificate authority that is not trusted here: %w", err)
	case isAlert(err) && strings.Contains(err.Error(), "certificate"):
		return fmt.Errorf("the broker refused the TLS connection: it wants a client certificate, or another one: %w", err)
	default:
		return err
	}
}

func isTooLarge(err error) bool {
	var local kafka.MessageTooLargeError
	return errors.As(err, &local) || errors.Is(err, kafka.RecordListTooLarge)
}

func isTransient(err error) bool {
	if isRouting(err) {
		return true
	}
	var code kafka.Error
	if errors.As(err, &code) {
		switch code {
		// Retriable in effect, though the protocol does not call them so:
		// Unknown is also what the library reports for half-failed merges.
		case kafka.Unknown, kafka.ReplicaNotAvailable, kafka.RebalanceInProgress,
			kafka.IllegalGeneration, kafka.UnknownMemberId:
			return true
		}
		return code.Temporary()
	}
	var network net.Error
	return errors.As(err, &network) ||
		errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, context.DeadlineExceeded)
}

// isRouting reports whether a request found no broker to go to, which happens
// when the cached metadata is old, or was never had.
func isRouting(err error) bool {
	return errors.Is(err, protocol.ErrNoTopic) ||
		errors.Is(err, protocol.ErrNoPartition) ||
		errors.Is(err, protocol.ErrNoLeader) ||
		errors.Is(err, kafka.BrokerNotAvailable)
}

// isStale reports whether the broker's answer shows that the cached metadata is
// old.
func isStale(code kafka.Error) bool {
	switch code {
	case kafka.UnknownTopicOrPartition, kafka.LeaderNotAvailable, kafka.NotLeaderForPartition,
		kafka.ReplicaNotAvailable, kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch, kafka.UnknownTopicID:
		return true
	default:
		return false
	}
}
