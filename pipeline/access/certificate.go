package access

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Certificate is what a server or a client shows, and of whom it asks for one, as files were when they were last good.
type Certificate struct {
	file    source
	mu      sync.Mutex // of Look
	current atomic.Pointer[tls.Config]
}

// OpenCertificate reads PEM files: a certificate with what links it to its authority, its key, and the authorities that clients
// need a certificate of. Without clientCA, "", clients need none.
func OpenCertificate(cert, key, clientCA string) (*Certificate, error) {
	c := &Certificate{file: source{paths: []string{cert, key}}}
	if clientCA != "" {
		c.file.paths = append(c.file.paths, clientCA)
	}
	if _, err := c.Look(); err != nil {
		return nil, err
	}
	return c, nil
}

// String names the files.
func (c *Certificate) String() string { return "TLS files " + c.file.String() }

// Look reads the files again if their bytes have changed, and tells whether new connections meet others now. Files that do not fit,
// as while they are replaced one after the other, leave everything as it was.
func (c *Certificate) Look() (changed bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	contents, changed, err := c.file.read()
	if err != nil || !changed {
		return false, err
	}
	config, err := parsePair(contents)
	if err != nil {
		return false, fmt.Errorf("%s: %w", c, err)
	}
	c.current.Store(config)
	return true, nil
}

func parsePair(contents [][]byte) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	if len(contents) > 2 {
		config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !config.ClientCAs.AppendCertsFromPEM(contents[2]) {
			return nil, errors.New("the file of client authorities holds no PEM certificate")
		}
	}
	return config, nil
}

// Config is for a server. Each handshake meets what was last read, and a session begun before that cannot be resumed; connections
// that are open stay.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load(), nil }}
}

// Show is for the GetClientCertificate of a client: each handshake shows what was last read.
func (c *Certificate) Show(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return &c.current.Load().Certificates[0], nil
}

// Anyone is Config without a certificate of the client.
func (c *Certificate) Anyone() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		config := c.current.Load().Clone()
		config.ClientAuth, config.ClientCAs = tls.NoClientCert, nil
		return config, nil
	}}
}
