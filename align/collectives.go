package align

// Collective is one collective on one rank, of an operation after which ranks leave
// together: none can leave before all have entered.
type Collective struct {
	Group      string // process group; unequal for groups of unequal members
	Name       string // of the operation
	Seq        int64  // number in the group; if the trace has none, the order on the rank
	Start, End int64  // ns, rank's clock
}
