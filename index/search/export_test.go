package search

import "github.com/adastream/adastream/avx"

// NewSharing makes a searcher whose batches share lists however few codes there are.
func NewSharing(level avx.Level) *Searcher {
	s := New(level)
	s.shareBytes = -1
	return s
}
