package store_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Bucket { return store.NewMemory() })
}

func TestDirectory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Bucket { return open(t, t.TempDir(), store.Options{}) })
}

func TestUnder(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Bucket { return store.Under(store.NewMemory(), "a/b") })
}

// What is put into a folder is what Open finds there, and nothing beside it is seen.
func TestUnderIsThePlaceBelow(t *testing.T) {
	dir := t.TempDir()
	outer := open(t, dir, store.Options{})
	for _, key := range []string{"a/b/x", "a/b-/y", "a/z", "a/b/c/w"} {
		if err := outer.PutIfAbsent(t.Context(), key, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	inside, opened := store.Under(outer, "a/b"), open(t, dir+"/a/b", store.Options{})
	if inside.String() != opened.String() {
		t.Errorf("%s, opened it is %s", inside, opened)
	}
	for _, b := range []store.Bucket{inside, opened} {
		var keys []string
		for info, err := range b.List(t.Context(), "", "c") {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, info.Key)
		}
		if strings.Join(keys, " ") != "c/w x" {
			t.Errorf("%s has %q, want c/w and x", b, keys)
		}
	}
}

func TestS3Server(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Bucket { return open(t, storetest.S3URL(t), store.Options{}) })
}

func open(t *testing.T, place string, o store.Options) store.Bucket {
	t.Helper()
	b, err := store.Open(t.Context(), place, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for place, want := range map[string]string{
		filepath.Join(dir, "new"):                            "file://" + filepath.Join(dir, "new"),
		"file://" + dir + "/a b":                             "file://" + dir + "/a b",
		"s3://bucket":                                        "s3://bucket",
		"s3://bucket/":                                       "s3://bucket",
		"s3://bucket/pre/fix/":                               "s3://bucket/pre/fix",
		"s3://bucket/p?region=eu-west-1":                     "s3://bucket/p",
		"s3://bucket?endpoint=http://127.0.0.1:9000":         "s3://bucket",
		"s3://bucket?endpoint=https%3A%2F%2Fminio.example/":  "s3://bucket",
		"s3://bucket?endpoint=http://127.0.0.1:9&region=r-1": "s3://bucket",
	} {
		b, err := store.Open(t.Context(), place, store.Options{})
		if err != nil || b.String() != want {
			t.Errorf("Open(%q) = %v, %v, want %s", place, b, err, want)
		}
	}
}

func TestOpen_faults(t *testing.T) {
	for _, tt := range []struct {
		place string
		o     store.Options
		want  string
	}{
		{place: "", want: "allowed are"},
		{place: "mem://x", want: "allowed are"},
		{place: "gs://bucket", want: `scheme "gs": allowed are s3://, file://`},
		{place: "file://host/a", want: "absolute path"},
		{place: "file:///a?b=c", want: "absolute path"},
		{place: "s3://", want: "bucket"},
		{place: "s3://b_/x", want: `bucket "b_"`},
		{place: "s3://key:secret@bucket", want: "AWS_ACCESS_KEY_ID"},
		{place: "s3://bucket/a/../b", want: `prefix: key "a/../b"`},
		{place: "s3://bucket?endpont=http://x", want: `"endpont": allowed are endpoint, region, path-style, sse, kms-key`},
		{place: "s3://bucket?region=a&region=b", want: "2 times"},
		{place: "s3://bucket?endpoint=minio:9000", want: "must be http://host:port"},
		{place: "s3://bucket?endpoint=http://minio/path", want: "must be http://host:port"},
		{place: "s3://bucket?endpoint=https://storage.googleapis.com", want: "Google Cloud Storage ignores"},
		{place: t.TempDir(), o: store.Options{Timeout: -1, Tries: -2, Pause: -3}, want: "timeout -1ns: must be positive, or 0 for 30s\nstore tries -2"},
	} {
		b, err := store.Open(t.Context(), tt.place, tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Open(%q, %+v) = %v, %v, want an error with %q", tt.place, tt.o, b, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("Open(%q): %v: tells the secret", tt.place, err)
		}
	}
}

// The environment chooses the endpoint when the URL does not.
func TestOpen_endpointFromEnvironment(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL", "http://ok.example")
	t.Setenv("AWS_ENDPOINT_URL_S3", "nonsense")
	if _, err := store.Open(t.Context(), "s3://bucket", store.Options{}); err == nil {
		t.Error("AWS_ENDPOINT_URL_S3 was not used first")
	}
	if _, err := store.Open(t.Context(), "s3://bucket?endpoint=http://ok.example", store.Options{}); err != nil {
		t.Errorf("the endpoint of the url was not used first: %v", err)
	}
}

func TestErrUnknownIsTransient(t *testing.T) {
	if !errors.Is(store.ErrUnknown, store.ErrTransient) {
		t.Error("a caller that retries ErrTransient would give up on ErrUnknown")
	}
}

var quick = store.Options{Pause: time.Millisecond, Timeout: 5 * time.Second}
