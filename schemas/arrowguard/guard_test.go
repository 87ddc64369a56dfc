package arrowguard_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/arrowguard"
	"github.com/adastream/adastream/schemas/arrowguard/arrowguardtest"
)

// inside is what the guard leaves to who reads values, because it does not look into buffers or at batches as a whole.
var inside = map[string]bool{
	"1 million rows": true, "fewer rows than values": true, "nulls without bitmap": true, "short buffer": true,
	"offset too large": true, "last offset too large": true, "negative offset": true, "falling offsets": true,
	"id that is not utf-8": true, "zstd that is longer": true, "dictionary index": true,
}

// TestGuardHostile: whatever is wrong with a message, it is refused with a reason.
func TestGuardHostile(t *testing.T) {
	for name, message := range arrowguardtest.Hostile(t) {
		t.Run(name, func(t *testing.T) {
			err := arrowguard.Check(message, arrowguard.Limits{})
			var fault *schemas.Fault
			if errors.As(err, &fault) == inside[name] {
				t.Fatalf("guard says %v", err)
			}
			if fault == nil {
				return
			}
			switch fault.Reason {
			case schemas.ReasonMalformed, schemas.ReasonTooLarge, schemas.ReasonSchema:
			default:
				t.Errorf("reason %s", fault.Reason)
			}
			t.Log(fault)
		})
	}
}

func TestGuardLimits(t *testing.T) {
	message := arrowguardtest.Plain(t)
	batch := arrowguardtest.Batch(t, arrowguardtest.PlainSchema, `[{"id":"a","vector":[1,0,0,0]}]`)
	three := arrowguardtest.Stream(t, arrowguardtest.PlainSchema, []arrow.RecordBatch{batch, batch, batch})
	for _, test := range []struct {
		name    string
		message []byte
		limits  arrowguard.Limits
		detail  string
	}{
		{"bytes", message, arrowguard.Limits{MaxMessage: len(message) - 1}, "bytes, allowed"},
		{"metadata", message, arrowguard.Limits{MaxMetadata: 64}, "metadata at 0"},
		{"uncompressed", message, arrowguard.Limits{MaxUncompressed: 60}, "after decompression"},
		{"rows", three, arrowguard.Limits{MaxRows: 2}, "3 rows or more, allowed: 2"},
		{"columns", message, arrowguard.Limits{MaxColumns: 2}, "more than 2 fields"},
		{"batches", three, arrowguard.Limits{MaxBatches: 2}, "more than 2 batches"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := arrowguard.Check(test.message, arrowguard.Limits{}); err != nil {
				t.Errorf("default limits: %v", err)
			}
			var fault *schemas.Fault
			if err := arrowguard.Check(test.message, test.limits); !errors.As(err, &fault) || fault.Reason != schemas.ReasonTooLarge || !strings.Contains(fault.Detail, test.detail) {
				t.Errorf("got %v, want too_large with %q", err, test.detail)
			}
		})
	}
}

// TestGuardBombsCostNothing: refusing what claims gigabytes takes no memory to speak of.
func TestGuardBombsCostNothing(t *testing.T) {
	messages := arrowguardtest.Hostile(t)
	for _, name := range []string{"body of 1 TiB", "bomb of fields", "bomb of metadata", "1 billion rows", "zstd of 8 GiB", "many strings in one"} {
		const times = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range times {
			if arrowguard.Check(messages[name], arrowguard.Limits{}) == nil {
				t.Fatalf("%s: not refused", name)
			}
		}
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) / times; got > 4096 {
			t.Errorf("%s: %d bytes to refuse it", name, got)
		}
	}
}
