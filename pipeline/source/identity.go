package source

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// Identity tells a topic from another one of the same name.
type Identity struct {
	// Cluster is the id of the Kafka cluster.
	Cluster string
	// Topic is the name of the topic.
	Topic string
	// TopicID is the id that the cluster gave the topic when it was created,
	// in Kafka's spelling (22 characters of URL base64). A topic that is
	// deleted and created again has another one. It is empty when the broker
	// does not tell: Kafka does since 2.8.
	TopicID string
}

const (
	// metadataVersion is the first version of the metadata API that has
	// topic ids.
	metadataVersion = 10
	// maxMetadata is the most bytes we read of an answer: the metadata of
	// one topic with tens of thousands of partitions fits.
	maxMetadata = 16 << 20
)

// Topic returns the identity of the topic.
//
// The library's metadata requests stop at version 8 and its message types are
// registered globally, so the one request that has topic ids is written and read
// here, over a connection that the library has dialled and authenticated.
func (c *Client) Topic(ctx context.Context) (Identity, error) {
	id, err := c.topic(ctx)
	if err != nil {
		return Identity{}, fmt.Errorf("identity of %s: %w", c.o.Topic, err)
	}
	return id, nil
}

func (c *Client) topic(ctx context.Context) (Identity, error) {
	if c.ctx.Err() != nil {
		return Identity{}, ErrClosed
	}
	var faults []error
	for _, broker := range c.o.Brokers {
		id, err := c.topicFrom(ctx, broker)
		if err == nil {
			return id, nil
		}
		switch {
		case c.ctx.Err() != nil:
			return Identity{}, ErrClosed
		case ctx.Err() != nil:
			return Identity{}, ctx.Err()
		}
		faults = append(faults, fmt.Errorf("broker %s: %w", broker, classify(err)))
	}
	return Identity{}, errors.Join(faults...)
}

