// Command certificates writes what the TLS listeners of the test broker need into a directory: ca.pem, server.pem (key and
// certificate, as Kafka reads a PEM keystore), client.pem and client.key, all for 127.0.0.1 and signed by that authority.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: certificates DIR")
	}
	dir := os.Args[1]
	ca, caKey, caPEM, _ := issue(1, "test authority", nil, nil)
	_, _, server, serverKey := issue(2, "broker", ca, caKey)
	_, _, client, clientKey := issue(3, "ada", ca, caKey)
	for name, body := range map[string][]byte{
		"ca.pem": caPEM, "server.pem": slices.Concat(serverKey, server), "client.pem": client, "client.key": clientKey,
	} {
		check(os.WriteFile(filepath.Join(dir, name), body, 0o600))
	}
}

// issue makes a certificate that the authority signs; without one it is an authority that signs itself.
func issue(serial int64, name string, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (cert *x509.Certificate, key *ecdsa.PrivateKey, certPEM, keyPEM []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(30 * 24 * time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if ca == nil {
		template.IsCA, template.BasicConstraintsValid, template.ExtKeyUsage, template.KeyUsage = true, true, nil, x509.KeyUsageCertSign
		ca, caKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
	check(err)
	cert, err = x509.ParseCertificate(der)
	check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	check(err)
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
