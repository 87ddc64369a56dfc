package build

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A look at the chains comes when it is due, or sooner if this process has appended to one, but not before the next generation may be
// published, and a little after the first of the commits that come together.
func TestPause(t *testing.T) {
	const every = time.Second
	appended := make(chan struct{})
	close(appended)
	for name, tt := range map[string]struct {
		next, publish time.Duration
		appended      chan struct{}
		least, most   time.Duration
	}{
		"behind":             {next: 0, most: 30 * every},
		"due":                {next: 200 * time.Millisecond, least: 200 * time.Millisecond, most: 30 * every},
		"appended":           {next: time.Hour, publish: -time.Hour, appended: appended, least: every / gatherShare, most: 30 * every},
		"published just now": {next: time.Hour, publish: 300 * time.Millisecond, appended: appended, least: 300 * time.Millisecond, most: 30 * every},
		"due before":         {next: 20 * time.Millisecond, publish: time.Hour, appended: appended, most: 30 * every},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &Builder{o: Options{PublishEvery: every}}
			began := time.Now()
			if err := b.pause(t.Context(), began.Add(tt.next), began.Add(tt.publish), tt.appended); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < tt.least || took > tt.most {
				t.Errorf("took %v, want %v to %v", took, tt.least, tt.most)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := &Builder{o: Options{PublishEvery: every}}
	if err := b.pause(ctx, time.Now().Add(time.Hour), time.Now(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}
