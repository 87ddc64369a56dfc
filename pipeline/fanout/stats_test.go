package fanout_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/adastream/adastream/pipeline/fanout"
	"github.com/adastream/adastream/schemas"
)

// statsOf is a node that answers so.
func statsOf(answer string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) })
}

// TestStats: sums where numbers add up, the worst where they do not, and null where one shard does not know.
func TestStats(t *testing.T) {
	const snapshot = `{"generation":%d,"encoder":"e","as_of":"2026-05-04T03:02:0%dZ","age_seconds":1,"live_rows":%d,"offsets":{"%d":5}}`
	first := `{"uptime_seconds":50,"confirmed_seconds":0.5,"freshness_seconds":null,"searches":{"count":30,"mean_microseconds":100},"slots":{"running":1,"max_running":64,"waiting":2,"max_waiting":100},
		"memory":{"wanted_bytes":10,"limit_bytes":100},"live":{"recall":0.9,"low":0.8,"high":1,"queries":10},"snapshot":` + fmt.Sprintf(snapshot, 7, 1, 300, 0) + `}`
	second := `{"uptime_seconds":20,"stale":"the store is away","confirmed_seconds":9.5,"freshness_seconds":2,"searches":{"count":10,"mean_microseconds":300},"slots":{"running":3,"max_running":64,"waiting":4,"max_waiting":100},
		"memory":{"wanted_bytes":20,"limit_bytes":200},"live":{"recall":0.5,"low":0.4,"high":0.6,"queries":5},"snapshot":` + fmt.Sprintf(snapshot, 5, 2, 100, 1) + `}`
	empty := `{"uptime_seconds":0,"confirmed_seconds":null,"freshness_seconds":null,"searches":{"count":0,"mean_microseconds":0},"slots":{"running":0,"max_running":64,"waiting":0,"max_waiting":100},
		"memory":{"wanted_bytes":0,"limit_bytes":0},"live":null,"snapshot":null}`
	for _, test := range []struct{ name, second, want string }{
		{"both", second, `{"uptime_seconds":20,"stale":"shard 1: the store is away","confirmed_seconds":9.5,"freshness_seconds":2,"searches":{"count":40,"mean_microseconds":150},
			"slots":{"running":4,"max_running":128,"waiting":6,"max_waiting":200},"memory":{"wanted_bytes":30,"limit_bytes":300},"live":{"recall":0.8,"low":0.7,"high":0.9,"queries":15},
			"snapshot":{"generation":5,"encoder":"e","as_of":"2026-05-04T03:02:02Z","age_seconds":1,"live_rows":400,"offsets":{"0":5,"1":5},
				"shards":[{"shard":0,"generation":7,"as_of":"2026-05-04T03:02:01Z","age_seconds":1,"live_rows":300},{"shard":1,"generation":5,"as_of":"2026-05-04T03:02:02Z","age_seconds":1,"live_rows":100}]}}`},
		{"one that has begun", empty, `{"uptime_seconds":0,"confirmed_seconds":null,"freshness_seconds":null,"searches":{"count":30,"mean_microseconds":100},
			"slots":{"running":1,"max_running":128,"waiting":2,"max_waiting":200},"memory":{"wanted_bytes":10,"limit_bytes":0},"live":null,"snapshot":null}`},
	} {
		spec := (&schemas.Spec{Shards: 2}).WithDefaults()
		w := call(router(t, fanout.Options{Spec: &spec, Own: map[int]http.Handler{0: statsOf(first), 1: statsOf(test.second)}}), "GET", "/v1/stats", "")
		var got, want map[string]any
		if err := json.Unmarshal([]byte(strings.ReplaceAll(test.want, "\n", "")), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
		shards, _ := got["shards"].([]any)
		delete(got, "shards")
		if text(got) != text(want) {
			t.Errorf("%s:\n%s, want\n%s", test.name, text(got), text(want))
		}
		for i, raw := range []string{first, test.second} {
			var own map[string]any
			if err := json.Unmarshal([]byte(raw), &own); err != nil {
				t.Fatal(err)
			}
			if want := map[string]any{"shard": float64(i), "node": "this node", "stats": own}; len(shards) != 2 || !reflect.DeepEqual(shards[i], want) {
				t.Errorf("%s: shards are %s, want %s", test.name, text(shards), text(want))
			}
		}
	}
}
