package store

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
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
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("store url: query: %w", err)
	}
	for name, values := range query {
		if name != "endpoint" && name != "region" {
			return nil, fmt.Errorf("store url: query parameter %q: allowed are endpoint and region", name)
		}
		if len(values) > 1 {
			return nil, fmt.Errorf("store url: query parameter %q: given %d times", name, len(values))
		}
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
	core, err := minio.NewCore(endpoint.Host, &minio.Options{
		Creds: credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{},
			&credentials.FileAWSCredentials{},
			&credentials.IAM{Client: &http.Client{Timeout: identityTimeout}},
		}),
		Secure:     endpoint.Scheme == "https",
		Region:     region,
		Transport:  o.Transport,
		MaxRetries: 1, // see s3Bucket
	})
	if err != nil {
		return nil, fmt.Errorf("store url: endpoint %q: %w", endpoint, err)
	}
	return &s3Bucket{core: core, bucket: u.Host, prefix: prefix, o: o}, nil
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
