// Package storetest is the conformance suite of store.Bucket, and opens stores for the tests of other packages.
//
// The stores it opens are real: the S3 server named by ADASTREAM_TEST_S3 (http://KEY:SECRET@host:port, see .ci/s3.sh) if that
// is set, else a directory.
package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/adastream/adastream/pipeline/store"
)

// serverVar is the environment variable that names the S3 server.
const serverVar = "ADASTREAM_TEST_S3"

const (
	bucketName = "adastream-test"
	region     = "us-east-1"
)

// Open returns an empty bucket of its own for t.
func Open(t testing.TB) store.Bucket {
	t.Helper()
	b, err := store.Open(t.Context(), URL(t), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// URL returns the place of an empty bucket of its own for t, which other processes can open too: it puts the credentials
// that they need into the environment until t ends.
func URL(t testing.TB) string {
	t.Helper()
	if os.Getenv(serverVar) == "" {
		return "file://" + filepath.Join(t.TempDir(), "store")
	}
	return S3URL(t)
}

// S3URL is URL for tests that are about S3. It skips t when no server is named.
func S3URL(t testing.TB) string {
	t.Helper()
	server := os.Getenv(serverVar)
	if server == "" {
		t.Skip(serverVar + " is not set")
	}
	u, err := url.Parse(server)
	if err != nil || u.User == nil || u.Host == "" {
		t.Fatalf("%s: must be http://KEY:SECRET@host:port", serverVar)
	}
	key := u.User.Username()
	secret, _ := u.User.Password()
	t.Setenv("AWS_ACCESS_KEY_ID", key)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)

	client, err := minio.New(u.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(key, secret, ""),
		Secure: u.Scheme == "https",
		Region: region,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.MakeBucket(t.Context(), bucketName, minio.MakeBucketOptions{}); err != nil && !isOurs(err) {
		t.Fatalf("make bucket %s: %v", bucketName, err)
	}
	prefix := strings.ToLower(rand.Text())
	t.Cleanup(func() { empty(t, client, prefix+"/") })
	query := url.Values{"endpoint": {u.Scheme + "://" + u.Host}, "region": {region}}
	return "s3://" + bucketName + "/" + prefix + "?" + query.Encode()
}

// isOurs says whether a bucket could not be made because it is there, and ours.
func isOurs(err error) bool {
	var answer minio.ErrorResponse
	return errors.As(err, &answer) && answer.Code == "BucketAlreadyOwnedByYou"
}

func empty(t testing.TB, client *minio.Client, prefix string) {
	ctx := context.Background() // that of t has ended
	for object := range client.ListObjectsIter(ctx, bucketName, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if object.Err != nil {
			t.Errorf("clean up %s: %v", prefix, object.Err)
			return
		}
		if err := client.RemoveObject(ctx, bucketName, object.Key, minio.RemoveObjectOptions{}); err != nil {
			t.Errorf("clean up %s: %v", object.Key, err)
		}
	}
}
