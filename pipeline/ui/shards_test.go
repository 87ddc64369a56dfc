package ui

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

var reference = regexp.MustCompile(`(?:href|src|action|hx-get|data-series)="(/[^"]*)"`)

// TestShards: the pages of a shard lead to its own, and to those of the other shards of the process; they tell of its partitions, and
// their commands name it.
func TestShards(t *testing.T) {
	b := store.NewMemory()
	spec := schemas.Spec{Name: "test", Ladder: []int{8}, Encoder: "e", Topic: schemas.Topic{Name: "t", Partitions: 8}, Shards: 4}.WithDefaults()
	if err := commit.Create(t.Context(), b, &spec); err != nil {
		t.Fatal(err)
	}
	shards, err := commit.OpenShards(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	log := shards[2]
	body, err := ingest.WriteQuarantine([]ingest.Quarantined{{Topic: "t", Partition: 6, Row: 3, Fault: schemas.Fault{Reason: schemas.ReasonDims, Detail: "7"}, Payload: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
	buildtest.Append(t, log, &schemas.Commit{Partition: 6, End: 10}, segment.NewRows(&spec), nil, body, map[string]int{schemas.ReasonDims: 1})
	m := buildtest.Build(t, log, func(m *schemas.Manifest) bool {
		c, err := log.Channel(t.Context(), 0)
		return err == nil && c != nil && c.Generation == m.Generation
	})
	registry := prometheus.NewRegistry()
	node, err := serve.New(serve.Options{Log: log, Cache: buildtest.Cache(t, log.Bucket()), Level: avx.Generic, PollEvery: time.Millisecond, Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- node.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
		node.Close()
	})
	for node.View().Manifest == nil || node.View().Manifest.Generation < m.Generation {
		time.Sleep(time.Millisecond)
	}
	pages, err := New(Options{Node: node, Log: log, Metrics: registry, Shards: []int{0, 2}})
	if err != nil {
		t.Fatal(err)
	}
	handler := pages.Handler(http.NotFoundHandler())
	for path, texts := range map[string][]string{
		"/ui/":           {`>0</a>`, `aria-current="true">2</a> of 4</nav>`, `<td class="r">2</td>`, `<td class="r">6</td>`},
		"/ui/snapshots":  {`href="/shards/2/ui/snapshots/1"`, `--store=&#34;$STORE&#34; --shard=2`},
		"/ui/search":     {`<body data-base="/shards/2">`},
		"/ui/quarantine": {`<option value="6">6</option>`, `quarantine show 6 0 --store=&#34;$STORE&#34; --shard=2`},
		fmt.Sprintf("/ui/snapshots/%d", m.Generation): {`--shard=2`},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
		}
		page := w.Body.String()
		for _, text := range texts {
			if !strings.Contains(page, text) {
				t.Errorf("%s has no %s\n%s", path, text, page)
			}
		}
		found := reference.FindAllStringSubmatch(page, -1)
		if len(found) < 10 {
			t.Errorf("%s has only %d references", path, len(found))
		}
		for _, r := range found {
			if !strings.HasPrefix(r[1], "/shards/2/ui/") && r[1] != "/shards/0/ui/" {
				t.Errorf("%s leads to %s", path, r[1])
			}
		}
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/ui/quarantine?partition=3", nil))
	if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "allowed: 2 to 6 in steps of 4") {
		t.Errorf("partition 3: %d: %s", w.Code, w.Body)
	}
}
