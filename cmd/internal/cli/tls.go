package cli

import (
	"crypto/tls"
	"fmt"
	"log/slog"

	"github.com/adastream/adastream/pipeline/access"
	"github.com/adastream/adastream/schemas"
)

// clientTLS is of flags --of-ca, --of-cert and --of-key, each of which may be empty.
func clientTLS(of, ca, cert, key string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	trusted, err := authorities(of, ca, nil)
	if err != nil {
		return nil, err
	}
	if trusted != nil {
		c.RootCAs = trusted.Current()
	}
	if (cert == "") != (key == "") {
		return nil, fmt.Errorf("--%s-cert and --%s-key: each needs the other", of, of)
	}
	if cert != "" {
		// Certificates are renewed under a process that runs on.
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				return nil, fmt.Errorf("--%s-cert %s, --%s-key %s: %w", of, cert, of, key, err)
			}
			return &pair, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := load()
			return pair, passing(err)
		}
	}
	return c, nil
}

// passing is an error of a file that was right at the start: it is being renewed, one file after the other.
func passing(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", schemas.ErrTransient, err)
}

// authorities are those of the flag --of-ca; nil, the system's, if it is empty.
func authorities(of, ca string, log *slog.Logger) (*access.Authorities, error) {
	if ca == "" {
		return nil, nil
	}
	a, err := access.OpenAuthorities(ca, log)
	if err != nil {
		return nil, fmt.Errorf("--%s-ca: %w", of, err)
	}
	return a, nil
}
