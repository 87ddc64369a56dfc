package registry

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/adastream/adastream/schemas"
)

// rig is a registry that counts what it is asked, and can be away.
type rig struct {
	*srfake.Registry
	client *Client
	asked  atomic.Int32
	status atomic.Int32 // what it answers to everything, 0 for what it should
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{Registry: srfake.New(srfake.WithAuth("Basic " + base64.StdEncoding.EncodeToString([]byte("ada:s3cret"))))}
	t.Cleanup(r.Close)
	r.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		r.asked.Add(1)
		if status := int(r.status.Load()); status != 0 {
			http.Error(w, "no", status)
			return true
		}
		return false
	})
	var err error
	if r.client, err = New(Options{URL: r.URL(), User: "ada", Password: "s3cret"}); err != nil {
		t.Fatal(err)
	}
	const inner = `{"type":"record","name":"Inner","namespace":"a","fields":[{"name":"x","type":"int"}]}`
	r.SeedSchema("plain", 1, 1, sr.Schema{Schema: inner})
	r.SeedSchema("middle", 1, 2, sr.Schema{Schema: `{"type":"record","name":"Middle","namespace":"a","fields":[{"name":"inner","type":"Inner"}]}`,
		References: []sr.SchemaReference{{Name: "a.Inner", Subject: "plain", Version: 1}}})
	r.SeedSchema("outer", 1, 3, sr.Schema{Schema: `{"type":"record","name":"Outer","namespace":"b","fields":[{"name":"m","type":"a.Middle"},{"name":"i","type":"a.Inner"}]}`,
		References: []sr.SchemaReference{{Name: "a.Middle", Subject: "middle", Version: 1}, {Name: "a.Inner", Subject: "plain", Version: 1}}})
	r.SeedSchema("json", 1, 4, sr.Schema{Schema: `{"type":"object"}`, Type: sr.TypeJSON})
	return r
}

func TestSchema(t *testing.T) {
	r := newRig(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if s, err := r.client.Schema(t.Context(), 1); err != nil || s.Root().Name != "Inner" {
				t.Errorf("schema 1 is %v, %v", s, err)
			}
		})
	}
	group.Wait()
	if n := r.asked.Load(); n != 1 {
		t.Errorf("asked %d times for one schema", n)
	}
	s, err := r.client.Schema(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	if n := r.asked.Load() - 1; n != 3 {
		t.Errorf("asked %d times for a schema that refers to two others, want 3", n)
	}
	var v any
	if rest, err := s.Decode([]byte{2, 4}, &v); err != nil || len(rest) > 0 {
		t.Errorf("by a schema with references: %v, %d bytes left", err, len(rest))
	}
	for id, want := range map[uint32]string{
		4: "schema 4: no schema to read messages by: it is of the type JSON, allowed: AVRO", 99: "schema 99: no schema to read messages by: http://",
		1 << 31: "schema 2147483648: no schema to read messages by: ids are at most",
	} {
		for range 2 {
			if _, err := r.client.Schema(t.Context(), id); !errors.Is(err, ErrUnusable) || errors.Is(err, schemas.ErrTransient) || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("schema %d: %v, want %s", id, err, want)
			}
		}
	}
	asked := r.asked.Load()
	for _, id := range []uint32{1, 3, 4, 99} {
		_, _ = r.client.Schema(t.Context(), id)
	}
	if n := r.asked.Load(); n != asked {
		t.Errorf("asked %d times more for what is known", n-asked)
	}
}

// An id that was not known is asked for again, after a while.
func TestSchemaComesLater(t *testing.T) {
	r := newRig(t)
	if _, err := r.client.Schema(t.Context(), 7); !errors.Is(err, ErrUnusable) {
		t.Fatal(err)
	}
	r.SeedSchema("later", 1, 7, sr.Schema{Schema: `"string"`})
	r.client.known[7] = answer{err: r.client.known[7].err, until: time.Now().Add(-1)}
	if _, err := r.client.Schema(t.Context(), 7); err != nil {
		t.Error(err)
	}
}

// A registry that does not answer, or not as one, says nothing about a schema.
func TestSchemaTransient(t *testing.T) {
	r := newRig(t)
	for _, status := range []int{500, 503, 429, 401, 403, 404} {
		r.status.Store(int32(status))
		if _, err := r.client.Schema(t.Context(), 1); !errors.Is(err, schemas.ErrTransient) || errors.Is(err, ErrUnusable) {
			t.Errorf("status %d: %v", status, err)
		}
	}
	r.status.Store(0)
	if _, err := r.client.Schema(t.Context(), 1); err != nil {
		t.Error(err)
	}
	for name, o := range map[string]Options{"no password": {URL: r.URL()}, "nobody": {URL: "http://127.0.0.1:1"}} {
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Schema(t.Context(), 1); !errors.Is(err, schemas.ErrTransient) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", "registry:8081", "ftp://registry", "http://ada:s3cret@registry", "http://"} {
		if _, err := New(Options{URL: bad}); err == nil || !strings.Contains(err.Error(), "allowed: the URL of one") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A schema whose reference the registry says that it does not have is unusable, for a while: a partition would wait for it for ever.
func TestSchema_referenceIsGone(t *testing.T) {
	for _, code := range []string{"40401", "40402"} { // no such subject, no such version of it
		r := newRig(t)
		r.Intercept(func(w http.ResponseWriter, q *http.Request) bool {
			gone := strings.HasPrefix(q.URL.Path, "/subjects/plain/")
			if gone {
				w.WriteHeader(http.StatusNotFound)
				_, _ = w.Write([]byte(`{"error_code":` + code + `,"message":"gone"}`))
			}
			return gone
		})
		for range 2 {
			if _, err := r.client.Schema(t.Context(), 2); !errors.Is(err, ErrUnusable) || errors.Is(err, schemas.ErrTransient) || !strings.Contains(err.Error(), `does not know the reference "a.Inner"`) {
				t.Errorf("%s: %v", code, err)
			}
		}
		if a, ok := r.client.known[2]; !ok || a.until.IsZero() {
			t.Errorf("%s: it is unusable for good, or asked for each message: the reference may be registered again", code)
		}
	}
}
