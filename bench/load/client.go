package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/adastream/adastream/bench/dataset"
)

const (
	warmUp  = 2 * time.Second // before the capacity is measured
	trial   = 5 * time.Second // that measures it
	waiting = 8               // connections of the trial, each of which waits for its answers
)

// client is connections to a node over which requests go that were written before: one that costs little beside the node, so that it
// is not the client that is overloaded.
type client struct {
	connections []*connection
	requests    [][]byte
}

type connection struct {
	net.Conn
	read *bufio.Reader
}

func newClient(ctx context.Context, address string, connections int, set *dataset.Set, nprobe, refine int) (*client, error) {
	c := &client{}
	for range connections {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			c.close()
			return nil, err
		}
		c.connections = append(c.connections, &connection{conn, bufio.NewReader(conn)})
	}
	for i := range set.Queries {
		vector, err := json.Marshal(set.Query(i))
		if err != nil {
			return nil, err
		}
		body := fmt.Appendf(nil, `{"vector":%s,"k":%d,"fields":[],"plan":{"nprobe":%d,"refine":%d}}`, vector, dataset.K, nprobe, refine)
		c.requests = append(c.requests, fmt.Appendf(nil, "POST /v1/search HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", address, len(body), body))
	}
	return c, nil
}

func (c *client) close() {
	for _, conn := range c.connections {
		conn.Close()
	}
}

// capacity is how many queries a second some connections get that wait for their answers.
func (c *client) capacity(ctx context.Context) (float64, error) {
	few := &client{c.connections[:min(waiting, len(c.connections))], c.requests}
	var o *outcome
	for _, lasting := range []time.Duration{warmUp, trial} {
		if o = few.offer(ctx, 0, lasting); o.errors > 0 {
			return 0, o.first
		}
	}
	return float64(len(o.took)) / o.lasted.Seconds(), nil
}

// offer sends queries at a rate for so long, and waits for the last answer. A query whose time has come waits for a connection if all
// are busy, and is late by that. Without a rate each is due when the one before it has ended.
func (c *client) offer(ctx context.Context, rate float64, lasting time.Duration) *outcome {
	o := &outcome{}
	var next atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for _, conn := range c.connections {
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
				err := conn.ask(c.requests[int(i)%len(c.requests)])
				o.add(time.Since(due), err)
				if err != nil && !errors.Is(err, errRefused) {
					return
				}
			}
		})
	}
	all.Wait()
	o.lasted = time.Since(began)
	return o
}

// errRefused is an answer of a node that is overloaded, and says so.
var errRefused = errors.New("refused: " + http.StatusText(http.StatusTooManyRequests))

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
	case response.StatusCode == http.StatusTooManyRequests:
		return errRefused
	case response.StatusCode != http.StatusOK || bytes.Count(body, []byte(`"id":`)) != dataset.K:
		return fmt.Errorf("%s without %d hits: %s", response.Status, dataset.K, body)
	}
	return nil
}
