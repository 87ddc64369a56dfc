package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func problemOf(t *testing.T, w *httptest.ResponseRecorder) (p problem) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return p
}

// Whoever wrote a record and knows its offset can ask for an answer that has it, and gets that or a refusal.
func TestMinOffsets(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 30)
	n := p.node(Options{})
	p.await(n, 1)
	ask := func(options string) *httptest.ResponseRecorder {
		return call(n.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,%s}`, vectorJSON(unit(1)), options))
	}
	there := fmt.Sprint(p.next)
	later := fmt.Sprint(p.next + 30)
	if a := decodeAnswer(t, ask(`"min_offsets":{"0":`+there+`}`)); string(a.Snapshot.Offsets) != `{"0":`+there+`}` {
		t.Errorf("the answer says offsets %s, want %s", a.Snapshot.Offsets, there)
	}
	w := ask(`"min_offsets":{"0":` + later + `},"wait_seconds":0`)
	var is struct {
		Snapshot *snapshotInfo `json:"snapshot"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &is); err != nil {
		t.Fatal(err)
	}
	if p := problemOf(t, w); p.Status != http.StatusConflict || p.Code != codeNotFresh || is.Snapshot == nil || string(is.Snapshot.Offsets) != `{"0":`+there+`}` {
		t.Errorf("%s", w.Body)
	}
	done := make(chan *httptest.ResponseRecorder)
	began := time.Now()
	go func() { done <- ask(`"min_offsets":{"0":` + later + `},"wait_seconds":50`) }()
	time.Sleep(20 * time.Millisecond)
	p.add(30, 60)
	if a := decodeAnswer(t, <-done); a.Snapshot.LiveRows != 60 || time.Since(began) > 40*time.Second {
		t.Errorf("after %v: %+v", time.Since(began), a.Snapshot)
	}
	began = time.Now()
	if w := ask(`"min_offsets":{"0":1000000},"wait_seconds":0.05`); w.Code != http.StatusConflict || time.Since(began) < 50*time.Millisecond {
		t.Errorf("%d after %v", w.Code, time.Since(began))
	}
	// Who may wait for as long as a request has time, of which reading it took some.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/search", strings.NewReader(`{"like":"id-1","min_offsets":{"0":1000000},"wait_seconds":60}`))
	w = httptest.NewRecorder()
	if n.API().ServeHTTP(w, r); problemOf(t, w).Code != codeNotFresh {
		t.Errorf("who waits until the time of the request is over is told %s", w.Body)
	}
	for _, c := range []struct{ options, field, allowed string }{
		{`"min_offsets":{"1":3}`, "min_offsets", `"0" to "0"`},
		{`"min_offsets":{"00":3}`, "min_offsets", `"0" to "0"`},
		{`"min_offsets":{"zero":3}`, "min_offsets", `"0" to "0"`},
		{`"min_offsets":{"0":-1}`, "min_offsets.0", "0 or more"},
		{`"max_staleness_seconds":0`, "max_staleness_seconds", "more than 0"},
		{`"max_staleness_seconds":1,"wait_seconds":-1`, "wait_seconds", "0 to 60"},
		{`"max_staleness_seconds":1,"wait_seconds":61`, "wait_seconds", "0 to 60"},
		{`"wait_seconds":1`, "wait_seconds", "beside"},
	} {
		if p := problemOf(t, ask(c.options)); p.Code != codeInvalid || !strings.HasPrefix(p.Detail, c.field+":") || !strings.Contains(p.Allowed, c.allowed) {
			t.Errorf("%s: %+v", c.options, p)
		}
	}
	stream := vectorsStream(t, singleItems, testDim, unit(1))
	for parameters, status := range map[string]int{
		`min_offsets={"0":1}&max_staleness_seconds=60`:     http.StatusOK,
		`min_offsets={"0":1000000}&wait_seconds=0`:         http.StatusConflict,
		`min_offsets={"0":null}`:                           http.StatusBadRequest,
		`min_offsets=null`:                                 http.StatusBadRequest,
		`min_offsets=[1]`:                                  http.StatusBadRequest,
		`max_staleness_seconds=NaN`:                        http.StatusBadRequest,
		`max_staleness_seconds=0.000000001&wait_seconds=0`: http.StatusConflict,
	} {
		values, err := url.ParseQuery(parameters)
		if err != nil {
			t.Fatal(err)
		}
		if w := post(n.API(), "/v1/search?"+values.Encode(), stream, "Content-Type", arrowType); w.Code != status {
			t.Errorf("%s: %d %s", parameters, w.Code, w.Body)
		}
	}
}

