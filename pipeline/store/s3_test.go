package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/store"
)

// spoiler answers a request in its own way, with or without sending it on.
type spoiler func(r *http.Request, send sender) (*http.Response, error)

type sender func(*http.Request) (*http.Response, error)

// line is a Transport that lets a test spoil requests. fault returns nil, nil to let one pass.
type line struct {
	fault spoiler
	sent  atomic.Int64
}

func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	l.sent.Add(1)
	send := http.DefaultTransport.RoundTrip
	if answer, err := l.fault(r, send); answer != nil || err != nil {
		return answer, err
	}
	return send(r)
}

// once applies fault to the first request with the method.
func once(method string, fault spoiler) *line {
	var done atomic.Bool
	return &line{fault: func(r *http.Request, send sender) (*http.Response, error) {
		if r.Method != method || done.Swap(true) {
			return nil, nil
		}
		return fault(r, send)
	}}
}

// lost delivers the request and loses the answer.
func lost(r *http.Request, send sender) (*http.Response, error) {
	answer, err := send(r)
	if err != nil {
		return nil, err
	}
	answer.Body.Close()
	return nil, syscall.ECONNRESET
}

// reset does not deliver it.
func reset(r *http.Request, _ sender) (*http.Response, error) {
	r.Body.Close()
	return nil, syscall.ECONNRESET
}

// status answers in the server's place.
func status(code int, name string) spoiler {
	return func(r *http.Request, _ sender) (*http.Response, error) {
		if r.Body != nil {
			r.Body.Close()
		}
		body := fmt.Sprintf("<Error><Code>%s</Code><Message>test</Message></Error>", name)
		return &http.Response{StatusCode: code, Status: http.StatusText(code), Request: r, Header: http.Header{},
			Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

func openOn(t *testing.T, place string, l *line) store.Bucket {
	t.Helper()
	o := quick
	o.Transport = l
	return open(t, place, o)
}

// Whatever happens to the first answer, the writer learns the truth and the object is there once.
func TestS3_PutIfAbsent_doubtfulAnswer(t *testing.T) {
	for name, fault := range map[string]spoiler{
		"answer lost":     lost,
		"reset":           reset,
		"500":             status(500, "InternalError"),
		"502 not xml":     status(502, "<"),
		"503":             status(503, "SlowDown"),
		"409 race":        status(409, "ConditionalRequestConflict"),
		"412 but absent":  status(412, "PreconditionFailed"),
		"408":             status(408, "RequestTimeout"),
		"429":             status(429, "TooManyRequests"),
		"damaged in line": status(400, "BadDigest"),
		"500 though done": func(r *http.Request, send sender) (*http.Response, error) {
			if answer, err := send(r); err == nil {
				answer.Body.Close()
			}
			return status(500, "InternalError")(r, send)
		},
	} {
		t.Run(name, func(t *testing.T) {
			place := s3Place(t)
			l := once(http.MethodPut, fault)
			if err := openOn(t, place, l).PutIfAbsent(t.Context(), "k", []byte("mine")); err != nil {
				t.Errorf("PutIfAbsent = %v, want nil", err)
			}
			b := open(t, place, quick)
			if body, err := b.Get(t.Context(), "k"); err != nil || string(body) != "mine" {
				t.Errorf("Get = %q, %v", body, err)
			}
			// The loser of a race is told so, not the fault.
			err := openOn(t, place, once(http.MethodPut, fault)).PutIfAbsent(t.Context(), "k", []byte("theirs"))
			if !errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrTransient) {
				t.Errorf("PutIfAbsent by another = %v, want ErrExists", err)
			}
		})
	}
}

// When neither the put nor the reading back is answered, nothing is claimed.
func TestS3_PutIfAbsent_unknown(t *testing.T) {
	o := store.Options{Pause: time.Millisecond, Tries: 3}
	place := s3Place(t)
	for name, fault := range map[string]spoiler{
		"all answers lost": lost,
		"all resets": func(r *http.Request, _ sender) (*http.Response, error) {
			return nil, syscall.ECONNRESET
		},
		"refused, then silence": func(r *http.Request, send sender) (*http.Response, error) {
			if r.Method == http.MethodPut {
				return status(412, "PreconditionFailed")(r, send)
			}
			return nil, syscall.ECONNRESET
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := &line{fault: fault}
			o.Transport = l
			err := open(t, place, o).PutIfAbsent(t.Context(), "k", []byte("mine"))
			if !errors.Is(err, store.ErrUnknown) || !errors.Is(err, store.ErrTransient) || errors.Is(err, store.ErrExists) {
				t.Errorf("PutIfAbsent = %v, want ErrUnknown", err)
			}
			if sent := l.sent.Load(); sent != 6 {
				t.Errorf("%d requests, want 3 puts, each read back", sent)
			}
		})
	}
}

func TestS3_PutIfAbsent_cancelledMidway(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l := once(http.MethodPut, func(r *http.Request, send sender) (*http.Response, error) {
		defer cancel()
		return lost(r, send)
	})
	err := openOn(t, s3Place(t), l).PutIfAbsent(ctx, "k", []byte("mine"))
	if !errors.Is(err, store.ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("PutIfAbsent = %v, want ErrUnknown and context.Canceled", err)
	}
}

// A server that takes the request and never answers is left after Timeout.
func TestS3_silence(t *testing.T) {
	silence := func(r *http.Request, _ sender) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	o := store.Options{Pause: time.Millisecond, Timeout: 20 * time.Millisecond, Tries: 2, Transport: &line{fault: silence}}
	b := open(t, s3Place(t), o)
	if err := b.PutIfAbsent(t.Context(), "k", []byte("mine")); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("PutIfAbsent = %v, want ErrUnknown", err)
	}
	if _, err := b.Get(t.Context(), "k"); !errors.Is(err, store.ErrTransient) || !strings.Contains(err.Error(), "no byte") {
		t.Errorf("Get = %v, want ErrTransient that tells of silence", err)
	}
	for _, err := range b.List(t.Context(), "", "") {
		if !errors.Is(err, store.ErrTransient) {
			t.Errorf("List = %v, want ErrTransient", err)
		}
	}
}

