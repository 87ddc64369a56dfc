package cli

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/internal/mutate"
	"github.com/adastream/adastream/pipeline/access"
	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

const hostileDim = 4

// servingNode is one of a few rows that runs until the test ends.
func servingNode(t *testing.T) *serve.Node {
	t.Helper()
	spec := schemas.Spec{Name: "n", Ladder: []int{hostileDim}, Encoder: "e", Topic: schemas.Topic{Name: "t", Partitions: 1}}.WithDefaults()
	bucket := store.NewMemory()
	log := buildtest.Create(t, bucket, &spec)
	rows := segment.NewRows(&spec)
	for i := range 10 {
		rows.IDs = append(rows.IDs, fmt.Sprint("id-", i))
		rows.Orders = append(rows.Orders, segment.Order{Offset: int64(i)})
		x := float64(i) / 10
		rows.AppendFloats(avx.Generic, []float32{float32(math.Sin(x)), float32(math.Cos(x)), 0, 0})
	}
	buildtest.Append(t, log, &schemas.Commit{Start: 0, End: 10, Watermark: 100, Produced: 100}, rows, nil, nil, nil)
	m := buildtest.Build(t, log, func(*schemas.Manifest) bool { return true })
	if _, err := log.Promote(t.Context(), nil, schemas.Channel{Generation: m.Generation, Reason: "test", By: "t"}); err != nil && !errors.Is(err, schemas.ErrFenced) {
		t.Fatal(err)
	}
	n, err := serve.New(serve.Options{Log: log, Cache: buildtest.Cache(t, bucket), Level: avx.Generic, PollEvery: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		n.Close()
	})
	for deadline := time.Now().Add(time.Minute); n.Ready() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(n.Ready())
		}
	}
	return n
}

