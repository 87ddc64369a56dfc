package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// link is a TCP line between daemons and a server, which can be made bad.
type link struct {
	name  string
	proxy *toxiproxy.Proxy
	busy  sync.Mutex // held while it is bad
}

// newLink listens on address and forwards to upstream.
func newLink(name, address, upstream string) (*link, error) {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	l := &link{name: name, proxy: toxiproxy.NewProxy(server, name, address, upstream)}
	if err := l.proxy.Start(); err != nil {
		return nil, fmt.Errorf("link %s on %s: %w", name, address, err)
	}
	return l, nil
}

// toxic is one way in which a line is bad, in toxiproxy's words.
type toxic struct {
	Type       string         `json:"type"`
	Stream     string         `json:"stream"` // upstream: what clients send; downstream: what they get
	Attributes map[string]int `json:"attributes"`
}

// spoil makes the line bad until the end of ctx, or for d.
func (l *link) spoil(ctx context.Context, t toxic, d time.Duration) error {
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	made, err := l.proxy.Toxics.AddToxicJson(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("link %s: %s: %w", l.name, text, err)
	}
	pause(ctx, d)
	healing, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return l.proxy.Toxics.RemoveToxic(healing, made.Name)
}

// cut refuses and breaks all connections until the end of ctx, or for d.
func (l *link) cut(ctx context.Context, d time.Duration) error {
	l.proxy.Stop()
	pause(ctx, d)
	return l.proxy.Start()
}

func (l *link) close() { l.proxy.Stop() }

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
