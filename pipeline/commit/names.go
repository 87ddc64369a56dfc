package commit

import (
	"context"
	"fmt"
	"iter"
	"regexp"
	"strconv"
	"strings"

	"github.com/adastream/adastream/pipeline/store"
)

const (
	specKey           = "index.json"
	allCommits        = "commits/"
	allShards         = "shards/"
	manifestsPrefix   = "manifests/0000/"
	channelPrefix     = "channels/stable/0000/"
	collectionsPrefix = "collections/"
	epochsPrefix      = "epochs/"
	resolvedPrefix    = "resolved/"

	uuidDigits   = 36 // of ids in keys
	numberDigits = 20 // of offsets, generations and sequences in keys: enough for any int64
)

// shardFolder is where everything of a shard is, if the index has several.
func shardFolder(shard int) string { return fmt.Sprintf(allShards+"%04d", shard) }

func commitsPrefix(partition int) string { return fmt.Sprintf(allCommits+"%06d/", partition) }

// dataPrefix begins the names of the data objects of one commit; kind is segments, tombstones or quarantine.
func dataPrefix(kind string, partition int, start int64) string {
	return numbered(fmt.Sprintf("%s/%06d/", kind, partition), start) + "-"
}

// pageKey is the name of a page by its sum.
func pageKey(sum, id string) string { return pages + "/" + sum + "-" + id + ".json" }

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
		for info, err := range l.infos(ctx, prefix, first) {
			if !yield(info.number, err) {
				return
			}
		}
	}
}

// numberedInfo is a listed record.
type numberedInfo struct {
	store.Info
	number int64
}

// infos is numbers with what the store says of each object.
func (l *Log) infos(ctx context.Context, prefix string, first int64) iter.Seq2[numberedInfo, error] {
	return func(yield func(numberedInfo, error) bool) {
		startAfter := ""
		if first > 0 {
			startAfter = numbered(prefix, first-1)
		}
		for info, err := range l.bucket.List(ctx, prefix, startAfter) {
			if err != nil {
				yield(numberedInfo{}, err)
				return
			}
			if n, ok := numberOf(prefix, info.Key); ok && !yield(numberedInfo{info, n}, nil) {
				return
			}
		}
	}
}

// dataRE matches the names that this package makes for data objects: of one commit, or by a sum.
var dataRE = regexp.MustCompile(`^(?:(segments|tombstones|quarantine)/([0-9]{6})/([0-9]{20})-|(?:(?:segments|tombstones)/merged|models|chunks|dead)/([0-9a-f]{64})-)[0-9a-f-]{36}(?:\.rows|\.codes|\.vectors)?\.arrow$`)

// pageRE matches the names of pages.
var pageRE = regexp.MustCompile(`^pages/([0-9a-f]{64})-[0-9a-f-]{36}\.json$`)

// placeOf is what the name of a data object says of the one commit that can name it: its kind, and where it starts. Objects
// by a sum have none.
func placeOf(key string) (kind string, partition int, start int64, ok bool) {
	m := dataRE.FindStringSubmatch(key)
	if m == nil || m[1] == "" {
		return "", 0, 0, false
	}
	partition, err1 := strconv.Atoi(m[2])
	start, err2 := strconv.ParseInt(m[3], 10, 64)
	return m[1], partition, start, err1 == nil && err2 == nil
}

// SumOf is the sha256 of a data object that is named by it.
func SumOf(key string) (sum string, ok bool) {
	if m := pageRE.FindStringSubmatch(key); m != nil {
		return m[1], true
	}
	m := dataRE.FindStringSubmatch(key)
	if m == nil || m[4] == "" {
		return "", false
	}
	return m[4], true
}
