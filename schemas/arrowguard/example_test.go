package arrowguard_test

import (
	"fmt"

	"github.com/adastream/adastream/schemas/arrowguard"
)

func ExampleCheck() {
	fmt.Println(arrowguard.Check([]byte("ARROW1\x00\x00"), arrowguard.Limits{}))
	// Output: malformed: message is an Arrow IPC file, needed: an Arrow IPC stream
}
