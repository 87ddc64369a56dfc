package cli

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/adastream/adastream/client"
)

// Node are the flags of a client of a query node.
type Node struct {
	URL       string `help:"URL of a query node." default:"http://127.0.0.1:8080"`
	Token     Secret `help:"Token for the node. Prefer the file or the environment variable: other users of the machine can read command lines."`
	TokenFile string `help:"File with the token for the node. Line breaks at its end are ignored." type:"existingfile" placeholder:"FILE"`
	NodeCA    string `help:"PEM file of the certificate authorities to trust instead of the system's." name:"node-ca" type:"existingfile" placeholder:"FILE"`
	NodeCert  string `help:"PEM file of the client certificate for the node. Needs --node-key." type:"existingfile" placeholder:"FILE"`
	NodeKey   string `help:"PEM file of the private key of --node-cert." type:"existingfile" placeholder:"FILE"`
}

// Client of the node. It follows no redirects, which nodes do not send and which could carry the token elsewhere.
func (n Node) Client() (*client.Client, error) {
	config, err := clientTLS("node", n.NodeCA, n.NodeCert, n.NodeKey)
	if err != nil {
		return nil, Usage(err)
	}
	token := string(n.Token)
	switch {
	case n.Token != "" && n.TokenFile != "":
		return nil, Usage(errors.New("--token and --token-file: set only one of them"))
	case n.TokenFile != "":
		if token, err = secretOf("--token-file", n.TokenFile); err != nil {
			return nil, Usage(err)
		}
		if token == "" {
			return nil, Usage(fmt.Errorf("--token-file %s: contains no token", n.TokenFile))
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	c, err := client.New(n.URL, client.Options{Token: token, HTTP: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}})
	if err != nil {
		return nil, Usage(fmt.Errorf("--url: %w", err))
	}
	return c, nil
}
