package main

import (
	"strings"
	"testing"

	"github.com/adastream/adastream/index/capacity"
)

func TestPlanForPeople(t *testing.T) {
	w := capacity.Defaults()
	w.Rows, w.Ladder, w.Updates = 1_000_000, []int{64, 128, 256}, 100
	print := func(w capacity.Wish, explain bool) string {
		var out strings.Builder
		if err := printPlan(&out, capacity.Of(w), explain); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	short, long := print(w, false), print(w, true)
	if !strings.Contains(short, "it fits; what binds first: ") || strings.Contains(short, "one index cannot") {
		t.Errorf("it says\n%s", short)
	}
	for _, f := range capacity.Of(w).Figures {
		if f.Formula == "" || !strings.Contains(long, f.Formula) || !strings.Contains(short, amount(f.Value, f.Unit)) {
			t.Errorf("%s, %s: %s by %q is not in\n%s", f.Of, f.Name, amount(f.Value, f.Unit), f.Formula, long)
		}
	}
	w.Rows *= 1000
	if large := print(w, false); strings.Contains(large, "it fits") || !strings.Contains(large, "one index cannot: query node memory is ") || !strings.Contains(large, "one index cannot: builder memory is ") {
		t.Errorf("of a thousand times the rows it says\n%s", large)
	}
}
