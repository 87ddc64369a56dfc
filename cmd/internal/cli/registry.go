package cli

import (
	"errors"
	"fmt"

	"github.com/adastream/adastream/pipeline/registry"
)

// Registry are the flags of the schema registry of Avro messages.
type Registry struct {
	SchemaRegistry             string `help:"URL of the schema registry of Avro messages. Not needed if the index spec has their schemas." placeholder:"URL"`
	SchemaRegistryCA           string `help:"PEM file of the certificate authorities to trust instead of the system's." name:"schema-registry-ca" type:"existingfile" placeholder:"FILE"`
	SchemaRegistryUser         string `help:"User name for --schema-registry."`
	SchemaRegistryPassword     Secret `help:"Password for --schema-registry. Prefer the file or the environment variable: other users of the machine can read command lines."`
	SchemaRegistryPasswordFile string `help:"File with the password for --schema-registry. Line breaks at its end are ignored." type:"existingfile" placeholder:"FILE"`
}

// Client of the registry, nil if none is named. It does not touch the network yet.
func (r Registry) Client() (*registry.Client, error) {
	password := string(r.SchemaRegistryPassword)
	if r.SchemaRegistryPasswordFile != "" {
		if password != "" {
			return nil, Usage(errors.New("--schema-registry-password and --schema-registry-password-file: set only one of them"))
		}
		var err error
		if password, err = secretOf("--schema-registry-password-file", r.SchemaRegistryPasswordFile); err != nil {
			return nil, Usage(err)
		}
	}
	switch {
	case r.SchemaRegistry == "" && (r.SchemaRegistryCA != "" || r.SchemaRegistryUser != "" || password != ""):
		return nil, Usage(errors.New("--schema-registry-ca, --schema-registry-user and their passwords: need --schema-registry"))
	case r.SchemaRegistry == "":
		return nil, nil
	case password != "" && r.SchemaRegistryUser == "":
		return nil, Usage(errors.New("--schema-registry-password: needs --schema-registry-user"))
	}
	tls, err := clientTLS("schema-registry", r.SchemaRegistryCA, "", "")
	if err != nil {
		return nil, Usage(err)
	}
	client, err := registry.New(registry.Options{URL: r.SchemaRegistry, User: r.SchemaRegistryUser, Password: password, TLS: tls})
	if err != nil {
		return nil, Usage(fmt.Errorf("--schema-registry: %w", err))
	}
	return client, nil
}
