// Package store is the object store: a directory, S3 or memory behind one small interface.
//
// The whole product needs a single primitive for its correctness: put-if-absent. A commit record, a manifest and a
// channel entry are each created under a key that follows from what they succeed, so of several writers who race for
// it exactly one wins and the others learn who did. No lock, no lease, no mutable pointer.
//
// What holds for every Bucket:
//   - An object appears under its key complete or not at all, and never changes after that.
//   - Of any number of concurrent PutIfAbsent calls for one key with different bodies, in any number of processes, at
//     most one returns nil; once it did, every other returns ErrExists and every Get returns the winner's body.
//   - When nil or ErrExists was returned, the object survives a crash of the process and of the machine.
//   - An answer that may be wrong is never passed on as the truth. Where the store's answer is lost or can be doubted, the
//     object is read back and compared; if that cannot settle it, the answer is ErrUnknown.
//   - Listings are in plain byte order of the whole key, and contain every object whose put returned before they began.
//
// The sentinel errors are the product's classes of failure, to be told apart with errors.Is.
package store

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/adastream/adastream/schemas"
)

// Classes of failure. Every error of this package that is not about a faulty argument wraps one of them, or the
// context's error, or a fault of the operating system.
var (
	// ErrNotFound: no object under that key.
	ErrNotFound = errors.New("not found")
	// ErrExists: another object is under that key already.
	ErrExists = errors.New("already exists")
	// ErrTransient: worth another try after a pause. Time-outs, lost connections, 5xx, a full disk or bucket, one that fails to read or write, a clock that is off.
	ErrTransient = schemas.ErrTransient
	// ErrUnknown: a put may or may not have happened. Putting the same body again is safe and tells. Wraps ErrTransient.
	ErrUnknown = fmt.Errorf("outcome unknown: %w", ErrTransient)
	// ErrDiskFull: a disk of this machine, or a quota on it, has no room; of a cache, or of a directory that is the store. Wraps ErrTransient.
	ErrDiskFull = fmt.Errorf("disk full: %w", ErrTransient)
	// ErrDenied: the configuration is at fault, not the moment. The text says what to change.
	ErrDenied = errors.New("denied")
	// ErrCorrupt: bytes are not what was written, and were not when they were read again. The text names the object.
	ErrCorrupt = schemas.ErrCorrupt
)

// Info describes one object.
type Info struct {
	Key      string
	Size     int64     // bytes
	Modified time.Time // when it was created, by the store's clock
}

// Bucket is a flat set of immutable objects. All methods may be called concurrently, by any number of processes.
//
// Keys are elements joined by '/', at most 1,024 bytes of UTF-8 without control characters, each element 1 to 255 bytes
// and none of ".", ".." and ".tmp". No key may be a path prefix of another ("a" beside "a/b"): some stores refuse the
// second one, others hide one of them.
type Bucket interface {
	// PutIfAbsent creates key with exactly body, atomically, unless it exists.
	//
	// nil: the object is there and is this body; this call created it, or an object with these very bytes was there. So
	// callers who race put something unique to them into the body, and may repeat a call whose outcome they do not know.
	// ErrExists: an object with other bytes is there, whoever wrote it.
	// ErrUnknown: neither could be established.
	PutIfAbsent(ctx context.Context, key string, body []byte) error

	// Get reads a whole object, or fails with ErrNotFound. A body cut short is an error, never short data.
	Get(ctx context.Context, key string) ([]byte, error)

	// Open streams an object of the returned size in bytes, or fails with ErrNotFound. The reader ends in io.EOF only
	// after exactly that many bytes. The caller closes it; ctx governs the reading as well.
	Open(ctx context.Context, key string) (io.ReadCloser, int64, error)

	// Range reads the bytes [at, at+n) of an object, n at least 1, or fails with ErrNotFound. An object that ends before is
	// ErrCorrupt. Of what is read nothing but the length is checked: a checksum is one of a whole object.
	Range(ctx context.Context, key string, at, n int64) ([]byte, error)

	// Stat describes an object, or fails with ErrNotFound.
	Stat(ctx context.Context, key string) (Info, error)

	// List yields the objects whose key begins with prefix and is greater than startAfter, in ascending byte order of the
	// keys. Either may be empty. It ends at the first error, which it yields. Keys that break the rules above are left
	// out: they are not ours.
	List(ctx context.Context, prefix, startAfter string) iter.Seq2[Info, error]

	// Delete removes an object. A missing one is no error.
	Delete(ctx context.Context, key string) error

	// String is the place as a URL without credentials, for messages.
	String() string
}