// listening serves a handler on a port until the test ends, with times that a test can wait for.
func listening(t *testing.T, handler http.Handler, patience time.Duration) string {
	t.Helper()
	server := serving{}.newServer(handler)
	for what, d := range map[string]time.Duration{"header": server.ReadHeaderTimeout, "read": server.ReadTimeout, "write": server.WriteTimeout, "idle": server.IdleTimeout} {
		if d <= 0 || d > 5*time.Minute {
			t.Errorf("%s: the time is %v", what, d)
		}
	}
	server.ReadHeaderTimeout, server.ReadTimeout, server.IdleTimeout = patience/2, patience, patience
	l, err := Listen(t.Context(), "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }() // it ends with Close
	t.Cleanup(func() { server.Close() })
	return l.Addr().String()
}

// guarded is a node behind its gate, as it is served.
func guarded(t *testing.T, node *serve.Node) http.Handler {
	t.Helper()
	g, err := Access{}.Open("127.0.0.1:0", slog.New(slog.DiscardHandler), NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return g.api(node.API())
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// drip sends a byte at a time until the other side has had enough, and returns how long that took and what it said.
func drip(c net.Conn, endless string) (took time.Duration, answer string) {
	began := time.Now()
	ended := make(chan string)
	go func() {
		body, _ := io.ReadAll(c) // a reset is an end too
		ended <- string(body)
	}()
	for i := 0; ; i++ {
		select {
		case answer := <-ended:
			return time.Since(began), answer
		case <-time.After(20 * time.Millisecond):
		}
		if _, err := c.Write([]byte{endless[i%len(endless)]}); err != nil {
			return time.Since(began), <-ended
		}
	}
}

const bounded = 15 * time.Second // what takes about a second on an idle machine

// Who sends little at a time is cut off, and until then others do not notice.
func TestSlowloris(t *testing.T) {
	api := guarded(t, servingNode(t))
	address := listening(t, api, 2*time.Second)
	for range 200 {
		if _, err := io.WriteString(dial(t, address), "POST /v1/search HTTP/1.1\r\nHost: x\r\nX-Header: "); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if got := status(t, http.DefaultClient, "http://"+address+"/v1/snapshots", ""); got != 200 || time.Since(began) > bounded {
		t.Errorf("beside 200 slow ones: %d in %v", got, time.Since(began))
	}
	c := dial(t, address)
	fmt.Fprint(c, "GET /v1/snapshots HTTP/1.1\r\nHost: x\r\n")
	if took, answer := drip(c, "X-A: b\r\n"); took > bounded || strings.Contains(answer, "200 OK") {
		t.Errorf("headers without end: %v, %q", took, answer)
	}
	c = dial(t, address)
	fmt.Fprint(c, "POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{\"like\":\"")
	took, answer := drip(c, "x")
	if took > bounded || strings.Contains(answer, "200 OK") {
		t.Errorf("a body without end: %v, %q", took, answer)
	}
	if strings.Contains(answer, "500 Internal") {
		t.Errorf("a slow client is told of a fault of the node: %q", answer)
	}
	c = dial(t, address)
	fmt.Fprint(c, "GET /v1/snapshots HTTP/1.1\r\nHost: x\r\n\r\n")
	began = time.Now()
	if _, err := io.Copy(io.Discard, c); err != nil || time.Since(began) > bounded {
		t.Errorf("an idle connection: %v after %v", err, time.Since(began))
	}
}

// The same over TLS: a handshake that does not come to its end, and HTTP/2, which has many requests on one connection.
func TestSlowlorisOverTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "a")
	c, err := access.OpenCertificate(cert, key, "")
	if err != nil {
		t.Fatal(err)
	}
	server := serving{tls: c.Config()}.newServer(guarded(t, servingNode(t)))
	server.ReadHeaderTimeout, server.ReadTimeout, server.IdleTimeout = time.Second, 2*time.Second, 2*time.Second
	l, err := Listen(t.Context(), "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.ServeTLS(l, "", "") }() // it ends with Close
	t.Cleanup(func() { server.Close() })
	address := l.Addr().String()
	if took, _ := drip(dial(t, address), "\x16\x03\x01\x40\x00"); took > bounded {
		t.Errorf("a handshake without end: %v", took)
	}
	config, err := clientTLS("node", cert, "", "")
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	var slow sync.WaitGroup
	for range 100 {
		slow.Go(func() {
			body, feed := io.Pipe()
			defer feed.Close()
			go func() { _, _ = io.WriteString(feed, `{"like":"`) }() // and no more
			began := time.Now()
			answer, err := client.Post("https://"+address+"/v1/search", "application/json", body)
			if err == nil {
				answer.Body.Close()
				if answer.ProtoMajor != 2 || answer.StatusCode == 200 || answer.StatusCode == 500 {
					t.Errorf("a body without end by %s: %s", answer.Proto, answer.Status)
				}
			}
			if took := time.Since(began); took > bounded {
				t.Errorf("a body without end: %v", took)
			}
		})
	}
	if got := status(t, client, "https://"+address+"/v1/snapshots", ""); got != 200 {
		t.Errorf("beside 100 slow ones: %d", got)
	}
	slow.Wait()
}

// The ops port answers questions. Nothing that is sent there changes anything.
func TestOpsPortIsReadOnly(t *testing.T) {
	n := servingNode(t)
	for name, pages := range map[string]http.Handler{"query": n.Ops(), "others": OpsHandler(NewRegistry(), func() error { return nil }), "profiles": withProfiles(n.Ops())} {
		for _, path := range []string{"/", "/livez", "/readyz", "/metrics", "/debug/pprof/heap", "/debug/pprof/profile", "/v1/admin/promote", "/v1/search"} {
			for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT"} {
				w := httptest.NewRecorder()
				pages.ServeHTTP(w, httptest.NewRequest(method, "http://x"+path, nil))
				if w.Code != http.StatusMethodNotAllowed && w.Code != http.StatusNotFound {
					t.Errorf("%s: %s %s: %d", name, method, path, w.Code)
				}
			}
		}
	}
}

// What is no clear request is refused, and what comes after it on the connection is not taken for another one. A proxy in front may
// see the border elsewhere.
func TestSmuggledRequests(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	address := listening(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.URL.Path)
	}), 3*time.Second)
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, c := range map[string]struct {
		request string
		status  string // of the only answer
	}{
		"two lengths":               {"POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 40\r\n\r\n" + smuggled, "400"},
		"two lengths in one":        {"POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 40\r\n\r\n" + smuggled, "400"},
		"a length with a sign":      {"POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n" + smuggled, "400"},
		"a length below none":       {"POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n" + smuggled, "400"},
		"an unknown coding":         {"POST /first HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n" + smuggled, "501"},
		"two codings":               {"POST /first HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n" + smuggled, "501"},
		"codings in two lines":      {"POST /first HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + smuggled, "501"},
		"a space before the colon":  {"POST /first HTTP/1.1\r\nHost: x\r\nContent-Length : 40\r\n\r\n" + smuggled, "400"},
		"a space before the header": {"POST /first HTTP/1.1\r\n Content-Length: 40\r\nHost: x\r\n\r\n" + smuggled, "400"},
		"two hosts":                 {"POST /first HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + smuggled, "400"},
		"no host":                   {"POST /first HTTP/1.1\r\n\r\n" + smuggled, "400"},
		"a zero in a header":        {"POST /first HTTP/1.1\r\nHost: x\r\nX-A: \x00\r\n\r\n" + smuggled, "400"},
		"a chunk with a bad length": {"POST /first HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + smuggled, "200"},
	} {
		t.Run(name, func(t *testing.T) {
			mu.Lock()
			seen = nil
			mu.Unlock()
			conn := dial(t, address)
			if _, err := io.WriteString(conn, c.request); err != nil {
				t.Fatal(err)
			}
			answers := readAnswers(conn)
			mu.Lock()
			defer mu.Unlock()
			if len(answers) != 1 || answers[0] != c.status {
				t.Errorf("answers %v, want %s", answers, c.status)
			}
			for _, path := range seen {
				if path != "/first" {
					t.Errorf("reached %s", path)
				}
			}
		})
	}
	// Of both a length and chunks the standard lets a server take the chunks. This one does: a length that a proxy believed ends nothing.
	conn := dial(t, address)
	fmt.Fprint(conn, "POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n31\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\nX-Padding: 1\r\n\r\n\r\n0\r\n\r\n")
	readAnswers(conn)
	mu.Lock()
	defer mu.Unlock()
	if strings.Contains(strings.Join(seen, " "), "smuggled") {
		t.Errorf("reached %v", seen)
	}
}

// readAnswers reads the status of all answers until the connection ends.
func readAnswers(conn net.Conn) (statuses []string) {
	for r := bufio.NewReader(conn); ; {
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses
		}
		statuses = append(statuses, fmt.Sprint(answer.StatusCode))
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return statuses
		}
		answer.Body.Close()
	}
}

