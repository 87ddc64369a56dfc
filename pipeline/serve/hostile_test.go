package serve

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/internal/mutate"
)

// What a request of a small node may cost. The bytes leave room for what else runs meanwhile: the node's own work, and that
// of a fuzzer. The time is one that no request comes near on an idle machine.
const (
	requestBytes   = 32 << 20 // beside bytesPerByte
	bytesPerByte   = 64       // for each byte of the request
	requestSeconds = 20
)

// smallNode serves 300 rows in 8 lists until the test ends.
func smallNode(t testing.TB) (http.Handler, *snapshottest.Data) {
	n, data := clusteredNode(t, 300, 8, 8, testDim)
	return n.API(), data
}

// request asks a handler and holds what is true of any request: no panic, no fault of the node, a problem or an answer that
// is whole, within bounds of time and memory.
func request(t testing.TB, h http.Handler, method, target string, body []byte, contentType string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, "/", bytes.NewReader(body))
	r.URL = &url.URL{}
	r.URL.Path, r.URL.RawQuery, _ = strings.Cut(target, "?")
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	before, began := mutate.Allocated(), time.Now()
	h.ServeHTTP(w, r)
	if took := time.Since(began); took > requestSeconds*time.Second {
		t.Errorf("%v for %d bytes", took, len(body))
	}
	if got, most := mutate.Allocated()-before, uint64(requestBytes+bytesPerByte*(len(body)+len(target))); got > most {
		t.Errorf("%d bytes allocated for a request of %d, allowed: %d", got, len(body), most)
	}
	if w.Code >= 500 {
		t.Errorf("%d: %.500s", w.Code, w.Body)
	}
	switch kind := w.Header().Get("Content-Type"); {
	case w.Code >= 300 && w.Code < 400: // of the mux: a path that is not clean
	case w.Code != http.StatusOK:
		var p problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || kind != "application/problem+json" || p.Status != w.Code || p.Code == "" {
			t.Errorf("%d %s is no problem: %.500s", w.Code, kind, w.Body)
		}
	case kind == jsonType:
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("no JSON: %.500s", w.Body)
		}
	case kind == arrowType:
		if _, err := ipc.NewReader(w.Body); err != nil {
			t.Errorf("no Arrow: %v", err)
		}
	default:
		t.Errorf("an answer of type %q", kind)
	}
	return w
}

