package source

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// refreshPause is the least time between two forced reloads of the metadata.
const refreshPause = 100 * time.Millisecond

// Client reaches one topic. It keeps connections and cached metadata, and is
// safe for concurrent use.
type Client struct {
	o         Options
	addr      net.Addr
	transport *kafka.Transport

	ctx   context.Context // ends with Close
	close context.CancelFunc

	mu        sync.Mutex
	refreshed time.Time
}

// New returns a client. It does not connect: the first call does.
func New(o Options) (*Client, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("source options: %w", err)
	}
	o = o.withDefaults()
	c := &Client{o: o, addr: kafka.TCP(o.Brokers...)}
	c.ctx, c.close = context.WithCancel(context.Background())
	c.transport = &kafka.Transport{
		Context: c.ctx,
		Dial:    c.dialSecure,
		// The library tries the bootstrap brokers in turn under one limit;
		// each of them gets its own time.
		DialTimeout:    o.DialTimeout * time.Duration(len(o.Brokers)+1),
		ClientID:       o.ClientID,
		SASL:           o.SASL,
		MetadataTopics: []string{o.Topic},
	}
	return c, nil
}

// dial opens a connection that is closed with the client, at the latest. The
// library by itself closes only idle ones, and leaves a fetch waiting.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: c.o.DialTimeout}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &boundConn{conn, context.AfterFunc(c.ctx, func() { conn.Close() })}, nil
}

// dialSecure is dial with TLS, if there is any: the library would take its
// authorities once and for all.
func (c *Client) dialSecure(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return c.secure(ctx, conn, address)
}

// secure shakes hands over conn, which it closes if that fails. Without TLS it
// is conn.
func (c *Client) secure(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	if c.o.TLS == nil {
		return conn, nil
	}
	config := c.o.TLS.Clone()
	if c.o.Authorities != nil {
		config.RootCAs = c.o.Authorities()
	}
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		config.ServerName = host
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.DialTimeout)
	defer cancel()
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secured, nil
}

// boundConn is a connection that somebody else may close as well.
type boundConn struct {
	net.Conn
	release func() bool
}

func (c *boundConn) Close() error {
	c.release()
	return c.Conn.Close()
}

// Options returns the options of the client with the defaults filled in.
func (c *Client) Options() Options {
	o := c.o
	o.Brokers = slices.Clone(o.Brokers)
	return o
}

// Close ends calls in progress and closes all connections. Producers are closed
// before, or lose what they have not sent. It always returns nil.
func (c *Client) Close() error {
	c.close()
	c.transport.CloseIdleConnections()
	return nil
}

// Partitions returns the ids of the topic's partitions, ascending, as of some
// seconds ago.
func (c *Client) Partitions(ctx context.Context) ([]int, error) {
	t, err := c.metadata(ctx)
	if err != nil {
		return nil, fmt.Errorf("partitions of %s: %w", c.o.Topic, err)
	}
	ids := make([]int, len(t.Partitions))
	for i, p := range t.Partitions {
		ids[i] = int(p.PartitionIndex)
	}
	slices.Sort(ids)
	return ids, nil
}

// metadata returns what the cluster says about the topic. A topic that the
// cache does not know is asked for afresh once, because it may be new.
func (c *Client) metadata(ctx context.Context) (metadata.ResponseTopic, error) {
	t, err := c.cachedMetadata(ctx)
	if code := kafka.Error(t.ErrorCode); err == nil && isStale(code) {
		c.refresh()
		t, err = c.cachedMetadata(ctx)
	}
	if err != nil {
		return metadata.ResponseTopic{}, err
	}
	if t.ErrorCode != 0 {
		return metadata.ResponseTopic{}, classify(kafka.Error(t.ErrorCode))
	}
	return t, nil
}

func (c *Client) cachedMetadata(ctx context.Context) (metadata.ResponseTopic, error) {
	res, err := c.send(ctx, c.o.RequestTimeout, &metadata.Request{TopicNames: []string{c.o.Topic}})
	if err != nil {
		return metadata.ResponseTopic{}, err
	}
	// The transport answers for the names that were asked, in their order.
	return res.(*metadata.Response).Topics[0], nil
}

// roundTrip sends req where it belongs and returns the answer or a classified
// error.
//
// Trap: when the transport never got metadata, because no broker can be reached
// or it refuses our credentials, any request but a metadata request fails with
// "topic not found". The reason is in the metadata error, so that is returned.
func (c *Client) roundTrip(ctx context.Context, timeout time.Duration, req kafka.Request) (kafka.Response, error) {
	res, err := c.send(ctx, timeout, req)
	if err == nil || !isRouting(err) {
		return res, err
	}
	if _, cause := c.metadata(ctx); cause != nil {
		return nil, cause
	}
	c.refresh()
	return nil, err
}

// send is one exchange, bounded in time whatever becomes of the connection.
func (c *Client) send(ctx context.Context, timeout time.Duration, req kafka.Request) (kafka.Response, error) {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()

	res, err := c.transport.RoundTrip(bounded, c.addr, req)
	switch {
	case err == nil:
		return res, nil
	case c.ctx.Err() != nil:
		return nil, ErrClosed
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case expired(ctx):
		// The connection has the same deadline and may have noticed first.
		return nil, context.DeadlineExceeded
	case bounded.Err() != nil:
		return nil, &fault{ErrTransient, fmt.Errorf("no answer within %s: %w", timeout, err)}
	default:
		return nil, classify(err)
	}
}

func expired(ctx context.Context) bool {
	d, ok := ctx.Deadline()
	return ok && !time.Now().Before(d)
}

// brokerError turns the error code of an answer into a classified error, and
// drops the cached metadata when the code shows that it is old.
func (c *Client) brokerError(code int16) error {
	err := kafka.Error(code)
	if isStale(err) {
		c.refresh()
	}
	return classify(err)
}

// refresh makes the next request reload the metadata. The transport has no call
// for that and would serve its cache for up to 6 s; but it loads metadata for
// every new set of connections, so the idle ones are given up.
func (c *Client) refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.refreshed) >= refreshPause {
		c.refreshed = now
		c.transport.CloseIdleConnections()
	}
}
