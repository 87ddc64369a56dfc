package store_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/store/storetest"
)

// fakeS3 speaks as much S3 as the store uses, so that the client's behaviour is tested where there is no server. It checks
// no signatures.
type fakeS3 struct {
	// ignoreConditions makes it one of those that overwrite; lookFirst one of those that check and then write.
	ignoreConditions, lookFirst bool
	// reverse makes it list in descending order.
	reverse bool

	mu      sync.Mutex
	objects map[string]fakeObject // by "bucket/key"
}

// lookWindow is how long such a server takes from its look to its write: enough for another request to come in.
const lookWindow = 50 * time.Millisecond

type fakeObject struct {
	body     []byte
	crc      string
	modified time.Time
}

func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	switch {
	case r.Method == http.MethodPut:
		f.put(w, r, name)
	case r.Method == http.MethodDelete:
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.objects, name)
		w.WriteHeader(http.StatusNoContent)
	case r.URL.Query().Get("list-type") == "2":
		f.list(w, r, strings.TrimSuffix(name, "/"))
	default:
		f.get(w, r, name)
	}
}

func (f *fakeS3) put(w http.ResponseWriter, r *http.Request, name string) {
	body, err := io.ReadAll(r.Body)
	if sum := sha256.Sum256(body); err != nil || hex.EncodeToString(sum[:]) != r.Header.Get("X-Amz-Content-Sha256") {
		refuse(w, http.StatusBadRequest, "XAmzContentSHA256Mismatch")
		return
	}
	_, exists := f.find(name)
	if f.lookFirst {
		time.Sleep(lookWindow)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.lookFirst {
		_, exists = f.objects[name]
	}
	if exists && !f.ignoreConditions && r.Header.Get("If-None-Match") == "*" {
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	f.objects[name] = fakeObject{body, r.Header.Get("X-Amz-Checksum-Crc32c"), time.Now()}
}

func (f *fakeS3) find(name string) (fakeObject, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	object, ok := f.objects[name]
	return object, ok
}

func (f *fakeS3) get(w http.ResponseWriter, r *http.Request, name string) {
	object, ok := f.find(name)
	if !ok {
		refuse(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	w.Header().Set("Last-Modified", object.modified.UTC().Format(http.TimeFormat))
	w.Header().Set("Etag", `"etag"`)
	if r.Header.Get("Range") != "" {
		http.ServeContent(w, r, "", object.modified, bytes.NewReader(object.body))
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(object.body)))
	if r.Header.Get("X-Amz-Checksum-Mode") == "ENABLED" {
		w.Header().Set("X-Amz-Checksum-Crc32c", object.crc)
	}
	if r.Method == http.MethodGet {
		w.Write(object.body)
	}
}

func (f *fakeS3) list(w http.ResponseWriter, r *http.Request, bucket string) {
	type content struct {
		Key          string
		Size         int
		LastModified time.Time
	}
	type result struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string
		Contents              []content
	}
	query := r.URL.Query()
	limit, _ := strconv.Atoi(query.Get("max-keys"))
	after := max(query.Get("start-after"), query.Get("continuation-token"))
	var page result
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, object := range f.objects {
		key, ok := strings.CutPrefix(name, bucket+"/")
		if ok && strings.HasPrefix(key, query.Get("prefix")) && key > after {
			page.Contents = append(page.Contents, content{key, len(object.body), object.modified})
		}
	}
	slices.SortFunc(page.Contents, func(a, b content) int { return strings.Compare(a.Key, b.Key) })
	// Answers fewer than asked for, as a server may.
	if limit = min(limit, 300); len(page.Contents) > limit {
		page.Contents = page.Contents[:limit]
		page.IsTruncated, page.NextContinuationToken = true, page.Contents[limit-1].Key
	}
	if f.reverse {
		slices.Reverse(page.Contents)
	}
	xml.NewEncoder(w).Encode(page)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>test</Message></Error>", code)
}

// serve starts f and returns the place of a bucket on it.
func (f *fakeS3) serve(t *testing.T) string {
	t.Helper()
	f.objects = map[string]fakeObject{}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	return "s3://bucket/pre/fix?endpoint=" + server.URL
}

// s3Place is an empty bucket on the real server if one is named, else on a fake one.
func s3Place(t *testing.T) string {
	t.Helper()
	if os.Getenv("ADASTREAM_TEST_S3") != "" {
		return storetest.S3URL(t)
	}
	return new(fakeS3).serve(t)
}

func TestFakeS3(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Bucket { return open(t, new(fakeS3).serve(t), quick) })
}
