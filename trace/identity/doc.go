// Package identity says whose trace each one is and which traces belong together.
//
// A trace's own content counts first; what it leaves open is read from the names of
// its file and directories, by the layouts of the engines that write traces (FromPath
// lists them). Worlds groups traces so that only those are compared whose ranks ran
// side by side: the ranks of one replica of one stage, in one capture.
package identity
