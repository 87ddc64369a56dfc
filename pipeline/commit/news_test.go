package commit

import (
	"testing"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// What a Log does those over the same opening hear of, each kind apart, and nobody else does.
func TestNews(t *testing.T) {
	b := store.NewMemory()
	l := openLog(t, b)
	over, stranger := l.Over(b).WithPages(2), openLog(t, b)
	heard := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	appended, promoted, strange := over.Appended(), over.Promoted(), stranger.Appended()
	mustAppend(t, l, plain(0, 4, 1))
	if !heard(appended) || heard(over.Appended()) || heard(promoted) || heard(strange) {
		t.Error("an append was not heard, or heard twice, by who waits for promotions, or by another opening")
	}
	appended = l.Appended()
	mustPublish(t, over, 4)
	if heard(promoted) || heard(appended) {
		t.Error("a generation that nobody has promoted was heard of")
	}
	if _, err := over.Promote(t.Context(), nil, schemas.Channel{Generation: 1, Reason: "r", By: "b"}); err != nil {
		t.Fatal(err)
	}
	if !heard(promoted) || heard(appended) || heard(l.Promoted()) {
		t.Error("a promotion was not heard, or not as one")
	}
	if err := l.Append(t.Context(), plain(0, 4, 2)); err == nil || heard(appended) {
		t.Errorf("heard of an append that failed: %v", err)
	}
}
