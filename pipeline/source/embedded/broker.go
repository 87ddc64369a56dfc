// Package embedded runs a Kafka-protocol broker inside the process, for demos,
// standalone mode and tests.
//
// It is franz-go's kfake: one broker, not replicated, on the loopback interface,
// with no promise that a later version reads the files of this one beyond the
// version before. With a directory it keeps acknowledged records across restarts
// and crashes of the process, but not necessarily of the machine. Production
// uses a real Kafka.
package embedded

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/twmb/franz-go/pkg/kfake"
)

// defaultMaxMessageBytes is the largest message of the zero [Options].
const defaultMaxMessageBytes = 64 << 20

// Options of a broker; the zero value is a broker in memory on any free port.
type Options struct {
	// Dir is where topics, offsets and groups are kept. Empty: in memory.
	Dir string
	// Port on 127.0.0.1. 0: any free one.
	Port int
	// MaxMessageBytes is the largest record batch accepted.
	// 0: 64 MiB.
	MaxMessageBytes int
}

// Validate reports every fault of o, joined.
func (o Options) Validate() error {
	var faults []error
	if o.Port < 0 || o.Port > math.MaxUint16 {
		faults = append(faults, fmt.Errorf("port: %d is outside [0, %d]", o.Port, math.MaxUint16))
	}
	if o.MaxMessageBytes < 0 || o.MaxMessageBytes > math.MaxInt32 {
		faults = append(faults, fmt.Errorf("max message bytes: %d is outside [0, %d]", o.MaxMessageBytes, math.MaxInt32))
	}
	return errors.Join(faults...)
}

// Broker is a running broker.
type Broker struct {
	cluster *kfake.Cluster
	addr    string
}

// Start runs a broker until Close.
func Start(o Options) (*Broker, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("embedded broker options: %w", err)
	}
	limit := o.MaxMessageBytes
	if limit == 0 {
		limit = defaultMaxMessageBytes
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.DefaultNumPartitions(1),
		kfake.Ports(o.Port),
		kfake.BrokerConfigs(map[string]string{"message.max.bytes": strconv.Itoa(limit)}),
	}
	if o.Dir != "" {
		opts = append(opts, kfake.DataDir(o.Dir))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, fmt.Errorf("start embedded broker: %w", err)
	}
	return &Broker{cluster: cluster, addr: cluster.ListenAddrs()[0]}, nil
}

// Addr returns the broker's address, host:port.
func (b *Broker) Addr() string { return b.addr }

// Close stops the broker and, with a directory, saves its state. It may be
// called more than once and always returns nil.
func (b *Broker) Close() error {
	b.cluster.Close()
	return nil
}
