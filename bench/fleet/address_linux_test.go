package fleet

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
)

// Whoever got an address listens there a while later. Until then the kernel must not give its port to a connection, which it does with those
// of a range, whether somebody has just had one or not.
func TestAddress_isNotOneForConnections(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Skip(err)
	}
	var first, last uint16
	if _, err := fmt.Sscan(string(text), &first, &last); err != nil {
		t.Fatal(err)
	}
	if first < endPort {
		t.Skipf("connections get ports from %d on", first)
	}
	for range 100 {
		a, err := Address()
		if err != nil {
			t.Fatal(err)
		}
		if port := netip.MustParseAddrPort(a).Port(); port >= first && port <= last {
			t.Fatalf("%s may be taken by a connection: those get %d to %d", a, first, last)
		}
	}
}
