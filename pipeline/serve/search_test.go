package serve

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/adastream/adastream/index/search"
)

var (
	halfItems   = arrow.FixedWidthTypes.Float16
	singleItems = arrow.PrimitiveTypes.Float32
)

// base64Rows is vectors_f32 without its quotes.
func base64Rows(values []float32) string {
	raw := make([]byte, 0, 4*len(values))
	for _, x := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// rowsJSON is vectors: an array of arrays.
func rowsJSON(dim int, values []float32) string {
	var rows [][]float32
	for row := range slices.Chunk(values, dim) {
		rows = append(rows, row)
	}
	text, err := json.Marshal(rows)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// post sends a request with headers, given as names and values.
func post(h http.Handler, path string, body []byte, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func decodeAnswer(t testing.TB, w *httptest.ResponseRecorder) answerJSON {
	t.Helper()
	var a answerJSON
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return a
}

// Whatever way queries come and answers go, hits are those that each query gets alone.
func TestBatchAnswersAreThoseOfSingleQueries(t *testing.T) {
	const dim, count = 32, 100
	n, data := clusteredNode(t, 3000, 32, 16, dim)
	api := n.API()
	vectors := data.Vectors[:count*dim]
	for _, how := range []struct{ name, json, url string }{
		{"planned", `"k":7,"plan":{"nprobe":4,"refine":6000}`, "?k=7&plan.nprobe=4&plan.refine=6000"},
		{"exact", `"k":3,"exact":true`, "?k=3&exact=true"},
		{"default", `"fields":[]`, ""},
	} {
		t.Run(how.name, func(t *testing.T) {
			var want []string
			var cost usage
			for i := range count {
				a := decodeAnswer(t, call(api, http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,%s}`, vectorJSON(data.Vector(i)), how.json)))
				for _, h := range a.Hits {
					want = append(want, fmt.Sprint(i, h.ID, h.Score))
				}
				cost.Lists, cost.Codes, cost.Refined = cost.Lists+a.Usage.Lists, cost.Codes+a.Usage.Codes, cost.Refined+a.Usage.Refined
			}
			if len(want) < 3*count {
				t.Fatalf("only %d hits", len(want))
			}
			for _, form := range []struct{ name, body string }{
				{"vectors", fmt.Sprintf(`{"vectors":%s,%s}`, rowsJSON(dim, vectors), how.json)},
				{"vectors_f32", fmt.Sprintf(`{"vectors_f32":"%s",%s}`, base64Rows(vectors), how.json)},
			} {
				a := decodeAnswer(t, call(api, http.MethodPost, "/v1/search", form.body))
				var got []string
				for i, r := range a.Results {
					for _, h := range r.Hits {
						got = append(got, fmt.Sprint(i, h.ID, h.Score))
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s: other hits than those of single queries", form.name)
				}
				if a.Usage.Lists != cost.Lists || a.Usage.Codes != cost.Codes || a.Usage.Refined != cost.Refined {
					t.Errorf("%s: usage %+v, want the sums %+v", form.name, a.Usage, cost)
				}
				w := post(api, "/v1/search", []byte(form.body), "Accept", "text/html, "+arrowType+";q=0.9, "+jsonType)
				if b, _ := readAnswer(t, w.Body.Bytes()); !slices.Equal(hitsOf(b), want) {
					t.Errorf("%s, answered in Arrow: %q, want %q", form.name, hitsOf(b), want)
				}
			}
			stream := vectorsStream(t, singleItems, dim, vectors)
			w := post(api, "/v1/search"+how.url, stream, "Content-Type", arrowType)
			b, metadata := readAnswer(t, w.Body.Bytes())
			if got := hitsOf(b); !slices.Equal(got, want) || w.Header().Get("Content-Type") != arrowType {
				t.Errorf("arrow: %s %q, want %q", w.Header(), got, want)
			}
			var u usage
			if err := json.Unmarshal([]byte(metadata[metaUsage]), &u); err != nil || u.Lists != cost.Lists || u.Refined != cost.Refined {
				t.Errorf("usage %s, want the sums %+v", metadata[metaUsage], cost)
			}
			if !strings.Contains(metadata[metaSnapshot], `"live_rows":3000`) || (metadata[metaExpectedRecall] == "1") != (how.name != "planned") {
				t.Errorf("metadata %s", metadata)
			}
			a := decodeAnswer(t, post(api, "/v1/search"+how.url, stream, "Content-Type", arrowType, "Accept", jsonType))
			if len(a.Results) != count {
				t.Errorf("arrow, answered in JSON: %d results", len(a.Results))
			}
		})
	}
}

// Half precision changes queries a little, and the nearest of a row stays that row.
func TestHalfFloats(t *testing.T) {
	const dim, count = 32, 20
	n, data := clusteredNode(t, 2000, 16, dim)
	var halves []byte
	for _, x := range data.Vectors[:count*dim] {
		halves = binary.LittleEndian.AppendUint16(halves, float16.New(x).Uint16())
	}
	body := fmt.Sprintf(`{"vectors_f16":"%s","k":1,"exact":true}`, base64.StdEncoding.EncodeToString(halves))
	for i, r := range decodeAnswer(t, call(n.API(), http.MethodPost, "/v1/search", body)).Results {
		if id := r.Hits[0].ID; id != data.IDs[i] {
			t.Errorf("query %d finds %s, want %s", i, id, data.IDs[i])
		}
	}
	w := post(n.API(), "/v1/search?k=1&exact=1", vectorsStream(t, halfItems, dim, data.Vectors[:count*dim]), "Content-Type", arrowType)
	b, _ := readAnswer(t, w.Body.Bytes())
	for i := range count {
		if id := b.Column(1).(*array.String).Value(i); id != data.IDs[i] {
			t.Errorf("query %d finds %s, want %s", i, id, data.IDs[i])
		}
	}
}

func TestArrowAttributes(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 5)
	n := p.node(Options{})
	p.await(n, 1)
	stream := vectorsStream(t, singleItems, testDim, unit(1))
	b, _ := readAnswer(t, post(n.API(), "/v1/search", stream, "Content-Type", arrowType).Body.Bytes())
	if b.NumCols() != 3 || b.NumRows() != 5 {
		t.Errorf("without fields: %v", b)
	}
	b, _ = readAnswer(t, post(n.API(), "/v1/search?fields=color", stream, "Content-Type", arrowType).Body.Bytes())
	if b.NumCols() != 4 || b.ColumnName(3) != "attr.color" || b.Column(3).NullN() != 5 {
		t.Errorf("with color: %v", b)
	}
}

func TestBatchErrors(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 30)
	n := p.node(Options{MaxK: 200})
	p.await(n, 1)
	good := slices.Concat(unit(1), unit(2), unit(3))
	nan, zero := slices.Clone(good), slices.Clone(good)
	nan[testDim+4], zero = float32(math.NaN()), append(zero[:2*testDim], make([]float32, testDim)...)
	many := slices.Repeat(unit(1), maxQueries+1)
	vectors := func(values []float32) string { return `{"vectors":` + rowsJSON(testDim, values) }
	packed := func(values []float32) string { return `{"vectors_f32":"` + base64Rows(values) + `"` }
	for _, c := range []struct {
		name, body string
		want       []string // in the problem
	}{
		{"no rows", `{"vectors":[]}`, []string{`"vectors: 0 queries"`, `1 to 1000 queries`}},
		{"no bytes", `{"vectors_f32":""}`, []string{`"vectors_f32: 0 queries"`, `1 to 1000 queries`}},
		{"too many rows", vectors(many) + `}`, []string{`"vectors: more than 1000 queries"`, `1 to 1000 queries`}},
		{"too many bytes", packed(many) + `}`, []string{`"vectors_f32: 1001 queries"`, `1 to 1000 queries`}},
		{"width of a row", `{"vectors":[` + vectorJSON(unit(1)) + `,[1,2]]}`, []string{`"vectors[1]: 2 values, allowed: 16 values of encoder e"`}},
		{"half a row", packed(good[:testDim+3]) + `}`, []string{`vectors_f32: 76 bytes`, `a multiple of 64`}},
		{"not base64", `{"vectors_f32":"!"}`, []string{`"malformed"`, `base64`}},
		{"a word in a row", `{"vectors":[` + vectorJSON(unit(1)) + `,[1,"two"]]}`, []string{`vectors[1][1]: \"two\"`, `a number`}},
		{"null in a row", `{"vector":[null]}`, []string{`vector[0]: null`, `a number`}},
		{"a row that is none", `{"vectors":[1,2]}`, []string{`vectors[0]: 1,2`, `an array of numbers`}},
		{"rows that are none", `{"vectors":{}}`, []string{`vectors: {}`, `an array of numbers`}},
		{"a vector that is none", `{"vector":"x"}`, []string{`vector: \"x\"`, `an array of numbers`}},
		{"too large for float32", `{"vectors":[[1e39]]}`, []string{`vectors[0][0]: 1e39`, `float32`}},
		{"not finite", packed(nan) + `}`, []string{`vectors_f32[1][4]: NaN`, `a finite number`}},
		{"no direction", vectors(zero) + `}`, []string{`vectors[2]: zero`, `a length of at least`}},
		{"two kinds", vectors(good) + `,"like":"id-1"}`, []string{`"vectors and like: given together"`, `one of vector, vectors, vectors_f32, vectors_f16 and like`}},
		{"many hits", vectors(many[:maxQueries*testDim]) + `,"k":101}`, []string{`"k: 101"`, `1 to 100 for 1000 queries`}},
		{"many vectors", vectors(good) + `,"k":67,"include_vector":true}`, []string{`include_vector`, `at most 200 vectors in one answer`}},
		{"options in the URL", vectors(good) + `}`, []string{`"k: given in the URL of a JSON request"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := "/v1/search"
			if strings.HasSuffix(c.name, "URL") {
				path += "?k=3"
			}
			checkProblem(t, post(n.API(), path, []byte(c.body)), http.StatusBadRequest, c.want)
		})
	}
	stream := vectorsStream(t, singleItems, testDim, good)
	for _, c := range []struct {
		name, url string
		body      []byte
		want      []string
	}{
		{"no rows", "", vectorsStream(t, singleItems, testDim, nil), []string{`"vector: 0 queries"`, `1 to 1000 queries`}},
		{"too many rows", "", vectorsStream(t, singleItems, testDim, many), []string{`"vector: 1001 queries"`, `1 to 1000 queries`}},
		{"not finite", "", vectorsStream(t, singleItems, testDim, nan), []string{`vector[1][4]: NaN`, `a finite number`}},
		{"no stream", "", []byte(`{"vectors":[]}`), []string{`"malformed"`, `fixed_size_list\u003cfloat16 or float32\u003e[16] without nulls, or a list or large_list of as many`}},
		{"k", "?k=ten", stream, []string{`k: ten`, `an integer`}},
		{"k out of range", "?k=0", stream, []string{`k: 0`, `1 to 200 for 3 queries`}},
		{"unknown parameter", "?top=3", stream, []string{`top: no such parameter`, `k, target_recall, budget.microseconds`}},
		{"twice", "?k=1&k=2", stream, []string{`k: given 2 times`, `once`}},
		{"exact", "?exact=perhaps", stream, []string{`exact: perhaps`, `true or false`}},
		{"target recall", "?target_recall=high", stream, []string{`target_recall: high`, `a number`}},
		{"target recall out of range", "?target_recall=1.5", stream, []string{`target_recall: 1.5`, `at most 1`}},
		{"target recall is no number", "?target_recall=NaN", stream, []string{`target_recall: NaN`, `a number`}},
		{"half a plan", "?plan.refine=10", stream, []string{`plan.nprobe: missing`}},
		{"two ways", "?plan.nprobe=10&exact=true", stream, []string{`plan and exact: given together`, `at most one of target_recall, budget`}},
		{"field", "?fields=colour", stream, []string{`colour`, `"allowed":"color"`}},
		{"not a query", "?%zz", stream, []string{`"malformed"`, `parameters k`}},
	} {
		t.Run("arrow "+c.name, func(t *testing.T) {
			checkProblem(t, post(n.API(), "/v1/search"+c.url, c.body, "Content-Type", arrowType), http.StatusBadRequest, c.want)
		})
	}
	w := post(n.API(), "/v1/search", []byte(vectors(good)+`,"include_vector":true}`), "Accept", arrowType)
	checkProblem(t, w, http.StatusBadRequest, []string{`include_vector: true`, `false in an Arrow answer`})
	w = post(p.node(Options{MaxBody: 100}).API(), "/v1/search", stream, "Content-Type", arrowType)
	checkProblem(t, w, http.StatusRequestEntityTooLarge, []string{`at most 100 bytes`})
}

func checkProblem(t *testing.T, w *httptest.ResponseRecorder, status int, want []string) {
	t.Helper()
	if kind := w.Header().Get("Content-Type"); w.Code != status || kind != "application/problem+json" {
		t.Errorf("%d %s, want %d: %.300s", w.Code, kind, status, w.Body)
	}
	for _, text := range want {
		if !strings.Contains(w.Body.String(), text) {
			t.Errorf("%s does not have %s", w.Body, text)
		}
	}
}

// A request of many queries takes slots only while they are free, and gives them back.
func TestBatchTakesFreeSlots(t *testing.T) {
	p := newPublisher(t)
	n := p.node(Options{MaxRunning: 3})
	n.running <- struct{}{} // the request's own
	if got := n.admitMore(1); got != 1 {
		t.Errorf("took %d slots, want the one that it may", got)
	}
	if got := n.admitMore(5); got != 1 {
		t.Errorf("took %d slots, want the one that is left", got)
	}
	if got := n.admitMore(5); got != 0 {
		t.Errorf("took %d slots of a full node", got)
	}
	n.leave(3)
	if len(n.running) != 0 {
		t.Errorf("%d slots are taken", len(n.running))
	}
}

// All workers of a request answer, and the problem is of the first bad query.
func TestBatchOverManyWorkers(t *testing.T) {
	const dim, count = 16, 8 * workerQueries
	n, data := clusteredNode(t, 2000, 16, dim)
	snap := n.hold()
	defer snap.Release()
	q := &queries{field: "vectors", many: true, vectors: slices.Clone(data.Vectors[:count*dim])}
	for range 2 { // also on one core
		n.running <- struct{}{}
	}
	results, _, err := n.run(t.Context(), snap.Snapshot, q, 1, search.Plan{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, hits := range results {
		if len(hits) != 1 || snap.Parts()[hits[0].Part].IDAt(hits[0].Row) != data.IDs[i] {
			t.Errorf("query %d: %v", i, hits)
		}
	}
	if len(n.running) != 2 {
		t.Errorf("%d slots are taken, want the 2 from before", len(n.running))
	}
	q.vectors[(count-1)*dim], q.vectors[5*dim+2] = float32(math.Inf(1)), float32(math.Inf(1))
	if _, _, err = n.run(t.Context(), snap.Snapshot, q, 1, search.Plan{Exact: true}); err == nil || !strings.Contains(err.Error(), "vectors[5][2]") {
		t.Errorf("%v, want the fault of vectors[5][2]", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err = n.run(ctx, snap.Snapshot, q, 1, search.Plan{Exact: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that the client went away", err)
	}
}

// A client that goes away ends its request.
func TestGoneClientEndsItsBatch(t *testing.T) {
	const dim = 64
	n, data := clusteredNode(t, 20_000, 16, dim)
	server := httptest.NewServer(n.API())
	defer server.Close()
	body := vectorsStream(t, singleItems, dim, data.Vectors[:maxQueries*dim])
	// leave goes away from a request that is running, or may have ended by then.
	leave := func() {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/v1/search?exact=true", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", arrowType)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if response, err := http.DefaultClient.Do(r); err == nil {
				response.Body.Close()
			}
		}()
		for ended := false; len(n.running) == 0 && !ended; {
			select {
			case <-done:
				ended = true
			case <-time.After(time.Millisecond):
			}
		}
		cancel()
		<-done
	}
	gone, whole := n.metrics.requests.WithLabelValues("search", "499"), n.metrics.requests.WithLabelValues("search", "200")
	// A busy machine may come to look at a client only when it has its answer, so one of some has to be seen going.
	for requests := 1.0; testutil.ToFloat64(gone) == 0; requests++ {
		if requests > 10 {
			t.Fatal("all requests went on to their end")
		}
		leave()
		for deadline := time.Now().Add(time.Minute); testutil.ToFloat64(gone)+testutil.ToFloat64(whole) < requests; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%v requests do not end", requests)
			}
		}
	}
	if len(n.running) != 0 {
		t.Errorf("%d slots are taken", len(n.running))
	}
}

// A search whose time is over, or that nobody waits for, ends at once and not when it is done.
func TestTimeEndsASearch(t *testing.T) {
	const dim, many = 128, 1000 // 140 ms of work on a fast machine: where both cores score rows, a timer is 10 to 20 ms late
	n, data := clusteredNode(t, 40_000, 32, dim)
	n.o.Timeout = time.Minute
	body := fmt.Sprintf(`{"vectors_f32":"%s","exact":true,"fields":[]}`, base64Rows(data.Vectors[:many*dim]))
	began := time.Now()
	if w := call(n.API(), http.MethodPost, "/v1/search", body); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	whole := time.Since(began)

	// quickest is of some tries: a busy machine makes each of them long, and what does not end early is none of them.
	quickest := func(try func()) time.Duration {
		least := whole
		for i := 0; i < 5 && least > whole/2; i++ {
			began := time.Now()
			try()
			least = min(least, time.Since(began))
		}
		return least
	}
	n.o.Timeout = whole / 20
	took := quickest(func() {
		w := call(n.API(), http.MethodPost, "/v1/search", body)
		if p := problemOf(t, w); p.Code != codeTimeout || p.Status != http.StatusServiceUnavailable || p.Allowed == "" {
			t.Errorf("%+v", p)
		}
	})
	if took > whole/2 {
		t.Errorf("ended after %v of %v", took, whole)
	}

	n.o.Timeout = time.Minute
	took = quickest(func() {
		ctx, leave := context.WithTimeout(t.Context(), whole/20)
		defer leave()
		gone := httptest.NewRecorder()
		n.API().ServeHTTP(gone, httptest.NewRequest(http.MethodPost, "/v1/search", strings.NewReader(body)).WithContext(ctx))
		if gone.Code == http.StatusOK {
			t.Error("nobody waits, and it is answered")
		}
	})
	if took > whole/2 {
		t.Errorf("nobody waits: ended after %v of %v", took, whole)
	}
	if len(n.running) != 0 {
		t.Errorf("%d slots are taken", len(n.running))
	}
}