// cut ends a body after n bytes: as a broken connection, or as if it were complete.
func cut(n int64, clean bool) spoiler {
	return func(r *http.Request, send sender) (*http.Response, error) {
		answer, err := send(r)
		if err != nil {
			return nil, err
		}
		var end io.Reader = strings.NewReader("")
		if !clean {
			end = failingReader{}
		}
		answer.Body = readCloser{io.MultiReader(io.LimitReader(answer.Body, n), end), answer.Body}
		return answer, nil
	}
}

type readCloser struct {
	io.Reader
	io.Closer
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, syscall.ECONNRESET }

func TestS3_truncatedBody(t *testing.T) {
	place := s3Place(t)
	body := bytes.Repeat([]byte("0123456789"), 1000)
	if err := open(t, place, quick).PutIfAbsent(t.Context(), "k", body); err != nil {
		t.Fatal(err)
	}
	for name, fault := range map[string]spoiler{
		"reset": cut(5000, false), "ended early": cut(5000, true), "nothing": cut(0, true),
	} {
		t.Run(name, func(t *testing.T) {
			r, size, err := openOn(t, place, once(http.MethodGet, fault)).Open(t.Context(), "k")
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if got, err := io.ReadAll(r); size != 10000 || !errors.Is(err, store.ErrTransient) {
				t.Errorf("Open and read = %d of %d bytes, %v, want ErrTransient", len(got), size, err)
			}
			// Get reads again by itself.
			got, err := openOn(t, place, once(http.MethodGet, fault)).Get(t.Context(), "k")
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("Get = %d bytes, %v, want all", len(got), err)
			}
			// And gives up in the end.
			if got, err = openOn(t, place, &line{fault: fault}).Get(t.Context(), "k"); !errors.Is(err, store.ErrTransient) || got != nil {
				t.Errorf("Get = %d bytes, %v, want ErrTransient and none", len(got), err)
			}
		})
	}
}

