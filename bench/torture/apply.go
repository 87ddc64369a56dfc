package main

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// rage does the events of a round, each at its time, and returns when the last one is over and all is mended.
func (c *campaign) rage(ctx context.Context, events []event) {
	began := time.Now()
	var deeds sync.WaitGroup
	for _, e := range events {
		pause(ctx, time.Until(began.Add(e.at)))
		if ctx.Err() != nil {
			break
		}
		deeds.Go(func() {
			if err := c.apply(ctx, e); err != nil && ctx.Err() == nil {
				c.totals.fault("%s: %v", e, err)
			}
		})
	}
	deeds.Wait()
}

func (c *campaign) apply(ctx context.Context, e event) error {
	switch e.kind {
	case eventKill, eventFreeze:
		return c.harm(ctx, e)
	case eventClock:
		return c.jump(ctx, e)
	case eventPoint:
		return c.strike(ctx, e)
	case eventFull:
		return c.fill(ctx, e)
	case eventZombie:
		return c.zombie(ctx, e)
	case eventStorm:
		return c.storm(ctx, e)
	case eventBroker, eventStall:
		return c.harmBroker(ctx, e)
	case eventCut, eventToxic:
		l, kind := c.links[e.target], e.kind
		if kind == eventToxic {
			kind = e.toxic.Type
		}
		if !l.busy.TryLock() { // toxiproxy has one toxic of a kind for a line, and none while it is down
			return nil
		}
		defer l.busy.Unlock()
		c.totals.count(kind)
		if e.kind == eventCut {
			return l.cut(ctx, e.lasts)
		}
		return l.spoil(ctx, e.toxic, e.lasts)
	default:
		heal := c.injectors[e.target].inject(injection{e.kind, e.share})
		defer heal()
		pause(ctx, e.lasts)
		return nil
	}
}

// claim gets the right to harm a member. Of the query nodes one is left alone at any time, as clients need one.
func (c *campaign) claim(m *member) (release func(), ok bool) {
	if m.role != roleQuery {
		return func() {}, true
	}
	if !c.oneNode.TryLock() {
		return nil, false
	}
	for _, other := range c.clients.nodes {
		if other != m && !other.up.Load() {
			c.oneNode.Unlock()
			return nil, false
		}
	}
	return c.oneNode.Unlock, true
}

// awaitNode waits until a query node answers again.
func (c *campaign) awaitNode(ctx context.Context, m *member) error {
	if m.role != roleQuery {
		return nil
	}
	ready, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	return m.awaitReady(ready)
}

// harm kills or freezes a member.
func (c *campaign) harm(ctx context.Context, e event) error {
	m := c.member(e.target, e.index)
	release, ok := c.claim(m)
	if !ok {
		return nil
	}
	defer release()
	c.totals.count(e.kind)
	if e.kind == eventFreeze {
		m.freeze()
		pause(ctx, e.lasts)
		m.thaw()
	} else {
		m.kill()
		pause(ctx, e.lasts)
		if err := m.start(); err != nil {
			return err
		}
	}
	return c.awaitNode(ctx, m)
}

// zombie freezes the builder, lets another one work meanwhile, and wakes it.
func (c *campaign) zombie(ctx context.Context, e event) error {
	if !c.oneZombie.TryLock() {
		return nil
	}
	defer c.oneZombie.Unlock()
	c.totals.count(eventFreeze)
	first, second := c.member(roleBuilder, 0), c.spareBuilder
	first.freeze()
	if err := second.start(); err != nil {
		return err
	}
	pause(ctx, e.lasts)
	first.thaw()
	pause(ctx, time.Second) // both work
	second.kill()
	c.totals.count(eventKill)
	return nil
}

// storm makes the group of ingestors change again and again.
func (c *campaign) storm(ctx context.Context, e event) error {
	if !c.oneStorm.TryLock() {
		return nil
	}
	defer c.oneStorm.Unlock()
	for _, m := range c.spareIngestors {
		if err := m.start(); err != nil {
			return err
		}
		pause(ctx, e.lasts/4)
	}
	pause(ctx, e.lasts/4)
	for _, m := range c.spareIngestors {
		if err := m.stop(); err != nil {
			return fmt.Errorf("%s at SIGTERM: %w", m.name, err)
		}
		pause(ctx, e.lasts/4)
	}
	return nil
}

// harmBroker kills or stops a broker, one at a time. It is not over before the others have it back: what they acknowledge they have in
// two logs.
func (c *campaign) harmBroker(ctx context.Context, e event) error {
	c.oneBroker.Lock()
	defer c.oneBroker.Unlock()
	if ctx.Err() != nil {
		return nil
	}
	b := c.brokers[e.index]
	c.totals.count(e.kind)
	if e.kind == eventStall {
		if err := b.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		pause(ctx, e.lasts)
		if err := b.signal(syscall.SIGCONT); err != nil {
			return err
		}
	} else {
		if err := b.kill(); err != nil {
			return err
		}
		pause(ctx, e.lasts)
		if err := b.start(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	return c.truth.inSync(ctx, min(len(c.brokers), 3))
}