// A node that has lost its store goes on answering, but not those who ask how late that is.
func TestMaxStaleness(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 30)
	n := p.node(Options{})
	p.await(n, 1)
	fresh := fmt.Sprintf(`{"vector":%s,"max_staleness_seconds":5,"wait_seconds":50}`, vectorJSON(unit(1)))
	if w := call(n.API(), http.MethodPost, "/v1/search", fresh); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	lost, data := clusteredNode(t, 300, 4, 16, 32) // it follows nothing
	lost.confirmed.set(time.Now().Add(-time.Minute))
	for limit, status := range map[int]int{59: http.StatusConflict, 100: http.StatusOK} {
		w := call(lost.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,"max_staleness_seconds":%d,"wait_seconds":0}`, vectorJSON(data.Vector(1)), limit))
		if w.Code != status {
			t.Errorf("%d s: %d %s", limit, w.Code, w.Body)
		}
	}
	lost.confirmed.set(time.Now().Add(time.Hour)) // before the clock was set back by more than that
	if w := call(lost.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,"max_staleness_seconds":1,"wait_seconds":0}`, vectorJSON(data.Vector(1)))); w.Code != http.StatusConflict {
		t.Errorf("after the clock was set back: %d %s", w.Code, w.Body)
	}
}

func TestMinScore(t *testing.T) {
	n, data := clusteredNode(t, 1000, 8, 16, 32)
	ask := func(options string) answerJSON {
		return decodeAnswer(t, call(n.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,"k":20%s}`, vectorJSON(data.Vector(1)), options)))
	}
	all := ask("").Hits
	for _, cut := range []int{0, 1, 10, 19} {
		score := float64(all[cut].Score)
		want := cut + 1
		for want < len(all) && all[want].Score == all[cut].Score {
			want++
		}
		if got := ask(fmt.Sprintf(`,"min_score":%v`, score)).Hits; len(got) != want || got[cut].ID != all[cut].ID {
			t.Errorf("%v: %d hits, want %d", score, len(got), want)
		}
	}
	if got := ask(`,"min_score":1.5`).Hits; got == nil || len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// Requests beyond those that run and those that may wait are refused at once, before they are read.
func TestNoMoreWaitThanAllowed(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 30)
	n := p.node(Options{MaxRunning: 1, MaxWaiting: 2, Timeout: 20 * time.Second})
	p.await(n, 1)
	n.running <- struct{}{}
	request := fmt.Sprintf(`{"vector":%s}`, vectorJSON(unit(1)))
	done := make(chan int)
	for range 2 {
		go func() { done <- call(n.API(), http.MethodPost, "/v1/search", request).Code }()
	}
	for deadline := time.Now().Add(time.Minute); n.waiting.Load() < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody waits")
		}
	}
	began := time.Now()
	w := call(n.API(), http.MethodPost, "/v1/search", "not even JSON")
	if p := problemOf(t, w); p.Code != codeOverloaded || w.Header().Get("Retry-After") == "" || time.Since(began) > n.o.Timeout/2 {
		t.Errorf("%+v after %v", p, time.Since(began))
	}
	<-n.running
	for range 2 {
		if code := <-done; code != http.StatusOK {
			t.Errorf("%d for one that waited", code)
		}
	}
	if n := n.waiting.Load(); n != 0 {
		t.Errorf("%d still wait", n)
	}
}

// No more requests wait for newer records than may wait for a slot: others are refused at once. Those that take what is there are
// answered meanwhile, and all that wait are once the records have come.
func TestFewWaitForNewerRecords(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 30)
	n := p.node(Options{MaxRunning: 1, MaxWaiting: 2})
	p.await(n, 1)
	ask := func(options string) *httptest.ResponseRecorder {
		return call(n.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s%s}`, vectorJSON(unit(1)), options))
	}
	later := fmt.Sprintf(`,"min_offsets":{"0":%d},"wait_seconds":50`, p.next+30)
	done := make(chan *httptest.ResponseRecorder)
	for i := range 2 {
		go func() { done <- ask(later) }()
		for deadline := time.Now().Add(time.Minute); n.awaiting.Load() != int64(i+1); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("does not wait after a minute")
			}
		}
	}
	if p := problemOf(t, ask(later)); p.Status != http.StatusTooManyRequests || p.Code != codeOverloaded {
		t.Errorf("a third one: %+v", p)
	}
	ids := fmt.Sprintf(`{"ids":["id-1"]%s}`, later)
	if p := problemOf(t, call(n.API(), http.MethodPost, "/v1/vectors:batchGet", ids)); p.Status != http.StatusTooManyRequests {
		t.Errorf("rows by id: %+v", p)
	}
	if w := ask(""); w.Code != http.StatusOK {
		t.Errorf("one that takes what is there: %d %s", w.Code, w.Body)
	}
	p.add(30, 60)
	for range 2 {
		if w := <-done; w.Code != http.StatusOK {
			t.Errorf("one that waited: %d %s", w.Code, w.Body)
		}
	}
	if n.awaiting.Load() != 0 {
		t.Errorf("%d wait after the last one", n.awaiting.Load())
	}
}