// flipped spoils the first byte of an answer.
func flipped(r *http.Request, send sender) (*http.Response, error) {
	answer, err := send(r)
	if err != nil {
		return nil, err
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(answer.Body, first); err != nil {
		return nil, err
	}
	first[0] ^= 1
	answer.Body = readCloser{io.MultiReader(bytes.NewReader(first), answer.Body), answer.Body}
	return answer, nil
}

// A byte that changed on its way is caught by the checksum, and asked for again.
func TestS3_byteFlippedOnItsWay(t *testing.T) {
	place := s3Place(t)
	body := []byte("0123456789")
	if err := open(t, place, quick).PutIfAbsent(t.Context(), "k", body); err != nil {
		t.Fatal(err)
	}
	got, err := openOn(t, place, once(http.MethodGet, flipped)).Get(t.Context(), "k")
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("Get = %q, %v, want %q", got, err, body)
	}
	// A put that was refused as existing is compared with what is there.
	if err := openOn(t, place, once(http.MethodGet, flipped)).PutIfAbsent(t.Context(), "k", body); err != nil {
		t.Errorf("PutIfAbsent of the same body: %v", err)
	}
}

// A byte that changed in the store is believed to have done so after a few reads.
func TestS3_corruptBody(t *testing.T) {
	place := s3Place(t)
	if err := open(t, place, quick).PutIfAbsent(t.Context(), "k", []byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	l := &line{fault: flipped}
	got, err := openOn(t, place, l).Get(t.Context(), "k")
	if !errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrTransient) || !strings.Contains(err.Error(), "/k") {
		t.Errorf("Get = %q, %v, want ErrCorrupt that names the object", got, err)
	}
	if l.sent.Load() != 3 {
		t.Errorf("%d requests, want 3", l.sent.Load())
	}
}

// Reads and listings get over passing faults.
func TestS3_readsRetry(t *testing.T) {
	place := s3Place(t)
	if err := open(t, place, quick).PutIfAbsent(t.Context(), "k", []byte("body")); err != nil {
		t.Fatal(err)
	}
	for _, fault := range []spoiler{
		status(503, "SlowDown"), lost, cut(10, true), cut(10, false),
	} {
		keys := 0
		for info, err := range openOn(t, place, once(http.MethodGet, fault)).List(t.Context(), "", "") {
			if err != nil || info.Key != "k" {
				t.Errorf("List: %+v, %v", info, err)
			}
			keys++
		}
		if keys != 1 {
			t.Errorf("List: %d keys, want 1", keys)
		}
	}
	if _, err := openOn(t, place, once(http.MethodHead, lost)).Stat(t.Context(), "k"); err != nil {
		t.Errorf("Stat: %v", err)
	}
	b := openOn(t, place, once(http.MethodDelete, lost))
	if err := b.Delete(t.Context(), "k"); err != nil {
		t.Errorf("Delete: %v", err)
	}
}

// A fault of the configuration is not retried, and its text says what to change.
func TestS3_denied(t *testing.T) {
	place := s3Place(t)
	for _, tt := range []struct {
		code   int
		name   string
		advice string
	}{
		{403, "AccessDenied", "AWS_ACCESS_KEY_ID"},
		{401, "Unauthorized", "AWS_ACCESS_KEY_ID"},
		{403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"},
		{404, "XAdminUserNotFound", "AWS_ACCESS_KEY_ID"}, // versitygw
		{404, "NoSuchBucket", "create the bucket"},
		{400, "AuthorizationHeaderMalformed", "region"},
		{301, "PermanentRedirect", "region"},
		{501, "NotImplemented", "conditional writes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &line{fault: status(tt.code, tt.name)}
			b := openOn(t, place, l)
			_, getErr := b.Get(t.Context(), "k")
			for op, err := range map[string]error{"Put": b.PutIfAbsent(t.Context(), "k", nil), "Get": getErr} {
				if !errors.Is(err, store.ErrDenied) || errors.Is(err, store.ErrTransient) || !strings.Contains(err.Error(), tt.advice) {
					t.Errorf("%s = %v, want ErrDenied with advice on %s", op, err, tt.advice)
				}
			}
			if l.sent.Load() != 2 {
				t.Errorf("%d requests, want 2", l.sent.Load())
			}
		})
	}
}

