package omni

// TempPattern is the name of the data directories of pipelines that were given none, as
// os.MkdirTemp and filepath.Glob take it. hub.Recover brings home what a killed one left.
const TempPattern = "kinetoscope-*"
