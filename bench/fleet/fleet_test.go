package fleet

import "testing"

// As many as the ports that a kernel gives would come twice.
func TestAddress_neverTwice(t *testing.T) {
	seen := map[string]bool{}
	for range 2000 {
		address, err := Address()
		if err != nil {
			t.Fatal(err)
		}
		if seen[address] {
			t.Fatalf("%s is given twice", address)
		}
		seen[address] = true
	}
}
