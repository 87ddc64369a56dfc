package events

import "testing"

// A key is read as what it was made of, and others' keys as nothing.
func TestKeys(t *testing.T) {
	for _, p := range []place{{sequence: 1}, {sequence: 1 << 60}, {3, "mini-3", 7}} {
		if got, ok := placeOf("shop/0000", p.key("shop/0000")); !ok || got != p {
			t.Errorf("%q is read as %+v, %v", p.key("shop/0000"), got, ok)
		}
	}
	for _, key := range []string{"", "shop", "shops/0000/00000000000000000001", "shop/0001/00000000000000000001", "shop/0000/1", "shop/0000/-0000000000000000001",
		"shop/0000/0000000000000000000x", "shop/0000/00000000000000000001/mini-3", "shop/0000/00000000000000000001//00000000000000000001", "shop/0000/00000000000000000001/a/b/c"} {
		if got, ok := placeOf("shop/0000", key); ok {
			t.Errorf("%q is read as %+v", key, got)
		}
	}
	early, late := place{2, "e", 9}, place{3, "", 0}
	if !late.after(early) || early.after(late) || !(place{2, "e", 10}).after(early) || early.after(early) {
		t.Error("the order of places is not that of their sequences")
	}
}
