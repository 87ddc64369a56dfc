package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Options of a Client. The zero value works.
type Options struct {
	Token    string       // sent as a bearer token; "" sends none
	Attempts uint         // of a request, the first one included; 0 is 4
	HTTP     *http.Client // for TLS, proxies, timeouts; nil is one that keeps idle connections for less long than nodes do
}

// Client asks one address. It is safe for concurrent use.
type Client struct {
	base string
	o    Options
}

const (
	jsonType  = "application/json"
	arrowType = "application/vnd.apache.arrow.stream"
)

// idle is how long a connection that is not in use is kept: nodes close theirs after two minutes, and a request must not meet
// that.
const idle = time.Minute

// New makes a client of an address such as https://search.example:8080.
func New(address string, o Options) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("address %q: must be http://HOST:PORT or https://HOST:PORT", address)
	}
	if o.Attempts == 0 {
		o.Attempts = 4
	}
	if o.HTTP == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConnsPerHost, transport.IdleConnTimeout = 100, idle
		o.HTTP = &http.Client{Transport: transport}
	}
	return &Client{strings.TrimSuffix(u.String(), "/"), o}, nil
}

// Problem is a refusal of a node: RFC 9457.
type Problem struct {
	Status  int    `json:"status"`
	Code    string `json:"code"` // stable, see schemas/openapi.yaml; "" if it did not come from a node
	Title   string `json:"title"`
	Detail  string `json:"detail"`
	Allowed string `json:"allowed"` // what would be accepted, if that can be said

	Snapshot *Snapshot `json:"snapshot"` // what there is, for the code not_fresh

	wait time.Duration // that the node asks for
}

func (p *Problem) Error() string {
	text := fmt.Sprintf("%d %s", p.Status, p.Detail)
	if !strings.Contains(p.Detail, p.Allowed) {
		text += ", allowed: " + p.Allowed
	}
	return text
}

// temporary reports whether the same request may be answered later, or by another node.
func (p *Problem) temporary() bool {
	switch p.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusGatewayTimeout:
		return true
	case http.StatusServiceUnavailable:
		return p.Code != "timeout" // it would be as slow again
	}
	return false
}

// longestWait is how many seconds are waited at most because of a Retry-After. Nodes ask for a few; what stands before them may ask for an hour, which
// a caller without a deadline would spend in vain.
const longestWait = 30

// do asks until there is an answer, and returns its body.
func (c *Client) do(ctx context.Context, method, path, contentType, accept string, body []byte) ([]byte, error) {
	pause := &backoff.ExponentialBackOff{InitialInterval: 100 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 5 * time.Second}
	var last error
	answer, err := backoff.Retry(ctx, func() (answer []byte, err error) {
		answer, last = c.once(ctx, method, path, contentType, accept, body)
		var p *Problem
		switch errors.As(last, &p); {
		case p != nil && !p.temporary():
			return nil, backoff.Permanent(last)
		case p != nil && p.wait > 0: // not all at once, either
			return nil, &backoff.RetryAfterError{Duration: p.wait + time.Duration(rand.Int64N(int64(p.wait)))}
		}
		return answer, last
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(c.o.Attempts), backoff.WithMaxElapsedTime(0))
	switch {
	case err == nil:
		return answer, nil
	case ctx.Err() != nil && !errors.Is(last, ctx.Err()):
		return nil, fmt.Errorf("%w, after %w", context.Cause(ctx), last)
	}
	return nil, last
}

// once asks once. An answer of another status than 200 is a *Problem.
func (c *Client) once(ctx context.Context, method, path, contentType, accept string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", contentType)
	}
	r.Header.Set("Accept", accept)
	if c.o.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.o.Token)
	}
	response, err := c.o.HTTP.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if response.StatusCode == http.StatusOK {
		return answer, nil
	}
	p := &Problem{Title: response.Status}
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind != "application/problem+json" || json.Unmarshal(answer, p) != nil {
		p.Detail = fmt.Sprintf("%s: %.200s", response.Status, answer)
	}
	p.Status = response.StatusCode
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
		p.wait = time.Duration(min(seconds, longestWait)) * time.Second
	}
	return nil, p
}

// ask sends a request in JSON, nil for none, and reads the answer.
func ask[T any](ctx context.Context, c *Client, method, path string, request any) (*T, error) {
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			return nil, err
		}
	}
	raw, err := c.do(ctx, method, path, jsonType, jsonType, body)
	if err != nil {
		return nil, err
	}
	a := new(T)
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber() // an int64 of an attribute may have more digits than a float64
	if err := d.Decode(a); err != nil {
		return nil, fmt.Errorf("answer to %s %s: %w", method, path, err)
	}
	return a, nil
}
