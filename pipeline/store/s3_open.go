package store

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"github.com/adastream/adastream/pipeline/access"
)

// identityTimeout bounds the question to the metadata service, which on a machine without one is not answered at all.
const identityTimeout = 5 * time.Second

// openS3 parses an s3:// URL and prepares the client. It opens no connection.
func openS3(place string, o Options) (*s3Bucket, error) {
	u, err := url.Parse(place)
	if err != nil {
		return nil, errors.New("store url: not a url (s3://bucket/prefix?endpoint=...&region=...)") // err would quote secrets
	}
	if u.User != nil {
		return nil, errors.New("store url: credentials do not belong in it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	if u.Fragment != "" { // of which nothing would be heard: the place would be another one, without its query
		return nil, errors.New("store url: a # is written %23")
	}
	if err := s3utils.CheckValidBucketName(u.Host); err != nil {
		return nil, fmt.Errorf("store url: bucket %q: %w", u.Host, err)
	}
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" {
		if err := checkKey(prefix); err != nil {
			return nil, fmt.Errorf("store url: prefix: %w", err)
		}
		prefix += "/"
	}
	query, err := parseQuery(u.RawQuery)
	if err != nil {
		return nil, err
	}
	sse, err := parseEncryption(query)
	if err != nil {
		return nil, err
	}
	lookup, err := parseStyle(query)
	if err != nil {
		return nil, err
	}
	endpoint, err := parseEndpoint(cmp.Or(query.Get("endpoint"), os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"),
		"https://s3.amazonaws.com"))
	if err != nil {
		return nil, err
	}
	region := cmp.Or(query.Get("region"), os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
	if region == "" && !s3utils.IsAmazonEndpoint(*endpoint) {
		region = "us-east-1" // what servers of other makers use; Amazon's are asked
	}
	transport, err := o.transport(endpoint.Scheme == "https")
	if err != nil {
		return nil, err
	}
	core, err := minio.NewCore(endpoint.Host, &minio.Options{
		Creds:        identity(region),
		Secure:       endpoint.Scheme == "https",
		Region:       region,
		Transport:    transport,
		BucketLookup: lookup,
		MaxRetries:   1, // see s3Bucket
	})
	if err != nil {
		return nil, fmt.Errorf("store url: endpoint %q: %w", endpoint, err)
	}
	return &s3Bucket{core: core, bucket: u.Host, prefix: prefix, sse: sse, o: o}, nil
}

// idleConnections are kept open for who reads many ranges at a time: the client would close all but 16, and open others for the
// next.
const idleConnections = 64

// transport is that of the options, or one that trusts their authorities.
func (o Options) transport(secure bool) (http.RoundTripper, error) {
	if o.Transport != nil {
		return o.Transport, nil
	}
	t, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, fmt.Errorf("store transport: %w", err)
	}
	t.MaxIdleConnsPerHost = idleConnections
	if secure && o.Authorities != nil {
		return access.Trusting(t, o.Authorities), nil
	}
	return t, nil
}

// identity asks for credentials, each time that those there are run out: the environment, the shared credentials file, then the role
// of the service account (AWS_WEB_IDENTITY_TOKEN_FILE), of the container or of the machine.
func identity(region string) *credentials.Credentials {
	role := &credentials.IAM{Client: &http.Client{Timeout: identityTimeout}, Region: region}
	if os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") != "" {
		role.Endpoint = cmp.Or(os.Getenv("AWS_ENDPOINT_URL_STS"), os.Getenv("AWS_ENDPOINT_URL"))
	}
	return credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, role})
}

// parameters are those of a store's URL.
var parameters = []string{"endpoint", "region", "path-style", "sse", "kms-key"}

func parseQuery(raw string) (url.Values, error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, fmt.Errorf("store url: query: %w", err)
	}
	for name, values := range query {
		if !slices.Contains(parameters, name) {
			return nil, fmt.Errorf("store url: query parameter %q: allowed are %s", name, strings.Join(parameters, ", "))
		}
		if len(values) > 1 {
			return nil, fmt.Errorf("store url: query parameter %q: given %d times", name, len(values))
		}
	}
	return query, nil
}

// parseEncryption is what the store is asked to encrypt objects with, nil for what the bucket does by itself.
func parseEncryption(query url.Values) (encrypt.ServerSide, error) {
	kind, key := query.Get("sse"), query.Get("kms-key")
	if key != "" && kind != "kms" {
		return nil, errors.New("store url: kms-key: goes with sse=kms")
	}
	switch kind {
	case "":
		return nil, nil
	case "s3":
		return encrypt.NewSSE(), nil
	case "kms":
		return encrypt.NewSSEKMS(key, nil)
	default:
		return nil, fmt.Errorf("store url: sse %q: allowed are s3 and kms", kind)
	}
}

func parseStyle(query url.Values) (minio.BucketLookupType, error) {
	switch style := query.Get("path-style"); style {
	case "":
		return minio.BucketLookupAuto, nil
	case "true":
		return minio.BucketLookupPath, nil
	case "false":
		return minio.BucketLookupDNS, nil
	default:
		return 0, fmt.Errorf("store url: path-style %q: allowed are true and false", style)
	}
}

func parseEndpoint(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, errors.New("store endpoint: must be http://host:port or https://host:port, without path or credentials")
	}
	if s3utils.IsGoogleEndpoint(*u) {
		// Its S3 dialect knows If-None-Match on reads only. Better said here than by Probe after a confusing checksum error.
		return nil, fmt.Errorf("store endpoint %q: %w: Google Cloud Storage ignores conditional writes sent in S3's way, so publishing on "+
			"it would lose data: use Amazon S3, MinIO, another store that honours If-None-Match: *, or a directory", u.Host, ErrDenied)
	}
	return u, nil
}
