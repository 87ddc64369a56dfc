package store_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/store"
)

// recorder is a fakeS3 that remembers requests.
type recorder struct {
	fakeS3
	mu   sync.Mutex
	seen []*http.Request
}

func newRecorder() *recorder { return &recorder{fakeS3: fakeS3{objects: map[string]fakeObject{}}} }

func (r *recorder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	r.seen = append(r.seen, q.Clone(context.Background()))
	r.mu.Unlock()
	if bucket, _, virtual := strings.Cut(q.Host, "."); virtual && bucket == "bucket" { // bucket.host/key
		q.URL.Path = "/bucket" + q.URL.Path
	}
	r.fakeS3.ServeHTTP(w, q)
}

// requests are those since the last call.
func (r *recorder) requests() []*http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

// use puts an object and reads it.
func use(t *testing.T, b store.Bucket) {
	t.Helper()
	if err := b.PutIfAbsent(t.Context(), "a", []byte("body")); err != nil {
		t.Fatal(err)
	}
	if body, err := b.Get(t.Context(), "a"); err != nil || string(body) != "body" {
		t.Fatalf("%q %v", body, err)
	}
}

// dialTo connects to one address, whatever the name.
func dialTo(address string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
}

// quiet is for what servers say of handshakes that are meant to fail.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// noIdentity takes away what this machine has of credentials.
func noIdentity(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
}

// Each way to be known: keys in the environment, a profile of a file, the role of a service account, that of a container.
func TestS3_identities(t *testing.T) {
	expires := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	var asked string
	roles := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/container" {
			asked = r.Header.Get("Authorization")
			fmt.Fprintf(w, `{"AccessKeyId":"CONTAINER","SecretAccessKey":"s3cret","Token":"session","Expiration":%q}`, expires)
			return
		}
		_ = r.ParseForm()
		asked = r.Form.Get("Action") + " " + r.Form.Get("RoleArn") + " " + r.Form.Get("WebIdentityToken")
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>`+
			`<AccessKeyId>ROLE</AccessKeyId><SecretAccessKey>s3cret</SecretAccessKey><SessionToken>session</SessionToken><Expiration>%s</Expiration>`+
			`</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, expires)
	}))
	defer roles.Close()
	file := func(t *testing.T, content string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		env         func(t *testing.T)
		key, asked  string
		withSession bool
	}{
		"environment": {env: func(t *testing.T) {
			t.Setenv("AWS_ACCESS_KEY_ID", "STATIC")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
		}, key: "STATIC"},
		"profile of a file": {env: func(t *testing.T) {
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file(t, "[default]\naws_access_key_id=OTHER\naws_secret_access_key=x\n[mine]\naws_access_key_id=FILE\naws_secret_access_key=s3cret\n"))
			t.Setenv("AWS_PROFILE", "mine")
		}, key: "FILE"},
		"service account": {env: func(t *testing.T) {
			t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file(t, "jwt"))
			t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/r")
			t.Setenv("AWS_ENDPOINT_URL_STS", roles.URL)
		}, key: "ROLE", asked: "AssumeRoleWithWebIdentity arn:aws:iam::1:role/r jwt", withSession: true},
		"container": {env: func(t *testing.T) {
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", roles.URL+"/container")
			t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "jwt")
		}, key: "CONTAINER", asked: "jwt", withSession: true},
	} {
		t.Run(name, func(t *testing.T) {
			noIdentity(t)
			asked = ""
			c.env(t)
			s3 := newRecorder()
			server := httptest.NewServer(s3)
			defer server.Close()
			use(t, open(t, "s3://bucket/p?endpoint="+server.URL, quick))
			for _, r := range s3.requests() {
				if !strings.Contains(r.Header.Get("Authorization"), "Credential="+c.key+"/") || (r.Header.Get("X-Amz-Security-Token") == "session") != c.withSession {
					t.Errorf("%s: signed %q, session %q", r.Method, r.Header.Get("Authorization"), r.Header.Get("X-Amz-Security-Token"))
				}
			}
			if asked != c.asked {
				t.Errorf("asked for the role with %q, want %q", asked, c.asked)
			}
		})
	}
}

// What the URL says of encryption and of the bucket's place in names is what is sent; reads ask for no encryption.
func TestS3_parameters(t *testing.T) {
	noIdentity(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	for query, want := range map[string]struct{ sse, key, host string }{
		"":                         {"", "", "127.0.0.1"},
		"&sse=s3":                  {"AES256", "", "127.0.0.1"},
		"&sse=kms":                 {"aws:kms", "", "127.0.0.1"},
		"&sse=kms&kms-key=alias/x": {"aws:kms", "alias/x", "127.0.0.1"},
		"&path-style=true":         {"", "", "127.0.0.1"},
		"&path-style=false":        {"", "", "bucket.localhost"},
	} {
		s3 := newRecorder()
		server := httptest.NewServer(s3)
		endpoint := server.URL
		if strings.HasPrefix(want.host, "bucket.") {
			endpoint = strings.Replace(endpoint, "127.0.0.1", "localhost", 1)
		}
		o := quick
		o.Transport = &http.Transport{DialContext: dialTo(server.Listener.Addr().String())}
		use(t, open(t, "s3://bucket/p?endpoint="+endpoint+query, o))
		server.Close()
		for _, r := range s3.requests() {
			if host, _, _ := strings.Cut(r.Host, ":"); host != want.host {
				t.Errorf("%q: %s to host %s, want %s", query, r.Method, r.Host, want.host)
			}
			sse, key := r.Header.Get("X-Amz-Server-Side-Encryption"), r.Header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")
			if r.Method == http.MethodPut && (sse != want.sse || key != want.key) || r.Method != http.MethodPut && sse+key != "" {
				t.Errorf("%q: %s with encryption %q, key %q", query, r.Method, sse, key)
			}
		}
	}
	for query, want := range map[string]string{
		"sse=none":         "allowed are s3 and kms",
		"kms-key=a":        "goes with sse=kms",
		"sse=s3&kms-key=a": "goes with sse=kms",
		"path-style=yes":   "allowed are true and false",
		"sse=s3#a":         "a # is written %23",
		"ssl=off":          "allowed are endpoint, region, path-style, sse, kms-key",
	} {
		if _, err := store.Open(t.Context(), "s3://bucket?"+query, store.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", query, err, want)
		}
	}
}

// An endpoint of a private authority is trusted if that is named, and else refused with advice.
func TestS3_privateAuthority(t *testing.T) {
	noIdentity(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	server := httptest.NewUnstartedServer(newRecorder())
	server.Config.ErrorLog = quiet()
	server.StartTLS()
	defer server.Close()
	o := quick
	pool := x509.NewCertPool()
	o.Authorities = func() *x509.CertPool { return pool }
	if _, err := open(t, "s3://bucket?endpoint="+server.URL, o).Get(t.Context(), "a"); !errors.Is(err, store.ErrDenied) || !strings.Contains(err.Error(), "--store-ca") {
		t.Errorf("an authority that is not known: %v", err)
	}
	b := open(t, "s3://bucket?endpoint="+server.URL, o)
	if _, err := b.Get(t.Context(), "a"); err == nil {
		t.Error("it is trusted before its authority is")
	}
	pool = x509.NewCertPool()
	pool.AddCert(server.Certificate())
	use(t, b)
}
