package store

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// errSilent ends a request on which nothing moved for Options.Timeout.
var errSilent = errors.New("no byte sent or received for too long")

// attempt is one request under a watchdog that ends it when it makes no progress. A deadline would not do: a large object
// over a slow line may take long and be fine.
type attempt struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	silence time.Duration
}

func watch(ctx context.Context, silence time.Duration) *attempt {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(silence, func() { cancel(fmt.Errorf("%w (%v)", errSilent, silence)) })
	return &attempt{ctx, cancel, timer, silence}
}

// feed tells the watchdog of progress.
func (a *attempt) feed() { a.timer.Reset(a.silence) }

func (a *attempt) stop() {
	a.timer.Stop()
	a.cancel(nil)
}

// reader is r, feeding the watchdog.
func (a *attempt) reader(r io.Reader) io.Reader { return fedReader{a, r} }

type fedReader struct {
	a *attempt
	r io.Reader
}

func (f fedReader) Read(p []byte) (int, error) {
	f.a.feed()
	return f.r.Read(p)
}

// s3Reader is the body of one GET. It insists on the announced length and, where the store knows it, on the checksum.
type s3Reader struct {
	s       *s3Bucket
	ctx     context.Context
	attempt *attempt
	key     string
	body    io.ReadCloser
	size    int64
	read    int64
	crc     uint32
	want    string // CRC32C as S3 writes it, or ""
}

func (r *s3Reader) Read(p []byte) (int, error) {
	r.attempt.feed()
	n, err := r.body.Read(p)
	r.read += int64(n)
	r.crc = crc32.Update(r.crc, castagnoli, p[:n])
	switch {
	case err == nil:
		return n, nil
	case err != io.EOF:
		return n, r.s.classify(r.ctx, r.attempt, "get", r.key, err)
	case r.read != r.size:
		return n, fmt.Errorf("get %s: %d of %d bytes: %w: %w", r.s.url(r.key), r.read, r.size, ErrTransient, io.ErrUnexpectedEOF)
	case r.want != "" && encodeCRC(r.crc) != r.want:
		return n, fmt.Errorf("get %s: %w: crc32c is %s, was %s when written", r.s.url(r.key), ErrCorrupt, encodeCRC(r.crc), r.want)
	default:
		return n, io.EOF
	}
}

func (r *s3Reader) Close() error {
	r.attempt.stop()
	return r.body.Close()
}

// classify wraps the error of one request with what, which and its class; nil stays nil. ctx is the caller's context, the
// attempt's is derived from it.
func (s *s3Bucket) classify(ctx context.Context, a *attempt, op, key string, err error) error {
	if err == nil {
		return nil
	}
	wrap := func(class error, advice string) error {
		return fmt.Errorf("%s %s: %w: %w%s", op, s.url(key), class, err, advice)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", op, s.url(key), context.Cause(ctx))
	}
	if a.ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w: %w", op, s.url(key), ErrTransient, context.Cause(a.ctx))
	}
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		advice, class := transportClass(err)
		if asked := new(url.Error); errors.As(err, &asked) { // op and key say what it says
			err = asked.Err
		}
		return wrap(class, advice)
	}
	answer.Message = strings.TrimSuffix(answer.Message, ".") // advice follows
	err = answer
	switch answer.Code {
	case minio.NoSuchKey:
		return wrap(ErrNotFound, "")
	case minio.NoSuchBucket, minio.InvalidBucketName:
		return wrap(ErrDenied, fmt.Sprintf("; create the bucket %q at %s, or correct the store's url", s.bucket, s.core.EndpointURL()))
	case minio.AuthorizationHeaderMalformed, minio.InvalidRegion, "PermanentRedirect", "TemporaryRedirect":
		return wrap(ErrDenied, "; set the bucket's region: ?region= in the store's url, or AWS_REGION")
	case "RequestTimeTooSkewed": // time services, and people, set clocks without asking us
		return wrap(ErrTransient, "; set the clock of this machine")
	case "QuotaExceeded", "XMinioAdminBucketQuotaExceeded":
		return wrap(ErrTransient, fmt.Sprintf("; raise the quota of the bucket %q, or remove what is not needed", s.bucket))
	case "ExpiredToken", "RequestTimeout", "BadDigest", "XAmzContentSHA256Mismatch", "ConditionalRequestConflict", "OperationAborted", "Conflict":
		// A body that arrived damaged was refused, so it is safe to send it again. The last three are the 409s of S3 and of
		// gateways for a race that may be over at the next try; other 409s stay.
		return wrap(ErrTransient, "")
	}
	credentials := fmt.Sprintf("; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or the role, and that it may get, put, "+
		"list and delete objects of the bucket %q", s.bucket)
	switch status := answer.StatusCode; {
	case answer.Code == "XAdminUserNotFound": // versitygw of a key that it does not know, with the 404 of a missing object
		return wrap(ErrDenied, credentials)
	case status == http.StatusPreconditionFailed:
		return wrap(ErrExists, "")
	case status == http.StatusRequestedRangeNotSatisfiable:
		return wrap(ErrCorrupt, "; the object is shorter than it should be")
	case status == http.StatusNotFound && key != "":
		return wrap(ErrNotFound, "")
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return wrap(ErrDenied, credentials)
	case status == http.StatusNotImplemented:
		return wrap(ErrDenied, "; the store lacks what is asked of it: conditional writes (If-None-Match: *) and ListObjectsV2")
	case status == http.StatusInsufficientStorage:
		return wrap(ErrTransient, "; the store has no room: add some, or remove what is not needed")
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status == 499:
		return wrap(ErrTransient, "")
	case status >= 300 && status < 400:
		return wrap(ErrDenied, "; the endpoint redirects elsewhere: set it, or the region, in the store's url")
	default:
		return fmt.Errorf("%s %s: %w (%s)", op, s.url(key), err, answer.Code)
	}
}

// transportClass is the class of an error that is not an answer, and advice.
func transportClass(err error) (advice string, class error) {
	var untrusted x509.UnknownAuthorityError
	var wrongHost x509.HostnameError
	switch {
	case errors.As(err, &untrusted), errors.As(err, &wrongHost):
		return "; name the certificate authority's file in --store-ca or SSL_CERT_FILE, or correct the endpoint", ErrDenied
	case errors.Is(err, http.ErrSchemeMismatch):
		return "; the endpoint speaks http, not https", ErrDenied
	default:
		return "", ErrTransient
	}
}