// topicFrom asks one broker, over a connection of its own.
func (c *Client) topicFrom(ctx context.Context, broker string) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.DialTimeout+c.o.RequestTimeout)
	defer cancel()

	// The connection under the library's: it is the library that speaks first,
	// for SASL, and it reads no further than the answers to what it asked.
	var raw net.Conn
	dialer := kafka.Dialer{
		ClientID:      c.o.ClientID,
		Timeout:       c.o.DialTimeout,
		SASLMechanism: c.o.SASL,
		DialFunc: func(ctx context.Context, network, address string) (net.Conn, error) {
			var err error
			raw, err = c.dialSecure(ctx, network, address)
			return raw, err
		},
	}
	conn, err := dialer.DialContext(ctx, "tcp", broker)
	if err != nil {
		return Identity{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()

	// A broker that does not know a version closes the connection.
	versions, err := conn.ApiVersions()
	if err != nil {
		return Identity{}, err
	}
	supported := false
	for _, v := range versions {
		if v.ApiKey == int16(protocol.Metadata) {
			supported = v.MinVersion <= metadataVersion && metadataVersion <= v.MaxVersion
		}
	}
	if !supported {
		return c.topicByName(ctx)
	}
	// The library leaves its own deadlines behind; ctx closes the connection.
	if err := raw.SetDeadline(time.Time{}); err != nil {
		return Identity{}, err
	}
	if _, err := raw.Write(metadataRequest(c.o.ClientID, c.o.Topic)); err != nil {
		return Identity{}, err
	}
	body, err := readFrame(raw)
	if err != nil {
		return Identity{}, err
	}
	id, code, err := parseMetadata(body, c.o.Topic)
	if err == nil && code != 0 {
		err = c.brokerError(code)
	}
	return id, err
}

// topicByName is the identity as far as brokers before topic ids know it.
func (c *Client) topicByName(ctx context.Context) (Identity, error) {
	if _, err := c.metadata(ctx); err != nil {
		return Identity{}, err
	}
	res, err := c.send(ctx, c.o.RequestTimeout, &metadata.Request{TopicNames: []string{c.o.Topic}})
	if err != nil {
		return Identity{}, err
	}
	return Identity{Cluster: res.(*metadata.Response).ClusterID, Topic: c.o.Topic}, nil
}

// metadataRequest encodes a metadata request for one topic, by name.
func metadataRequest(client, topic string) []byte {
	b := make([]byte, 4, 128) // size, filled in below
	// Header, version 2.
	b = binary.BigEndian.AppendUint16(b, uint16(protocol.Metadata))
	b = binary.BigEndian.AppendUint16(b, metadataVersion)
	b = binary.BigEndian.AppendUint32(b, 0) // correlation id
	b = binary.BigEndian.AppendUint16(b, uint16(len(client)))
	b = append(b, client...)
	b = append(b, 0) // no tags
	// Topics: one, with a null id and a name. Compact lengths are one more.
	b = append(b, 1+1)
	b = append(b, make([]byte, 16)...)
	b = binary.AppendUvarint(b, uint64(len(topic))+1)
	b = append(b, topic...)
	b = append(b, 0)
	// No auto creation, no authorized operations of cluster or topic, no tags.
	b = append(b, 0, 0, 0, 0)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// readFrame reads one answer without its length.
func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxMetadata {
		return nil, fmt.Errorf("metadata answer of %d bytes is over the limit of %d", n, maxMetadata)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// errMetadata is an answer that does not follow the protocol.
var errMetadata = errors.New("malformed metadata answer")

// parseMetadata finds cluster id and topic id in a metadata answer, version 10,
// and the topic's error code.
func parseMetadata(b []byte, topic string) (Identity, int16, error) {
	d := &compact{b: b}
	d.skip(4) // correlation id
	d.tags()
	d.skip(4)                               // throttle time
	for range d.length(4 + 1 + 4 + 1 + 1) { // brokers
		d.skip(4) // id
		d.bytes() // host
		d.skip(4) // port
		d.bytes() // rack
		d.tags()
	}
	id := Identity{Cluster: string(d.bytes()), Topic: topic}
	d.skip(4) // controller id
	// We asked for one topic, so it is enough to read the first.
	if n := d.length(2 + 1 + 16); d.bad || n != 1 {
		return Identity{}, 0, fmt.Errorf("%w: %d topics for one asked", errMetadata, n)
	}
	code := int16(binary.BigEndian.Uint16(d.take(2)))
	name := string(d.bytes())
	uuid := d.take(16)
	switch {
	case d.bad:
		return Identity{}, 0, errMetadata
	case name != topic:
		return Identity{}, 0, fmt.Errorf("%w: topic %q for %q asked", errMetadata, name, topic)
	}
	if [16]byte(uuid) != [16]byte{} {
		id.TopicID = base64.RawURLEncoding.EncodeToString(uuid)
	}
	return id, code, nil
}

// compact reads the flexible encoding of the Kafka protocol (KIP-482). Once it
// has run past the end it is bad, and everything it yields is zero.
type compact struct {
	b   []byte
	bad bool
}

// take returns the next n bytes, or n zeroes.
func (d *compact) take(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad, d.b = true, nil
		return make([]byte, n)
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *compact) skip(n int) { d.take(n) }

func (d *compact) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.bad || n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads how many items of at least size bytes follow, which is never more
// than fit into what is left.
func (d *compact) count(size int) int { return d.fit(d.uvarint(), size) }

// length reads the length of an array or a string, 0 for null.
func (d *compact) length(size int) int {
	v := d.uvarint()
	return d.fit(v-min(v, 1), size)
}

func (d *compact) fit(n uint64, size int) int {
	if n > uint64(len(d.b)/size) {
		d.bad, d.b = true, nil
		return 0
	}
	return int(n)
}

func (d *compact) bytes() []byte { return d.take(d.length(1)) }

// tags skips tagged fields: a number, a length and as many bytes each.
func (d *compact) tags() {
	for range d.count(2) {
		d.uvarint()
		d.skip(d.count(1))
	}
}
