package arrowguard_test

import (
	"errors"
	"testing"

	"github.com/adastream/adastream/internal/mutate"
	"github.com/adastream/adastream/schemas"
	"github.com/adastream/adastream/schemas/arrowguard"
	"github.com/adastream/adastream/schemas/arrowguard/arrowguardtest"
)

func FuzzGuard(f *testing.F) { mutate.Fuzz(f, guarding) }

func TestMutations(t *testing.T) {
	mutate.Run(t, map[string]mutate.Target{"FuzzGuard": guarding})
}

// fuzzLimits are small, so that inputs reach them.
var fuzzLimits = arrowguard.Limits{MaxMessage: 1 << 20, MaxUncompressed: 1 << 20, MaxRows: 1 << 12}

// budgetSlack is for what else allocates meanwhile, such as a fuzzer.
const budgetSlack = 1 << 20

// guarding: whatever a message is, guarding it costs no memory to speak of, and a fault says what is wrong.
func guarding(t testing.TB) ([][]byte, func(testing.TB, []byte)) {
	return arrowguardtest.Messages(t), func(t testing.TB, message []byte) {
		before := mutate.Allocated()
		err := arrowguard.Check(message, fuzzLimits)
		if got := mutate.Allocated() - before; got > budgetSlack {
			t.Fatalf("%d bytes allocated for %d, allowed: %d", got, len(message), budgetSlack)
		}
		var fault *schemas.Fault
		if err != nil && (!errors.As(err, &fault) || fault.Reason == "" || fault.Detail == "" || len(fault.Detail) > schemas.MaxDetail) {
			t.Fatalf("guard says %v", err)
		}
	}
}
