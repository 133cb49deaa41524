package report

// What tests of the page need, which is made by package analyses above this one.
var (
	Golden     = golden
	CheckShape = checkShape
	RankTrace  = rankTrace
	Omni       = omni
)

// Filled is o with its defaults.
func Filled(o TextOptions) TextOptions { return o.withDefaults() }
