package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/adastream/adastream/bench/dataset"
	"github.com/adastream/adastream/bench/fleet"
)

// wire is connections to a node over which requests go that were written before: a client that costs little beside the node, so
// that it is not the client that is overloaded.
type wire struct {
	connections []*connection
	requests    [][]byte
}

type connection struct {
	net.Conn
	read *bufio.Reader
}

// dial opens so many connections.
func (c *client) dial(ctx context.Context, count int) (*wire, error) {
	address := strings.TrimSuffix(strings.TrimPrefix(c.url, "http://"), "/v1/search")
	w := &wire{}
	for range count {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			w.close()
			return nil, err
		}
		w.connections = append(w.connections, &connection{conn, bufio.NewReader(conn)})
	}
	for _, body := range c.bodies {
		w.requests = append(w.requests, fmt.Appendf(nil, "POST /v1/search HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", address, len(body), body))
	}
	return w, nil
}

func (w *wire) close() {
	for _, c := range w.connections {
		c.Close()
	}
}

// offer sends queries at a rate for so long. A query whose time has come waits for a connection if all are busy, and is late by
// that. Without a rate each is due when the one before it has ended.
func (w *wire) offer(ctx context.Context, rate float64, lasting time.Duration) *outcome {
	o := &outcome{}
	var next atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for _, c := range w.connections {
		all.Go(func() {
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				after := time.Since(began)
				if rate > 0 {
					after = time.Duration(float64(i) / rate * float64(time.Second))
				}
				if after >= lasting {
					return
				}
				due := began.Add(after)
				time.Sleep(time.Until(due))
				err := c.ask(w.requests[int(i)%len(w.requests)])
				o.add(time.Since(due), err)
				if err != nil && !refused(err) {
					return
				}
			}
		})
	}
	all.Wait()
	o.lasted = time.Since(began)
	return o
}

// capacity is how many queries a second clients get that wait for their answers.
func (w *wire) capacity(ctx context.Context) (float64, error) {
	few := &wire{w.connections[:waiting], w.requests}
	var o *outcome
	for _, lasting := range []time.Duration{warmUp, trial} {
		o = few.offer(ctx, 0, lasting)
		if o.errors > 0 {
			return 0, o.first
		}
	}
	return float64(len(o.took)) / o.lasted.Seconds(), nil
}

// ask sends a request and checks that the answer is whole.
func (c *connection) ask(request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	response, err := http.ReadResponse(c.read, nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return err
	case response.StatusCode != http.StatusOK:
		return &fleet.StatusError{Status: response.StatusCode}
	case bytes.Count(body, []byte(`"id":`)) != dataset.K:
		return fmt.Errorf("an answer without %d hits: %s", dataset.K, body)
	}
	return nil
}
