package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"
)

// s3Bucket is a Bucket under a key prefix of an S3 bucket.
//
// Everything is built on single requests: the client's own retries are off, since it would retry a conditional put whose
// answer was lost and report the 412 for its own object, and multipart is never used, since minio-go's multipart upload
// drops the condition when it completes.
type s3Bucket struct {
	core   *minio.Core
	bucket string
	prefix string // "" or ends in '/'
	sse    encrypt.ServerSide
	o      Options
}

func (s *s3Bucket) String() string {
	return "s3://" + s.bucket + strings.TrimSuffix("/"+s.prefix, "/")
}

func (s *s3Bucket) url(key string) string { return "s3://" + s.bucket + "/" + s.prefix + key }

// PutIfAbsent implements Bucket.
func (s *s3Bucket) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	if err := begin(ctx, key); err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	sha := hex.EncodeToString(sum[:])
	crc := encodeCRC(crc32.Checksum(body, castagnoli))
	_, err := retry(ctx, s.o.Tries, s.o.Pause, func() (struct{}, error) {
		err := s.putOnce(ctx, key, body, sha, crc)
		if errors.Is(err, ErrExists) || errors.Is(err, ErrTransient) {
			err = s.settle(ctx, key, body, err)
		}
		return struct{}{}, err
	})
	if errors.Is(err, ErrTransient) || ctx.Err() != nil && err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return err
}

// putOnce sends one conditional put. The server checks the SHA-256, which the signature covers, and keeps the CRC32C,
// which reads are checked against; the usual way of sending checksums, as a trailer, is beyond several servers.
func (s *s3Bucket) putOnce(ctx context.Context, key string, body []byte, sha, crc string) error {
	attempt := watch(ctx, s.o.Timeout)
	defer attempt.stop()
	options := minio.PutObjectOptions{
		UserMetadata:         map[string]string{"X-Amz-Checksum-Crc32c": crc},
		ServerSideEncryption: s.sse,
		DisableContentSha256: true, // that is: sign the sum we pass in, do not sign chunk by chunk
	}
	options.SetMatchETagExcept("*")
	_, err := s.core.PutObject(attempt.ctx, s.bucket, s.prefix+key, attempt.reader(bytes.NewReader(body)),
		int64(len(body)), "", sha, options)
	return s.classify(ctx, attempt, "put", key, err)
}

// settle finds out what became of a put that was answered with doubt: a lost answer, a reset connection, or a 412 that
// an earlier try of our own may have caused.
func (s *s3Bucket) settle(ctx context.Context, key string, body []byte, doubt error) error {
	r, size, err := s.openOnce(ctx, key)
	if errors.Is(err, ErrNotFound) {
		if errors.Is(doubt, ErrExists) {
			return fmt.Errorf("put %s: refused as existing, yet absent when read back: %w", s.url(key), ErrTransient)
		}
		return doubt
	}
	if err != nil {
		return unsettled(doubt, err)
	}
	defer r.Close()
	same := size == int64(len(body))
	if same {
		if same, err = sameBytes(r, body); err != nil {
			return unsettled(doubt, err)
		}
	}
	if !same {
		return fmt.Errorf("put %s: %w", s.url(key), ErrExists)
	}
	return nil
}

// unsettled has the class of the failed reading only: the doubt might be ErrExists, which was not confirmed.
func unsettled(doubt, reading error) error {
	return fmt.Errorf("%v; then read back: %w", doubt, reading)
}

// Get implements Bucket.
func (s *s3Bucket) Get(ctx context.Context, key string) ([]byte, error) {
	if err := begin(ctx, key); err != nil {
		return nil, err
	}
	return retry(ctx, s.o.Tries, s.o.Pause, func() ([]byte, error) {
		r, size, err := s.openOnce(ctx, key)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		body := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead)) // room for the read that finds the end
		if _, err := body.ReadFrom(r); err != nil {
			return nil, err
		}
		return body.Bytes(), nil
	})
}

// Open implements Bucket. A failure of the stream itself is the caller's to retry.
func (s *s3Bucket) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	if err := begin(ctx, key); err != nil {
		return nil, 0, err
	}
	r, err := retry(ctx, s.o.Tries, s.o.Pause, func() (*s3Reader, error) {
		r, _, err := s.openOnce(ctx, key)
		return r, err
	})
	if err != nil {
		return nil, 0, err
	}
	return r, r.size, nil
}

func (s *s3Bucket) openOnce(ctx context.Context, key string) (*s3Reader, int64, error) {
	attempt := watch(ctx, s.o.Timeout)
	var options minio.GetObjectOptions
	options.Set("X-Amz-Checksum-Mode", "ENABLED")
	body, info, _, err := s.core.GetObject(attempt.ctx, s.bucket, s.prefix+key, options)
	if err == nil && info.Size < 0 {
		body.Close()
		err = fmt.Errorf("get %s: the answer has no Content-Length", s.url(key))
	}
	if err != nil {
		defer attempt.stop()
		return nil, 0, s.classify(ctx, attempt, "get", key, err)
	}
	r := &s3Reader{s: s, ctx: ctx, attempt: attempt, key: key, body: body, size: info.Size}
	// A sum with a dash is one of a multipart upload's parts, made by some copying tool: not comparable.
	if sum := info.ChecksumCRC32C; sum != "" && !strings.Contains(sum, "-") {
		r.want = sum
	}
	return r, info.Size, nil
}

