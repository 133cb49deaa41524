// Package flags has the flags that several verbs share: how to reach the hub or a server, how to
// configure the profiler, what a session records, and whose definitions an analysis counts by.
package flags

import (
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/client"
	"github.com/kinetoscope/kinetoscope/web/api"
)

// Vars are what the flags' tags refer to, for kong.Vars.
var Vars = map[string]string{"server": client.DefaultURL, "addr": api.DefaultAddr}

// APIKeyEnv holds a key for --api-key, the server's and the clients'.
const APIKeyEnv = "KINETOSCOPE_API_KEY"

// Definition chooses HTA's definitions.
type Definition struct {
	HTA bool `name:"hta" help:"Use Holistic Trace Analysis' definitions, to compare with its numbers."`
}

// Analysis returns the flag as options of package analysis.
func (h Definition) Analysis() analysis.Options { return analysis.Options{HTA: h.HTA} }

// ByRank keeps the ranks apart in tables that sum over them.
type ByRank struct {
	ByRank bool `help:"One row a rank, in place of sums over ranks."`
}
