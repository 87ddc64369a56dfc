package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/adastream/adastream/pipeline/source"
)

// Kafka are the flags of the broker.
type Kafka struct {
	Brokers []string `help:"Bootstrap addresses of Kafka." required:"" placeholder:"HOST:PORT"`
	KafkaAccess
}

// KafkaAccess are the flags of how to reach a broker and who one is to it.
type KafkaAccess struct {
	KafkaTLS          bool   `help:"Connect to Kafka over TLS." name:"kafka-tls"`
	KafkaCA           string `help:"PEM file of the certificate authorities to trust instead of the system's. Reloaded when it changes." name:"kafka-ca" type:"existingfile" placeholder:"FILE"`
	KafkaCert         string `help:"PEM file of the client certificate for Kafka. Needs --kafka-key; both are reloaded for each connection." type:"existingfile" placeholder:"FILE"`
	KafkaKey          string `help:"PEM file of the private key of --kafka-cert." type:"existingfile" placeholder:"FILE"`
	KafkaSASL         string `help:"SASL mechanism: none, plain, scram-sha-256 or scram-sha-512." name:"kafka-sasl" enum:"none,plain,scram-sha-256,scram-sha-512" default:"none"`
	KafkaUser         string `help:"User name for --kafka-sasl."`
	KafkaPassword     Secret `help:"Password for --kafka-sasl. Prefer the file or the environment variable: other users of the machine can read command lines."`
	KafkaPasswordFile string `help:"File with the password for --kafka-sasl, reloaded for each connection. Line breaks at its end are ignored." type:"existingfile" placeholder:"FILE"`
}

// Client of one topic. It does not touch the network yet.
func (k Kafka) Client(topic string, log *slog.Logger) (*source.Client, error) {
	o, err := k.Options(topic, log)
	if err != nil {
		return nil, err
	}
	c, err := source.New(o)
	return c, Usage(err)
}

// KafkaFault says of an error what of the call it may be about.
func KafkaFault(client *source.Client, err error) error {
	o := client.Options()
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		return fmt.Errorf("--topic %s: does not exist at %s: `adastream init` creates the topic of an index", o.Topic, strings.Join(o.Brokers, ","))
	}
	return fmt.Errorf("--brokers %s: %w", strings.Join(o.Brokers, ","), err)
}

// Options for the client of one topic.
func (k Kafka) Options(topic string, log *slog.Logger) (source.Options, error) {
	o := source.Options{Brokers: k.Brokers, Topic: topic, Logger: log}
	var err error
	if o.TLS, err = k.tls(); err != nil {
		return o, Usage(err)
	}
	switch trusted, err := authorities("kafka", k.KafkaCA, log); {
	case err != nil:
		return o, Usage(err)
	case trusted != nil:
		o.Authorities = trusted.Pool
	}
	if o.SASL, err = k.mechanism(); err != nil {
		return o, Usage(err)
	}
	if err := o.Validate(); err != nil {
		return o, Usage(err)
	}
	return o, nil
}

func (k KafkaAccess) tls() (*tls.Config, error) {
	if !k.KafkaTLS {
		for _, f := range []struct{ name, value string }{
			{"--kafka-ca", k.KafkaCA}, {"--kafka-cert", k.KafkaCert}, {"--kafka-key", k.KafkaKey},
		} {
			if f.value != "" {
				return nil, fmt.Errorf("%s: needs --kafka-tls", f.name)
			}
		}
		return nil, nil
	}
	return clientTLS("kafka", "", k.KafkaCert, k.KafkaKey)
}

func (k KafkaAccess) mechanism() (sasl.Mechanism, error) {
	if k.KafkaSASL == "none" || k.KafkaSASL == "" {
		if k.KafkaUser != "" || k.KafkaPasswordFile != "" {
			return nil, errors.New("--kafka-user and --kafka-password-file: need --kafka-sasl=plain, scram-sha-256 or scram-sha-512")
		}
		return nil, nil
	}
	if k.KafkaUser == "" {
		return nil, fmt.Errorf("--kafka-sasl=%s: needs --kafka-user", k.KafkaSASL)
	}
	password, err := k.password()
	if err != nil {
		return nil, err
	}
	m, err := k.mechanismOf(password)
	if err != nil || k.KafkaPasswordFile == "" {
		return m, err
	}
	return rereading{m, k}, nil
}

// rereading is a mechanism that reads the file of its password for each connection: the broker is given another one under a process
// that runs on.
type rereading struct {
	sasl.Mechanism
	of KafkaAccess
}

func (r rereading) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	password, err := r.of.password()
	if err != nil {
		return nil, nil, passing(err)
	}
	m, err := r.of.mechanismOf(password)
	if err != nil {
		return nil, nil, passing(err)
	}
	return m.Start(ctx)
}

func (k KafkaAccess) mechanismOf(password string) (m sasl.Mechanism, err error) {
	switch k.KafkaSASL {
	case "plain":
		return plain.Mechanism{Username: k.KafkaUser, Password: password}, nil
	case "scram-sha-256":
		m, err = scram.Mechanism(scram.SHA256, k.KafkaUser, password)
	case "scram-sha-512":
		m, err = scram.Mechanism(scram.SHA512, k.KafkaUser, password)
	default:
		return nil, fmt.Errorf("--kafka-sasl=%s: allowed: none, plain, scram-sha-256, scram-sha-512", k.KafkaSASL)
	}
	if err != nil {
		// The library's error has the password in it.
		return nil, fmt.Errorf("--kafka-sasl=%s: user or password contains characters that SCRAM does not allow, such as control characters", k.KafkaSASL)
	}
	return m, nil
}

func (k KafkaAccess) password() (string, error) {
	switch {
	case k.KafkaPassword != "" && k.KafkaPasswordFile != "":
		return "", errors.New("--kafka-password and --kafka-password-file: set only one of them")
	case k.KafkaPasswordFile == "":
		return string(k.KafkaPassword), nil
	}
	return secretOf("--kafka-password-file", k.KafkaPasswordFile)
}