// send is one request on a connection of its own, with its cost in bytes of this process.
func send(t *testing.T, address, head string, body []byte) (status int, answer string, cost uint64) {
	t.Helper()
	c := dial(t, address)
	before := mutate.Allocated()
	go func() { // the other side may answer, and hang up, before it has read all
		_, _ = io.WriteString(c, head)
		_, _ = c.Write(body)
	}()
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err.Error(), mutate.Allocated() - before
	}
	defer r.Body.Close()
	raw, _ := io.ReadAll(r.Body) // cut off by a reset, if at all
	return r.StatusCode, string(raw), mutate.Allocated() - before
}

// Requests that are made to hurt, as bytes on a connection to a node that serves.
func TestHostileConnections(t *testing.T) {
	address := listening(t, guarded(t, servingNode(t)), time.Minute)
	post := func(body []byte, headers ...string) string {
		return fmt.Sprintf("POST /v1/search HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n", len(body), strings.Join(append(headers, ""), "\r\n"))
	}
	get := func(target string) string {
		return "GET " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	}
	zipped := func(body []byte) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	bomb := zipped(make([]byte, 64<<20))
	good := []byte(`{"vector":[1,0,0,0]}`)
	big := bytes.Repeat([]byte("9"), 1<<20)
	for name, c := range map[string]struct {
		head   string
		body   []byte
		status int
	}{
		"as it should be":             {post(good), good, 200},
		"a zip bomb":                  {post(bomb, "Content-Encoding: gzip"), bomb, 415},
		"a zip bomb that says naught": {post(bomb), bomb, 400},
		"a zipped request":            {post(zipped(good), "Content-Encoding: GZIP"), zipped(good), 415},
		"zstd":                        {post(good, "Content-Encoding: zstd"), good, 415},
		"no coding":                   {post(good, "Content-Encoding: identity"), good, 200},
		"a number of many digits":     {post([]byte(`{"vector":[` + string(big) + `,0,0,0]}`)), []byte(`{"vector":[` + string(big) + `,0,0,0]}`), 400},
		"a huge exponent":             {post([]byte(`{"k":1e` + string(big) + `}`)), []byte(`{"k":1e` + string(big) + `}`), 400},
		"deep arrays":                 {post(bytes.Repeat([]byte("["), 1<<20)), bytes.Repeat([]byte("["), 1<<20), 400},
		"deep objects":                {post(bytes.Repeat([]byte(`{"filter":`), 1<<17)), bytes.Repeat([]byte(`{"filter":`), 1<<17), 400},
		"a body over the limit":       {post(make([]byte, 17<<20)), make([]byte, 17<<20), 413},
		"a body that says it is huge": {"POST /v1/search HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9223372036854775807\r\n\r\n", bytes.Repeat([]byte(" "), 17<<20), 413},
		"headers without end":         {"GET /v1/snapshots HTTP/1.1\r\nHost: x\r\n", bytes.Repeat([]byte("X-A: "+strings.Repeat("b", 1000)+"\r\n"), 2200), 431},
		"a long line":                 {"GET /" + strings.Repeat("x", 2<<20), []byte(" HTTP/1.1\r\n\r\n"), 431},
		"up and out":                  {get("/v1/vectors/../../../../etc/passwd"), nil, 307},
		"up and out, escaped":         {get("/v1/vectors/%2e%2e/%2e%2e/%2e%2e/etc/passwd"), nil, 404},
		"an id with dots":             {get("/v1/vectors/..%2f..%2f..%2f..%2fetc%2fpasswd"), nil, 404},
		"an id with backslashes":      {get(`/v1/vectors/..\..\..\etc\passwd`), nil, 404},
		"assets":                      {get("/ui/..%2f..%2f..%2fetc/passwd"), nil, 404},
		"assets, twice escaped":       {get("/ui/assets/%252e%252e%252f%252e%252e%252fetc/passwd"), nil, 404},
		"a zero":                      {get("/ui/assets/app.js%00.html"), nil, 404},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			status, answer, cost := send(t, address, c.head, c.body)
			if status != c.status {
				t.Errorf("%d, want %d: %.300s", status, c.status, answer)
			}
			if most := uint64(48<<20 + 8*len(c.body)); cost > most || time.Since(began) > bounded {
				t.Errorf("%d bytes and %v, allowed: %d and %v", cost, time.Since(began), most, bounded)
			}
			if len(answer) > 10_000 || strings.Contains(answer, "root:") {
				t.Errorf("an answer of %d bytes: %.300s", len(answer), answer)
			}
			if status >= 400 && status != 431 {
				var p struct{ Code string }
				if err := json.Unmarshal([]byte(answer), &p); err != nil || p.Code == "" || p.Code == "internal" {
					t.Errorf("no problem: %.300s", answer)
				}
			}
		})
	}
}

// A path that is not clean leads to this node's clean one, and nowhere else.
func TestRedirectsStay(t *testing.T) {
	address := listening(t, guarded(t, servingNode(t)), time.Minute)
	for _, target := range []string{"//evil.example/%2e%2e", "//evil.example//", "/\\evil.example/../", "///evil.example/x/..", "/.//evil.example"} {
		c := dial(t, address)
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", target)
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Error(target, err)
			continue
		}
		r.Body.Close()
		if to := r.Header.Get("Location"); to != "" && (!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.HasPrefix(to, "/\\")) {
			t.Errorf("%s leads to %s", target, to)
		}
	}
}
