package access

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const maxFile = 1 << 20 // bytes of a file that is read

// source is some files that are read together.
type source struct {
	paths []string
	seen  []byte // sum of what was last read, or could not be; nil before
}

func (s *source) String() string { return strings.Join(s.paths, ", ") }

// read returns what the files hold, if that is not what it was last time. Bytes are compared, not times: those of a mounted secret
// may stand still. What was seen once, good or bad, is not told again.
func (s *source) read() (contents [][]byte, changed bool, err error) {
	sum := sha256.New()
	for _, path := range s.paths {
		content, failed := readFile(path)
		if failed != nil {
			err = errors.Join(err, failed)
			fmt.Fprintf(sum, "error %v\n", failed)
		}
		fmt.Fprintf(sum, "%d bytes\n", len(content))
		sum.Write(content)
		contents = append(contents, content)
	}
	now := sum.Sum(nil)
	if bytes.Equal(now, s.seen) {
		return nil, false, nil
	}
	s.seen = now
	if err != nil {
		return nil, false, err
	}
	return contents, true, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("%s: more than %d bytes", path, maxFile)
	}
	return content, nil
}

// Reloaded is something made of files that may change: Tokens and Certificates are.
type Reloaded interface {
	// Look takes in what has changed since, and reports whether that was anything. An error leaves all as it was, and comes once.
	Look() (changed bool, err error)
	String() string
}

// Reloader looks at files again and again.
type Reloader struct {
	files    []Reloaded
	log      *slog.Logger
	failures prometheus.Counter
}

// NewReloader looks after files.
func NewReloader(log *slog.Logger, r prometheus.Registerer, files ...Reloaded) *Reloader {
	gauge := func(name, help string, value func(*x509.Certificate) float64) {
		promauto.With(r).NewGaugeFunc(prometheus.GaugeOpts{Namespace: "adastream", Subsystem: "query", Name: name, Help: help}, func() float64 {
			if c := firstToExpire(files); c != nil {
				return value(c)
			}
			return math.NaN()
		})
	}
	gauge("access_certificate_expiry_timestamp_seconds", "Expiry of the certificate that this node shows to clients or peers, in Unix seconds; the earliest if there are several. NaN without TLS.",
		func(c *x509.Certificate) float64 { return float64(c.NotAfter.Unix()) })
	gauge("access_certificate_lifetime_seconds", "Validity period of the certificate that expires first, in seconds. NaN without TLS.",
		func(c *x509.Certificate) float64 { return c.NotAfter.Sub(c.NotBefore).Seconds() })
	return &Reloader{files: files, log: log, failures: promauto.With(r).NewCounter(prometheus.CounterOpts{Namespace: "adastream", Subsystem: "query",
		Name: "access_reload_failures_total", Help: "Number of failed reloads of the tokens file or a TLS file that changed. The previous content stays in force."})}
}

// Look looks once.
func (r *Reloader) Look() {
	for _, f := range r.files {
		switch changed, err := f.Look(); {
		case err != nil:
			r.failures.Inc()
			r.log.Error("a changed file cannot be used, what was read before stays in force", "file", f.String(), "error", err)
		case changed:
			r.log.Info("read again", "file", f.String())
		}
	}
}

// firstToExpire is the certificate, of those that are shown, that expires before the others; nil if none is.
func firstToExpire(files []Reloaded) (first *x509.Certificate) {
	for _, f := range files {
		shown, ok := f.(*Certificate)
		if !ok {
			continue
		}
		if c := shown.current.Load().Certificates[0].Leaf; first == nil || c.NotAfter.Before(first.NotAfter) {
			first = c
		}
	}
	return first
}