// Range implements Bucket.
func (s *s3Bucket) Range(ctx context.Context, key string, at, n int64) ([]byte, error) {
	if err := begin(ctx, key); err != nil {
		return nil, err
	}
	return retry(ctx, s.o.Tries, s.o.Pause, func() ([]byte, error) { return s.rangeOnce(ctx, key, at, n) })
}

func (s *s3Bucket) rangeOnce(ctx context.Context, key string, at, n int64) ([]byte, error) {
	attempt := watch(ctx, s.o.Timeout)
	var options minio.GetObjectOptions
	if err := options.SetRange(at, at+n-1); err != nil {
		defer attempt.stop()
		return nil, err
	}
	body, info, header, err := s.core.GetObject(attempt.ctx, s.bucket, s.prefix+key, options)
	if err != nil {
		defer attempt.stop()
		return nil, s.classify(ctx, attempt, "range", key, err)
	}
	r := &s3Reader{s: s, ctx: ctx, attempt: attempt, key: key, body: body, size: n}
	defer r.Close()
	switch {
	case header.Get("Content-Range") == "": // the whole object
		return nil, fmt.Errorf("range %s: %w; the store, or what is before it, takes no notice of ranges (the header Range)", s.url(key), ErrDenied)
	case info.Size != n: // what there is of the range
		return nil, short(s.url(key), at, n)
	}
	bytes := make([]byte, n)
	_, err = io.ReadFull(r, bytes)
	return bytes, err
}

// Stat implements Bucket.
func (s *s3Bucket) Stat(ctx context.Context, key string) (Info, error) {
	if err := begin(ctx, key); err != nil {
		return Info{}, err
	}
	return retry(ctx, s.o.Tries, s.o.Pause, func() (Info, error) {
		attempt := watch(ctx, s.o.Timeout)
		defer attempt.stop()
		info, err := s.core.StatObject(attempt.ctx, s.bucket, s.prefix+key, minio.StatObjectOptions{})
		if err != nil {
			return Info{}, s.classify(ctx, attempt, "stat", key, err)
		}
		return Info{key, info.Size, info.LastModified}, nil
	})
}

// Delete implements Bucket.
func (s *s3Bucket) Delete(ctx context.Context, key string) error {
	if err := begin(ctx, key); err != nil {
		return err
	}
	_, err := retry(ctx, s.o.Tries, s.o.Pause, func() (struct{}, error) {
		attempt := watch(ctx, s.o.Timeout)
		defer attempt.stop()
		err := s.core.RemoveObject(attempt.ctx, s.bucket, s.prefix+key, minio.RemoveObjectOptions{})
		return struct{}{}, s.classify(ctx, attempt, "delete", key, err)
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

const listPage = 1000 // the most S3 returns at once

// List implements Bucket. It reads page by page, each with its own tries.
func (s *s3Bucket) List(ctx context.Context, prefix, startAfter string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		last := startAfter
		for {
			page, err := retry(ctx, s.o.Tries, s.o.Pause, func() ([]Info, error) { return s.listOnce(ctx, prefix, last) })
			if err != nil {
				yield(Info{}, err)
				return
			}
			for _, info := range page {
				if info.Key <= last {
					yield(Info{}, fmt.Errorf("list %s: %w: the store lists %q after %q, not in ascending order (as S3 directory "+
						"buckets do): use a general purpose bucket", s.url(prefix), ErrDenied, info.Key, last))
					return
				}
				last = info.Key
				if checkKey(info.Key) == nil && !yield(info, nil) {
					return
				}
			}
			if len(page) < listPage {
				return
			}
		}
	}
}

// listOnce returns at most listPage objects; fewer are the last ones.
func (s *s3Bucket) listOnce(ctx context.Context, prefix, startAfter string) ([]Info, error) {
	attempt := watch(ctx, s.o.Timeout)
	defer attempt.stop()
	options := minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true, MaxKeys: listPage}
	if startAfter != "" {
		options.StartAfter = s.prefix + startAfter
	}
	page := make([]Info, 0, listPage)
	for object := range s.core.ListObjectsIter(attempt.ctx, s.bucket, options) {
		if object.Err != nil {
			return nil, s.classify(ctx, attempt, "list", prefix, object.Err)
		}
		attempt.feed()
		page = append(page, Info{strings.TrimPrefix(object.Key, s.prefix), object.Size, object.LastModified})
		if len(page) == listPage {
			break
		}
	}
	// The client ends a listing whose context ended as if it were complete.
	return page, s.classify(ctx, attempt, "list", prefix, attempt.ctx.Err())
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeCRC is S3's notation of a CRC: base64 of its big-endian bytes.
func encodeCRC(crc uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc))
}
