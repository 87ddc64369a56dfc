package commit

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
)

const (
	specKey         = "index.json"
	manifestsPrefix = "manifests/0000/"
	channelPrefix   = "channels/stable/0000/"
	epochsPrefix    = "epochs/"

	numberDigits = 20 // of offsets, generations and sequences in keys: enough for any int64
)

func commitsPrefix(partition int) string { return fmt.Sprintf("commits/%06d/", partition) }

// dataPrefix begins the names of the data objects of one commit; kind is segments, tombstones or quarantine.
func dataPrefix(kind string, partition int, start int64) string {
	return numbered(fmt.Sprintf("%s/%06d/", kind, partition), start) + "-"
}

func numbered(prefix string, n int64) string { return fmt.Sprintf("%s%0*d", prefix, numberDigits, n) }

// numberOf is the inverse of numbered. It accepts only what numbered makes.
func numberOf(prefix, key string) (int64, bool) {
	digits, ok := strings.CutPrefix(key, prefix)
	if !ok || len(digits) != numberDigits {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil && n >= 0 && numbered(prefix, n) == key
}

// numbers yields the numbers of the keys below prefix from first on, ascending. It ends at the first error.
func (l *Log) numbers(ctx context.Context, prefix string, first int64) iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		startAfter := ""
		if first > 0 {
			startAfter = numbered(prefix, first-1)
		}
		for info, err := range l.bucket.List(ctx, prefix, startAfter) {
			if err != nil {
				yield(0, err)
				return
			}
			if n, ok := numberOf(prefix, info.Key); ok && !yield(n, nil) {
				return
			}
		}
	}
}
