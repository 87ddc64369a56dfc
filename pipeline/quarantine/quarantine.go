// Package quarantine reads what was refused, tells what became of what is sent, and takes what was refused back into the topic.
package quarantine

import (
	"context"
	"iter"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/schemas"
)

// Items yields what the commits of a partition refused, in order of offsets. Objects that no commit names are leftovers of a
// writer that lost, and do not count. It ends at the first error.
func Items(ctx context.Context, index *commit.Log, partition int) iter.Seq2[ingest.Quarantined, error] {
	return func(yield func(ingest.Quarantined, error) bool) {
		for c, err := range index.Commits(ctx, partition) {
			if err != nil {
				yield(ingest.Quarantined{}, err)
				return
			}
			if c.Quarantine == nil {
				continue
			}
			all, err := read(ctx, index, c)
			if err != nil {
				yield(ingest.Quarantined{}, err)
				return
			}
			for _, q := range all {
				if !yield(q, nil) {
					return
				}
			}
		}
	}
}

// read reads what a commit refused.
func read(ctx context.Context, index *commit.Log, c *schemas.Commit) ([]ingest.Quarantined, error) {
	body, err := index.Bucket().Get(ctx, c.Quarantine.Key)
	if err != nil {
		return nil, err
	}
	return ingest.ReadQuarantine(c.Quarantine.Key, body)
}