// Options tune Open. The zero value works.
type Options struct {
	// Transport carries the requests to S3, for proxies, private certificate authorities and tests. nil is an ordinary
	// one that honours HTTPS_PROXY and SSL_CERT_FILE.
	Transport http.RoundTripper
	// Authorities says whom to trust that an S3 endpoint is what it says, where Transport is nil; each request asks. nil is the
	// system's, or those of SSL_CERT_FILE.
	Authorities func() *x509.CertPool
	// Timeout is the longest silence on a request to S3, no byte sent or received, before it is given up. 0 is 30 s.
	Timeout time.Duration
	// Tries is how often one call asks S3 before it returns ErrTransient or ErrUnknown. 0 is 6.
	Tries int
	// Pause is the mean wait before the second try. It grows by half with each further one, to at most 5 s. 0 is 200 ms.
	Pause time.Duration
}

// Validate joins all faults of o.
func (o Options) Validate() error {
	var faults []error
	if o.Timeout < 0 {
		faults = append(faults, fmt.Errorf("store timeout %v: must be positive, or 0 for 30s", o.Timeout))
	}
	if o.Tries < 0 {
		faults = append(faults, fmt.Errorf("store tries %d: must be positive, or 0 for 6", o.Tries))
	}
	if o.Pause < 0 {
		faults = append(faults, fmt.Errorf("store pause %v: must be positive, or 0 for 200ms", o.Pause))
	}
	return errors.Join(faults...)
}

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Tries == 0 {
		o.Tries = 6
	}
	if o.Pause == 0 {
		o.Pause = 200 * time.Millisecond
	}
	return o
}

// Open returns the bucket at a place:
//
//	s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1
//	file:///var/lib/adastream
//	/var/lib/adastream (or any path, absolute or not)
//
// A directory is created if it is missing. For S3, Open does not touch the network: Probe does. The endpoint defaults to
// AWS_ENDPOINT_URL_S3, then AWS_ENDPOINT_URL, then AWS itself; the region to AWS_REGION, then AWS_DEFAULT_REGION.
// Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the shared credentials file, or the role of the
// machine or pod, in this order.
func Open(ctx context.Context, place string, o Options) (Bucket, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	scheme, _, found := strings.Cut(place, "://")
	if !found {
		return openPath(place)
	}
	switch scheme {
	case "file":
		u, err := url.Parse(place)
		if err != nil {
			return nil, fmt.Errorf("store url: %w", err)
		}
		if u.Host != "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("store url %q: a file url is file:// and an absolute path, nothing else", place)
		}
		return openPath(u.Path)
	case "s3":
		return openS3(place, o.withDefaults())
	case "mem":
		return nil, fmt.Errorf("store url %q: a memory store cannot be opened by name; allowed are s3://, file:// and paths", place)
	default:
		return nil, fmt.Errorf("store url: scheme %q: allowed are s3://, file:// and paths", scheme)
	}
}

func openPath(path string) (Bucket, error) {
	if path == "" {
		return nil, errors.New("store url is empty: allowed are s3://bucket/prefix, file:///path and paths")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("store path %q: %w", path, err)
	}
	return openDirectory(abs)
}

const (
	maxKeyLen     = 1024
	maxElementLen = 255
)

// checkKey enforces the rules of Bucket.
func checkKey(key string) error {
	bad := func(why string) error { return fmt.Errorf("key %q: %s", key, why) }
	switch {
	case key == "":
		return bad("is empty")
	case len(key) > maxKeyLen:
		return bad(fmt.Sprintf("has %d bytes, allowed are %d", len(key), maxKeyLen))
	case !utf8.ValidString(key):
		return bad("is not valid UTF-8")
	case strings.ContainsFunc(key, unicode.IsControl):
		return bad("contains a control character")
	case key[0] == '/':
		return bad("begins with /")
	}
	for element := range strings.SplitSeq(key, "/") {
		switch {
		case element == "":
			return bad("has an empty element")
		case element == "." || element == ".." || element == tempDir:
			return bad(fmt.Sprintf("has the element %q, which is reserved", element))
		case len(element) > maxElementLen:
			return bad(fmt.Sprintf("has an element of %d bytes, allowed are %d", len(element), maxElementLen))
		}
	}
	return nil
}

// short is the error of a range that reaches beyond its object.
func short(place string, at, n int64) error {
	return fmt.Errorf("range %s: %w: it has no bytes [%d, %d)", place, ErrCorrupt, at, at+n)
}

// sameBytes says whether r holds exactly body. It reads to the end in any case: only there a reader knows its checksum, and a
// difference may be damage.
func sameBytes(r io.Reader, body []byte) (bool, error) {
	buf := make([]byte, min(len(body)+1, 256<<10))
	for {
		n, err := r.Read(buf)
		if n > len(body) || string(buf[:n]) != string(body[:n]) {
			if err == nil || err == io.EOF {
				_, err = io.Copy(io.Discard, r)
			}
			return false, err
		}
		body = body[n:]
		if err == io.EOF {
			return len(body) == 0, nil
		}
		if err != nil {
			return false, err
		}
	}
}