// What is mended outside of this process without a change to its configuration passes, and its text says what is to be done.
func TestS3_waitsForOperators(t *testing.T) {
	place := s3Place(t)
	for _, tt := range []struct {
		code   int
		name   string
		advice string
	}{
		{403, "RequestTimeTooSkewed", "set the clock"},
		{403, "QuotaExceeded", "quota"},
		{400, "XMinioAdminBucketQuotaExceeded", "quota"},
		{507, "InsufficientStorage", "room"},
		{507, "XMinioStorageFull", "room"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := openOn(t, place, &line{fault: status(tt.code, tt.name)})
			_, getErr := b.Get(t.Context(), "k")
			for op, err := range map[string]error{"Put": b.PutIfAbsent(t.Context(), "k", nil), "Get": getErr} {
				if !errors.Is(err, store.ErrTransient) || errors.Is(err, store.ErrDenied) || !strings.Contains(err.Error(), tt.advice) || strings.Contains(err.Error(), "AWS_") {
					t.Errorf("%s = %v, want ErrTransient with advice on %s", op, err, tt.advice)
				}
			}
		})
	}
}

func TestS3_listOutOfOrder(t *testing.T) {
	b := open(t, (&fakeS3{reverse: true}).serve(t), quick)
	for _, key := range []string{"a", "b"} {
		if err := b.PutIfAbsent(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
	var last error
	for _, err := range b.List(t.Context(), "", "") {
		last = err
	}
	if !errors.Is(last, store.ErrDenied) || !strings.Contains(last.Error(), "order") {
		t.Errorf("List = %v, want ErrDenied", last)
	}
}

func TestProbe_refuses(t *testing.T) {
	for name, fake := range map[string]*fakeS3{
		"ignores the condition":          {ignoreConditions: true},
		"looks first, then writes later": {lookFirst: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, fake.serve(t), quick)
			err := store.Probe(t.Context(), b)
			if !errors.Is(err, store.ErrDenied) || !strings.Contains(err.Error(), "If-None-Match: *") || !strings.Contains(err.Error(), "use ") {
				t.Errorf("Probe = %v, want ErrDenied that says why and what to use", err)
			}
			for info := range b.List(t.Context(), "", "") {
				t.Errorf("left behind: %s", info.Key)
			}
		})
	}
}

// The error of a missing bucket, as the real server gives it.
func TestS3Server_missingBucket(t *testing.T) {
	place := s3Place(t)
	if strings.HasPrefix(place, "s3://bucket/") {
		t.Skip("needs a real server")
	}
	b := open(t, strings.Replace(place, "adastream-test", "adastream-missing", 1), quick)
	if err := store.Probe(t.Context(), b); !errors.Is(err, store.ErrDenied) || !strings.Contains(err.Error(), `create the bucket "adastream-missing"`) {
		t.Errorf("Probe = %v, want ErrDenied", err)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	b = open(t, place, quick)
	if err := store.Probe(t.Context(), b); !errors.Is(err, store.ErrDenied) || !strings.Contains(err.Error(), "AWS_SECRET_ACCESS_KEY") {
		t.Errorf("Probe with a wrong secret = %v, want ErrDenied", err)
	}
}

// A store, or a proxy, that answers a range with the whole object has not lost a byte of it: it is not what we need, which is no damage, and asked
// again it does the same.
func TestS3_withoutRanges(t *testing.T) {
	l := &line{fault: func(r *http.Request, send sender) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
		return send(r)
	}}
	b := open(t, s3Place(t), store.Options{Transport: l, Pause: time.Millisecond})
	if err := b.PutIfAbsent(t.Context(), "k", []byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]int64{{0, 1}, {3, 4}, {0, 10}, {10, 10}} {
		l.sent.Store(0)
		got, err := b.Range(t.Context(), "k", r[0], r[1])
		if !errors.Is(err, store.ErrDenied) || errors.Is(err, store.ErrCorrupt) || l.sent.Load() != 1 {
			t.Errorf("Range(%d, %d) = %q, %v after %d requests, want ErrDenied after one", r[0], r[1], got, err, l.sent.Load())
		}
	}
}