func TestHostileRequests(t *testing.T) {
	api, _ := smallNode(t)
	vector := vectorJSON(unit(1))
	with := func(option string) string { return `{"vector":` + vector + `,` + option + `}` }
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"a million arrays":        {strings.Repeat("[", 1_000_000), 400},
		"vectors of deep arrays":  {`{"vectors":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, 400},
		"a million objects":       {strings.Repeat(`{"vector":`, 1_000_000), 400},
		"deep in a Filter":        {with(`"FILTER":` + strings.Repeat(`{"$not":`, 2000) + `{"x":null,"y":"` + strings.Repeat("y", 50_000) + `"}` + strings.Repeat("}", 2000)), 400},
		"deep in an option":       {with(`"plan":` + strings.Repeat(`{"plan":`, 5000) + "1" + strings.Repeat("}", 5000)), 400},
		"a million empty rows":    {`{"vectors":[` + strings.Repeat("[],", 1_000_000) + `[]]}`, 400},
		"a million empty words":   {with(`"fields":[` + strings.Repeat(`"",`, 1_000_000) + `""]`), 400},
		"a number of many digits": {`{"vector":[` + strings.Repeat("9", 1_000_000) + `]}`, 400},
		"many digits that count":  {`{"vector":[0.` + strings.Repeat("3", 1_000_000) + strings.Repeat(",1", testDim-1) + `]}`, 200},
		"an exponent":             {`{"vector":[1e999999999` + strings.Repeat(",1", testDim-1) + `]}`, 400},
		"k of 2^63":               {with(`"k":9223372036854775807`), 400},
		"k of 1e400":              {with(`"k":1e400`), 400},
		"k below none":            {with(`"k":-9223372036854775808`), 400},
		"k that is no integer":    {with(`"k":1.5`), 400},
		"nprobe of 2^63":          {with(`"plan":{"nprobe":9223372036854775807,"refine":10}`), 400},
		"refine of 2^63":          {with(`"plan":{"nprobe":1,"refine":9223372036854775807}`), 200},
		"nprobe below none":       {with(`"plan":{"nprobe":-1}`), 400},
		"dims of 2^63":            {with(`"dims":9223372036854775807`), 400},
		"a budget below none":     {with(`"budget":{"bytes":-1e308}`), 400},
		"a budget without bounds": {with(`"budget":{"bytes":1e308}`), 200},
		"one name twice":          {with(`"vector":[1]`), 400},
		"an option twice":         {with(`"k":3,"fields":["color"],"filter":{"color":"k\\",\"k\":1"},"\u006B":3`), 400},
		"an id of control text":   {`{"like":"\u0000\u001b[2J\u202e\ud800\n"}`, 404},
		"a long id":               {`{"like":"` + strings.Repeat("x", 1_000_000) + `"}`, 404},
		"no utf-8":                {"{\"like\":\"\xff\xfe\"}", 404},
		"an encoder":              {with(`"encoder":"` + strings.Repeat("x", 1_000_000) + `"`), 409},
		"a field of control text": {with(`"fields":["\u0000\u001b[2J"]`), 400},
	} {
		t.Run(name, func(t *testing.T) {
			w := request(t, api, http.MethodPost, "/v1/search", []byte(c.body), jsonType)
			if w.Code != c.status {
				t.Errorf("%d, want %d: %.300s", w.Code, c.status, w.Body)
			}
			if w.Body.Len() > 10_000 && w.Code != 200 {
				t.Errorf("a problem of %d bytes", w.Body.Len())
			}
		})
	}
	for name, target := range map[string]string{
		"an id of control text": "/v1/vectors/\x00\x1b[2J\u202e\n",
		"no utf-8":              "/v1/vectors/\xff\xfe",
		"a long id":             "/v1/vectors/" + strings.Repeat("x", 1_000_000),
		"no id":                 "/v1/vectors/",
		"a long path":           "/" + strings.Repeat("x", 1_000_000),
	} {
		t.Run(name, func(t *testing.T) {
			w := request(t, api, http.MethodGet, target, nil, "")
			if w.Code != http.StatusNotFound {
				t.Errorf("%d: %.300s", w.Code, w.Body)
			}
			if w.Body.Len() > 10_000 {
				t.Errorf("a problem of %d bytes", w.Body.Len())
			}
		})
	}
}

func FuzzRequest(f *testing.F)    { mutate.Fuzz(f, requesting) }
func FuzzReadStream(f *testing.F) { mutate.Fuzz(f, readingStreams) }
func FuzzNumbers(f *testing.F)    { mutate.Fuzz(f, readingNumbers) }

func TestMutations(t *testing.T) {
	mutate.Run(t, map[string]mutate.Target{
		"FuzzRequest":    requesting,
		"FuzzReadStream": readingStreams,
		"FuzzNumbers":    readingNumbers,
	})
}

// requesting: whatever a request is, the node answers it or says what is wrong with it. An input is a line of method, target
// and type of the body, and the body.
func requesting(t testing.TB) (seeds [][]byte, check func(testing.TB, []byte)) {
	api, data := smallNode(t)
	add := func(line string, body []byte) { seeds = append(seeds, append([]byte(line+"\n"), body...)) }
	vector, id := vectorJSON(unit(1)), data.IDs[1]
	for _, body := range []string{
		`{"vector":` + vector + `}`,
		`{"vectors":[` + vector + `,` + vector + `],"k":3,"fields":[],"include_vector":true}`,
		`{"vectors_f32":"` + base64Rows(unit(2)) + `","exact":true,"encoder":"` + data.Spec.Encoder + `"}`,
		`{"like":"` + id + `","fields":[],"effort":0.5}`,
		`{"vector":` + vector + `,"plan":{"nprobe":2,"margin":0.5,"scan_dims":8,"refine":20},"dims":8}`,
		`{"vector":` + vector + `,"budget":{"microseconds":10,"lists":1,"bytes":100}}`,
		`{"vector":` + vector + `,"target_recall":0.9}`,
	} {
		add("POST /v1/search "+jsonType, []byte(body))
	}
	single, half := vectorsStream(t, singleItems, testDim, unit(1)), vectorsStream(t, halfItems, testDim, unit(1))
	add("POST /v1/search?k=3&exact=true&fields= "+arrowType, single)
	add("POST /v1/search?plan.nprobe=3&plan.refine=20&plan.margin=1&dims=8 "+arrowType, half)
	add("POST /v1/search?budget.lists=3 "+arrowType, single)
	add("GET /v1/vectors/"+id+" -", nil)
	add("HEAD /v1/snapshots -", nil)
	add("DELETE /v2/../\x00 -", nil)
	return seeds, func(t testing.TB, input []byte) {
		line, body, _ := bytes.Cut(input, []byte("\n"))
		method, rest, _ := strings.Cut(string(line), " ")
		target, contentType, _ := strings.Cut(rest, " ")
		if _, err := http.NewRequest(method, "/", nil); err != nil || !strings.HasPrefix(target, "/") {
			return // the server refuses it
		}
		request(t, api, method, target, body, contentType)
	}
}
