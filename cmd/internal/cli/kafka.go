package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/adastream/adastream/pipeline/source"
)

// Kafka are the flags of the broker.
type Kafka struct {
	Brokers       []string `help:"Bootstrap addresses of Kafka, host:port." required:"" placeholder:"HOST:PORT"`
	KafkaTLS      bool     `help:"Encrypt connections to Kafka." name:"kafka-tls"`
	KafkaCA       string   `help:"PEM file of certificate authorities to trust, instead of the system's." name:"kafka-ca" type:"existingfile" placeholder:"FILE"`
	KafkaSASL     string   `help:"Authentication: none, plain, scram-sha-256 or scram-sha-512." name:"kafka-sasl" enum:"none,plain,scram-sha-256,scram-sha-512" default:"none"`
	KafkaUser     string   `help:"User name for --kafka-sasl."`
	KafkaPassword string   `help:"Password for --kafka-sasl; prefer the environment variable."`
}

// Options for the client of one topic.
func (k Kafka) Options(topic string, log *slog.Logger) (source.Options, error) {
	o := source.Options{Brokers: k.Brokers, Topic: topic, Logger: log}
	if k.KafkaCA != "" && !k.KafkaTLS {
		return o, Usage(errors.New("--kafka-ca: goes with --kafka-tls"))
	}
	if k.KafkaTLS {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		if k.KafkaCA != "" {
			pem, err := os.ReadFile(k.KafkaCA)
			if err != nil {
				return o, Usage(fmt.Errorf("--kafka-ca: %w", err))
			}
			o.TLS.RootCAs = x509.NewCertPool()
			if !o.TLS.RootCAs.AppendCertsFromPEM(pem) {
				return o, Usage(fmt.Errorf("--kafka-ca %s: holds no PEM certificate", k.KafkaCA))
			}
		}
	}
	var err error
	if o.SASL, err = k.mechanism(); err != nil {
		return o, Usage(fmt.Errorf("--kafka-sasl: %w", err))
	}
	if err := o.Validate(); err != nil {
		return o, Usage(err)
	}
	return o, nil
}

func (k Kafka) mechanism() (sasl.Mechanism, error) {
	switch k.KafkaSASL {
	case "plain":
		return plain.Mechanism{Username: k.KafkaUser, Password: k.KafkaPassword}, nil
	case "scram-sha-256":
		return scram.Mechanism(scram.SHA256, k.KafkaUser, k.KafkaPassword)
	case "scram-sha-512":
		return scram.Mechanism(scram.SHA512, k.KafkaUser, k.KafkaPassword)
	default:
		return nil, nil
	}
}
