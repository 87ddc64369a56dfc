package avx

import (
	"fmt"
	"os"
	"strings"

	"github.com/klauspost/cpuid/v2"
)

// EnvLevel is the environment variable that overrides [Best], by the names that
// [ParseLevel] takes. Tests and operators use it to rule a level out.
const EnvLevel = "ADASTREAM_SIMD"

// Level names one set of kernels by the CPU features they need. Levels are ordered: a later
// one is faster where it runs.
type Level uint8

const (
	Generic    Level  = iota // portable Go: the oracle of all other levels
	AVX2                     // exactly the CPU features AVX2, FMA3 and F16C
	AVX512                   // those of AVX2, AVX-512 F, BW, VL and DQ, and POPCNT
	AVX512VNNI               // those of AVX512 and AVX-512 VNNI
	NEON                     // on arm64: Advanced SIMD and its dot products, ASIMDDP, which servers have had since Neoverse N1
	levels     = iota        // the number of levels
)

// String returns the name that [ParseLevel] takes.
func (l Level) String() string {
	switch l {
	case Generic:
		return "generic"
	case AVX2:
		return "avx2"
	case AVX512:
		return "avx512"
	case AVX512VNNI:
		return "avx512vnni"
	case NEON:
		return "neon"
	default:
		return fmt.Sprintf("level(%d)", uint8(l))
	}
}

// ParseLevel returns the level called name, which need not be supported here.
func ParseLevel(name string) (Level, error) {
	var names []string
	for l := range Level(levels) {
		if l.String() == name {
			return l, nil
		}
		names = append(names, l.String())
	}
	return Generic, fmt.Errorf("unknown simd level %q: want one of %s", name, strings.Join(names, ", "))
}

// Supported reports whether this CPU has every feature of the level and the operating
// system saves its registers.
func (l Level) Supported() bool {
	switch l {
	case Generic:
		return true
	case AVX2:
		return cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3, cpuid.F16C)
	case AVX512:
		return AVX2.Supported() && cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512VL, cpuid.AVX512DQ, cpuid.POPCNT)
	case AVX512VNNI:
		return AVX512.Supported() && cpuid.CPU.Supports(cpuid.AVX512VNNI)
	case NEON:
		return cpuid.CPU.Supports(cpuid.ASIMD, cpuid.ASIMDDP)
	default:
		return false
	}
}

// Levels returns the levels supported here, slowest first.
func Levels() []Level {
	var supported []Level
	for l := range Level(levels) {
		if l.Supported() {
			supported = append(supported, l)
		}
	}
	return supported
}

// Best returns the fastest supported level, or the one that [EnvLevel] names. It reads the
// environment on every call: call it once, at the start, and pass the level on.
func Best() (Level, error) {
	if name := os.Getenv(EnvLevel); name != "" {
		l, err := ParseLevel(name)
		if err != nil {
			return Generic, fmt.Errorf("%s: %w", EnvLevel, err)
		}
		if !l.Supported() {
			return Generic, fmt.Errorf("%s: simd level %q is not supported by this cpu and system", EnvLevel, l)
		}
		return l, nil
	}
	supported := Levels()
	return supported[len(supported)-1], nil
}
