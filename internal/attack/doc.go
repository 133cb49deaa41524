// Package attack holds tests that attack the program as it is built, from outside, as
// docs/security.md says that nobody may. They can be made against an older program too.
package attack
