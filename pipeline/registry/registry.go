// Package registry gets Avro schemas from a schema registry of Confluent's kind, each once.
package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"
	"golang.org/x/sync/singleflight"

	"github.com/adastream/adastream/schemas"
)

// ErrUnusable: the registry has answered, and there is no Avro schema of this id. Any other error may pass, and wraps
// schemas.ErrTransient.
var ErrUnusable = errors.New("no schema to read messages by")

const (
	patience      = 10 * time.Second // of all requests for a schema
	forget        = time.Minute      // after which an id that the registry did not know is asked for again
	maxKnown      = 4096             // schemas
	maxReferences = 64               // of a schema, those of its references included
)

// Options of a Client. URL is required.
type Options struct {
	URL            string
	User, Password string      // for basic authentication; User "" is none
	TLS            *tls.Config // nil: the system's authorities
}

// Client asks a registry. It is safe for concurrent use.
type Client struct {
	url    string
	api    *sr.Client
	flight singleflight.Group

	mu    sync.Mutex
	known map[uint32]answer
}

// answer is what is known of an id.
type answer struct {
	schema *avro.Schema
	err    error     // wraps ErrUnusable
	until  time.Time // when the registry is asked again; zero is never
}

// New returns a client. It does nothing until it is asked.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.URL)
	if err == nil && u.User != nil {
		o.URL = u.Redacted()
	}
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("schema registry: %q, allowed: the URL of one, such as https://registry:8081, without a user", o.URL)
	}
	options := []sr.ClientOpt{sr.URLs(o.URL), sr.UserAgent("adastream")}
	if o.User != "" {
		options = append(options, sr.BasicAuth(o.User, o.Password))
	}
	if o.TLS != nil {
		options = append(options, sr.DialTLSConfig(o.TLS))
	}
	api, err := sr.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("schema registry: %w", err)
	}
	return &Client{url: o.URL, api: api, known: map[uint32]answer{}}, nil
}

// Schema returns the Avro schema of an id, with the schemas that it refers to.
func (c *Client) Schema(ctx context.Context, id uint32) (*avro.Schema, error) {
	c.mu.Lock()
	a, ok := c.known[id]
	c.mu.Unlock()
	if ok && (a.until.IsZero() || time.Now().Before(a.until)) {
		return a.schema, a.err
	}
	// What several ask for at the same time is fetched once, and none of them that gives up ends it for others.
	done := c.flight.DoChan(strconv.FormatUint(uint64(id), 10), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		return c.fetch(ctx, id)
	})
	select {
	case r := <-done:
		schema, _ := r.Val.(*avro.Schema)
		return schema, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *Client) fetch(ctx context.Context, id uint32) (*avro.Schema, error) {
	if id > schemas.MaxSchemaID {
		return nil, fmt.Errorf("schema %d: %w: ids are at most %d", id, ErrUnusable, schemas.MaxSchemaID)
	}
	found, err := c.api.SchemaByID(ctx, int(id))
	if notFound(err) {
		err = fmt.Errorf("schema %d: %w: %s does not know it", id, ErrUnusable, c.url)
		c.keep(id, answer{err: err, until: time.Now().Add(forget)})
		return nil, err
	}
	if err != nil {
		return nil, c.transient(id, err)
	}
	schema, err := c.parse(ctx, id, found)
	switch {
	case errors.Is(err, errGone):
		c.keep(id, answer{err: err, until: time.Now().Add(forget)})
	case err == nil, errors.Is(err, ErrUnusable):
		c.keep(id, answer{schema: schema, err: err})
	}
	return schema, err
}

// keep notes an answer. When there are too many, all are forgotten: messages of so many schemas are hostile, or wrong.
func (c *Client) keep(id uint32, a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxKnown {
		clear(c.known)
	}
	c.known[id] = a
}

func (c *Client) transient(id uint32, err error) error {
	return fmt.Errorf("schema %d: %w: ask %s: %w", id, schemas.ErrTransient, c.url, err)
}

// errGone: a reference is not there, which may come again.
var errGone = fmt.Errorf("%w: it refers to what is gone", ErrUnusable)

// notFound is true only of what a registry says: any server has pages that it does not find.
func notFound(err error) bool {
	var r *sr.ResponseError
	return errors.As(err, &r) && slices.Contains([]int{sr.ErrSchemaNotFound.Code, sr.ErrSubjectNotFound.Code, sr.ErrVersionNotFound.Code}, r.ErrorCode)
}

func (c *Client) parse(ctx context.Context, id uint32, found sr.Schema) (*avro.Schema, error) {
	if found.Type != sr.TypeAvro {
		return nil, fmt.Errorf("schema %d: %w: it is of the type %v, allowed: AVRO", id, ErrUnusable, found.Type)
	}
	names, left := new(avro.SchemaCache), maxReferences
	if err := c.refer(ctx, id, found.References, names, map[sr.SchemaReference]bool{}, &left); err != nil {
		return nil, err
	}
	schema, err := names.Parse(found.Schema)
	if err != nil {
		return nil, fmt.Errorf("schema %d: %w: %w", id, ErrUnusable, err)
	}
	return schema, nil
}

// refer makes the names known that a schema refers to, those first that they refer to themselves.
func (c *Client) refer(ctx context.Context, id uint32, references []sr.SchemaReference, names *avro.SchemaCache, seen map[sr.SchemaReference]bool, left *int) error {
	for _, r := range references {
		if seen[r] {
			continue
		}
		seen[r] = true
		if *left--; *left < 0 {
			return fmt.Errorf("schema %d: %w: it refers to more than %d others", id, ErrUnusable, maxReferences)
		}
		found, err := c.api.SchemaByVersion(ctx, r.Subject, r.Version)
		if notFound(err) {
			return fmt.Errorf("schema %d: %w: %s does not know the reference %q, version %d of %s", id, errGone, c.url, r.Name, r.Version, r.Subject)
		}
		if err != nil {
			return c.transient(id, fmt.Errorf("reference %q: %w", r.Name, err))
		}
		if err := c.refer(ctx, id, found.References, names, seen, left); err != nil {
			return err
		}
		if _, err := names.Parse(found.Schema.Schema); err != nil {
			return fmt.Errorf("schema %d: %w: reference %q: %w", id, ErrUnusable, r.Name, err)
		}
	}
	return nil
}
