// Package arrowguardtest makes Arrow bytes that claim more than they have, for tests of what reads those of others.
package arrowguardtest
